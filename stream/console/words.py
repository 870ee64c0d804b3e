"""Values as a person at a terminal reads them.

Invariant: text that came from events cannot move the cursor or change colours.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


def safe(text: str, longest: int = 400) -> str:
    """Text without control characters, cut where it becomes long.

    >>> safe("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    shown = text.translate(_ESCAPED)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def clock(ts: float | None) -> str:
    """Event time in UTC.

    >>> clock(0.5)
    '1970-01-01 00:00:00'
    """
    if ts is None:
        return "–"
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M:%S")


def number(value: float | None) -> str:
    """A number with as many digits as are worth reading.

    >>> number(0.87654), number(12345), number(None)
    ('0.877', '12,345', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    size = abs(value)
    if float(value).is_integer() and size < 1e15:
        return f"{value:,.0f}"
    if size < 0.001 or size >= 1e9:
        return f"{value:.3g}"
    return f"{value:.3f}" if size < 1000 else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share in percent.

    >>> share(0.5), share(0.98765)
    ('50 %', '98.8 %')
    """
    return "–" if value is None else f"{100 * value:.3g} %"

"""Durations as people write them."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_pattern = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")


def seconds(text: str) -> float:
    """Seconds of a duration such as `250ms`, `5s`, `10m`, `1.5h` or `7d`; `0` needs no unit.

    >>> seconds("1.5h")
    5400.0

    Raises ValueError for anything else.
    """
    if text == "0":
        return 0.0
    match = _pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration")
    return float(match[1]) * UNITS[match[2]]


def words(value: float) -> str:
    """The duration text of a number of seconds; a day is 24h.

    >>> words(5400), words(86400), words(604800), words(0.25)
    ('90m', '24h', '7d', '250ms')
    """
    for unit in ("d", "h", "m", "s"):
        if value >= (2 if unit == "d" else 1) * UNITS[unit] and value % UNITS[unit] == 0:
            return f"{value / UNITS[unit]:.0f}{unit}"
    return f"{value:g}s" if value == 0 or value >= 1 else f"{value * 1000:g}ms"

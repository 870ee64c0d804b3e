"""Spans of time as people say them."""

from __future__ import annotations

UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))


def duration(seconds: float) -> str:
    """Two units, or seconds with what digits are worth reading.

    >>> duration(4.5), duration(61), duration(3 * 86400 + 7200), duration(0)
    ('4.5 s', '1 min 1 s', '3 d 2 h', '0 s')
    """
    left = round(seconds)
    if seconds < 60:
        return f"{seconds:.3g} s"
    found: list[str] = []
    for unit, length in (*UNITS, ("s", 1.0)):
        count = int(left // length)
        left -= round(count * length)
        if count:
            found.append(f"{count} {unit}")
        elif found:
            break
    return " ".join(found[:2])

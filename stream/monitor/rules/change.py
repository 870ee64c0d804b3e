"""Rules by change: how far a metric may be from what it was at reference.

`0.05` is a distance, `10%` a share of the reference, and `interval` means that the 95 % intervals of the value and of
the reference part. Invariant: each becomes a plain bound for each evaluation, so the state machine of `bounds.py` knows
no other kind: where intervals decide, the bound is the value moved by the gap between them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from msgspec import Struct

from stream.config import Rule
from stream.monitor.basis.columns import Floats
from stream.monitor.basis.intervals import Interval

INTERVAL = "interval"

Spread: TypeAlias = Callable[[int], tuple[Interval | None, Interval | None]]
"""By position of an evaluation the intervals of its value and of the reference."""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")


class Amount(Struct, frozen=True):
    """How much of a change: a distance, or a share of the reference. Neither: its interval."""

    distance: float | None = None
    share: float | None = None

    def of(self, reference: Floats) -> Floats:
        """The distance from the reference."""
        if self.share is not None:
            return np.abs(reference) * self.share
        return np.full(len(reference), math.nan if self.distance is None else self.distance)


class Bounds(Struct):
    """What values are judged by at each evaluation; NaN bounds nothing."""

    above: Floats
    below: Floats
    recover_above: Floats
    recover_below: Floats
    reference: Floats


def is_change(rule: Rule) -> bool:
    """Whether a rule compares with the reference."""
    return rule.drop is not None or rule.rise is not None


def amount(said: float | str) -> Amount:
    """How much a rule says. Raises ValueError when that cannot be read.

    >>> amount(0.05), amount("10%"), amount("interval")
    (Amount(distance=0.05, share=None), Amount(distance=None, share=0.1), Amount(distance=None, share=None))
    """
    if isinstance(said, str):
        percent = _PERCENT.fullmatch(said.strip())
        if percent is not None and float(percent[1]) > 0:
            return Amount(share=float(percent[1]) / 100.0)
        if said == INTERVAL:
            return Amount()
    elif said > 0:
        return Amount(distance=float(said))
    shown = f'"{said}"' if isinstance(said, str) else f"{said:g}"
    raise ValueError(f"found {shown}, expected a number above zero, a share such as 10%, or {INTERVAL}")


def bounds(rule: Rule, values: Floats, reference: Floats, spread: Spread) -> Bounds:
    """The bounds of a rule by change at each of its evaluations."""
    below = _bound(rule.drop, -1, values, reference, spread)
    above = _bound(rule.rise, 1, values, reference, spread)
    back_below, back_above = below, above
    if rule.recover is not None:
        away = amount(rule.recover).of(reference)
        back_below, back_above = reference - away, reference + away
    return Bounds(above, below, back_above, back_below, reference)


def _bound(said: float | str | None, side: int, values: Floats, reference: Floats, spread: Spread) -> Floats:
    if said is None:
        return np.full(len(values), math.nan)
    if said != INTERVAL:
        return reference + side * amount(said).of(reference)
    # An interval holds its value, so those of a value on the other side cannot have parted.
    bound = np.full(len(values), side * math.inf)
    for row in np.flatnonzero((values - reference) * side > 0).tolist():
        mine, normal = spread(row)
        if mine is None or normal is None:
            bound[row] = math.nan
        else:
            bound[row] = values[row] + (normal[1] - mine[0] if side > 0 else normal[0] - mine[1])
    return bound

"""Group gaps: how differently a binary model treats the values of an attribute, such as `gender`.

Names are fairlearn's. Of each group (segment `gender=F`) there is the selection rate, share of outcomes predicted
positive; the true positive rate, share of positive outcomes predicted positive; the false positive rate, share of
negative outcomes predicted positive. A difference is the largest less the smallest rate, a ratio the smallest over the
largest. `equalized_odds` is the worse of the last two rates. A rate of fewer than `minimum` effective outcomes is left
out, so a group counts in as far as it is large enough; values folded into one group, and missing ones, are no group.
Invariant: equal to scikit-learn's rates of the raw outcomes, group by group; NaN where fewer than two can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from msgspec import UNSET

from stream.events import Estimated
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.basis.intervals import Interval, wilson
from stream.monitor.basis.vocabulary import MISSING, OTHER
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics.confusion import divide, extremes
from stream.monitor.metrics.layout import Layout
from stream.monitor.rules.watch import MIN_SAMPLES

Rate: TypeAlias = Literal["selection", "true_positive", "false_positive"]
RATES: tuple[Rate, ...] = ("selection", "true_positive", "false_positive")

GAPS: dict[str, tuple[Rate, ...]] = {
    "demographic_parity": ("selection",),
    "equal_opportunity": ("true_positive",),
    "false_positive_rate": ("false_positive",),
    "equalized_odds": ("true_positive", "false_positive"),
}
"""Rates that are compared, by the beginning of a name; the end is `_difference` or `_ratio`."""

FAIRNESS: dict[str, int] = {f"{gap}_{end}": sign for gap in GAPS for end, sign in (("difference", -1), ("ratio", 1))}
"""Every name, and whether more is better (1) or worse (-1)."""


def groups(names: Sequence[str], attribute: str) -> list[int]:
    """Codes of the segments that are groups of an attribute.

    >>> groups(["all", "gender=__other__", "gender=F", "gender=M", "gender=__missing__"], "gender")
    [2, 3]
    """
    none = f"{attribute}={OTHER}", f"{attribute}={MISSING}"
    return [code for code, name in enumerate(names) if name.startswith(f"{attribute}=") and name not in none]


def evaluate(layout: Layout, tallies: Ints, name: str, minimum: float = MIN_SAMPLES) -> tuple[Floats, Ints]:
    """Values and outcomes behind them (...) of a gap between groups, from their tallies (..., groups, width)."""
    shares, trials, worth = _rates(layout, tallies, minimum)
    gap, _, end = name.rpartition("_")
    known = [RATES.index(rate) for rate in GAPS[gap]]
    spreads = np.stack([_spread(shares[rate], end) for rate in known])
    with np.errstate(invalid="ignore"):
        values: Floats = (np.fmax if end == "difference" else np.fmin).reduce(spreads, axis=0)
    counted = (trials[0] * worth >= minimum) & (tallies.shape[-2] > 0)
    return values, np.where(counted, tallies[..., columns.OUTCOMES], 0).sum(axis=-1)


def interval(layout: Layout, tallies: Ints, name: str, minimum: float = MIN_SAMPLES) -> Interval | None:
    """The 95 % interval of a difference between the two groups that are furthest apart, of tallies (groups, width): the
    Wilson limits of both, their squared distances added (R. G. Newcombe, Statist. Med. 17 (1998) 873, method 10). Of a
    ratio, None."""
    gap, _, end = name.rpartition("_")
    if end == "ratio":
        return None
    shares, trials, worth = _rates(layout, tallies, minimum)
    found: Interval | None = None
    furthest = -math.inf
    for rate in (RATES.index(each) for each in GAPS[gap]):
        share = shares[rate]
        if np.count_nonzero(~np.isnan(share)) < 2:
            continue
        high, low = int(np.nanargmax(share)), int(np.nanargmin(share))
        difference = float(share[high] - share[low])
        ends = [wilson(float(share[at]), float((trials[rate] * worth)[at])) for at in (high, low)]
        if difference > furthest and ends[0] is not None and ends[1] is not None:
            furthest = difference
            below = math.hypot(share[high] - ends[0][0], ends[1][1] - share[low])
            above = math.hypot(ends[0][1] - share[high], share[low] - ends[1][0])
            found = max(0.0, difference - below), min(1.0, difference + above)
    return found


def report(
    layout: Layout | None, tally: Ints, names: Sequence[str], attributes: Iterable[str]
) -> dict[str, dict[str, Estimated]]:
    """By attribute every gap that can be told, from the tallies of all segments (segments, width)."""
    found: dict[str, dict[str, Estimated]] = {}
    if layout is None or layout.task != "binary" or tally.shape[1] != layout.width:
        return found
    for attribute in attributes:
        codes = [code for code in groups(names, attribute) if code < len(tally)]
        for name in FAIRNESS:
            value, samples = evaluate(layout, tally[codes], name)
            if math.isnan(float(value)):
                continue
            bounds = interval(layout, tally[codes], name)
            lower, upper = bounds if bounds is not None else (UNSET, UNSET)
            told = Estimated(float(value), int(samples), lower, upper)
            found.setdefault(attribute, {})[name] = told
    return found


def _rates(layout: Layout, tallies: Ints, minimum: float) -> tuple[Floats, Floats, Floats]:
    """Shares and what they are shares of, shape (rates, ..., groups), and effective outcomes per weight."""
    counts: Floats = np.multiply(layout.confusion(tallies), WEIGHT_UNIT, dtype=np.float64)
    positive = layout.positive
    total, selected = counts.sum(axis=(-1, -2)), counts[..., positive].sum(axis=-1)
    positives, hits = counts[..., positive, :].sum(axis=-1), counts[..., positive, positive]
    worth = divide(*columns.weights(tallies))
    worth = np.where(np.isnan(worth), 0.0, worth)
    parts, trials = np.stack([selected, hits, selected - hits]), np.stack([total, positives, total - positives])
    return np.where(trials * worth >= minimum, divide(parts, trials), np.nan), trials, worth


def _spread(shares: Floats, end: str) -> Floats:
    """The gap between the largest and the smallest of shares (..., groups); NaN where fewer than two are known."""
    low, high = extremes(shares)
    return high - low if end == "difference" else divide(low, high)

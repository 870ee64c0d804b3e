"""How precise the highest scores are, summed over positives: exactly, and in expectation where scores share bins.

Columns are as in `scores.py`, a column per code, codes ascending. Invariant: a function of the columns alone.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

from stream.monitor.columns import Floats, Ints
from stream.monitor.exact import Booleans

NEGATIVE, POSITIVE, NEGATIVES, POSITIVES, NEGATIVE_PLACES, POSITIVE_PLACES, SQUARES = range(7)
"""Rows of `columns`: weights, counts, sums of places by truth, and of squared places of both. Exact: the first four."""

PARTS = 8
"""Parts that a bin is cut into for average precision."""


def gains(columns: Ints) -> tuple[float, float, float]:
    """Of exact columns: sum over positives of the precision down to them; weight of positives; weight of all."""
    negative, positive = columns[: POSITIVE + 1, ::-1]
    hits = np.cumsum(positive)
    every = np.cumsum(negative)
    every += hits
    return float(hits / np.maximum(every, 1) @ positive.astype(np.float64)), float(hits[-1]), float(every[-1])


def dispersion(columns: Ints) -> float:
    """Of exact columns: how much the mean weight of outcomes grows when it is weighted itself; 1 for equal weights."""
    weight = columns[: POSITIVE + 1].sum(axis=0).astype(np.float64)
    counts = columns[NEGATIVES : POSITIVES + 1].sum(axis=0)
    return float((weight * weight / counts).sum() * counts.sum() / max(weight.sum() ** 2, 1.0))


def rest_gains(columns: Ints, hits: float, every: float, unit: float) -> float:
    """Sum over positives of the precision down to them, for bins below outcomes that weigh `every`, positives `hits`.

    Inside a bin the expected value over the orders that its moments leave open. Bins are cut where that tells more;
    then positives of a piece lie at random among its negatives, each of weight `unit`: a sum over positives in closed
    form, sum (h + i) / (n + c i) for i = 1..a.
    """
    if not columns[POSITIVE].any():
        return 0.0
    counts = columns[:, ::-1]
    negative, positive = counts[: POSITIVE + 1].astype(np.float64)
    spread, below, above = moments(counts)
    mixed = (negative > 0.0) & (positive > 0.0) & (spread > 0.0)
    single = mixed & (counts[NEGATIVES] == 1) & (counts[POSITIVES] == 1)
    dense = mixed & (np.minimum(counts[NEGATIVES], counts[POSITIVES]) >= 4)
    lean = 3.0**0.5 / np.where(spread > 0.0, spread, 1.0)
    middle = (below * counts[NEGATIVES] + above * counts[POSITIVES]) / (counts[NEGATIVES] + counts[POSITIVES])
    edges = np.linspace(1.0, -1.0, PARTS + 1)
    width, tilt = (edges[:-1] - edges[1:]) / 2.0, (edges[:-1] ** 2 - edges[1:] ** 2) / 4.0
    first = np.zeros(PARTS)
    first[0] = 1.0

    def cut(mass: Floats, mean: Floats, ahead: Booleans) -> Floats:
        shares = width + np.clip((mean - middle) * lean, -1.0, 1.0)[:, None] * tilt
        shares = np.where(dense[:, None], shares, first)
        shares = np.where((single & ~ahead)[:, None], first[::-1], shares)
        return (mass[:, None] * shares).reshape(-1)

    loose = np.repeat(mixed & ~single, PARTS)
    misses, gains = cut(negative, below, below > above) / unit, cut(positive, above, above >= below) / unit
    down, through = hits / unit + np.cumsum(gains), every / unit + np.cumsum(gains + misses)
    gained = gains > 0.0
    down, through, gains, misses, loose = (x[gained] for x in (down, through, gains, misses, loose))
    tied = gains * down / through
    before, start = down - gains, through - gains - misses
    step = 1.0 + misses / (gains + 1.0)
    ratio = start / step
    spreads = gains / step + (before - ratio) / step * (digamma(ratio + gains + 1.0) - digamma(ratio + 1.0))
    return float(np.where(loose, spreads, tied).sum() * unit)


def moments(columns: Ints) -> tuple[Floats, Floats, Floats]:
    """Per bin: standard deviation of places (0: all the same), mean place of negatives, of positives."""
    counts = columns[NEGATIVES : POSITIVES + 1].astype(np.float64)
    places = columns[NEGATIVE_PLACES : POSITIVE_PLACES + 1].astype(np.float64)
    both = counts.sum(axis=0)
    variance = columns[SQUARES] / both - (places.sum(axis=0) / both) ** 2
    spread = np.sqrt(np.where(variance > 1e-3, variance, 0.0))
    below, above = places / np.maximum(counts, 1.0)
    return spread, below, above

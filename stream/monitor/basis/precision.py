"""How precise the highest scores are, summed over positives: exactly, and in expectation where scores share bins.

Columns are as in `scores.py`, a column per code, codes ascending. Invariant: a function of the columns alone.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.exact import Booleans

NEGATIVE, POSITIVE, NEGATIVES, POSITIVES, NEGATIVE_PLACES, POSITIVE_PLACES, SQUARES = range(7)
"""Rows of `columns`: weights, counts, sums of places by truth, and of squared places of both. Exact: the first four."""

PARTS = 8
"""Parts that a bin is cut into for average precision."""

TILTS = 1.0 - (2.0 * np.arange(PARTS) + 1.0) / PARTS
"""How much more a part from the top holds, relatively, of what leans to the top as far as it can."""

LIGHT = 256
"""A bin is not cut when so many times what it weighs has come down to it: its order hardly matters."""


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
    negative, positive = counts[: POSITIVE + 1] / unit
    negatives, positives = counts[NEGATIVES : POSITIVES + 1]
    spread, below, above = moments(counts)
    mixed = (negative > 0.0) & (positive > 0.0) & (spread > 0.0)
    single = mixed & (negatives == 1) & (positives == 1)
    both = negative + positive
    heavy = both * LIGHT > every / unit + np.cumsum(both)
    dense = mixed & heavy & (np.minimum(negatives, positives) >= 4)
    parts = np.where(dense, PARTS, np.where(single, 2, 1))
    whole = np.repeat(np.arange(len(parts)), parts)
    part = np.arange(len(whole)) - np.repeat(np.cumsum(parts) - parts, parts)
    middle = (below * negatives + above * positives) / (negatives + positives)
    lean = 3.0**0.5 / np.where(spread > 0.0, spread, 1.0)
    cut, pair = np.flatnonzero(dense[whole]), np.flatnonzero(single[whole])

    def shared(mass: Floats, mean: Floats, ahead: Booleans) -> Floats:
        mass = mass[whole]
        tilt = np.clip((mean - middle) * lean, -1.0, 1.0)
        mass[cut] *= (1.0 + tilt[whole[cut]] * TILTS[part[cut]]) / PARTS
        mass[pair] *= ahead[whole[pair]] == (part[pair] == 0)
        return mass

    misses, gains = shared(negative, below, below > above), shared(positive, above, above >= below)
    down, through = hits / unit + np.cumsum(gains), every / unit + np.cumsum(gains + misses)
    gained = gains > 0.0
    loose = (mixed & ~single)[whole[gained]]
    down, through, gains, misses = down[gained], through[gained], gains[gained], misses[gained]
    total = float((gains * down / through)[~loose].sum())
    down, through, gains, misses = down[loose], through[loose], gains[loose], misses[loose]
    step = 1.0 + misses / (gains + 1.0)
    ratio = (through - gains - misses) / step
    spreads = gains / step + (down - gains - ratio) / step * (digamma(ratio + gains + 1.0) - digamma(ratio + 1.0))
    return (total + float(spreads.sum())) * unit


def moments(columns: Ints) -> tuple[Floats, Floats, Floats]:
    """Per bin: standard deviation of places (0: all the same), mean place of negatives, of positives."""
    counts = columns[NEGATIVES : POSITIVES + 1].astype(np.float64)
    places = columns[NEGATIVE_PLACES : POSITIVE_PLACES + 1].astype(np.float64)
    both = counts.sum(axis=0)
    variance = columns[SQUARES] / both - (places.sum(axis=0) / both) ** 2
    spread = np.sqrt(np.where(variance > 1e-3, variance, 0.0))
    below, above = places / np.maximum(counts, 1.0)
    return spread, below, above

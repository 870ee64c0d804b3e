"""Confidence intervals at 95 %, from sufficient statistics alone. None where none is known.

Weighted outcomes count as their effective number, (sum of weights)**2 / sum of squared weights (Kish 1965).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]

Z = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


def wilson(share: float, n: float) -> Interval | None:
    """Score interval of a proportion (E. B. Wilson 1927) seen in n trials.

    >>> low, high = wilson(0.0, 10)
    >>> low, round(high, 4)
    (0.0, 0.2775)
    """
    if not n > 0.0 or math.isnan(share):
        return None
    spread = Z * math.sqrt(share * (1.0 - share) / n + Z * Z / (4.0 * n * n))
    middle = share + Z * Z / (2.0 * n)
    scale = 1.0 + Z * Z / n
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return (0.0 if share <= 0.0 else max(low, 0.0)), (1.0 if share >= 1.0 else min(high, 1.0))


def f1(value: float, n: float) -> Interval | None:
    """Interval of F1: F / (2 - F) is the share of hits among hits and errors of the class, n of them, a proportion."""
    shares = wilson(value / (2.0 - value), n)
    return None if shares is None else (2.0 * shares[0] / (1.0 + shares[0]), 2.0 * shares[1] / (1.0 + shares[1]))


def mean_of_shares(shares: Sequence[float], n: Sequence[float]) -> Interval | None:
    """Interval of the plain mean of independent proportions: their Wilson limits recovered and their squared distances
    added (MOVER: Zou and Donner 2008)."""
    limits = [(share, wilson(share, trials)) for share, trials in zip(shares, n, strict=True)]
    known = [(share, limit) for share, limit in limits if limit is not None]
    if not known:
        return None
    value = sum(share for share, _ in known) / len(known)
    below = math.sqrt(sum((share - low) ** 2 for share, (low, _) in known)) / len(known)
    above = math.sqrt(sum((high - share) ** 2 for share, (_, high) in known)) / len(known)
    return max(value - below, 0.0), min(value + above, 1.0)


def mean(value: float, mean_square: float, n: float) -> Interval | None:
    """Normal interval of a mean, from the mean of squares."""
    if not n > 1.0 or not math.isfinite(mean_square):
        return None
    spread = Z * math.sqrt(max(mean_square - value * value, 0.0) / (n - 1.0))
    return value - spread, value + spread


def roc_auc(value: float, positives: float, negatives: float) -> Interval | None:
    """J. A. Hanley and B. J. McNeil, Radiology 143 (1982), equation 1."""
    if not positives >= 1.0 or not negatives >= 1.0 or math.isnan(value):
        return None
    two_positives, two_negatives = value / (2.0 - value), 2.0 * value * value / (1.0 + value)
    variance = (
        value * (1.0 - value)
        + (positives - 1.0) * (two_positives - value * value)
        + (negatives - 1.0) * (two_negatives - value * value)
    ) / (positives * negatives)
    spread = Z * math.sqrt(max(variance, 0.0))
    return max(value - spread, 0.0), min(value + spread, 1.0)


def average_precision(value: float, positives: float) -> Interval | None:
    """Logit interval (K. Boyd, K. H. Eng and C. D. Page, ECML PKDD 2013, section 3.2). None at 0 and 1."""
    if not positives > 0.0 or not 0.0 < value < 1.0:
        return None
    logit = math.log(value / (1.0 - value))
    spread = Z / math.sqrt(positives * value * (1.0 - value))
    return 1.0 / (1.0 + math.exp(min(spread - logit, 700.0))), 1.0 / (1.0 + math.exp(-logit - spread))


def delta(value: float, cells: Iterable[tuple[float, float]], n: float, bounds: Interval) -> Interval | None:
    """Interval of a smooth function of a multinomial sample of n outcomes by the delta method. `cells` are the share of
    outcomes in each cell and the slope of the function by it; a constant added to all slopes changes nothing."""
    if not n > 1.0:
        return None
    known = list(cells)
    middle = sum(share * slope for share, slope in known)
    variance = sum(share * (slope - middle) ** 2 for share, slope in known) / n
    if not variance > 1e-18:
        return None
    spread = Z * math.sqrt(variance)
    return max(value - spread, bounds[0]), min(value + spread, bounds[1])

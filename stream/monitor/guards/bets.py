"""What a guard stakes: by what each bet grows, per cell of a variable whose distribution is known under the null.

Invariant: each bet's factors are at least 0 and have a mean of at most 1 over the cells' probabilities: an e-value. So
what they multiply up to is large by chance only as seldom as Markov's inequality allows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from msgspec import Struct
from scipy import special

from stream.monitor.basis.columns import Floats

CELLS = 1024
"""Cells of equal probability that the rank of a number falls into."""

SHIFTS = np.geomspace(0.07, 2.0, 5)
"""Changes of the mean that are bet on each side, in standard deviations. Seven instead of five find changes of 0.1 to 1
standard deviations at most 3 % sooner, and cost two fifths more."""

FEW_SHIFTS = np.geomspace(0.1, 1.5, 3)
"""The same per category, of which there are many."""

SMALLEST, LARGEST = 1e-4, 1e4
"""Bounds of a factor: the product of 64 stays far from the ends of a float's range."""

_FULL = 0.95
"""Share of what a bet could stake at most that it does: a bet of everything could never win back."""


class Table(Struct, frozen=True):
    """K bets on C cells."""

    cuts: Floats
    """Shape (C - 1): upper ends of the cells in [0, 1], without the last."""
    factors: Floats
    """Shape (K, C)."""
    rows: Floats
    """Shape (C + 1, K): the same by cell; the last one changes nothing."""
    even: bool
    """The cells are CELLS of equal probability."""
    weights: Floats
    """Shape (K): the shares of the stake; their sum is 1."""


@lru_cache(maxsize=64)
def of_ranks(direction: str, tolerance: float) -> Table:
    """Bets on a rank in (0, 1), uniform under the null: likelihood ratios of a shift of its normal score.

    `tolerance`, in standard deviations: E[exp(d z - d²/2)] = exp(d t) at a shift of t, so that much is taken off.
    """
    edges = special.ndtri(np.arange(CELLS + 1) / CELLS)
    rows = []
    for side in _sides(direction):
        for shift in SHIFTS + tolerance:
            ratios = CELLS * np.diff(special.ndtr(edges - side * shift))
            ratios = np.clip(ratios, SMALLEST, LARGEST)
            rows.append(ratios / max(1.0, float(ratios.mean())) * np.exp(-shift * tolerance))
    return _table(np.arange(1, CELLS) / CELLS, rows)


def of_groups(shares: Floats, direction: str, tolerance: float) -> Table:
    """Bets that a group's share rises or falls: `1 + l (x - m)` with x whether a value is of the group.

    `shares`, shape (C): the groups' probabilities under the null, all above 0. Of two groups only the second is bet on,
    for the first says the same. `tolerance`, an absolute share: m lies by that much on the side that is bet on.
    """
    few = len(shares) == 2
    rows = []
    for group in [1] if few else range(len(shares)):
        inside = np.arange(len(shares)) == group
        share = float(shares[group])
        deviation = np.sqrt(share * (1.0 - share)) or 1.0
        for side in _sides(direction):
            mean = min(max(share + side * tolerance, 1e-9), 1.0 - 1e-9)
            most = _FULL / (mean if side > 0 else 1.0 - mean)
            for shift in SHIFTS if few else FEW_SHIFTS:
                stake = side * min((shift + tolerance / deviation) / deviation, most)
                rows.append(np.clip(1.0 + stake * (inside - mean), SMALLEST, LARGEST))
    return _table(np.cumsum(shares)[:-1], rows)


def _sides(direction: str) -> tuple[float, ...]:
    return {"up": (1.0,), "down": (-1.0,)}.get(direction, (1.0, -1.0))


def _table(cuts: Floats, rows: list[Floats]) -> Table:
    factors = np.array(rows)
    blank = np.ones((len(factors), 1))
    rows_by_cell = np.ascontiguousarray(np.hstack([factors, blank]).T)
    return Table(cuts, factors, rows_by_cell, len(cuts) == CELLS - 1, np.full(len(factors), 1.0 / len(factors)))

"""How large a loss to expect from what is known when a prediction is made: a product of factors, one per feature.

The factor of a bin is its share of the losses over its share of what the other factors say: the method of marginal
totals (R. Bailey, Proc. Casualty Actuarial Soc. 50, 1963), which is Poisson regression with a logarithmic link. Numbers
are smoothed over neighbouring bins, and every factor is drawn towards 1. A feature takes part only when its groups
differ in their mean losses by more than noise would but with probability ALPHA for any of them.
Expected losses are counted in steps of a quarter of an octave. Invariant: the step of an event depends on its histogram
columns alone, in whole numbers, so on no order of summation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from scipy import special

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.blocks import Block
from stream.monitor.features.reference import Numeric

STEPS = 48
"""Steps, around the mean loss; what lies beyond counts as if it were in the last."""

PER_OCTAVE = 4

UNIT = 2.0**-20
"""Of the logarithm to base 2 of a factor."""

SHRINKAGE = 10.0
"""A factor is as if there were so many events more of which nothing is known but the mean loss."""

ALPHA = 0.001
"""Probability that features take part that say nothing about the loss."""

CUT = 0.995
"""Losses above this quantile count as if they were there: a few huge ones would make all the factors."""

NEIGHBOURS = 1
"""Bins on either side that a bin of a number is smoothed over."""

SWEEPS = 5
"""Rounds in which each factor is fitted to the others."""


class Scale(Struct, frozen=True):
    """Expected losses by histogram columns."""

    features: Ints
    """The features that take part."""
    logs: Ints
    """Shape (width,): by column the logarithm to base 2 of its factor, in UNIT."""

    def steps(self, columns: Ints) -> Ints:
        """Shape (n,): the steps of n events with columns of shape (n, F)."""
        total: Ints = self.logs[columns[:, self.features]].sum(axis=1)
        total *= PER_OCTAVE
        total >>= round(-math.log2(UNIT))
        total += STEPS // 2
        return np.clip(total, 0, STEPS - 1)


MIDDLES: Floats = 2.0 ** ((np.arange(STEPS) - STEPS // 2 + 0.5) / PER_OCTAVE)
"""Shape (STEPS,): the expected loss in the middle of each step, in means."""


def fitted(columns: Ints, losses: Floats, blocks: Sequence[Block]) -> Scale:
    """The scale of n events with known losses, from their columns of shape (n, F)."""
    losses = np.minimum(losses, np.quantile(losses, CUT, method="higher"))
    logs, mean = np.zeros(blocks[-1].stop), float(losses.mean())
    chosen = [number for number, block in enumerate(blocks) if _tells(columns[:, number], losses, block, len(blocks))]
    local = {number: columns[:, number] - blocks[number].start for number in chosen}
    factors = {number: np.ones(blocks[number].stop - blocks[number].start) for number in chosen}
    expected = np.full(len(losses), mean)
    for _ in range(SWEEPS):
        for number in chosen:
            expected /= factors[number][local[number]]
            factors[number] = _factors(local[number], losses, expected, blocks[number], mean)
            expected *= factors[number][local[number]]
    for number in chosen:
        logs[blocks[number].start : blocks[number].stop] = np.log2(factors[number])
    return Scale(np.array(chosen, np.int64), np.rint(logs / UNIT).astype(np.int64))


def _tells(columns: Ints, losses: Floats, block: Block, features: int) -> bool:
    """Whether the groups of a feature differ in their mean losses: sum of squares between them over the variance is
    about chi² distributed when they do not."""
    bins = np.arange(block.stop - block.start)
    if isinstance(block.feature, Numeric):
        groups = np.array(block.feature.groups)
        bins = np.append(groups, groups[-1] + 1 + np.arange(block.feature.EXTRA))
    group = bins[columns - block.start]
    counts = np.bincount(group)
    sums = np.bincount(group, losses - losses.mean())
    spread, freedom = float(losses.var()), np.count_nonzero(counts) - 1
    if not spread > 0.0 or freedom < 1:
        return False
    between = float((sums * sums / np.maximum(counts, 1)).sum()) / spread
    return between > float(special.chdtri(freedom, ALPHA / features))


def _factors(local: Ints, losses: Floats, expected: Floats, block: Block, mean: float) -> Floats:
    """By column of a feature the losses over what the other features let expect."""
    width = block.stop - block.start
    seen: Floats = np.bincount(local, losses, width).astype(np.float64)
    said: Floats = np.bincount(local, expected, width).astype(np.float64)
    known = said > 0.0
    if isinstance(block.feature, Numeric):
        bins = block.feature.bins
        for sums in (seen, said):
            sums[:bins] = _smoothed(sums[:bins])
    factors = (seen + SHRINKAGE * mean) / (said + SHRINKAGE * mean)
    if isinstance(block.feature, Numeric) and known[:bins].any():
        # Where nothing has been seen, beyond the reference above all, the nearest bin speaks.
        filled = np.flatnonzero(known[:bins])
        middle = (filled[1:] + filled[:-1]) / 2.0
        factors[:bins] = factors[filled[np.searchsorted(middle, np.arange(bins))]]
    return factors


def _smoothed(sums: Floats) -> Floats:
    """Sums over each bin and its neighbours."""
    total = np.concatenate([[0.0], np.cumsum(sums)])
    at = np.arange(len(sums))
    found: Floats = total[np.minimum(at + NEIGHBOURS + 1, len(sums))] - total[np.maximum(at - NEIGHBOURS, 0)]
    return found

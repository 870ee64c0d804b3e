"""Where each feature stands in a histogram, and the reference in the arrays that distances are computed with.

Invariant: a histogram is a vector of int64 counts; feature after feature it holds the bins, "missing" and "invalid".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.reference import Feature, Numeric


class Block(Struct, frozen=True):
    """Where one feature stands: the columns from `start` up to `missing` are its bins."""

    feature: Feature
    start: int
    missing: int
    invalid: int
    stop: int


def blocks(features: Sequence[Feature]) -> tuple[Block, ...]:
    """Places features one behind the other."""
    placed: list[Block] = []
    start = 0
    for feature in features:
        missing = start + feature.bins
        placed.append(Block(feature, start, missing, missing + 1, missing + feature.EXTRA))
        start = placed[-1].stop
    return tuple(placed)


class Shape:
    """F features of a reference, at least one, as arrays over their B bins and G groups, feature after feature.

    Bins are what cumulative distances need; groups are coarser, for distances that compare share by share. A category
    is a group of its own.
    """

    def __init__(self, placed: Sequence[Block]) -> None:
        self._placed = placed
        bins = np.array([block.feature.bins for block in placed], dtype=np.int64)
        self.bins_each: Ints = bins
        self.columns: Ints = np.concatenate([np.arange(block.start, block.missing) for block in placed])
        """Shape (B): the histogram's column of each bin."""
        self.starts: Ints = np.cumsum(bins) - bins
        """Shape (F): the first bin of each feature."""
        groups = [_groups(block.feature) for block in placed]
        self.groups_each: Ints = np.array([group[-1] + 1 for group in groups], dtype=np.int64)
        self.group_starts: Ints = np.cumsum(self.groups_each) - self.groups_each
        """Shape (F): the first group of each feature."""
        first_bins = [np.searchsorted(group, np.arange(group[-1] + 1)) for group in groups]
        self.bins_of_groups: Ints = np.concatenate(first_bins) + np.repeat(self.starts, self.groups_each)
        """Shape (G): the first bin of each group."""
        self.numeric: npt.NDArray[np.bool_] = np.array([isinstance(block.feature, Numeric) for block in placed])
        counts = [count for block in placed for count in block.feature.counts[: block.feature.bins]]
        self.counts: Ints = np.array(counts, dtype=np.int64)
        """Shape (B): events of the reference."""

    @cached_property
    def gaps(self) -> Floats:
        """Shape (B): from each bin's position to the next, in scales; 0 after a feature's last and for categories."""
        steps = []
        for block in self._placed:
            if isinstance(block.feature, Numeric):
                positions = np.array(block.feature.positions)
                steps.append(np.diff(positions / block.feature.scale, append=positions[-1] / block.feature.scale))
            else:
                steps.append(np.zeros(block.feature.bins))
        return np.concatenate(steps)

    @cached_property
    def totals(self) -> Ints:
        """Shape (F): valid values of the reference."""
        return np.add.reduceat(self.counts, self.starts)

    @cached_property
    def groups(self) -> Ints:
        """Shape (G): events of the reference."""
        return np.add.reduceat(self.counts, self.bins_of_groups)

    @cached_property
    def shares(self) -> Floats:
        """Shape (G): the reference's share of each group."""
        return self.groups / self.over_groups(np.maximum(self.totals, 1))

    @cached_property
    def normal(self) -> Floats:
        """Shape (B): the reference's distribution function at the end of each bin."""
        return self.cumulative(self.counts, np.maximum(self.totals, 1))

    def over_groups(self, of_features: Floats | Ints) -> Floats:
        """Repeats a value per feature for each of its groups, along the last axis."""
        repeated: Floats = np.repeat(of_features, self.groups_each, axis=-1)
        return repeated

    def over_bins(self, of_features: Floats | Ints) -> Floats:
        """Repeats a value per feature for each of its bins, along the last axis."""
        repeated: Floats = np.repeat(of_features, self.bins_each, axis=-1)
        return repeated

    def cumulative(self, counts: Ints, totals: Ints) -> Floats:
        """Shape (..., B): share of a feature's values up to and including each bin. Totals must not be zero."""
        running = np.cumsum(counts, axis=-1)
        before = running[..., self.starts] - counts[..., self.starts]
        shares: Floats = (running - self.over_bins(before)) / self.over_bins(totals)
        return shares


def _groups(feature: Feature) -> Ints:
    if isinstance(feature, Numeric):
        return np.array(feature.groups, dtype=np.int64)
    return np.arange(feature.bins)

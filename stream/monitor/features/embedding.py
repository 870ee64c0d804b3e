"""Random Fourier features of events: what their joint distribution is known by, in sums that add up exactly.

An event stands at a point: each number is its normal score in the reference (the normal quantile of the middle of its
bin, so that outliers and skew weigh little), missing and invalid ones stand at the median; each category, a missing or
invalid one too, is an axis of its own, at 1. For frequencies ωⱼ ~ N(0, I / σ²) the means of cos ωⱼ·x and sin ωⱼ·x over
events are the mean embedding of their distribution under the kernel exp(-|x - y|² / 2σ²) (Rahimi and Recht, "Random
features for large-scale kernel machines", 2007; in pairs as Sutherland and Schneider, "On the error of random Fourier
features", 2015, advise). σ² is 2 per feature: the mean |x - y|² of two events with independent continuous features,
near the usual median. Rare values, which make that mean small, must not make the kernel so narrow that each pair of
them is a point of its own: the reference has too few of those to say what is normal.

ωⱼ·x is a sum over features, so each column of the histogram has its phase, a whole number of parts of a turn. Cosines
and sines are read from a table of whole numbers. Invariant: sums are integers, the same in any order, slicing and
merging; phases are a function of the reference's counts alone, by a bit stream that numpy promises to keep (NEP 19).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.blocks import Block
from stream.monitor.features.reference import Categorical, Numeric

FREQUENCIES = 64
"""The error of the kernel is about 1 / sqrt(FREQUENCIES); with half as many, a change of correlation between two of
twelve features needs twice the events."""

SUMS = 2 * FREQUENCIES
"""Cosines, then sines."""

WIDTH = 1 + SUMS
"""Events, then their sums."""

UNIT = 2.0**-14
"""Cosines and sines are whole multiples of it."""

SEED = 2007

_PLACES = 4096
"""Angles in the table of cosines and sines."""

_SHIFT = 4
"""A phase is in 1 / 65,536 of a turn and wraps around by itself; its place in the table is phase >> _SHIFT."""

_BLOCK = 256
"""Events at once: what they need stays in the cache."""

_SIN_BITS, _ONE = 32, int(1 / UNIT)
"""An entry of the table holds the cosine above the sine, which is raised by one to be no less than zero: both are
fetched and added at once, and up to 2**17 entries add up before the sines reach the cosines."""

_angles = 2.0 * np.pi * np.arange(_PLACES) / _PLACES
_TABLE: Ints = (np.rint(np.cos(_angles) / UNIT).astype(np.int64) << _SIN_BITS) + (
    np.rint(np.sin(_angles) / UNIT).astype(np.int64) + _ONE
)


class Embedding:
    """The phases of a histogram's columns."""

    def __init__(self, inputs: Sequence[Block]) -> None:
        """`inputs`: the blocks of the features, without the model's own output."""
        self._features = len(inputs)
        points = [_points(block) for block in inputs]
        phases = [np.zeros((0, FREQUENCIES))]
        axes = _normals(sum(each.shape[1] for each in points))
        scale = 65536.0 / (2.0 * np.pi * np.sqrt(2.0 * max(self._features, 1)))
        for each in points:
            phases.append(each @ axes[: each.shape[1]] * scale)
            axes = axes[each.shape[1] :]
        turns = np.rint(np.concatenate(phases)).astype(np.int64) & 0xFFFF
        self._phases: npt.NDArray[np.uint16] = turns.astype(np.uint16)

    def sums(self, cells: Ints, starts: Ints) -> Ints:
        """Shape (len(starts), WIDTH): sums of runs of events, each from one start to the next.

        `cells` has shape (n, at least the features), histogram columns of n > 0 events; `starts` ascend from 0.
        """
        found = np.zeros((len(starts), WIDTH), np.int64)
        found[:, 0] = np.diff(starts, append=len(cells))
        for first in range(0, len(cells), _BLOCK):
            block = cells[first : first + _BLOCK]
            oldest = int(np.searchsorted(starts, first, side="right")) - 1
            runs = slice(oldest, int(np.searchsorted(starts, first + len(block))))
            packed = np.add.reduceat(self._entries(block), np.maximum(starts[runs] - first, 0), axis=0)
            found[runs, 1 : 1 + FREQUENCIES] += packed >> _SIN_BITS
            found[runs, 1 + FREQUENCIES :] += packed & ((1 << _SIN_BITS) - 1)
        found[:, 1 + FREQUENCIES :] -= found[:, :1] * _ONE
        return found

    def products(self, cells: Ints) -> Ints:
        """Shape (SUMS, SUMS): sum over events of the products of each two cosines and sines, in UNIT².

        Exact: a product of a block is below 2**40, and so a whole number of a double.
        """
        total = np.zeros((SUMS, SUMS), np.int64)
        for first in range(0, len(cells), _BLOCK):
            entries = self._entries(cells[first : first + _BLOCK])
            sines = (entries & ((1 << _SIN_BITS) - 1)) - _ONE
            rows = np.concatenate([entries >> _SIN_BITS, sines], axis=1).astype(np.float64)
            total += (rows.T @ rows).astype(np.int64)
        return total

    def _entries(self, cells: Ints) -> Ints:
        """Shape (n, FREQUENCIES): the table's entries of n events."""
        phases = np.zeros((len(cells), FREQUENCIES), np.uint16)
        for feature in range(self._features):
            phases += self._phases.take(cells[:, feature], axis=0)
        phases >>= _SHIFT
        return _TABLE.take(phases)


def _points(block: Block) -> Floats:
    """Shape (columns, axes): where the values of a feature stand."""
    feature = block.feature
    if isinstance(feature, Categorical):
        return np.eye(block.stop - block.start)
    counts = np.array(feature.counts[: feature.bins], np.float64)
    middles = np.cumsum(counts) - counts / 2.0
    scores = special.ndtri((middles + 0.5) / (counts.sum() + 1.0)) if counts.any() else np.zeros(len(counts))
    return np.concatenate([scores, np.zeros(Numeric.EXTRA)])[:, None]


def _normals(axes: int) -> Floats:
    """Shape (axes, FREQUENCIES) of standard normals, always the same."""
    raw = np.random.PCG64(SEED).random_raw(axes * FREQUENCIES)
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    normals: Floats = special.ndtri(uniform).reshape(axes, FREQUENCIES)
    return normals

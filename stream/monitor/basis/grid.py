"""Finds the bin of every value of many numeric features at once, exactly, in a fixed number of vector operations.

A guide table (Chen and Asau, "On generating random variates from an empirical distribution", AIIE Transactions 6,
1974) cuts the span of a feature's edges into equal cells and says how many edges lie in earlier cells; one comparison
per edge that can share a cell settles the rest. Cells are equal in the value or, for skewed features, in its bit
pattern, which grows like its logarithm. Edges too clustered for either are searched one feature at a time.
Invariant: the result equals `numpy.searchsorted(edges, value, side="right")`; only the speed depends on the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from stream.monitor.basis.columns import Floats, Ints

CELLS = (256, 1024, 4096)
"""Sizes of guide tables that are tried, one byte per cell."""

MAX_SHARED = 3
"""Most edges that one cell may hold; beyond it a binary search is faster."""

MAX_EDGES = 255
"""Most edges of one feature: a cell of a guide table is a byte."""

BLOCK = 4096
"""Values that are placed at once: temporaries of this size stay in the cache and in the allocator's hands, which
halves the time at 20,000 values."""


class _Guide(Struct, frozen=True):
    """A guide table: `earlier[c]` edges lie in cells before `c`, at most `shared` in any cell."""

    origin: float
    scale: float
    earlier: npt.NDArray[np.uint8]
    shared: int
    by_bits: bool


class Grid:
    """The edges of F features, each with its guide table.

    >>> Grid([np.array([0.0, 1.0]), np.array([5.0])], [0, 10]).find(np.array([[-1.0, 0.0, 7.0], [4.9, 5.0, 6.0]]))
    array([[ 0,  1,  2],
           [10, 11, 11]])
    """

    def __init__(self, edges: Sequence[Floats], bases: Sequence[int]) -> None:
        """`edges` ascend strictly and are finite; bin b of feature f is reported as `bases[f] + b`."""
        guides = [_guide(np.ascontiguousarray(each, np.float64).tobytes()) for each in edges]
        width = max((base + len(each) + 1 for base, each in zip(bases, edges, strict=True)), default=0)
        self._upper = np.full(width, np.inf)
        for base, each in zip(bases, edges, strict=True):
            self._upper[base : base + len(each)] = each
        self._searched = [(row, edges[row], bases[row]) for row, guide in enumerate(guides) if guide is None]
        self._by_bits = np.flatnonzero([guide is not None and guide.by_bits for guide in guides])
        tables = [guide or _Guide(0.0, 0.0, np.zeros(1, np.uint8), 0, False) for guide in guides]
        self._steps = max((table.shared for table in tables), default=0)
        self._table = np.concatenate([table.earlier for table in tables] or [np.zeros(0, np.uint8)])
        sizes = np.array([len(table.earlier) for table in tables], dtype=np.int64)
        self._first = (np.cumsum(sizes) - sizes)[:, None]
        self._last = (sizes - 1.0)[:, None]
        self._origin = np.array([table.origin for table in tables])[:, None]
        self._scale = np.array([table.scale for table in tables])[:, None]
        self._base = np.array(bases, dtype=np.int64)[:, None]

    def find(self, values: Floats) -> Ints:
        """Bins of finite values, shape (F, n) in and out."""
        bins = np.empty(values.shape, dtype=np.int64)
        step = max(64, BLOCK // max(1, len(values)))
        for start in range(0, values.shape[1], step):
            block = slice(start, start + step)
            bins[:, block] = self._find(values[:, block])
        for row, edges, base in self._searched:
            bins[row] = base + np.searchsorted(edges, values[row], side="right")
        return bins

    def _find(self, values: Floats) -> Ints:
        with np.errstate(over="ignore"):
            place = values - self._origin
            if len(self._by_bits):
                place[self._by_bits] = _bits(values[self._by_bits]) - self._origin[self._by_bits]
            place *= self._scale
        np.clip(place, 0.0, self._last, out=place)
        cell = place.astype(np.int64)
        cell += self._first
        bins: Ints = self._table.take(cell) + self._base
        for _ in range(self._steps):
            bins += values >= self._upper.take(bins)
        return bins


@lru_cache(1024)  # a reference that has just been made is laid out more than once
def _guide(packed: bytes) -> _Guide | None:
    """The table with the fewest edges in one cell, the smallest of such; None when none serves. Edges as doubles."""
    edges = np.frombuffer(packed)
    if len(edges) > MAX_EDGES:
        return None
    best: _Guide | None = None
    for by_bits in (False, True):
        points = _bits(edges) if by_bits else edges
        ends = points[edges > 0] if by_bits else points
        if by_bits and len(ends) == 0:
            continue
        origin, end = (float(ends[0]), float(ends[-1])) if len(ends) else (0.0, 0.0)
        for size in CELLS:
            if best is not None and best.shared <= 1:
                return best
            with np.errstate(all="ignore"):
                scale = (size - 1.0) / (end - origin) if end > origin else 1.0
                if not 0.0 < scale < np.inf or not np.isfinite(end - origin):
                    break
                cells = np.clip((points - origin) * scale, 0.0, size - 1.0).astype(np.int64)
            shared = int(np.bincount(cells).max()) if len(cells) else 0
            if shared <= MAX_SHARED and (best is None or shared < best.shared):
                earlier = np.searchsorted(cells, np.arange(size), side="left").astype(np.uint8)
                best = _Guide(origin, scale, earlier, shared, by_bits)
    return best


def _bits(values: Floats) -> Floats:
    """Grows with a positive value as its bit pattern does; at most zero for the others."""
    return np.maximum(values, 0.0).view(np.int64).astype(np.float64)

"""The mixture e-SR detector: fires when betting against "nothing has changed" has won more than chance allows.

`R_k <- (R_k + 1) f_k(x)` with factors f_k of mean at most 1 while nothing changes; it fires when `sum w_k R_k` reaches
a bound g. Then the mean number of values to a false alarm is at least g (Shin, Ramdas, Rinaldo: "E-detectors: a
nonparametric framework for sequential change detection", arXiv:2203.03532).
Invariant: the floating-point operations behind each value are the same however values are cut into calls.
"""

from __future__ import annotations

import numpy as np

from stream.monitor.bets import Table
from stream.monitor.columns import Floats, Ints

BLOCK = 64
"""Values whose factors are multiplied up at once, counted from the last alarm."""


class Esr:
    """R_k at the start of a block, and the cells of the values since: at most BLOCK - 1."""

    def __init__(self, table: Table, level: Floats | None = None, tail: Ints | None = None) -> None:
        self._factors = np.hstack([table.factors, np.ones((len(table.factors), 1))])
        self._weights = table.weights
        self._blank = table.factors.shape[1]
        """A cell that changes nothing fills the last block up."""
        self.level: Floats = np.zeros(len(table.weights)) if level is None else level
        self.tail: Ints = np.empty(0, np.int64) if tail is None else tail

    def feed(self, cells: Ints, bound: float) -> int | None:
        """Takes values up to and including the first alarm and says where that is; None: took all, no alarm."""
        held = np.concatenate((self.tail, cells))
        blocks = -(-len(held) // BLOCK)
        if not blocks:
            return None
        padded = np.full(blocks * BLOCK, self._blank)
        padded[: len(held)] = held
        with np.errstate(over="ignore"):  # only behind an alarm
            total, started = self._run(padded.reshape(blocks, BLOCK))
        crossed = np.flatnonzero(total.ravel()[len(self.tail) : len(held)] >= bound)
        if len(crossed):
            self.level, self.tail = np.zeros(len(self.level)), np.empty(0, np.int64)
            return int(crossed[0])
        whole = len(held) // BLOCK
        self.level, self.tail = started[:, whole].copy(), held[whole * BLOCK :].copy()
        return None

    def _run(self, cells: Ints) -> tuple[Floats, Floats]:
        """What `sum w_k R_k` is after each cell, shape (blocks, BLOCK), and R_k between blocks, (K, blocks + 1)."""
        blocks = len(cells)
        product = np.multiply.accumulate(np.take(self._factors, cells, axis=1), axis=2)
        # R at value t of a block that began with R0 is P_t (R0 + sum over s <= t of 1 / P_(s-1)).
        entered = np.empty_like(product)
        entered[:, :, 0] = 1.0
        np.divide(1.0, product[:, :, :-1], out=entered[:, :, 1:])
        np.add.accumulate(entered, axis=2, out=entered)
        started = np.empty((len(self.level), blocks + 1))
        started[:, 0] = level = self.level
        for block in range(blocks):
            level = product[:, block, -1] * (level + entered[:, block, -1])
            started[:, block + 1] = level
        entered += started[:, :-1, None]
        entered *= product
        total = np.zeros((blocks, BLOCK))
        for weight, each in zip(self._weights.tolist(), entered, strict=True):
            total += weight * each
        return total, started

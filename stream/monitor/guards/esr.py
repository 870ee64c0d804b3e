"""The mixture e-SR detector: fires when betting against "nothing has changed" has won more than chance allows.

`R_k <- (R_k + 1) f_k(x)` with factors f_k of mean at most 1 while nothing changes; it fires when `sum w_k R_k` reaches
a bound g. Then the mean number of values to a false alarm is at least g (Shin, Ramdas, Rinaldo: "E-detectors: a
nonparametric framework for sequential change detection", arXiv:2203.03532).

Values are cut into blocks, which all detectors run through side by side: within one, R_k = P_k R0_k + S_k, with P_k
the product of factors since its start, S_k what R_k is from 0, and R0_k what it was at its start. What the largest S_k
of a block cannot bring to the bound is not looked at value by value.
Invariant: the floating-point operations behind each value are the same however values are cut into calls, and whatever
other detectors run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.guards.bets import Table

BLOCK = 64
"""Values whose factors are multiplied up at once, counted from the last alarm."""

_WIDTH = 8192
"""Bets that are moved at once: what they need stays in the caches."""

_SLACK = 1.0 - 1e-9
"""For the rounding of what a block can reach at most."""


class Esr:
    """R_k at the start of a block, and the cells of the values since: at most BLOCK - 1."""

    def __init__(self, table: Table, level: Floats | None = None, tail: Ints | None = None) -> None:
        self.table = table
        self.level: Floats = np.zeros(len(table.weights)) if level is None else level
        self.tail: Ints = np.empty(0, np.int64) if tail is None else tail

    def feed(self, cells: Ints, bound: float) -> int | None:
        """Takes values up to and including the first alarm and says where that is; None: took all, no alarm."""
        return feed([self], [cells], [bound])[0]


class _Run(Struct):
    """Detectors of one table that have as many blocks to go through."""

    table: Table
    members: list[int]
    cells: Ints
    """Shape (BLOCK, members * blocks); a blank one fills the last block up."""
    blocks: int
    steps: int
    """Values of the longest block."""


def feed(detectors: Sequence[Esr], cells: Sequence[Ints], bounds: Sequence[float]) -> list[int | None]:
    """`Esr.feed` of several detectors, each with its own values and bound."""
    held = [np.concatenate((it.tail, new)) if len(it.tail) else new for it, new in zip(detectors, cells, strict=True)]
    alike: dict[tuple[int, int], list[int]] = {}
    for number, (it, values) in enumerate(zip(detectors, held, strict=True)):
        if len(values):
            alike.setdefault((id(it.table), -(-len(values) // BLOCK)), []).append(number)
    found: list[int | None] = [None] * len(detectors)
    batch: list[_Run] = []
    width = 0
    for (_, blocks), members in alike.items():
        table = detectors[members[0]].table
        most = max(1, _WIDTH // (blocks * len(table.weights)))
        for start in range(0, len(members), most):
            part = members[start : start + most]
            if batch and width + len(part) * blocks * len(table.weights) > _WIDTH:
                _settle(batch, detectors, held, bounds, found)
                batch, width = [], 0
            batch.append(_run(table, part, blocks, held))
            width += len(part) * blocks * len(table.weights)
    _settle(batch, detectors, held, bounds, found)
    return found


def _run(table: Table, members: list[int], blocks: int, held: Sequence[Ints]) -> _Run:
    blank = len(table.rows) - 1
    padded = np.full((len(members), blocks * BLOCK), blank)
    for row, number in enumerate(members):
        padded[row, : len(held[number])] = held[number]
    steps = BLOCK if blocks > 1 else max(len(held[number]) for number in members)
    return _Run(table, members, np.ascontiguousarray(padded.reshape(-1, BLOCK).T), blocks, steps)


def _settle(
    batch: list[_Run],
    detectors: Sequence[Esr],
    held: Sequence[Ints],
    bounds: Sequence[float],
    found: list[int | None],
) -> None:
    """Runs through the blocks of some detectors, moves them on and notes their alarms."""
    through = _through(batch)
    for run, (most, started, level) in zip(batch, _levels(batch, detectors, through), strict=True):
        with np.errstate(over="ignore"):  # behind an alarm, which is found before it matters
            # P_k <= S_k, which has the whole product among its terms.
            reached = ((most * (started + 1.0)) * run.table.weights).sum(axis=2)
        limits = np.array([bounds[number] for number in run.members]) * _SLACK
        near = reached >= limits[:, None]
        alarming = near.any(axis=1).tolist()
        for row, number in enumerate(run.members):
            it, values = detectors[number], held[number]
            if alarming[row]:
                found[number] = _first(it, values, bounds[number], np.flatnonzero(near[row]), started[row])
                if found[number] is not None:
                    it.level, it.tail = np.zeros(len(it.level)), np.empty(0, np.int64)
                    continue
            whole = len(values) // BLOCK
            it.level = started[row, whole].copy() if whole < run.blocks else level[row].copy()
            it.tail = values[whole * BLOCK :].copy()


def _through(batch: list[_Run]) -> list[tuple[Floats, Floats, Floats]]:
    """For each run P and S at the end of each block, and the largest S in it; shapes (members, blocks, K)."""
    sizes = [run.cells.shape[1] * len(run.table.weights) for run in batch]
    total = sum(sizes)
    factors, product, sums, most = np.empty(total), np.ones(total), np.zeros(total), np.zeros(total)
    stops = np.cumsum(sizes).tolist()
    parts = [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
    into = [factors[part].reshape(-1, len(run.table.weights)) for part, run in zip(parts, batch, strict=True)]
    with np.errstate(over="ignore"):
        for step in range(max((run.steps for run in batch), default=0)):
            for run, rows in zip(batch, into, strict=True):
                run.table.rows.take(run.cells[step], axis=0, out=rows, mode="clip")
            sums += 1.0
            sums *= factors
            product *= factors
            np.maximum(most, sums, out=most)
    shapes = [(len(run.members), run.blocks, len(run.table.weights)) for run in batch]
    return [
        (product[part].reshape(shape), sums[part].reshape(shape), most[part].reshape(shape))
        for part, shape in zip(parts, shapes, strict=True)
    ]


def _levels(
    batch: list[_Run], detectors: Sequence[Esr], through: list[tuple[Floats, Floats, Floats]]
) -> list[tuple[Floats, Floats, Floats]]:
    """For each run the largest S of each block, and R_k at its start, shapes (members, blocks, K), and behind the last.

    All runs go from block to block together; one that has ended stays as it is.
    """
    widths = [len(run.members) * len(run.table.weights) for run in batch]
    stops = np.cumsum(widths).tolist()
    parts = [slice(stop - width, stop) for stop, width in zip(stops, widths, strict=True)]
    blocks = max((run.blocks for run in batch), default=0)
    product, sums = np.ones((blocks, sum(widths))), np.zeros((blocks, sum(widths)))
    levels = np.empty((blocks + 1, sum(widths)))
    for run, part, (ratio, term, _) in zip(batch, parts, through, strict=True):
        product[: run.blocks, part] = ratio.transpose(1, 0, 2).reshape(run.blocks, -1)
        sums[: run.blocks, part] = term.transpose(1, 0, 2).reshape(run.blocks, -1)
        levels[0, part] = np.concatenate([detectors[number].level for number in run.members])
    with np.errstate(over="ignore"):
        for block in range(blocks):
            np.multiply(product[block], levels[block], out=levels[block + 1])
            levels[block + 1] += sums[block]
    found = []
    for run, part, (_, _, most) in zip(batch, parts, through, strict=True):
        shape = (-1, len(run.members), len(run.table.weights))
        own = levels[: run.blocks + 1, part].reshape(shape).transpose(1, 0, 2)
        found.append((most, own[:, :-1], own[:, -1]))
    return found


def _first(it: Esr, values: Ints, bound: float, blocks: Ints, started: Floats) -> int | None:
    """The first of the new values at which `sum w_k R_k` reaches the bound, among those in some of the blocks."""
    new = len(it.tail)
    for block in blocks.tolist():
        factors = it.table.rows[values[block * BLOCK : (block + 1) * BLOCK]]
        with np.errstate(over="ignore"):
            sums = np.empty_like(factors)
            level = np.zeros(factors.shape[1])
            for at, row in enumerate(factors):
                level = np.multiply(level + 1.0, row, out=sums[at])
            product = np.multiply.accumulate(factors, axis=0)
            total = ((product * started[block] + sums) * it.table.weights).sum(axis=1)
        reached = np.flatnonzero(total >= bound)
        reached = reached[reached + block * BLOCK >= new]
        if len(reached):
            return int(block) * BLOCK + int(reached[0]) - new
    return None

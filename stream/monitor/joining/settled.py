"""Which ids have had their outcome, so that a repeated prediction or label is known for what it is.

A set of 64-bit hashes in open-addressed tables, 16 to 32 bytes an id. Generations rotate with event time: an id is
remembered for at least the horizon, or until `CAPACITY` newer ids have come, whichever is first.
Invariant: `blocks()` rebuilds the same set.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from stream.monitor.basis.ids import Hashes

CAPACITY = 4_000_000
"""Ids remembered per model and partition at most (about 100 MB)."""
GENERATIONS = 4
"""A generation lasts a third of the horizon; the fifth is forgotten."""
BLOCK = 4096
"""Hashes in one stored block; the last block of a generation is written again until it is full."""


class Block(Struct):
    """Hashes that belong to one generation, as they are stored."""

    generation: int
    hashes: Hashes


class _Table:
    """Open addressing with linear probing over uint64; 0 marks an empty slot."""

    def __init__(self) -> None:
        self.slots: Hashes = np.zeros(1024, np.uint64)
        self.count = 0

    def contains(self, hashes: Hashes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        found = np.zeros(len(hashes), np.bool_)
        if not self.count:
            return found
        mask = np.uint64(len(self.slots) - 1)
        rows = np.arange(len(hashes))
        at = hashes & mask
        while len(rows):
            held = self.slots[at]
            found[rows[held == hashes[rows]]] = True
            open_ = (held != 0) & (held != hashes[rows])
            rows, at = rows[open_], (at[open_] + np.uint64(1)) & mask
        return found

    def add(self, hashes: Hashes) -> None:
        while 2 * (self.count + len(hashes)) > len(self.slots):
            old = self.slots[self.slots != 0]
            self.slots, self.count = np.zeros(len(self.slots) * 2, np.uint64), 0
            self._place(old)
        self._place(hashes)

    def _place(self, hashes: Hashes) -> None:
        mask = np.uint64(len(self.slots) - 1)
        at = hashes & mask
        while len(hashes):
            free = self.slots[at] == 0
            self.slots[at[free]] = hashes[free]
            placed = self.slots[at] == hashes
            self.count += int(np.count_nonzero(free & placed))
            hashes, at = hashes[~placed], (at[~placed] + np.uint64(1)) & mask


class Settled:
    """The set of ids with an outcome, forgetting by generation."""

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self._blocks: dict[tuple[int, int], list[Hashes]] = {}
        self._sizes: dict[tuple[int, int], int] = {}
        self._changed: set[tuple[int, int]] = set()
        self._gone: set[tuple[int, int]] = set()
        self._early = 0

    def __len__(self) -> int:
        return sum(table.count for table in self._tables.values())

    def contains(self, hashes: Hashes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """For each hash, whether it is remembered."""
        found = np.zeros(len(hashes), np.bool_)
        for table in self._tables.values():
            found |= table.contains(hashes)
        return found

    def add(self, hashes: Hashes, now: float, horizon: float) -> None:
        """Remembers hashes at event time `now` (seconds)."""
        generation = self._generation(now, horizon)
        while len(hashes):
            table = self._tables.setdefault(generation, _Table())
            room = CAPACITY // GENERATIONS - table.count
            if room > 0:
                table.add(hashes[:room])
                self._keep(generation, hashes[:room])
                hashes = hashes[room:]
            else:
                self._early += 1
                generation += 1

    def pass_time(self, now: float, horizon: float) -> None:
        """Forgets what is old at event time `now`. Called where a pane begins, so that it is the same for any slicing
        of the events within it."""
        newest = self._generation(now, horizon)
        for generation in [g for g in self._tables if g <= newest - GENERATIONS]:
            del self._tables[generation]
            for key in [key for key in self._sizes if key[0] == generation]:
                del self._sizes[key]
                self._blocks.pop(key, None)
                self._changed.discard(key)
                self._gone.add(key)

    def _generation(self, now: float, horizon: float) -> int:
        return max(int(now * (GENERATIONS - 1) / horizon) + self._early, max(self._tables, default=0))

    def _keep(self, generation: int, hashes: Hashes) -> None:
        """Puts hashes into blocks to be stored."""
        while len(hashes):
            number = max((n for g, n in self._sizes if g == generation), default=0)
            if self._sizes.get((generation, number), 0) == BLOCK:
                number += 1
            key = (generation, number)
            room = BLOCK - self._sizes.get(key, 0)
            self._blocks.setdefault(key, []).append(hashes[:room])
            self._sizes[key] = self._sizes.get(key, 0) + len(hashes[:room])
            self._changed.add(key)
            hashes = hashes[room:]

    def changes(self) -> tuple[dict[str, Block], list[str]]:
        """Blocks to store and names of blocks to delete since the last call."""
        put = {}
        for generation, number in self._changed:
            key = (generation, number)
            merged = np.concatenate(self._blocks[key])
            put[f"{generation}.{number}"] = Block(generation, merged)
            if self._sizes[key] == BLOCK:
                del self._blocks[key]
            else:
                self._blocks[key] = [merged]
        gone = [f"{generation}.{number}" for generation, number in self._gone]
        self._changed, self._gone = set(), set()
        return put, gone

    def restore(self, name: str, block: Block) -> None:
        """Takes back one stored block."""
        key = (block.generation, int(name.split(".")[1]))
        self._tables.setdefault(block.generation, _Table()).add(block.hashes)
        self._sizes[key] = len(block.hashes)
        if len(block.hashes) < BLOCK:
            self._blocks[key] = [block.hashes]

    @property
    def early(self) -> int:
        """How many rotations came from the capacity instead of event time; part of the model's stored state."""
        return self._early

    @early.setter
    def early(self, value: int) -> None:
        self._early = value

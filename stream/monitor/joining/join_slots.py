"""Where predictions wait in memory: columns, addressed by slot.

Invariant: a slot is free or holds one prediction; a free one keeps its numbers until it is given away, so that those of
the last call can still be read.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np
import numpy.typing as npt

from stream.monitor.basis.columns import Floats, Ints, picked
from stream.monitor.basis.ids import Hashes
from stream.monitor.basis.join_rows import Incoming, Payload, Rows, Waiting
from stream.monitor.features.suspects import NOT_TAKEN, Bytes, Groups

_LARGE = 1 << 18
"""Slots from which on room grows by an eighth, not by the double: more is held than moving it less often is worth."""


class Slots:
    """The columns, and which of their slots are free."""

    def __init__(self, scores: int, segments: int, keeps_payload: bool) -> None:
        self.keeps_payload = keeps_payload
        self.ids: npt.NDArray[np.object_] = np.empty(0, np.object_)
        self.hash: Hashes = np.empty(0, np.uint64)
        self.tick: Ints = np.empty(0, np.int64)
        self.ts: Floats = np.empty(0, np.float64)
        self.predicted: Floats = np.empty(0, np.float64)
        self.scores: Floats = np.empty((0, scores), np.float64)
        self.segments: Ints = np.empty((0, segments), np.int64)
        self.payload: list[Payload] = []
        self.groups: Bytes = np.empty((0, 0), np.uint8)
        """Groups of the features, as `suspects.py` gives them."""
        self._tag = b""
        self._free: list[int] = []

    def take(self, rows: Incoming, hashed: Hashes) -> Rows:
        """Writes predictions into free slots."""
        while len(self._free) < len(rows):
            self._grow()
        begin = len(self._free) - len(rows)
        taken = self._free[begin:]
        del self._free[begin:]
        slots = np.array(taken, np.intp)
        self.tick[slots], self.ts[slots], self.predicted[slots] = rows.tick, rows.ts, rows.predicted
        width = min(self.scores.shape[1], rows.scores.shape[1])
        self.scores[slots, :width] = rows.scores[:, :width]
        self.scores[slots, width:] = np.nan
        self.segments[slots] = rows.segments
        if self.groups.shape[1]:
            self.groups[slots, 0] = NOT_TAKEN
        self.ids[slots] = rows.ids
        self.hash[slots] = hashed
        if rows.payload is not None:
            for slot, payload in zip(taken, rows.payload, strict=True):
                self.payload[slot] = payload
        return slots

    def _grow(self) -> None:
        old = len(self.tick)
        more = max(64, old if old < _LARGE else old // 8)
        self.tick = np.concatenate([self.tick, np.zeros(more, np.int64)])
        self.ts = np.concatenate([self.ts, np.zeros(more)])
        self.predicted = np.concatenate([self.predicted, np.zeros(more)])
        self.scores = np.concatenate([self.scores, np.full((more, self.scores.shape[1]), np.nan)])
        self.segments = np.concatenate([self.segments, np.zeros((more, self.segments.shape[1]), np.int64)])
        self.groups = np.concatenate([self.groups, np.full((more, self.groups.shape[1]), NOT_TAKEN, np.uint8)])
        self.ids = np.concatenate([self.ids, np.full(more, None, np.object_)])
        self.hash = np.concatenate([self.hash, np.zeros(more, np.uint64)])
        if self.keeps_payload:
            self.payload.extend(repeat(None, more))
        self._free.extend(range(old + more - 1, old - 1, -1))

    def clear(self, slots: Rows) -> None:
        """Makes slots free."""
        self.ids[slots] = None
        listed = slots.tolist()
        if self.keeps_payload:
            for slot in listed:
                self.payload[slot] = None
        self._free.extend(listed)

    def widen(self, scores: int) -> None:
        """Makes room for the scores of more classes."""
        missing = scores - self.scores.shape[1]
        if missing > 0:
            self.scores = np.hstack([self.scores, np.full((len(self.scores), missing), np.nan)])

    def group(self, groups: Groups | None) -> None:
        """Predictions take along the groups of another reference from now on; those that wait have none of it."""
        width = 0 if groups is None else len(groups.features)
        self._tag = b"" if groups is None else groups.tag
        self.groups = np.full((len(self.tick), width), NOT_TAKEN, np.uint8)

    # -- storing -------------------------------------------------------------------------------------------------

    def waiting(self, slots: Rows, era: int) -> list[Waiting]:
        """Predictions as they are stored."""
        columns = (self.tick, self.ts, self.predicted, self.scores, self.segments)
        payloads = picked(self.payload, slots.tolist()) if self.keeps_payload else [None] * len(slots)
        groups = self._tagged(self.groups[slots])
        rows = zip(*(column[slots].tolist() for column in columns), payloads, [era] * len(slots), groups, strict=True)
        return [Waiting(*row) for row in rows]

    def _tagged(self, groups: Bytes) -> list[bytes]:
        width = groups.shape[1]
        if not width:
            return [b""] * len(groups)
        listed, taken = groups.tobytes(), (groups[:, 0] != NOT_TAKEN).tolist()
        return [
            self._tag + listed[row * width : (row + 1) * width] if taken[row] else b"" for row in range(len(groups))
        ]

    def incoming(self, ids: list[str], rows: list[Waiting]) -> Incoming:
        """Stored predictions as they came."""
        width = self.scores.shape[1]
        scores = np.full((len(rows), width), np.nan)
        for index, row in enumerate(rows):
            known = row.scores[:width]
            scores[index, : len(known)] = known
        return Incoming(
            ids,
            np.array([row.tick for row in rows], np.int64),
            np.array([row.ts for row in rows], np.float64),
            np.array([row.predicted for row in rows], np.float64),
            scores,
            np.array([row.segments for row in rows], np.int64).reshape(len(rows), -1),
            [row.payload for row in rows] if self.keeps_payload else None,
        )

    def restore_groups(self, slots: Rows, rows: list[Waiting]) -> None:
        """Those that stored predictions took along, where they are of the present reference."""
        width, begin = self.groups.shape[1], len(self._tag)
        if not width:
            return
        for slot, row in zip(slots.tolist(), rows, strict=True):
            if row.groups[:begin] == self._tag and len(row.groups) == begin + width:
                self.groups[slot] = np.frombuffer(row.groups, np.uint8, width, begin)

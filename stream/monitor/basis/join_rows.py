"""Predictions and labels on their way through the join: as columns, and one by one as they are stored while they wait.

Invariant: rows are in the order in which they count; what is stored can be read without the model.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from stream.events import Scalar, Task
from stream.monitor.basis.columns import Floats, Ints, picked

Rows = npt.NDArray[np.intp]
Payload = dict[str, Scalar] | None


class Incoming(Struct):
    """Predictions about to wait, n rows of one model."""

    ids: list[str]
    tick: Ints
    ts: Floats
    predicted: Floats
    scores: Floats
    segments: Ints
    payload: list[Payload] | None
    """Features, kept only where something downstream learns from them."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Rows) -> Incoming:
        """Some of the rows."""
        places = rows.tolist()
        payload = None if self.payload is None else picked(self.payload, places)
        ids = picked(self.ids, places)
        return Incoming(
            ids, self.tick[rows], self.ts[rows], self.predicted[rows], self.scores[rows], self.segments[rows], payload
        )


class Observed(Struct):
    """Labels, n rows of one model."""

    ids: list[str]
    tick: Ints
    ts: Floats
    actual: Floats
    weight: Ints

    def __len__(self) -> int:
        return len(self.ids)


class Joined(Struct):
    """Outcomes in the order in which they came to be: by tick, within a tick predictions (that met an early label)
    before labels, then by arrival."""

    tick: Ints
    ts: Floats
    label_ts: Floats
    predicted: Floats
    scores: Floats
    segments: Ints
    actual: Floats
    weight: Ints
    payload: list[Payload] | None
    slots: Rows
    """Where the predictions waited, until the next call."""


class Waiting(Struct, array_like=True):
    """A pending prediction as it is stored."""

    tick: int
    ts: float
    predicted: float
    scores: list[float]
    segments: list[int]
    payload: Payload = None
    era: int = 0
    """Which of the model's tasks and segments the numbers belong to; see `Era`."""
    groups: bytes = b""
    """The groups of its features, behind the tag of their reference; empty where it was not taken."""


class Era(Struct, array_like=True):
    """What stored numbers meant until the task or the segments changed."""

    task: Task | None
    segments: tuple[str, ...]


class Early(Struct, array_like=True, gc=False):
    """A label that waits for its prediction."""

    tick: int
    ts: float
    actual: float
    weight: int

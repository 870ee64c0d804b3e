"""All challengers of one model: the part of a shard that learns.

Invariant: as of a challenger; versions come in the order of outcomes, then of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from stream.checkpoint.packing import pack, unpack
from stream.config import Learn, Limits
from stream.events import Scalar, Task
from stream.learning.bounds import TEXTS, Bounds, reads_words
from stream.learning.challenger import Challenger, Kept, Saved
from stream.learning.trained import Answer
from stream.view import ChallengerView


class _State(Struct):
    format: int = 1
    challengers: list[Kept] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)


class Learner:
    """The challengers of one model."""

    def __init__(self, spec: Learn, model: str, task: Task, limits: Limits | None = None) -> None:
        self.task = task
        self._spec = spec
        self._challengers = [Challenger(challenger, model, task) for challenger in spec.challengers]
        words = any(reads_words(challenger) for challenger in spec.challengers)
        self._bounds = Bounds((limits or Limits()).features, None if words else TEXTS)
        self._state: bytes | None = None

    def observe(
        self,
        features: Sequence[Mapping[str, Scalar]],
        actual: Sequence[Answer],
        incumbent: Sequence[Answer],
        ts: npt.NDArray[np.float64],
    ) -> list[Saved]:
        """Lets every challenger predict and learn outcomes, in order. Returns the versions that became due.

        For a binary model `actual` and `incumbent` say whether it is the positive class. `ts` is event time.
        """
        if not self._challengers or not actual:
            return []
        self._state = None
        saved: list[Saved] = []
        for whole, truth, answer, time in zip(features, actual, incumbent, ts.tolist(), strict=True):
            row = self._bounds.within(whole)
            for challenger in self._challengers:
                challenger.observe(row, truth, answer)
            for challenger in self._challengers:
                version = challenger.save(self._spec.save_every, self._spec.registry, time)
                if version is not None:
                    saved.append(version)
        return saved

    def views(self) -> list[ChallengerView]:
        """What a person sees of each challenger."""
        return [challenger.view() for challenger in self._challengers]

    def notes(self) -> list[str]:
        """What a person should know: challengers that are switched off, and why."""
        return [
            f"challenger {challenger.spec.name} is switched off: {challenger.off}"
            for challenger in self._challengers
            if challenger.off is not None
        ]

    def state(self) -> bytes:
        """All challengers as bytes; costs nothing while nothing has been learned since."""
        if self._state is None:
            self._state = pack(
                _State(challengers=[each.kept() for each in self._challengers], known=self._bounds.state())
            )
        return self._state

    def restore(self, state: bytes) -> None:
        """Goes on where `state` was taken. Challengers that are new start, those that are gone are forgotten.

        Raises StateRefused for anything that is not such a state.
        """
        stored = unpack(_State, state)
        self._bounds.restore(stored.known)
        kept = {challenger.name: challenger for challenger in stored.challengers}
        for challenger in self._challengers:
            if challenger.spec.name in kept:
                challenger.restore(kept[challenger.spec.name])
        self._state = None

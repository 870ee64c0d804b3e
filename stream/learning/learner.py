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
from stream.learning.champion import Champion, KeptChampion, verdict
from stream.learning.trained import Answer, Judged
from stream.learning.trial import loss
from stream.view import ChallengerView, TrialView

INCUMBENT = "incumbent"
"""Whatever makes the predictions that come over the topic."""


class _State(Struct):
    format: int = 1
    challengers: list[Kept] = field(default_factory=list)
    known: dict[str, list[str]] = field(default_factory=dict)
    champion: KeptChampion | None = None


class Learner:
    """The challengers of one model."""

    def __init__(self, spec: Learn, model: str, task: Task, limits: Limits | None = None) -> None:
        self.task = task
        self._spec = spec
        self._challengers = [Challenger(challenger, model, task) for challenger in spec.challengers]
        words = any(reads_words(challenger) for challenger in spec.challengers)
        self._bounds = Bounds((limits or Limits()).features, None if words else TEXTS)
        self._champion: Champion | None = None
        """The version that is promoted; None while the incumbent is better than all."""
        self._state: bytes | None = None

    def observe(
        self,
        features: Sequence[Mapping[str, Scalar]],
        actual: Sequence[Answer],
        incumbent: Sequence[Answer],
        ts: npt.NDArray[np.float64],
        scores: Sequence[Mapping[bool, float] | Mapping[str, float]] | None = None,
    ) -> list[Saved]:
        """Lets every challenger predict and learn outcomes, in order. Returns the versions that became due.

        For a binary model `actual` and `incumbent` say whether it is the positive class. `ts` is event time; `scores`
        are the incumbent's probabilities of each class, empty where it gave none.
        """
        if not self._challengers or not actual:
            return []
        self._state = None
        saved: list[Saved] = []
        for number, (whole, truth, answer, time) in enumerate(
            zip(features, actual, incumbent, ts.tolist(), strict=True)
        ):
            row = self._bounds.within(whole)
            probabilities = None if scores is None else scores[number] or None
            theirs = Judged(answer, None if probabilities is None else dict(probabilities.items()))
            judged = [challenger.observe(row, truth, theirs) for challenger in self._challengers]
            decided = self._decide(row, truth, theirs, judged, time)
            if decided:
                saved += decided
                continue
            for challenger in self._challengers:
                version = challenger.save(self._spec.save_every, self._spec.registry, time)
                if version is not None:
                    saved.append(version)
        return saved

    def _decide(
        self, row: Mapping[str, Scalar], truth: Answer, incumbent: Judged, judged: Sequence[Judged | None], time: float
    ) -> list[Saved]:
        """Compares answers to one outcome; returns what is promoted or taken back because of it."""
        promote, champion = self._spec.promote, self._champion
        if promote is None:
            return []
        rival: Judged | None = incumbent
        if champion is not None:
            rival = champion.judge(row)
            champion.compare(truth, rival, incumbent, promote)
            taken_back = champion.rolled_back(promote, time)
            if taken_back is not None:
                self._crown(None)
                return [Saved(taken_back, "", b"")]
        to_beat = None if rival is None else loss(promote, self.task, truth, rival)
        for challenger, answer in zip(self._challengers, judged, strict=True):
            own = None if answer is None else loss(promote, self.task, truth, answer)
            if own is not None and to_beat is not None:
                challenger.trial.add(own, to_beat, promote)
        for challenger in self._challengers:
            if challenger.off is not None or not challenger.trial.wins(promote):
                continue
            why = verdict(challenger.trial, promote, challenger.spec.name, self._rival)
            saved = challenger.promote(self._spec.registry, time, why)
            if saved is not None:
                self._crown(Champion.of(saved.update, saved.artifact))
                return [saved]
        return []

    def _crown(self, champion: Champion | None) -> None:
        """There is another one to beat, so every comparison begins anew."""
        self._champion = champion
        for challenger in self._challengers:
            challenger.trial.restart()

    @property
    def _rival(self) -> str:
        if self._champion is None:
            return INCUMBENT
        update = self._champion.kept.update
        return f"{update.challenger} version {update.version}"

    def views(self) -> list[ChallengerView]:
        """What a person sees of each challenger."""
        views = [challenger.view() for challenger in self._challengers]
        promote = self._spec.promote
        if promote is None:
            return views
        for challenger, view in zip(self._challengers, views, strict=True):
            trial = challenger.trial
            view.trial = TrialView(
                rival=self._rival,
                metric=promote.metric,
                samples=trial.samples,
                min_samples=promote.min_samples,
                difference=trial.difference if trial.samples else None,
                lower=trial.lower(promote),
                margin=promote.margin,
                confidence=promote.confidence,
            )
            if self._champion is not None and self._champion.kept.update.challenger == view.name:
                view.promoted = self._champion.kept.update.version
        return views

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
            kept = [challenger.kept() for challenger in self._challengers]
            self._state = pack(
                _State(
                    challengers=kept,
                    known=self._bounds.state(),
                    champion=None if self._champion is None else self._champion.kept,
                )
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
        if stored.champion is not None and stored.champion.task == self.task and self._spec.promote is not None:
            self._champion = Champion(stored.champion)
        self._state = None

"""The version that was promoted: it learns no more, and is scored beside the incumbent for as long as it holds.

Invariant: a function of the outcomes since its promotion, wherever it was stored and restored in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from msgspec import Struct, field, structs

from stream.checkpoint.pickles import loads
from stream.checkpoint.port import StateRefused
from stream.config import Promote
from stream.events import ModelUpdate, Scalar, Task
from stream.learning.trained import Answer, Inputs, Judged, Trained, read_artifact
from stream.learning.trial import Trial, loss


class KeptChampion(Struct):
    """A champion as it is stored."""

    update: ModelUpdate
    task: Task
    inputs: Inputs
    estimator: bytes
    trial: Trial = field(default_factory=Trial)
    failure: str | None = None


class Champion:
    """A promoted version of a challenger, on trial against the incumbent."""

    def __init__(self, kept: KeptChampion) -> None:
        self.kept = kept
        self._trained: Trained | None = None
        try:
            self._trained = Trained(kept.task, loads(kept.estimator), kept.inputs)
        except StateRefused as error:
            self.kept.failure = str(error)[:300]

    @classmethod
    def of(cls, update: ModelUpdate, artifact: bytes) -> Champion:
        """The version that `update` announces."""
        read = read_artifact(artifact)
        return cls(KeptChampion(update, read.task, read.inputs, read.estimator))

    def judge(self, features: Mapping[str, Scalar]) -> Judged | None:
        """Its answer; None where it has none, or cannot give any more."""
        if self._trained is None:
            return None
        try:
            return self._trained.predict(features)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a model raises is its own end, not the shard's)
            self.kept.failure = f"{type(error).__name__}: {str(error)[:300]}"
            self._trained = None
            return None

    def compare(self, actual: Answer, own: Judged | None, incumbent: Judged, promote: Promote) -> None:
        """Counts an outcome; here it is the incumbent that has to show that it is better."""
        theirs = loss(promote, self.kept.task, actual, incumbent)
        mine = None if own is None else loss(promote, self.kept.task, actual, own)
        if mine is not None and theirs is not None:
            self.kept.trial.add(theirs, mine, promote)

    def rolled_back(self, promote: Promote, ts: float) -> ModelUpdate | None:
        """The record that takes it back, when it has failed or does worse than the incumbent."""
        trial, update = self.kept.trial, self.kept.update
        if self.kept.failure is not None:
            why = f"it fails: {self.kept.failure}"
        elif trial.wins(promote):
            why = verdict(trial, promote, "the incumbent", "this version")
        else:
            return None
        name = update.challenger if isinstance(update.challenger, str) else ""
        parts = (update.model, name, update.version, "rolled back")
        return structs.replace(
            update,
            id=blake2b("\0".join(parts).encode(), digest_size=16).hexdigest(),
            action="rolled_back",
            reason=f"rolled back: {why}",
            samples=trial.samples,
            ts=ts,
        )


def verdict(trial: Trial, promote: Promote, ours: str, theirs: str) -> str:
    """What a trial has found, for a person."""
    lower = trial.lower(promote) or 0.0
    return (
        (
            f"mean {promote.metric} loss of {ours} {trial.ours / trial.samples:.4g}, of {theirs} "
            f"{trial.theirs / trial.samples:.4g} over the same {trial.samples:,} outcomes; better by "
            f"{trial.difference:.4g}, at least {lower:.4g} at confidence {promote.confidence:g} at any time"
        )
        .replace("log_loss loss", "log_loss")
        .replace("brier loss", "brier")
        .replace("accuracy loss", "error rate")
    )

"""One challenger: predicts every outcome before it learns from it, and is scored beside the incumbent.

Invariant: a function of the outcomes in their order, however they are sliced and wherever it was stored and restored in
between. What it cannot digest switches it off, with the reason; it never stops the shard.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b, sha256

import msgspec
from msgspec import UNSET, Struct, field

from stream.checkpoint.pickles import dumps, loads
from stream.checkpoint.port import StateRefused
from stream.config import Challenger as Spec
from stream.events import ModelUpdate, Scalar, Task
from stream.learning.pipeline import build, names_in
from stream.learning.registry import artifact_path
from stream.learning.tally import Tally
from stream.learning.trained import Answer, Inputs, Judged, Trained, write_artifact
from stream.learning.trial import Trial
from stream.view import ChallengerView

_ENCODERS = frozenset("Agg BagOfWords FeatureHasher OneHotEncoder OrdinalEncoder SelectType TargetAgg TFIDF".split())
"""Steps that want text as it is."""


class Saved(Struct, frozen=True):
    """A version: the record that announces it, where it goes in the registry, and its bytes (empty: it is there)."""

    update: ModelUpdate
    path: str
    artifact: bytes


class Kept(Struct):
    """A challenger as it is stored."""

    name: str
    recipe: str
    """Tells descriptions apart: a challenger that is described anew starts anew."""
    versions: int
    samples: int
    off: str | None
    inputs: Inputs
    estimator: bytes
    own: Tally
    incumbent: Tally
    trial: Trial = field(default_factory=Trial)


class Challenger:
    """A river pipeline in training."""

    def __init__(self, spec: Spec, model: str, task: Task) -> None:
        self.spec = spec
        self.off: str | None = None
        """Why it is switched off; None while it learns."""
        self.trial = Trial()
        """Against the incumbent, or the version that is promoted."""
        self._model = model
        self._task = task
        self._versions = 0
        self._samples = 0
        self._own, self._incumbent = Tally(), Tally()
        text = any(name.rpartition(".")[2] in _ENCODERS for name in names_in(spec))
        try:
            self._trained = Trained(task, build(spec), Inputs(text=text))
        except ValueError as error:
            self._trained = Trained(task, None, Inputs())
            self.off = str(error)

    def observe(self, features: Mapping[str, Scalar], actual: Answer, incumbent: Judged) -> Judged | None:
        """Predicts, is scored, learns. Returns what it predicted; None where it had no answer."""
        if self.off is not None:
            return None
        try:
            inputs = self._trained.inputs.read(features)
            judged = self._trained.judge(inputs)
            if judged is not None:
                self._own.add(self._task, actual, judged)
                self._incumbent.add(self._task, actual, incumbent)
            self._trained.learn(inputs, actual)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 (whatever a learner raises is its own end, not the shard's)
            # A panic in river's Rust part is no Exception.
            self._switch_off(error)
            return None
        self._samples += 1
        return judged

    def save(self, every: int, registry: str, ts: float) -> Saved | None:
        """The next version when one is due: after each `every` outcomes that were learned."""
        if self.off is not None or self._samples == 0 or self._samples % every:
            return None
        return self._version(registry, ts, f"{self._samples} outcomes learned; a version is saved every {every}")

    def promote(self, registry: str, ts: float, reason: str) -> Saved | None:
        """The version that it is now, promoted; None when it cannot be stored."""
        saved = None if self.off is not None else self._version(registry, ts, f"promoted: {reason}")
        if saved is None:
            return None
        return Saved(msgspec.structs.replace(saved.update, action="promoted"), saved.path, saved.artifact)

    def _version(self, registry: str, ts: float, reason: str) -> Saved | None:
        version = str(self._versions + 1)
        try:
            artifact = write_artifact(self._trained, self._model, self.spec.name, version, self._samples)
        except Exception as error:  # noqa: BLE001 (as above)
            self._switch_off(error)
            return None
        path = artifact_path(self._model, self.spec.name, version)
        update = ModelUpdate(
            id=blake2b("\0".join((self._model, self.spec.name, version)).encode(), digest_size=16).hexdigest(),
            model=self._model,
            version=version,
            reason=reason,
            uri=f"{registry.rstrip('/')}/{path}",
            sha256=sha256(artifact).hexdigest(),
            metrics=self._own.metrics(self._task),
            samples=self._samples,
            ts=ts,
            parent=str(self._versions) if self._versions else UNSET,
            challenger=self.spec.name,
        )
        self._versions += 1
        return Saved(update, path, artifact)

    def view(self) -> ChallengerView:
        """What a person sees."""
        return ChallengerView(
            name=self.spec.name,
            version=str(self._versions) if self._versions else None,
            samples=self._samples,
            metrics=self._own.metrics(self._task),
            incumbent={
                name: value
                for name, value in self._incumbent.metrics(self._task).items()
                if name != "log_loss" or value is not None
            },
            off=self.off,
        )

    def kept(self) -> Kept:
        """All of it, to be stored."""
        try:
            estimator = dumps(self._trained.estimator)
        except Exception as error:  # noqa: BLE001 (as above)
            self._switch_off(error)
            estimator = dumps(None)
        return Kept(
            self.spec.name,
            _recipe(self.spec, self._task),
            self._versions,
            self._samples,
            self.off,
            self._trained.inputs,
            estimator,
            self._own,
            self._incumbent,
            self.trial,
        )

    def restore(self, kept: Kept) -> None:
        """Goes on where it stopped. One that is described differently now starts anew, with the next version number."""
        self._versions = kept.versions
        if kept.recipe != _recipe(self.spec, self._task):
            return
        self._samples, self.off, self.trial = kept.samples, kept.off, kept.trial
        self._own, self._incumbent = kept.own, kept.incumbent
        try:
            self._trained = Trained(self._task, loads(kept.estimator), kept.inputs)
        except StateRefused as error:
            # The rest of the shard does not depend on it; another seed or description lets it start anew.
            self._switch_off(error)

    def _switch_off(self, error: BaseException) -> None:
        """A learner that failed may be half-changed: it is dropped, and what it was is not used again."""
        self.off = f"{type(error).__name__} after {self._samples} outcomes: {str(error)[:300]}"
        self._trained = Trained(self._task, None, Inputs())


def _recipe(spec: Spec, task: Task) -> str:
    described = msgspec.json.encode((task, spec.model, spec.seed), order="sorted")
    return sha256(described).hexdigest()[:16]

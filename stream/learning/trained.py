"""A river estimator with what it needs to read an event's features, and its form as a file.

Invariant: what reaches the estimator is bounded however many names and categories come, and the same events in the same
order give the same inputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version as version_of
from typing import Any, Literal

from msgspec import Struct, field

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.pickles import dumps, loads
from stream.events import MAX_MAGNITUDE, Scalar, Task

MAX_FEATURES = 500
"""Features that an estimator gets to see; those that come first. Later names are left out."""

MAX_INDICATORS = 20
"""Categories of one feature that become an input each; later ones have no input of their own."""

MAX_TEXTS = 1000
"""Values of one feature that a pipeline with an encoder of its own gets to see; later ones are `__other__`."""

Answer = bool | str | float


class Inputs(Struct):
    """Turns features into inputs: missing values are left out, true and false become 1 and 0.

    Text becomes one 0/1 input per category, `name=value`, so that any river estimator can take it; or stays text
    (`text`) for a pipeline that has an encoder of its own.

    >>> Inputs().read({"age": 30, "country": "BR", "income": None})
    {'age': 30.0, 'country=BR': 1.0}
    """

    text: bool = False
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    """Features seen, and for each its categories with the input that stands for them."""

    def read(self, features: Mapping[str, Scalar]) -> dict[str, float | str]:
        """The inputs of one event. Learns new names and categories within the bounds."""
        inputs: dict[str, float | str] = {}
        for name, value in features.items():
            if value is None:
                continue
            categories = self.names.get(name)
            if categories is None:
                if len(self.names) >= MAX_FEATURES:
                    continue
                categories = self.names[name] = {}
            if not isinstance(value, str):
                if math.isfinite(value):
                    inputs[name] = float(value)
                continue
            if value not in categories and len(categories) < (MAX_TEXTS if self.text else MAX_INDICATORS):
                categories[value] = value if self.text else f"{name}={value}"
            if self.text:
                inputs[name] = categories.get(value, "__other__")
            else:
                # Zeros too: a scaler has to see how often a category is absent.
                for category, indicator in categories.items():
                    inputs[indicator] = 1.0 if category == value else 0.0
        return inputs


class Judged(Struct):
    """A prediction; for classifiers that give probabilities, with that of each class."""

    answer: Answer
    probabilities: dict[Any, float] | None = None


class Trained:
    """An estimator that reads features, predicts and learns."""

    def __init__(self, task: Task, estimator: Any, inputs: Inputs) -> None:
        self.task = task
        self.estimator = estimator
        self.inputs = inputs
        self._scores = task != "regression"

    def predict(self, features: Mapping[str, Scalar]) -> Judged | None:
        """The estimator's answer; None while it has none. Raises ValueError when it has diverged."""
        return self.judge(self.inputs.read(features))

    def judge(self, inputs: dict[str, float | str]) -> Judged | None:
        """`predict` for inputs that were read already."""
        if self._scores:
            try:
                scores = self.estimator.predict_proba_one(inputs)
            except NotImplementedError:
                self._scores = False  # some classifiers only name the class
            else:
                if not scores:
                    return None
                if not all(map(math.isfinite, scores.values())):
                    raise ValueError("it predicted a probability that is not a number: it has diverged")
                return Judged(max(scores, key=scores.__getitem__), scores)
        answer = self.estimator.predict_one(inputs)
        if answer is None:
            return None
        if self.task == "regression":
            answer = float(answer)
            if not abs(answer) <= MAX_MAGNITUDE:
                raise ValueError(f"it predicted {answer}: it has diverged")
        return Judged(answer)

    def learn(self, inputs: dict[str, float | str], actual: Answer) -> None:
        """Learns one outcome."""
        self.estimator.learn_one(inputs, actual)


class Artifact(Struct, frozen=True, kw_only=True):
    """One version as it is kept in a registry."""

    format: Literal["stream-river-1"] = "stream-river-1"
    river: str
    model: str
    challenger: str
    version: str
    task: Task
    samples: int
    inputs: Inputs
    estimator: bytes

    def trained(self) -> Trained:
        """The estimator, ready to predict and to learn on."""
        return Trained(self.task, loads(self.estimator), self.inputs)


def write_artifact(trained: Trained, model: str, challenger: str, version: str, samples: int) -> bytes:
    """One version as bytes."""
    return pack(
        Artifact(
            river=version_of("river"),
            model=model,
            challenger=challenger,
            version=version,
            task=trained.task,
            samples=samples,
            inputs=trained.inputs,
            estimator=dumps(trained.estimator),
        )
    )


def read_artifact(artifact: bytes) -> Artifact:
    """The version that was written. Raises StateRefused for anything else."""
    return unpack(Artifact, artifact)

"""From decoded events to columns: what a model's task makes of predictions, labels, scores, classes and segments.

The task is configured or inferred: from the model's first tick with usable predictions (with labels only, from the
first tick of labels, until predictions come). A model that was taken for a classifier and then shows a number with a
fraction becomes a regression from that tick on.
Invariant: inference looks at whole ticks, so it does not depend on how the stream is sliced.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from stream.events import MAX_MAGNITUDE, Label, Prediction, Scalar, Task
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints, floats
from stream.monitor.basis.vocabulary import MAX_NAME, MISSING, OTHER, Key, Vocabulary, name_of

VERSION = "version"
"""The segment attribute that a prediction's `version` is, where no attribute is called so."""

Bools = npt.NDArray[np.bool_]

_PAIRS = (
    *(("0", "1"), ("false", "true"), ("False", "True"), ("no", "yes"), ("No", "Yes"), ("n", "y"), ("N", "Y")),
    *(("negative", "positive"), ("neg", "pos"), ("-1", "1")),
)
"""Usual names of the two classes of a binary model: negative, positive."""


def infer_task(predictions: Sequence[Prediction], labels: Sequence[Label]) -> Task | None:
    """The task that the first events speak for; None when they say nothing.

    >>> infer_task([Prediction("m", "1", 0, 1, score=0.7)], []), infer_task([Prediction("m", "1", 0, 12.5)], [])
    ('binary', 'regression')
    """
    for event in predictions:
        if event.scores is not None:
            return "binary" if len(event.scores) <= 2 else "multiclass"
        if event.score is not None:
            return "binary"
    values: list[Scalar] = [event.prediction for event in predictions if event.prediction is not None]
    values = values or [event.label for event in labels]
    if not values:
        return None
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        return "regression"
    names = {name_of(value) for value in values}
    if any(names <= set(pair) for pair in _PAIRS):
        return "binary"
    if any(isinstance(value, str) for value in values):
        return "multiclass"
    return "multiclass" if all(abs(float(value or 0)) < 20 for value in values) else "regression"


class Segments:
    """Codes of the segments of one model: 0 is "all", every other is one value of one attribute."""

    def __init__(
        self,
        attributes: Sequence[str],
        limit: int,
        names: list[str] | None = None,
        bins: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """`bins` has the edges between which numbers of an attribute are one segment."""
        self.attributes = tuple(attributes)
        self._bins = bins or {}
        self.names = ["all"]
        self._limit = limit
        self._codes = {"all": 0}
        for name in names or []:
            self._code_of(name)
        for attribute in self.attributes:
            self._code_of(f"{attribute}={OTHER}")
        self._dimensions = [_Dimension(self, attribute) for attribute in self.attributes]

    @property
    def unknown(self) -> list[int]:
        """The segment codes of an event whose attributes are not known any more."""
        return [0, *(self._code_of(f"{attribute}={OTHER}") for attribute in self.attributes)]

    def code(self, name: str) -> int | None:
        """The code of a segment that has been seen."""
        return self._codes.get(name)

    def _code_of(self, name: str) -> int:
        known = self._codes.get(name)
        if known is None:
            known = self._codes[name] = len(self.names)
            self.names.append(name)
        return known

    def found(self, attribute: str, value: Key) -> int:
        """The code of an attribute's value, given now if it is new and there is room."""
        edges = self._bins.get(attribute)
        text = name_of(value) if edges is None or not isinstance(value, int | float) else bin_name(value, edges)
        name = f"{attribute}={text}"
        if name not in self._codes and (len(self.names) >= self._limit or len(text) > MAX_NAME):
            name = f"{attribute}={OTHER}"
        return self._code_of(name)

    def columns(self, events: Sequence[Prediction]) -> Ints:
        """Shape (n, 1 + attributes): the segment codes of each event."""
        result = np.zeros((len(events), 1 + len(self.attributes)), np.int64)
        for column, (attribute, codes) in enumerate(zip(self.attributes, self._dimensions, strict=True), start=1):
            result[:, column] = [codes[_attribute(event, attribute)] for event in events]
        return result


def bin_name(value: float, edges: Sequence[float]) -> str:
    """The name of the bin that a number is in; a bin holds its lower edge.

    >>> [bin_name(value, (10.0, 99.5)) for value in (-3, 10.0, 99.5)], bin_name(float("nan"), (1.0,))
    (['<10', '10..99.5', '>=99.5'], '__missing__')
    """
    if math.isnan(value):
        return MISSING
    at = bisect_right(edges, value)
    if at == 0:
        return f"<{edges[0]:g}"
    return f">={edges[-1]:g}" if at == len(edges) else f"{edges[at - 1]:g}..{edges[at]:g}"


class _Dimension(dict[Key, int]):
    """Codes of one attribute's values by raw value: one dictionary look-up per event."""

    def __init__(self, segments: Segments, attribute: str) -> None:
        super().__init__()
        self._segments, self._attribute = segments, attribute

    def __missing__(self, value: Key) -> int:
        code = self._segments.found(self._attribute, value)
        if len(self) < 10_000 and not (isinstance(value, str) and len(value) > MAX_NAME):
            self[value] = code
        return code


def _attribute(event: Prediction, name: str) -> Key:
    if event.attributes is not None and name in event.attributes:
        return event.attributes[name]
    if name == VERSION and event.version is not None:
        return event.version
    return None if event.features is None else event.features.get(name)


class Classes:
    """The classes of a classifier and which one is positive.

    The positive class is the configured one; else the one called 1, true or yes; else the one that goes with a score of
    at least one half; else the second one seen. It is settled before the first outcome and never changes.
    """

    def __init__(self, limit: int, names: list[str] | None = None, positive: int = 1) -> None:
        self.vocabulary = Vocabulary(limit, names)
        self.positive = positive

    @property
    def names(self) -> list[str]:
        """Class names by code."""
        return self.vocabulary.names

    @property
    def positive_name(self) -> str | None:
        """Name of the positive class, once it has been seen."""
        return self.names[self.positive] if self.positive < len(self.names) else None

    @property
    def pair(self) -> list[int]:
        """Codes of the two classes of a binary model."""
        return sorted({self.positive, 1 - self.positive if self.positive < 2 else 0})

    def settle(self, configured: Key, predictions: Sequence[Prediction], labels: Sequence[Label]) -> None:
        """Decides on the positive class from the first tick with events."""
        if configured is not None:
            self.positive = self.vocabulary.code(name_of(configured))
            return
        seen = [name_of(event.prediction) for event in predictions if event.prediction is not None]
        seen += [name_of(event.label) for event in labels]
        seen += [name for event in predictions for name in event.scores or ()]
        for false, true in _PAIRS:
            if false in seen or true in seen:
                self.vocabulary.code(false)
                self.positive = self.vocabulary.code(true)
                return
        for event in predictions:
            if event.score is not None and event.prediction is not None:
                code = self.vocabulary[event.prediction]
                self.positive = code if event.score >= 0.5 else 1 - code
                return


def numbers(values: Sequence[Scalar]) -> tuple[Floats, Bools]:
    """Values of a regression as floats, and which of them are numbers that can be summed."""
    result = np.array(
        [float(value) if isinstance(value, float | bool | int) else np.nan for value in values], np.float64
    ).reshape(len(values))
    with np.errstate(invalid="ignore"):
        return result, np.abs(result) <= MAX_MAGNITUDE


def binary_scores(events: Sequence[Prediction], positive: str | None) -> Floats:
    """Shape (n, 1): probability of the positive class; NaN where none, or none between 0 and 1, came."""
    raw = [event.score for event in events]
    if None in raw:
        scores = np.array([_positive_score(event, positive) for event in events], np.float64)
    else:
        scores = floats(cast(list[float], raw))
    usable = (scores >= 0) & (scores <= 1)
    return (scores if usable.all() else np.where(usable, scores, np.nan)).reshape(-1, 1)


def _positive_score(event: Prediction, positive: str | None) -> float | None:
    if event.score is not None or event.scores is None or positive is None:
        return event.score
    return event.scores.get(positive)


def class_scores(events: Sequence[Prediction], vocabulary: Vocabulary) -> Floats:
    """Shape (n, classes): probability of each class; NaN where none, or none between 0 and 1, came."""
    for event in events:
        for name in event.scores or ():
            vocabulary.code(name_of(name))
    scores = np.full((len(events), len(vocabulary.names)), np.nan)
    codes = vocabulary.codes
    for row, event in enumerate(events):
        for name, score in (event.scores or {}).items():
            code = codes.get(name)
            if code is not None and 0 <= score <= 1:
                scores[row, code] = score
    return scores


def weights(labels: Sequence[Label]) -> Ints:
    """Sample weights in multiples of WEIGHT_UNIT."""
    return np.rint(floats([label.weight for label in labels]) / WEIGHT_UNIT).astype(np.int64)

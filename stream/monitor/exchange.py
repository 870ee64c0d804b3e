"""What a model is given, and what it answers.

Invariant: rows are in the order in which they count, whole ticks at a time.
"""

from __future__ import annotations

from msgspec import Struct

from stream.events import Alert, Label, MetricSnapshot, Prediction, Refusal
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.join_rows import Joined


class Emission(Struct):
    """Something to be published, with the tick that decided it."""

    tick: int
    record: Alert | MetricSnapshot


class Refused(Struct):
    """A record that decodes and yet means nothing for its model: the row in the call, and why."""

    row: int
    reason: Refusal
    detail: str


class Applied(Struct):
    """What a call decided."""

    emissions: list[Emission]
    predictions: list[Refused]
    labels: list[Refused]
    lessons: list[Joined]
    """Outcomes with their features, for challengers; empty unless the model has some."""


class Guesses(Struct):
    """Predictions of one model in order, n rows."""

    events: list[Prediction]
    tick: Ints
    ts: Floats
    codes: Floats | None = None
    """The predicted classes; None unless all are classes that the model knows, and none has failed."""

    def part(self, start: int, stop: int | None = None) -> Guesses:
        """Rows start to stop."""
        if start == 0 and (stop is None or stop >= len(self.events)):
            return self
        codes = None if self.codes is None else self.codes[start:stop]
        return Guesses(self.events[start:stop], self.tick[start:stop], self.ts[start:stop], codes)


class Truths(Struct):
    """Labels of one model in order, n rows."""

    events: list[Label]
    tick: Ints
    ts: Floats
    codes: Floats | None = None
    """The observed classes; None unless all are classes that the model knows."""

    def part(self, start: int, stop: int | None = None) -> Truths:
        """Rows start to stop."""
        if start == 0 and (stop is None or stop >= len(self.events)):
            return self
        codes = None if self.codes is None else self.codes[start:stop]
        return Truths(self.events[start:stop], self.tick[start:stop], self.ts[start:stop], codes)

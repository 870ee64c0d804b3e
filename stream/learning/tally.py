"""What is known of a model's answers, for a challenger and for the incumbent beside it.

Invariant: counts, and sums in the order of the outcomes; a function of the outcomes alone. Classification metrics are
river's, read from one confusion matrix.
"""

from __future__ import annotations

import math
from typing import Any

from msgspec import Struct, field

from stream.deferred import SELDOM, deferred
from stream.events import Task
from stream.learning.trained import Answer, Judged

with deferred(*SELDOM):
    from river import metrics as _metrics

metrics: Any = _metrics  # carries no types

_TINY = 1e-15
"""Probabilities are kept this far from 0 in the log loss, as in scikit-learn before 1.3."""


class Tally(Struct):
    """Outcomes of one task so far."""

    samples: int = 0
    confusion: dict[str, dict[str, int]] = field(default_factory=dict)
    """Outcomes by actual, then predicted class."""
    scored: int = 0
    log_loss: float = 0.0
    """Sum over the `scored` outcomes that had probabilities."""
    absolute: float = 0.0
    squared: float = 0.0
    mean: float = 0.0
    spread: float = 0.0
    """Of the actual numbers: mean and sum of squared deviations from it (Welford)."""

    def add(self, task: Task, actual: Answer, judged: Judged) -> None:
        """Counts one outcome."""
        self.samples += 1
        if task == "regression":
            number = float(actual)
            error = number - float(judged.answer)
            self.absolute += abs(error)
            self.squared += error * error
            deviation = number - self.mean
            self.mean += deviation / self.samples
            self.spread += deviation * (number - self.mean)
            return
        row = self.confusion.setdefault(str(actual), {})
        answer = str(judged.answer)
        row[answer] = row.get(answer, 0) + 1
        if judged.probabilities is not None:
            self.scored += 1
            self.log_loss -= math.log(min(max(judged.probabilities.get(actual, 0.0), _TINY), 1.0))

    def metrics(self, task: Task) -> dict[str, float | None]:
        """The metrics of a task by the names that the monitor uses; None where one is undefined."""
        n = self.samples
        if task == "regression":
            return {
                "mae": self.absolute / n if n else None,
                "rmse": math.sqrt(self.squared / n) if n else None,
                "r2": 1 - self.squared / self.spread if self.spread > 0 else None,
            }
        matrix = metrics.ConfusionMatrix()
        for actual, row in self.confusion.items():
            for predicted, count in row.items():
                matrix.update(actual, predicted, count)
        if task == "binary":
            read = {
                "accuracy": metrics.Accuracy(matrix),
                "balanced_accuracy": metrics.BalancedAccuracy(matrix),
                "f1": metrics.F1(matrix, pos_val="True"),
            }
        else:
            read = {
                "accuracy": metrics.Accuracy(matrix),
                "balanced_accuracy": metrics.BalancedAccuracy(matrix),
                "f1_macro": metrics.MacroF1(matrix),
                "f1_weighted": metrics.WeightedF1(matrix),
            }
        values: dict[str, float | None] = {name: float(metric.get()) if n else None for name, metric in read.items()}
        values["log_loss"] = self.log_loss / self.scored if self.scored else None
        return values

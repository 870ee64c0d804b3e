"""The names of performance metrics: what each means, for which tasks, and whether more is better.

Names follow scikit-learn. Metrics that look at one class have forms for models of several classes: `recall_macro` (mean
over the classes that occur), `recall_weighted` (by the weight of each class in the truth) and `recall_class_cat` (of
the class named `cat`). Any other metric of river that can be read from sums has its dotted name:
`river.metrics.GeometricMean`. Invariant: what `check_metric` lets pass, `performance` can evaluate.
"""

from __future__ import annotations

import difflib
from typing import Literal, TypeAlias

from msgspec import Struct

from stream.events import Task

Form: TypeAlias = Literal["plain", "macro", "weighted", "class"]
Source: TypeAlias = Literal["confusion", "mean", "scores", "other"]

_CLASSES: tuple[Task, ...] = ("binary", "multiclass")
_BINARY: tuple[Task, ...] = ("binary",)
_REGRESSION: tuple[Task, ...] = ("regression",)


class Metric(Struct, frozen=True):
    """What a name stands for. `tasks`: where it is used plainly; `forms`: whether it has the others."""

    meaning: str
    tasks: tuple[Task, ...]
    direction: int
    """1: larger is better, -1: smaller is better, 0: neither."""
    source: Source = "confusion"
    forms: bool = False


METRICS: dict[str, Metric] = {
    "accuracy": Metric("share of right predictions", _CLASSES, 1),
    "error_rate": Metric("share of wrong predictions", _CLASSES, -1),
    "balanced_accuracy": Metric("mean recall over the classes that occur", _CLASSES, 1),
    "precision": Metric("share of right ones among predictions of the class", _BINARY, 1, forms=True),
    "recall": Metric("share of outcomes of the class that were predicted", _BINARY, 1, forms=True),
    "f1": Metric("harmonic mean of precision and recall", _BINARY, 1, forms=True),
    "specificity": Metric("share of outcomes of other classes that were not predicted", _BINARY, 1, forms=True),
    "matthews_corrcoef": Metric("correlation of prediction and truth; 0 where either is constant", _CLASSES, 1),
    "cohen_kappa": Metric("agreement of prediction and truth beyond chance", _CLASSES, 1),
    "positive_rate": Metric("share of outcomes predicted to be of the class", _BINARY, 0, forms=True),
    "roc_auc": Metric("chance that an outcome of the class scores above another", _BINARY, 1, "scores", forms=True),
    "average_precision": Metric("precision averaged over gains in recall", _BINARY, 1, "scores", forms=True),
    "log_loss": Metric("mean negative logarithm of the probability of the truth", _CLASSES, -1, "mean"),
    "brier": Metric("mean squared error of probabilities", _CLASSES, -1, "mean"),
    "calibration_error": Metric("mean distance of score and frequency over ten bins", _CLASSES, -1, "other"),
    "mae": Metric("mean absolute error", _REGRESSION, -1, "mean"),
    "rmse": Metric("root of the mean squared error", _REGRESSION, -1, "mean"),
    "mape": Metric("mean of |error| / |label|, as a fraction", _REGRESSION, -1, "mean"),
    "smape": Metric("mean of 2 |error| / (|label| + |prediction|), as a fraction", _REGRESSION, -1, "mean"),
    "r2": Metric("share of the variance of labels that is explained", _REGRESSION, 1, "other"),
    "bias": Metric("mean of prediction minus label", _REGRESSION, 0, "mean"),
}

_CLASS = "_class_"


class Subject(Struct, frozen=True):
    """A name taken apart."""

    base: str
    form: Form = "plain"
    class_name: str = ""

    @property
    def metric(self) -> Metric:
        """What the base stands for."""
        return METRICS[self.base]


def parse(name: str) -> Subject | None:
    """A name taken apart; None when there is no such metric, whatever the task.

    >>> parse("recall_class_big_cat")
    Subject(base='recall', form='class', class_name='big_cat')
    """
    if name in METRICS:
        return Subject(name)
    base, found, class_name = name.partition(_CLASS)
    if found and class_name and base in METRICS and METRICS[base].forms:
        return Subject(base, "class", class_name)
    base, _, form = name.rpartition("_")
    if base in METRICS and METRICS[base].forms:
        if form == "macro" and base != "positive_rate":
            return Subject(base, "macro")
        if form == "weighted" and base != "positive_rate":
            return Subject(base, "weighted")
    return None


def names(task: Task) -> list[str]:
    """All names for a task but those of single classes (`recall_class_<class>`), which depend on the data."""
    known = [name for name, metric in METRICS.items() if task in metric.tasks]
    if task == "multiclass":
        formed = [name for name, metric in METRICS.items() if metric.forms and name != "positive_rate"]
        known += [f"{name}_{form}" for form in ("macro", "weighted") for name in formed]
    return known


def check_metric(name: str, task: Task) -> None:
    """Raises ValueError, saying what would do, unless the metric can be evaluated for models of this task."""
    if name.startswith("river."):
        from stream.monitor.metrics.rivermetrics import check_river_metric  # river takes a second to import

        check_river_metric(name, task)
        return
    subject = parse(name)
    if subject is not None:
        if subject.form == "plain" and task in subject.metric.tasks:
            return
        if subject.form != "plain" and (
            task == "multiclass" or (task == "binary" and subject.metric.source != "scores")
        ):
            return
        if subject.metric.forms and task == "multiclass":
            raise ValueError(
                f'found "{name}", which is for binary models, expected {name}_class_<class>'
                + ("" if name == "positive_rate" else f", {name}_macro or {name}_weighted")
            )
        raise ValueError(f'found "{name}", which is not for {task} models, expected one of: {", ".join(names(task))}')
    known = names(task)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"expected one of: {', '.join(known)}"
    raise ValueError(f'found "{name}", which is no metric of {task} models: {hint}')


def direction(name: str) -> int:
    """1 where larger is better, -1 where smaller is better, 0 where neither or not known."""
    if name.startswith("river."):
        from stream.monitor.metrics.rivermetrics import river_direction

        return river_direction(name)
    subject = parse(name)
    return 0 if subject is None else subject.metric.direction


def from_scores(name: str) -> bool:
    """Whether a metric needs score histograms; the others need a tally only."""
    subject = parse(name)
    return subject is not None and subject.metric.source == "scores"

"""Performance of a model, read from tallies and score histograms: values, samples and confidence intervals.

Invariant: a value equals scikit-learn's on the raw outcomes, and is NaN where scikit-learn has a `zero_division` to
fill in; its `zero_division=nan` is what a mean over classes does with those. Also NaN: any metric of no outcomes,
`average_precision` without a positive, `roc_auc` with one class, `r2` of fewer than two outcomes. As in scikit-learn,
`matthews_corrcoef` of a constant is 0 and `r2` for constant labels is 1 without error and 0 with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from msgspec import UNSET

from stream.events import Estimated, Task
from stream.monitor.basis import exact
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints, Outcomes
from stream.monitor.basis.intervals import Interval
from stream.monitor.metrics import confusion
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics.confusion import divide
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.metricnames import METRICS, Subject, check_metric, direction, from_scores, names, parse
from stream.monitor.metrics.scores import ScoreHistogram
from stream.monitor.metrics.totals import MEANS, WEIGHTED, Totals, brier_scale

__all__ = [
    "METRICS",
    "check_metric",
    "direction",
    "evaluate",
    "from_scores",
    "has_interval",
    "interval",
    "names",
    "report",
    "river_metric",
    "score_metric",
]

REPORTED_CLASSES = 20
"""A report holds the precision, recall and F1 of single classes up to so many of them."""


def evaluate(layout: Layout, tally: Ints, name: str, class_names: Sequence[str] = ()) -> tuple[Floats, Ints]:
    """Values and samples (...) of a metric of tallies (..., width), for every metric that is not `from_scores`.

    A class that is not known yet has no value. Raises ValueError for a name that `check_metric` refuses.
    """
    if name.startswith("river."):
        flat = [river_metric(name, layout, row, class_names) for row in tally.reshape(-1, tally.shape[-1])]
        values = np.array([math.nan if value is None else value for value in flat]).reshape(tally.shape[:-1])
        return values, tally[..., columns.OUTCOMES]
    subject = parse(name)
    if subject is None or subject.metric.source == "scores":
        check_metric(name, layout.task)
        raise ValueError(f"{name} is read from scores: see score_metric")
    if subject.metric.source == "confusion":
        counts = _counts(layout, tally)
        return confusion.value_of(counts, subject, _code(layout, subject, class_names)), tally[..., columns.OUTCOMES]
    samples = tally[..., columns.OUTCOMES if layout.task == "regression" else columns.SCORED]
    if name == "r2":
        flat_r2 = [Totals(layout, row).value(subject, None) for row in tally.reshape(-1, tally.shape[-1])]
        return np.array(flat_r2, dtype=np.float64).reshape(tally.shape[:-1]), samples
    if name == "calibration_error":
        bins = layout.bins(tally)
        gaps = exact.to_float(bins[..., 2:], WEIGHTED) - bins[..., 1] * WEIGHT_UNIT
        return divide(np.abs(gaps).sum(axis=-1), _weight(layout, tally)), samples
    values = _mean(layout, tally, name)
    return (np.sqrt(values) if name == "rmse" else values), samples


def score_metric(
    name: str, layout: Layout, histograms: Sequence[ScoreHistogram], class_names: Sequence[str] = ()
) -> float | None:
    """The value of a metric that is `from_scores`; None where it is undefined. Histograms as in the monitor: of the
    positive class for a binary model, else of each class code. A mean is over the classes that have a value."""
    subject = parse(name)
    if subject is None or subject.metric.source != "scores":
        raise ValueError(f"{name} is not read from scores")
    return _known(_of_scores(layout, histograms, subject, _code(layout, subject, class_names)))


def river_metric(name: str, layout: Layout, tally: Ints, class_names: Sequence[str] = ()) -> float | None:
    """The value of a river metric by dotted name for one tally (width,); None where it is undefined."""
    from stream.monitor.metrics import rivermetrics  # river takes a second to import

    own = rivermetrics.FROM_SUMS.get(name.removeprefix("river.metrics."))
    if own is None:
        return _known(rivermetrics.from_confusion(name, layout, tally, list(class_names)))
    return _known(own[1](float(evaluate(layout, tally, own[0])[0])))


def interval(
    layout: Layout, tally: Ints, name: str, class_names: Sequence[str] = (), value: float | None = None
) -> Interval | None:
    """The 95 % interval of a metric of one tally (width,); None where none is known. A metric that is `from_scores`
    needs its `value`."""
    subject = parse(name)
    if subject is None:
        return None
    totals = Totals(layout, tally)
    code = _code(layout, subject, class_names)
    if subject.metric.source != "scores":
        value = totals.value(subject, code)
    return None if value is None or math.isnan(value) else totals.interval(subject, code, value)


def has_interval(name: str, task: Task) -> bool:
    """Whether a metric is one of the task and its interval is known, found out on a few outcomes of three classes."""
    try:
        check_metric(name, task)
    except ValueError:
        return False
    layout, n = Layout(task, 2 if task == "binary" else 3), 60
    row = np.arange(n, dtype=np.float64)
    predicted, actual = row % layout.classes, row // 7 % layout.classes
    zeros, ones = np.zeros(n, np.int64), np.full(n, round(1 / WEIGHT_UNIT))
    scores = np.full((n, 1 if task == "binary" else layout.classes), 1.0 / layout.classes)
    outcomes = Outcomes(zeros, row, zeros, predicted, actual, ones, scores, zeros[:, None], row)
    tally: Ints = layout.contributions(outcomes).sum(axis=0)
    subject = parse(name)
    class_names = ["a", "b", "c"] if subject is None or not subject.class_name else [subject.class_name, "b", "c"]
    return interval(layout, tally, name, class_names, 0.8) is not None


def report(
    layout: Layout, tally: Ints, histograms: Sequence[ScoreHistogram] = (), class_names: Sequence[str] = ()
) -> dict[str, Estimated]:
    """Every metric of one tally (width,), with its interval. Metrics of scores are left out where no score came."""
    totals = Totals(layout, tally)
    found: dict[str, Estimated] = {}
    for name, subject, code in _reported(layout, tuple(class_names)):
        source = subject.metric.source
        samples = totals.outcomes if source == "confusion" else totals.samples
        if not samples and source != "confusion" and layout.task != "regression":
            continue
        if source == "scores":
            value = _of_scores(layout, histograms, subject, code)
        else:
            value = totals.value(subject, code)
        bounds = None if math.isnan(value) else totals.interval(subject, code, value)
        low, high = bounds if bounds is not None else (UNSET, UNSET)
        found[name] = Estimated(value=_known(value), samples=samples, lower=low, upper=high)
    return found


@lru_cache(maxsize=256)
def _reported(layout: Layout, class_names: tuple[str, ...]) -> list[tuple[str, Subject, int | None]]:
    """The metrics of a report and the class that each is about."""
    wanted = names(layout.task)
    if layout.task == "multiclass" and len(class_names) <= REPORTED_CLASSES:
        wanted += [f"{base}_class_{name}" for base in ("precision", "recall", "f1") for name in class_names]
    subjects = [(name, parse(name)) for name in wanted]
    return [(name, subject, _code(layout, subject, class_names)) for name, subject in subjects if subject is not None]


def _code(layout: Layout, subject: Subject, class_names: Sequence[str]) -> int | None:
    """The class that a name is about; None when it is not known. Plain names: the positive class."""
    if subject.form != "class":
        return layout.positive
    known = class_names[: layout.classes]
    return known.index(subject.class_name) if subject.class_name in known else None


def _mean(layout: Layout, tally: Ints, name: str) -> Floats:
    what = MEANS[name]
    total = exact.to_float(tally[..., what.column : what.column + what.limbs], what.exponent)
    return brier_scale(layout, name) * divide(total, _weight(layout, tally))


def _of_scores(layout: Layout, histograms: Sequence[ScoreHistogram], subject: Subject, code: int | None) -> float:
    read = ScoreHistogram.roc_auc if subject.base == "roc_auc" else ScoreHistogram.average_precision
    if subject.form in ("plain", "class"):
        number = 0 if layout.task == "binary" else code
        return math.nan if number is None or number >= len(histograms) else read(histograms[number])
    values = [read(histogram) for histogram in histograms]
    weighted = subject.form == "weighted"
    return confusion.mean(values, [float(each.weights()[1]) if weighted else 1.0 for each in histograms])


def _counts(layout: Layout, tally: Ints) -> Floats:
    """Confusion matrices in units of weight."""
    return np.multiply(layout.confusion(tally), WEIGHT_UNIT, dtype=np.float64)


def _weight(layout: Layout, tally: Ints) -> Floats:
    """Weight that a mean is over."""
    column = columns.WEIGHT if layout.task == "regression" else columns.SCORED_WEIGHT
    return np.multiply(tally[..., column], WEIGHT_UNIT, dtype=np.float64)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

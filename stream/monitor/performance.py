"""Performance of a model, read from tallies and score histograms: values, samples and confidence intervals.

Invariant: a value equals scikit-learn's on the raw outcomes, and is NaN where scikit-learn has a `zero_division` to
fill in; its `zero_division=nan` is what a mean over classes does with those. Also NaN: any metric of no outcomes,
`average_precision` without a positive, `roc_auc` with one class, `r2` of fewer than two outcomes. As in scikit-learn,
`matthews_corrcoef` of a constant is 0 and `r2` for constant labels is 1 without error and 0 with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import UNSET, Struct

from stream.events import Estimated
from stream.monitor import confusion, exact, intervals
from stream.monitor import layout as columns
from stream.monitor.columns import WEIGHT_UNIT, Floats, Ints
from stream.monitor.confusion import average, divide
from stream.monitor.intervals import Interval
from stream.monitor.layout import Layout
from stream.monitor.metricnames import METRICS, Subject, check_metric, direction, from_scores, names, parse
from stream.monitor.scores import ScoreHistogram

__all__ = [
    "METRICS",
    "check_metric",
    "direction",
    "evaluate",
    "from_scores",
    "interval",
    "names",
    "report",
    "river_metric",
    "score_metric",
]

REPORTED_CLASSES = 20
"""A report holds the precision, recall and F1 of single classes up to so many of them."""

_WEIGHTED, _SQUARED = -52, -44
"""Exponents of the units of weighted bounded losses and of their squares."""


class _Mean(Struct, frozen=True):
    """Where the sum of a quantity and the sum of its squares stand."""

    column: int
    limbs: int
    exponent: int
    squares: int
    square_exponent: int
    saturates: bool = False


_MEANS = {
    "log_loss": _Mean(columns.LOG_LOSS, 2, _WEIGHTED, columns.LOG_LOSS_SQUARES, _SQUARED),
    "brier": _Mean(columns.BRIER, 2, _WEIGHTED, columns.BRIER_SQUARES, _SQUARED),
    "smape": _Mean(columns.SMAPE, 2, _WEIGHTED, columns.SMAPE_SQUARES, _SQUARED),
    "mae": _Mean(columns.ABSOLUTE, exact.LIMBS, exact.EXPONENT, columns.SQUARED, exact.EXPONENT),
    "bias": _Mean(columns.ERROR, exact.LIMBS, exact.EXPONENT, columns.SQUARED, exact.EXPONENT),
    "rmse": _Mean(columns.SQUARED, exact.LIMBS, exact.EXPONENT, columns.FOURTH, exact.EXPONENT, True),
    "mape": _Mean(columns.RELATIVE, exact.LIMBS, exact.EXPONENT, columns.RELATIVE_SQUARED, exact.EXPONENT, True),
}


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
        flat_r2 = [_r2(row) for row in tally.reshape(-1, tally.shape[-1])]
        return np.array(flat_r2, dtype=np.float64).reshape(tally.shape[:-1]), samples
    if name == "calibration_error":
        bins = layout.bins(tally)
        gaps = exact.to_float(bins[..., 2:], _WEIGHTED) - bins[..., 1] * WEIGHT_UNIT
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
    if subject.form in ("plain", "class"):
        code = 0 if layout.task == "binary" else _code(layout, subject, class_names)
        if code is None or code >= len(histograms):
            return None
        return _known(_of_scores(histograms[code], subject.base))
    values = np.array([_of_scores(histogram, subject.base) for histogram in histograms])
    weights = np.array([histogram.weights()[1] for histogram in histograms], dtype=np.float64)
    return _known(float(average(values, np.ones_like(weights) if subject.form == "macro" else weights)))


def river_metric(name: str, layout: Layout, tally: Ints, class_names: Sequence[str] = ()) -> float | None:
    """The value of a river metric by dotted name for one tally (width,); None where it is undefined."""
    from stream.monitor import rivermetrics  # river takes a second to import

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
    if subject.metric.source == "confusion":
        return _confusion_interval(layout, tally, subject, _code(layout, subject, class_names))
    if subject.metric.source == "mean":
        return _mean_interval(layout, tally, name)
    if subject.metric.source != "scores" or value is None or subject.form in ("macro", "weighted"):
        return None
    code = _code(layout, subject, class_names)
    if code is None:
        return None
    truth = layout.confusion(tally).sum(axis=-1) * (WEIGHT_UNIT * _worth(tally))
    covered = float(tally[columns.SCORED_WEIGHT]) / max(float(tally[columns.WEIGHT]), 1.0)
    positives, negatives = float(truth[code]) * covered, float(truth.sum() - truth[code]) * covered
    if subject.base == "roc_auc":
        return intervals.roc_auc(value, positives, negatives)
    return intervals.average_precision(value, positives)


def report(
    layout: Layout, tally: Ints, histograms: Sequence[ScoreHistogram] = (), class_names: Sequence[str] = ()
) -> dict[str, Estimated]:
    """Every metric of one tally (width,), with its interval. Metrics of scores are left out where no score came."""
    wanted = names(layout.task)
    if layout.task == "multiclass" and len(class_names) <= REPORTED_CLASSES:
        wanted += [f"{base}_class_{name}" for base in ("precision", "recall", "f1") for name in class_names]
    scored = layout.task != "regression" and int(tally[columns.SCORED]) > 0
    found: dict[str, Estimated] = {}
    for name in wanted:
        subject = parse(name)
        assert subject is not None
        if subject.metric.source != "confusion" and layout.task != "regression" and not scored:
            continue
        if subject.metric.source == "scores":
            value = score_metric(name, layout, histograms, class_names)
            samples = int(tally[columns.SCORED])
        else:
            values, counts = evaluate(layout, tally, name, class_names)
            value, samples = _known(float(values)), int(counts)
        bounds = None if value is None else interval(layout, tally, name, class_names, value)
        low, high = bounds if bounds is not None else (UNSET, UNSET)
        found[name] = Estimated(value=value, samples=samples, lower=low, upper=high)
    return found


def _code(layout: Layout, subject: Subject, class_names: Sequence[str]) -> int | None:
    """The class that a name is about; None when it is not known. Plain names: the positive class."""
    if subject.form != "class":
        return layout.positive
    known = class_names[: layout.classes]
    return known.index(subject.class_name) if subject.class_name in known else None


def _confusion_interval(layout: Layout, tally: Ints, subject: Subject, code: int | None) -> Interval | None:
    counts = _counts(layout, tally)
    worth, total = _worth(tally), float(counts.sum())
    value = float(confusion.value_of(counts, subject, code))
    if math.isnan(value):
        return None
    if subject.base in ("accuracy", "error_rate") or (subject.base == "recall" and subject.form == "weighted"):
        return intervals.wilson(value, total * worth)
    if subject.base == "balanced_accuracy" or (subject.form == "macro" and subject.base in ("precision", "recall")):
        part, whole = confusion.shares_of(counts, "recall" if subject.base == "balanced_accuracy" else subject.base)
        return intervals.mean_of_shares(divide(part, whole), whole * worth)
    if subject.metric.forms and subject.form in ("plain", "class") and code is not None:
        part, whole = confusion.shares_of(counts, subject.base)
        if subject.base == "f1":
            return intervals.f1(value, float(whole[code] - part[code] / 2.0) * worth)
        return intervals.wilson(value, float(whole[code]) * worth)
    low = -1.0 if subject.base in ("matthews_corrcoef", "cohen_kappa") else 0.0
    return intervals.delta(lambda moved: confusion.value_of(moved, subject, code), counts, total * worth, (low, 1.0))


def _mean_interval(layout: Layout, tally: Ints, name: str) -> Interval | None:
    what, weight = _MEANS[name], float(_weight(layout, tally))
    squares = tally[what.squares : what.squares + what.limbs]
    total = float(exact.to_float(squares, what.square_exponent))
    if not weight > 0.0 or (what.saturates and total >= columns.SATURATED):
        return None
    scale = _brier_scale(layout, name)
    bounds = intervals.mean(float(_mean(layout, tally, name)), scale * scale * total / weight, weight * _worth(tally))
    if bounds is None or name == "bias":
        return bounds
    low, high = max(bounds[0], 0.0), bounds[1]
    return (math.sqrt(low), math.sqrt(high)) if name == "rmse" else (low, high)


def _mean(layout: Layout, tally: Ints, name: str) -> Floats:
    what = _MEANS[name]
    total = exact.to_float(tally[..., what.column : what.column + what.limbs], what.exponent)
    return _brier_scale(layout, name) * divide(total, _weight(layout, tally))


def _brier_scale(layout: Layout, name: str) -> float:
    """scikit-learn halves the Brier score of two classes; that of one score per row was never doubled."""
    return 0.5 if name == "brier" and layout.task == "multiclass" and layout.classes < 3 else 1.0


def _r2(tally: Ints) -> float:
    """1 - W * S / (W * T2 - T**2) in whole numbers: no cancellation, whatever the ratio of mean to deviation.

    W is in 2**-20, the sums are in 2**-128. What lies below the rounding of the summands is a constant label.
    """
    samples, weight = int(tally[columns.OUTCOMES]), int(tally[columns.WEIGHT])
    errors, labels, squares = (
        exact.to_int(tally[start : start + exact.LIMBS])
        for start in (columns.SQUARED, columns.TARGET, columns.TARGET_SQUARED)
    )
    if samples < 2 or not weight:
        return math.nan
    variation = ((weight * squares) << 108) - labels * labels
    noise = (weight * (squares >> 100) + weight * 2 * samples) << 108
    if variation <= noise:
        return 1.0 if errors == 0 else 0.0
    return 1.0 - ((errors * weight) << 108) / variation


def _of_scores(histogram: ScoreHistogram, base: str) -> float:
    return histogram.roc_auc() if base == "roc_auc" else histogram.average_precision()


def _counts(layout: Layout, tally: Ints) -> Floats:
    """Confusion matrices in units of weight."""
    return np.multiply(layout.confusion(tally), WEIGHT_UNIT, dtype=np.float64)


def _weight(layout: Layout, tally: Ints) -> Floats:
    """Weight that a mean is over."""
    column = columns.WEIGHT if layout.task == "regression" else columns.SCORED_WEIGHT
    return np.multiply(tally[..., column], WEIGHT_UNIT, dtype=np.float64)


def _worth(tally: Ints) -> float:
    """Effective number of outcomes per unit of weight: 1 when all weigh 1."""
    squares = float(exact.to_float(tally[columns.WEIGHT_SQUARES : columns.WEIGHT_SQUARES + 3], -40))
    return float(tally[columns.WEIGHT]) * WEIGHT_UNIT / squares if squares > 0.0 else 0.0


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

"""River's metrics by dotted name, read from aggregates: a confusion matrix filled with weighted counts, or sums.

Invariant: what `check_river_metric` lets pass has the value that river has after the same outcomes one by one, where
its own definition does not depend on their order. With weights, river's number of samples is the sum of weights.
"""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from typing import Any

from stream.deferred import SELDOM, deferred
from stream.events import Task
from stream.monitor.basis.columns import WEIGHT_UNIT, Ints
from stream.monitor.metrics.layout import Layout

with deferred(*SELDOM):
    from river import metrics

_PREFIX = "river.metrics."

FROM_SUMS: dict[str, tuple[str, Callable[[float], float]]] = {
    "LogLoss": ("log_loss", lambda value: value),
    "CrossEntropy": ("log_loss", lambda value: value),
    "MAE": ("mae", lambda value: value),
    "MSE": ("rmse", lambda value: value * value),
    "RMSE": ("rmse", lambda value: value),
    "R2": ("r2", lambda value: value),
    "SMAPE": ("smape", lambda value: 100.0 * value),
}
"""River metrics that are one of ours, and how they follow from it."""

_INSTEAD = {
    "ROCAUC": "roc_auc, which is exact where river rounds to thresholds",
    "RollingROCAUC": "roc_auc over a window",
    "RollingPRAUC": "average_precision over a window",
    "MAPE": "mape, which does not take labels of 0 for right",
}


def check_river_metric(name: str, task: Task) -> None:
    """Raises ValueError, saying what would do, unless the metric can be read from aggregates of this task."""
    short = name.removeprefix(_PREFIX)
    kind = getattr(metrics, short, None)
    if not name.startswith(_PREFIX) or not (inspect.isclass(kind) and issubclass(kind, metrics.base.Metric)):
        near = difflib.get_close_matches(short, _known(task), n=1)
        hint = f'did you mean "{_PREFIX}{near[0]}"?' if near else f"expected one of: {', '.join(_known(task))}"
        raise ValueError(f'found "{name}", which is no metric of river: {hint}')
    if short in _known(task):
        return
    if short in _INSTEAD:
        raise ValueError(f'found "{name}", which needs events one by one, expected {_INSTEAD[short]}')
    if any(short in _known(other) for other in ("binary", "multiclass", "regression")):
        raise ValueError(f'found "{name}", which is not for {task} models, expected one of: {", ".join(_known(task))}')
    raise ValueError(
        f'found "{name}", which needs parameters or events one by one, expected one of: {", ".join(_known(task))}'
    )


def river_direction(name: str) -> int:
    """1 where river says that larger is better, else -1; 0 for a metric that is not known."""
    kind: Any = getattr(metrics, name.removeprefix(_PREFIX), None)
    try:
        return 1 if kind().bigger_is_better else -1
    except (TypeError, NotImplementedError):
        return 0


def from_confusion(name: str, layout: Layout, tally: Ints, class_names: list[str]) -> float:
    """The value of a metric that shares a confusion matrix, NaN where river has none, for one tally (width,).

    A metric of two classes sees whether prediction and truth are the positive class of a binary model.
    """
    kind = getattr(metrics, name.removeprefix(_PREFIX))
    counts = layout.confusion(tally) * WEIGHT_UNIT
    keys: list[Any] = [class_names[code] if code < len(class_names) else code for code in range(layout.classes)]
    if issubclass(kind, metrics.base.BinaryMetric):
        keys = [code == layout.positive for code in range(layout.classes)]
    matrix: Any = metrics.ConfusionMatrix()  # type: ignore[no-untyped-call]
    for truth, row in enumerate(counts.tolist()):
        for answer, weight in enumerate(row):
            if weight:
                matrix.update(keys[truth], keys[answer], weight)
    total = matrix.total_weight
    matrix.n_samples = int(total) if float(total).is_integer() else total
    try:
        value = float(kind(cm=matrix).get())
    except (ZeroDivisionError, ValueError, TypeError):
        return math.nan  # undefined for these counts; TypeError: not made for weights that are not whole
    return value if total else math.nan


def _known(task: Task) -> list[str]:
    """Short names of the metrics that can be read from aggregates."""
    if task == "regression":
        return [short for short, (own, _) in FROM_SUMS.items() if own != "log_loss"]
    known = []
    for short in dir(metrics):
        kind = getattr(metrics, short)
        if not (inspect.isclass(kind) and issubclass(kind, metrics.base.ClassificationMetric)):
            continue
        parameters = inspect.signature(kind).parameters
        needed = any(p.default is p.empty for p in parameters.values())
        shared = "cm" in parameters and not needed and short != "ClassificationReport"
        if shared and (task == "binary" or not issubclass(kind, metrics.base.BinaryMetric)):
            known.append(short)
    return [*known, "CrossEntropy", "LogLoss"] if task == "binary" else [*known, "CrossEntropy"]

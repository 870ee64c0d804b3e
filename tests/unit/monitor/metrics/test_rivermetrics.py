"""River's metrics from aggregates: river itself, fed one outcome at a time, is the judge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from river import metrics

from stream.events import Task
from stream.monitor.metrics import performance, rivermetrics
from stream.monitor.metrics.layout import Layout
from tests.unit.monitor.outcome_data import generated

NAMES = ["ant", "bee", "cat", "dog"]


def fed(short: str, task: Task, n: int, classes: int) -> float:
    """Value of a river metric that saw the outcomes one by one."""
    outcomes = generated(task, n, classes=classes)
    metric: Any = getattr(metrics, short)()
    probabilities = not getattr(metric, "requires_labels", True)
    for row in range(n):
        actual, predicted = outcomes.actual[row], outcomes.predicted[row]
        if task == "regression":
            metric.update(actual, predicted)
        elif probabilities and task == "binary":
            score = outcomes.scores[row, 0]
            metric.update(bool(actual), {True: score, False: 1.0 - score})
        elif probabilities:
            metric.update(NAMES[int(actual)], dict(zip(NAMES, outcomes.scores[row].tolist(), strict=False)))
        elif task == "binary" and isinstance(metric, metrics.base.BinaryMetric):
            metric.update(bool(actual), bool(predicted))
        else:
            metric.update(NAMES[int(actual)], NAMES[int(predicted)])
    return float(metric.get())


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 4), ("regression", 2)])
def test_every_metric_that_passes_equals_river(task: Task, classes: int) -> None:
    layout = Layout(task, classes)
    tally = layout.contributions(generated(task, 400, classes=classes)).sum(axis=0)
    known = rivermetrics._known(task)
    assert len(known) >= (5 if task == "regression" else 25)
    for short in known:
        name = f"river.metrics.{short}"
        performance.check_metric(name, task)
        got = performance.river_metric(name, layout, tally, NAMES)
        assert got == pytest.approx(fed(short, task, 400, classes), rel=1e-7), short


def test_weighted_counts_and_empty_matrices() -> None:
    outcomes = generated("binary", 200, weighted=True)
    layout = Layout("binary")
    tally = layout.contributions(outcomes).sum(axis=0)
    metric: Any = metrics.MCC()  # type: ignore[no-untyped-call]
    for actual, predicted, weight in zip(outcomes.actual, outcomes.predicted, outcomes.weight, strict=True):
        metric.update(bool(actual), bool(predicted), weight / 2**20)
    assert performance.river_metric("river.metrics.MCC", layout, tally) == pytest.approx(metric.get(), rel=1e-12)
    for short in rivermetrics._known("binary"):
        assert performance.river_metric(f"river.metrics.{short}", layout, np.zeros_like(tally)) is None, short


def test_running_tallies() -> None:
    layout = Layout("binary")
    running = np.cumsum(layout.contributions(generated("binary", 5)), axis=0)
    values, samples = performance.evaluate(layout, running, "river.metrics.Accuracy")
    assert samples.tolist() == [1, 2, 3, 4, 5]
    assert not any(math.isnan(value) for value in values)
    assert values == pytest.approx(performance.evaluate(layout, running, "accuracy")[0])

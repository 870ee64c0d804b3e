"""Seeded outcomes as columns, for tests that compare with scikit-learn on the raw values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.events import Task
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints, Outcomes


def as_outcomes(
    predicted: npt.ArrayLike, actual: npt.ArrayLike, *, scores: Floats | None = None, weight: Floats | None = None
) -> Outcomes:
    """Outcomes of one tick and pane from what a test cares about."""
    actual = np.asarray(actual, dtype=np.float64)
    n = len(actual)
    zeros = np.zeros(n, dtype=np.int64)
    units = np.full(n, 1 << 20, dtype=np.int64) if weight is None else np.rint(weight / WEIGHT_UNIT).astype(np.int64)
    return Outcomes(
        tick=zeros,
        ts=np.zeros(n),
        pane=zeros,
        predicted=np.asarray(predicted, dtype=np.float64),
        actual=actual,
        weight=units,
        scores=np.zeros((n, 0)) if scores is None else scores,
        segments=np.zeros((n, 1), dtype=np.int64),
        delay=np.zeros(n),
    )


def generated(task: Task, n: int, *, classes: int = 2, seed: int = 0, weighted: bool = False) -> Outcomes:
    """A model that is right more often than not; weights are whole multiples of 2**-10."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 4096, n) / 1024.0 if weighted else None
    if task == "regression":
        actual = rng.normal(50.0, 20.0, n)
        return as_outcomes(actual + rng.normal(0.5, 5.0, n), actual, weight=weight)
    if task == "binary":
        score = rng.beta(0.6, 1.2, n)
        return as_outcomes((score >= 0.5) * 1.0, (rng.random(n) < score) * 1.0, scores=score[:, None], weight=weight)
    scores = rng.dirichlet(np.full(classes, 0.5), n)
    actual = (scores.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=classes - 1)
    return as_outcomes(scores.argmax(axis=1), actual, scores=scores, weight=weight)


def rows(outcomes: Outcomes, chosen: Ints | slice) -> Outcomes:
    """Some of the outcomes."""
    return Outcomes(**{name: getattr(outcomes, name)[chosen] for name in Outcomes.__struct_fields__})

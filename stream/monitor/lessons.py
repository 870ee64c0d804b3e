"""Joined rows as challengers want them: values and scores by the names of their classes."""

from __future__ import annotations

import math

import numpy as np

from stream.monitor.basis.columns import Floats
from stream.monitor.known import Known


def named(m: Known, values: Floats) -> list[float] | list[str] | list[bool]:
    """Joined values as a learner wants them: numbers, class names, or for a binary model whether it is the positive
    class."""
    if m.task == "regression":
        numbers: list[float] = values.tolist()
        return numbers
    codes = values.astype(np.int64).tolist()
    if m.task == "binary":
        return [code == m.classes.positive for code in codes]
    return [m.classes.names[code] for code in codes]


def scored(m: Known, scores: Floats) -> list[dict[bool, float]] | list[dict[str, float]] | None:
    """Joined scores as a learner wants them: by row the probability of each class that has one."""
    if m.task == "regression":
        return None
    if m.task == "binary":
        return [{True: score, False: 1.0 - score} if 0.0 <= score <= 1.0 else {} for score in scores[:, 0].tolist()]
    names = m.classes.names
    return [
        {name: score for name, score in zip(names, row, strict=False) if not math.isnan(score)}
        for row in scores.tolist()
    ]

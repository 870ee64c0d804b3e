"""Metrics of confusion matrices (row: truth, column: prediction), for any number of matrices at once.

Invariant: values equal scikit-learn's with `zero_division=nan`; a mean over classes leaves out those without a value,
and those that occur neither in truth nor in prediction.
"""

from __future__ import annotations

import numpy as np

from stream.monitor.columns import Floats
from stream.monitor.metricnames import Subject


def value_of(counts: Floats, subject: Subject, code: int | None) -> Floats:
    """Values (...) of confusion matrices (..., K, K). `code`: the class that a plain or class form is about."""
    truth, answers = counts.sum(axis=-1), counts.sum(axis=-2)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    total, right = truth.sum(axis=-1), hits.sum(axis=-1)
    if subject.base == "accuracy":
        return divide(right, total)
    if subject.base == "error_rate":
        return divide(total - right, total)
    if subject.base == "balanced_accuracy":
        return average(divide(hits, truth), np.ones_like(truth))
    if subject.base == "cohen_kappa":
        return 1.0 - divide(total - right, total - divide((truth * answers).sum(axis=-1), total))
    if subject.base == "matthews_corrcoef":
        shared = right * total - (truth * answers).sum(axis=-1)
        spread = (total**2 - (answers**2).sum(axis=-1)) * (total**2 - (truth**2).sum(axis=-1))
        value = np.where(spread > 0.0, shared / np.sqrt(np.where(spread > 0.0, spread, 1.0)), 0.0)
        return np.where(total > 0.0, value, np.nan)
    part, whole = shares_of(counts, subject.base)
    values = divide(part, whole)
    if subject.form in ("macro", "weighted"):
        plain = average(values, (truth + answers > 0.0).astype(np.float64))
        weighted = plain if subject.form == "macro" else average(values, truth)
        return np.where(np.isnan(weighted), plain, weighted)  # scikit-learn ignores weights that are all zero
    return values[..., code] if code is not None and code < values.shape[-1] else np.full(total.shape, np.nan)


def shares_of(counts: Floats, base: str) -> tuple[Floats, Floats]:
    """A metric of single classes as part and whole, each (..., K)."""
    truth, answers = counts.sum(axis=-1), counts.sum(axis=-2)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    total = truth.sum(axis=-1)[..., None]
    if base == "precision":
        return hits, answers
    if base == "recall":
        return hits, truth
    if base == "f1":
        return 2.0 * hits, truth + answers
    if base == "specificity":
        return total - truth - answers + hits, total - truth
    return answers, np.broadcast_to(total, answers.shape)


def average(values: Floats, weights: Floats) -> Floats:
    """Weighted mean over the last axis of the values that are not NaN; NaN where they have no weight."""
    defined = ~np.isnan(values)
    return divide((np.where(defined, values, 0.0) * weights).sum(axis=-1), (defined * weights).sum(axis=-1))


def divide(part: Floats, whole: Floats) -> Floats:
    """part / whole, NaN where the whole is not positive."""
    return np.where(whole > 0.0, part / np.where(whole > 0.0, whole, 1.0), np.nan)

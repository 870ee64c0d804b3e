"""Names of metrics, and what a configuration is told about the others."""

from __future__ import annotations

import pytest

from stream.events import Task
from stream.monitor.metrics.metricnames import METRICS, check_metric, direction, from_scores, names, parse

TASKS: list[Task] = ["binary", "multiclass", "regression"]


@pytest.mark.parametrize("task", TASKS)
def test_every_listed_name_passes(task: Task) -> None:
    for name in names(task):
        check_metric(name, task)
        assert parse(name) is not None


def test_the_contract_is_covered() -> None:
    assert set(names("binary")) >= {
        *("accuracy", "balanced_accuracy", "precision", "recall", "f1", "specificity", "matthews_corrcoef"),
        *("cohen_kappa", "roc_auc", "average_precision", "log_loss", "brier", "calibration_error", "positive_rate"),
    }
    assert set(names("regression")) == {"mae", "rmse", "mape", "smape", "r2", "bias"}
    assert {"f1_macro", "roc_auc_weighted", "accuracy", "log_loss"} <= set(names("multiclass"))


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("acuracy", "binary", 'found "acuracy", which is no metric of binary models: did you mean "accuracy"?'),
        ("f1", "multiclass", "f1_class_<class>, f1_macro or f1_weighted"),
        ("positive_rate", "multiclass", "expected positive_rate_class_<class>$"),
        ("mae", "binary", "which is not for binary models, expected one of: accuracy"),
        ("recall_macro", "regression", "which is not for regression models"),
        ("roc_auc_macro", "binary", "which is not for binary models"),
        ("accuracy_macro", "multiclass", "which is no metric of multiclass models"),
        ("recall_class_", "multiclass", "which is no metric"),
        ("zzz", "regression", "expected one of: mae, rmse"),
        ("river.metrics.Acuracy", "binary", 'did you mean "river.metrics.Accuracy"'),
        ("river.drift.ADWIN", "binary", "which is no metric of river"),
        ("river.metrics.F1", "multiclass", "which is not for multiclass models"),
        ("river.metrics.ROCAUC", "binary", "expected roc_auc"),
        ("river.metrics.RMSLE", "regression", "events one by one"),
        ("river.metrics.FBeta", "binary", "needs parameters"),
        ("river.metrics.MAPE", "regression", "expected mape"),
    ],
)
def test_refusals_say_what_would_do(name: str, task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?").replace("(", r"\(")):
        check_metric(name, task)


def test_forms() -> None:
    check_metric("recall_class_a_class_b", "multiclass")
    subject = parse("recall_class_a_class_b")
    assert subject is not None
    assert (subject.base, subject.form, subject.class_name) == ("recall", "class", "a_class_b")
    check_metric("recall_macro", "binary")
    assert from_scores("roc_auc_class_x")
    assert not from_scores("f1_macro")
    assert not from_scores("river.metrics.F1")


def test_directions() -> None:
    assert direction("f1_class_x") == 1
    assert direction("log_loss") == direction("river.metrics.MAE") == -1
    assert direction("bias") == direction("positive_rate_class_x") == direction("nothing") == 0
    assert direction("river.metrics.MCC") == 1
    assert {metric.direction for metric in METRICS.values()} == {-1, 0, 1}

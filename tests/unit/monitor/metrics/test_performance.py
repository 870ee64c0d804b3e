"""Metrics from tallies: scikit-learn on the raw outcomes is the judge."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from stream.events import Task
from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints, Outcomes
from stream.monitor.metrics import confusion, performance
from stream.monitor.metrics.confusion import Matrix
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.metricnames import Subject
from stream.monitor.metrics.scores import ScoreHistogram
from tests.unit.monitor.outcome_data import as_outcomes, generated, rows

NAMES = ["ant", "bee", "big_cat", "dog"]

Judge = Callable[..., float]

BINARY: dict[str, Judge] = {
    "accuracy": sk.accuracy_score,
    "error_rate": sk.zero_one_loss,
    "balanced_accuracy": sk.balanced_accuracy_score,
    "precision": lambda y, p, **k: sk.precision_score(y, p, zero_division=np.nan, **k),
    "recall": lambda y, p, **k: sk.recall_score(y, p, zero_division=np.nan, **k),
    "f1": lambda y, p, **k: sk.f1_score(y, p, zero_division=np.nan, **k),
    "specificity": lambda y, p, **k: sk.recall_score(y, p, pos_label=0, zero_division=np.nan, **k),
    "matthews_corrcoef": sk.matthews_corrcoef,
    "cohen_kappa": sk.cohen_kappa_score,
    "positive_rate": lambda y, p, sample_weight: np.average(p, weights=sample_weight),
}

REGRESSION: dict[str, Judge] = {
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "mape": sk.mean_absolute_percentage_error,
    "r2": sk.r2_score,
    "smape": lambda y, p, sample_weight: np.average(
        2 * np.abs(p - y) / np.maximum(np.abs(y) + np.abs(p), 1e-300), weights=sample_weight
    ),
    "bias": lambda y, p, sample_weight: np.average(p - y, weights=sample_weight),
}


def judged(judge: Judge, *arguments: object, **named: object) -> float:
    """The judge's value without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(judge(*arguments, **named))


def weights(outcomes: Outcomes) -> Floats:
    return np.asarray(outcomes.weight * WEIGHT_UNIT)


def value(layout: Layout, outcomes: Outcomes, name: str, names: list[str] = NAMES) -> float:
    tally = layout.contributions(outcomes).sum(axis=0)
    got, samples = performance.evaluate(layout, tally, name, names)
    assert int(samples) <= len(outcomes)
    return float(got)


def histograms(layout: Layout, outcomes: Outcomes) -> list[ScoreHistogram]:
    codes = [layout.positive] if layout.task == "binary" else list(range(layout.classes))
    made = []
    for column, code in enumerate(codes):
        made.append(ScoreHistogram())
        made[-1].add(outcomes.scores[:, column], outcomes.actual == code, outcomes.weight)
    return made


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(1, 4096)), min_size=1, max_size=12)
)  # fmt: skip
def test_binary_counts_equal_scikit_learn(name: str, data: list[tuple[int, int, int]]) -> None:
    """Small samples, so that classes are missing in the truth, in the predictions or in both."""
    actual, predicted, weight = (np.array(column, dtype=np.float64) for column in zip(*data, strict=True))
    weight /= 1024.0
    outcomes = as_outcomes(predicted, actual, scores=np.full((len(actual), 1), 0.5), weight=weight)
    want = judged(BINARY[name], actual, predicted, sample_weight=weight)
    assert value(Layout("binary"), outcomes, name) == pytest.approx(want, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("base", ["precision", "recall", "f1"])
@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=15))
def test_multiclass_forms_equal_scikit_learn(base: str, data: list[tuple[int, int]]) -> None:
    actual, predicted = (np.array(column, dtype=np.float64) for column in zip(*data, strict=True))
    outcomes = as_outcomes(predicted, actual, scores=np.full((len(actual), 4), 0.25))
    layout = Layout("multiclass", 4)
    judge = getattr(sk, f"{base}_score")
    for form in ("macro", "weighted"):
        want = judged(judge, actual, predicted, average=form, zero_division=np.nan)
        assert value(layout, outcomes, f"{base}_{form}") == pytest.approx(want, abs=1e-12, nan_ok=True)
    each = judge(actual, predicted, average=None, zero_division=np.nan, labels=range(4))
    for name, want in zip(NAMES, each, strict=True):
        assert value(layout, outcomes, f"{base}_class_{name}") == pytest.approx(want, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "matthews_corrcoef", "cohen_kappa"])
@pytest.mark.parametrize("weighted", [False, True])
def test_multiclass_counts_equal_scikit_learn(name: str, weighted: bool) -> None:
    outcomes = generated("multiclass", 3000, classes=4, weighted=weighted)
    want = judged(BINARY[name], outcomes.actual, outcomes.predicted, sample_weight=weights(outcomes))
    assert value(Layout("multiclass", 4), outcomes, name) == pytest.approx(want, abs=1e-12)


def test_specificity_of_classes_is_the_recall_of_the_rest() -> None:
    outcomes = generated("multiclass", 500, classes=4)
    each = [sk.recall_score(outcomes.actual != code, outcomes.predicted != code) for code in range(4)]
    layout = Layout("multiclass", 4)
    assert value(layout, outcomes, "specificity_class_bee") == pytest.approx(each[1], abs=1e-12)
    assert value(layout, outcomes, "specificity_macro") == pytest.approx(np.mean(each), abs=1e-12)
    assert value(layout, outcomes, "positive_rate_class_bee") == pytest.approx(np.mean(outcomes.predicted == 1))


def test_classes_that_have_not_occurred_change_nothing() -> None:
    outcomes = generated("multiclass", 300, classes=3)
    small, large = Layout("multiclass", 3), Layout("multiclass", 6)
    outcomes.scores = np.hstack([outcomes.scores, np.zeros((300, 3))])
    for name in performance.names("multiclass"):
        if not performance.from_scores(name):
            assert value(small, outcomes, name) == pytest.approx(value(large, outcomes, name), abs=1e-15), name
    assert math.isnan(value(large, outcomes, "recall_class_unheard_of"))


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_losses_equal_scikit_learn(weighted: bool) -> None:
    outcomes = generated("binary", 20_000, weighted=weighted)
    outcomes.scores[:3, 0] = [0.0, 1.0, 1.0 - 1e-16]
    scores, weight = outcomes.scores[:, 0], weights(outcomes)
    layout = Layout("binary")
    want = sk.log_loss(outcomes.actual, scores, sample_weight=weight)
    assert value(layout, outcomes, "log_loss") == pytest.approx(want, abs=1e-9)
    want = sk.brier_score_loss(outcomes.actual, scores, sample_weight=weight)
    assert value(layout, outcomes, "brier") == pytest.approx(want, abs=1e-9)
    bins = np.minimum((scores * 10).astype(int), 9)
    gaps = [abs((weight * (scores - outcomes.actual))[bins == b].sum()) for b in range(10)]
    assert value(layout, outcomes, "calibration_error") == pytest.approx(sum(gaps) / weight.sum(), abs=1e-9)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_multiclass_losses_equal_scikit_learn(classes: int) -> None:
    outcomes = generated("multiclass", 5000, classes=classes, weighted=True)
    weight, layout = weights(outcomes), Layout("multiclass", classes)
    want = sk.log_loss(outcomes.actual, outcomes.scores, sample_weight=weight)
    assert value(layout, outcomes, "log_loss") == pytest.approx(want, abs=1e-9)
    want = sk.brier_score_loss(outcomes.actual, outcomes.scores, sample_weight=weight)
    assert value(layout, outcomes, "brier") == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("name", REGRESSION)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("mean", "deviation"), [(50.0, 20.0), (1e6, 1.0), (0.0, 1e-4), (0.0, 1e17)])
def test_regression_equals_scikit_learn(name: str, weighted: bool, mean: float, deviation: float) -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(mean, deviation, 5000)
    weight = rng.integers(1, 4096, 5000) / 1024.0 if weighted else np.ones(5000)
    outcomes = as_outcomes(actual + rng.normal(0.1, 0.3, 5000) * deviation, actual, weight=weight)
    want = judged(REGRESSION[name], actual, outcomes.predicted, sample_weight=weight)
    assert value(Layout("regression"), outcomes, name) == pytest.approx(want, rel=1e-9, abs=1e-9 * min(deviation, 1.0))


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e-5, 3e17, *(1.1e-6 / k for k in range(1, 9)), 1.7e-13])
def test_r2_of_constant_labels(constant: float) -> None:
    """As scikit-learn says of a constant that it can represent: 1 without error, else 0."""
    labels = np.full(50, constant)
    layout = Layout("regression")
    assert value(layout, as_outcomes(labels, labels), "r2") == 1.0
    assert value(layout, as_outcomes(labels + 1.0 + abs(constant), labels, weight=np.full(50, 0.3)), "r2") == 0.0
    assert math.isnan(value(layout, as_outcomes(labels[:1], labels[:1]), "r2"))


def test_labels_of_zero_have_a_relative_error() -> None:
    outcomes = as_outcomes(np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0]))
    want = sk.mean_absolute_percentage_error(outcomes.actual, outcomes.predicted)
    assert value(Layout("regression"), outcomes, "mape") == pytest.approx(want, rel=1e-12)
    assert value(Layout("regression"), outcomes, "smape") == pytest.approx((2.0 + 0.0 + 2.0 / 5.0) / 3.0, abs=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_score_metrics_equal_scikit_learn(weighted: bool) -> None:
    binary = generated("binary", 2000, weighted=weighted)
    layout = Layout("binary")
    for name, judge in (("roc_auc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        want = judge(binary.actual, binary.scores[:, 0], sample_weight=weights(binary))
        assert performance.score_metric(name, layout, histograms(layout, binary)) == pytest.approx(want, abs=1e-9)
    many = generated("multiclass", 2000, classes=4, weighted=weighted)
    layout = Layout("multiclass", 4)
    made = histograms(layout, many)
    for form in ("macro", "weighted"):
        want = sk.roc_auc_score(many.actual, many.scores, multi_class="ovr", average=form, sample_weight=weights(many))
        assert performance.score_metric(f"roc_auc_{form}", layout, made) == pytest.approx(want, abs=1e-9)
        want = sk.average_precision_score(many.actual, many.scores, average=form, sample_weight=weights(many))
        got = performance.score_metric(f"average_precision_{form}", layout, made)
        if form == "macro" or not weighted:  # scikit-learn weighs classes by their number of outcomes
            assert got == pytest.approx(want, abs=1e-9)
    want = sk.roc_auc_score(many.actual == 2, many.scores[:, 2], sample_weight=weights(many))
    assert performance.score_metric("roc_auc_class_big_cat", layout, made, NAMES) == pytest.approx(want, abs=1e-9)
    assert performance.score_metric("roc_auc_class_unheard_of", layout, made, NAMES) is None
    assert performance.score_metric("roc_auc_macro", layout, []) is None


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 4), ("regression", 2)])
def test_nothing_is_known_of_nothing(task: Task, classes: int) -> None:
    layout = Layout(task, classes)
    nothing = np.zeros(layout.width, dtype=np.int64)
    for name in performance.names(task):
        if not performance.from_scores(name):
            got, samples = performance.evaluate(layout, nothing, name)
            assert math.isnan(got), name
            assert samples == 0
        assert performance.interval(layout, nothing, name) is None
    for name, estimated in performance.report(layout, nothing).items():
        assert estimated.value is None, name


def test_outcomes_without_scores_count_in_counts_only() -> None:
    outcomes = generated("binary", 100)
    outcomes.scores[30:] = math.nan
    layout = Layout("binary")
    tally = layout.contributions(outcomes).sum(axis=0)
    assert performance.evaluate(layout, tally, "accuracy")[1] == 100
    got, samples = performance.evaluate(layout, tally, "brier")
    assert samples == 30
    assert got == pytest.approx(sk.brier_score_loss(outcomes.actual[:30], outcomes.scores[:30, 0]), abs=1e-9)
    assert performance.report(layout, tally, histograms(layout, outcomes))["roc_auc"].samples == 30
    outcomes.scores[:] = math.nan
    tally = layout.contributions(outcomes).sum(axis=0)
    assert "brier" not in performance.report(layout, tally, [ScoreHistogram()])


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 4), ("regression", 2)])
def test_many_tallies_at_once_equal_one_by_one(task: Task, classes: int) -> None:
    outcomes, layout = generated(task, 24, classes=classes), Layout(task, classes)
    running = np.cumsum(layout.contributions(outcomes), axis=0).reshape(4, 6, layout.width)
    for name in [*performance.names(task), "river.metrics.R2" if task == "regression" else "river.metrics.MacroF1"]:
        if performance.from_scores(name):
            continue
        values, samples = performance.evaluate(layout, running, name, NAMES)
        assert values.shape == samples.shape == (4, 6)
        for at in np.ndindex(4, 6):
            one, count = performance.evaluate(layout, running[at], name, NAMES)
            assert values[at] == pytest.approx(float(one), nan_ok=True, rel=1e-14), name
            assert samples[at] == count


def test_a_third_class_of_a_binary_model_is_not_positive() -> None:
    actual, predicted = np.array([0.0, 1, 2, 2, 1]), np.array([0.0, 1, 1, 2, 2])
    outcomes = as_outcomes(predicted, actual, scores=np.array([[0.1], [0.9], [0.8], [0.2], [0.4]]))
    layout = Layout("binary", 3)
    for name in ("precision", "recall", "f1", "specificity"):
        want = judged(BINARY[name], actual == 1, predicted == 1)
        assert value(layout, outcomes, name) == pytest.approx(want, abs=1e-12)
    want = sk.log_loss(actual == 1, outcomes.scores[:, 0])
    assert value(layout, outcomes, "log_loss") == pytest.approx(want, abs=1e-9)


def test_reports_hold_every_name() -> None:
    for task, classes in (("binary", 2), ("multiclass", 4), ("regression", 2)):
        layout = Layout(task, classes)  # type: ignore[arg-type]
        outcomes = generated(task, 200, classes=classes)  # type: ignore[arg-type]
        tally: Ints = layout.contributions(outcomes).sum(axis=0)
        made = [] if task == "regression" else histograms(layout, outcomes)
        report = performance.report(layout, tally, made, NAMES[:classes])
        assert set(performance.names(layout.task)) <= set(report)
        assert ("recall_class_big_cat" in report) == (task == "multiclass")
        for name, estimated in report.items():
            assert estimated.value is not None, name
            assert estimated.samples == 200
            if isinstance(estimated.lower, float) and isinstance(estimated.upper, float):
                assert estimated.lower <= estimated.value <= estimated.upper, name
    assert rows(outcomes, slice(0, 3)).actual.shape == (3,)


@st.composite
def tallies(draw: st.DrawFn) -> tuple[Layout, Ints]:
    """Of few or many outcomes, of which classes may be missing in the truth, in the predictions or in both."""
    task: Task = draw(st.sampled_from(["binary", "multiclass", "regression"]))
    classes = draw(st.integers(2, 5))
    outcomes = generated(
        task,
        draw(st.sampled_from([1, 2, 5, 40])),
        classes=2 if task == "binary" else classes,
        seed=draw(st.integers(0, 10_000)),
        weighted=draw(st.booleans()),
    )
    constant = draw(st.sampled_from(["nothing", "prediction", "truth", "error", "score"]))
    if constant == "prediction":
        outcomes.predicted[:] = outcomes.predicted[0]
    if constant == "truth":
        outcomes.actual[:] = outcomes.actual[0]
    if constant == "error":
        outcomes.predicted = outcomes.actual.copy()
    if constant == "score":
        outcomes.scores[::2] = math.nan
    layout = Layout(task, classes)
    return layout, layout.sums(outcomes, np.zeros(len(outcomes), dtype=np.int64), 1)[0]


@settings(max_examples=150)
@given(tallies())
def test_a_report_has_the_values_that_many_tallies_at_once_have(drawn: tuple[Layout, Ints]) -> None:
    layout, tally = drawn
    for name, estimated in performance.report(layout, tally, [], NAMES).items():
        if not performance.from_scores(name):
            values, samples = performance.evaluate(layout, tally[None], name, NAMES)
            got = math.nan if estimated.value is None else estimated.value
            assert got == pytest.approx(float(values[0]), rel=1e-13, abs=1e-14, nan_ok=True), name
            assert estimated.samples == samples[0]


@settings(max_examples=150)
@given(tallies(), st.sampled_from(["precision", "f1", "specificity", "matthews_corrcoef", "cohen_kappa"]))
def test_slopes_are_the_differences_of_values(drawn: tuple[Layout, Ints], base: str) -> None:
    layout, tally = drawn
    counts = np.zeros((1, 1)) if layout.task == "regression" else layout.confusion(tally) * WEIGHT_UNIT
    if not counts.any():
        return
    for form in ("macro", "weighted") if base in ("precision", "f1", "specificity") else ("plain",):
        subject = Subject(base, form)
        matrix = Matrix(layout.confusion(tally))
        slopes = matrix.slopes(subject)
        if slopes is None:
            value = matrix.value(subject, 1)
            assert math.isnan(value) or value == 0.0
            continue
        share = counts / counts.sum()
        filled = np.argwhere(share > 0.0)
        differences = []
        for row, column in filled:
            step = share[row, column] * 1e-4
            moved = np.repeat(share[None], 2, axis=0)
            moved[0, row, column] += step
            moved[1, row, column] -= step
            above, below = confusion.value_of(moved, subject, 1)
            differences.append((above - below) / (2.0 * step))
        shares, found = (np.array(each) for each in zip(*matrix.cells(slopes), strict=True))
        assert shares == pytest.approx(share[share > 0.0], rel=1e-14)
        got, want = found - shares @ found, np.array(differences) - shares @ np.array(differences)
        assert got == pytest.approx(want, rel=1e-6, abs=1e-6), subject


@pytest.mark.parametrize("of", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("asked", ["binary", "multiclass", "regression"])
def test_no_interval_is_known_of_what_is_no_metric_of_the_task(of: Task, asked: Task) -> None:
    for name in performance.names(of):
        try:
            performance.check_metric(name, asked)
        except ValueError:
            assert not performance.has_interval(name, asked)

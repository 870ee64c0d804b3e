"""Challengers on a stream: river alone is the judge, slices and restarts make no difference, failures stay inside."""

from __future__ import annotations

import math
import random
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, metrics, preprocessing
from sklearn.metrics import log_loss

from stream.checkpoint.port import StateRefused
from stream.config import Challenger, Learn
from stream.events import Scalar, Task
from stream.learning.learner import Learner
from stream.learning.trained import MAX_FEATURES, MAX_INDICATORS, MAX_TEXTS, Inputs, read_artifact

judges: Any = metrics
SCALER, LOGISTIC = "river.preprocessing.StandardScaler", "river.linear_model.LogisticRegression"
FOREST = Challenger("forest", ({"river.forest.ARFClassifier": {"n_models": 2}},), seed=3)
LOGREG = Challenger("logreg", (SCALER, {LOGISTIC: {"l2": 0.001}}))
LINEAR = Challenger("linear", (SCALER, "river.linear_model.LinearRegression"))


def events(n: int, task: Task, seed: int = 1) -> tuple[list[dict[str, Scalar]], list[Any], list[Any], Any]:
    rng = random.Random(seed)
    features: list[dict[str, Scalar]] = []
    actual: list[Any] = []
    incumbent: list[Any] = []
    for _ in range(n):
        x, z = rng.gauss(0, 1), rng.random()
        features.append({"x": x, "z": z, "flag": z > 0.5, "none": None, "country": rng.choice(["BR", "DE", "US"])})
        value = x + z + rng.gauss(0, 0.3)
        if task == "binary":
            actual.append(value > 0.5)
            incumbent.append(x > 0)
        elif task == "multiclass":
            actual.append("abc"[min(max(int(value + 1), 0), 2)])
            incumbent.append("b")
        else:
            actual.append(value)
            incumbent.append(x)
    return features, actual, incumbent, np.arange(n, dtype=float)


def learner(*challengers: Challenger, task: Task = "binary", every: int = 10_000, model: str = "m") -> Learner:
    return Learner(Learn(challengers=challengers, save_every=every, registry="models"), model, task)


def test_binary_equals_river_alone() -> None:
    features, actual, incumbent, ts = events(400, "binary")
    numeric: list[dict[str, Scalar]] = [{"x": row["x"], "z": row["z"]} for row in features]
    mine = learner(LOGREG)
    mine.observe(numeric, actual, incumbent, ts)
    alone: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression(l2=0.001)
    scores, mine_judge, theirs = [], judges.Accuracy(), judges.Accuracy()
    f1 = judges.F1()
    for row, truth, answer in zip(numeric, actual, incumbent, strict=True):
        score = alone.predict_proba_one(row)
        scores.append(score[True])
        answered = max(score, key=score.__getitem__)
        mine_judge.update(truth, answered)
        f1.update(truth, answered)
        theirs.update(truth, answer)
        alone.learn_one(row, truth)
    (view,) = mine.views()
    assert view.samples == 400
    assert view.metrics["accuracy"] == mine_judge.get()
    assert view.metrics["f1"] == f1.get()
    assert view.metrics["log_loss"] == pytest.approx(log_loss(actual, scores), abs=1e-9)
    assert view.incumbent["accuracy"] == theirs.get()
    assert "log_loss" not in view.incumbent


def test_regression_equals_river_alone() -> None:
    features, actual, incumbent, ts = events(300, "regression")
    numeric: list[dict[str, Scalar]] = [{"x": row["x"], "z": row["z"]} for row in features]
    mine = learner(LINEAR, task="regression")
    mine.observe(numeric, actual, incumbent, ts)
    alone: Any = preprocessing.StandardScaler() | linear_model.LinearRegression()
    wanted = {"mae": judges.MAE(), "rmse": judges.RMSE(), "r2": judges.R2()}
    theirs = {"mae": judges.MAE(), "rmse": judges.RMSE(), "r2": judges.R2()}
    for row, truth, answer in zip(numeric, actual, incumbent, strict=True):
        for name, metric in wanted.items():
            metric.update(truth, alone.predict_one(row))
            theirs[name].update(truth, answer)
        alone.learn_one(row, truth)
    (view,) = mine.views()
    assert view.metrics == pytest.approx({name: metric.get() for name, metric in wanted.items()}, abs=1e-9)
    assert view.incumbent == pytest.approx({name: metric.get() for name, metric in theirs.items()}, abs=1e-9)


def test_multiclass_learns_from_text_too() -> None:
    mine = learner(FOREST, task="multiclass")
    mine.observe(*events(500, "multiclass"))
    (view,) = mine.views()
    assert view.metrics.keys() == {"accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "log_loss"}
    ours, theirs = view.metrics["accuracy"], view.incumbent["accuracy"]
    assert ours is not None
    assert theirs is not None
    assert ours > theirs


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 100), max_size=4), st.booleans())
def test_slices_and_restarts_make_no_difference(cuts: list[int], restart: bool) -> None:
    features, actual, incumbent, ts = events(100, "binary")
    whole = learner(LOGREG, FOREST, every=40)
    expected = whole.observe(features, actual, incumbent, ts)
    part, saved = learner(LOGREG, FOREST, every=40), []
    bounds = [0, *sorted(cuts), 100]
    for start, end in pairwise(bounds):
        rows = slice(start, end)
        saved += part.observe(features[rows], actual[rows], incumbent[rows], ts[rows])
        if restart:
            state = part.state()
            part = learner(LOGREG, FOREST, every=40)
            part.restore(state)
    assert part.views() == whole.views()
    assert [one.path for one in saved] == [one.path for one in expected]
    # The bytes of a pickle depend on which objects are shared, so only what they say is compared.
    for one, other in zip(saved, expected, strict=True):
        assert {**_fields(one.update), "sha256": ""} == {**_fields(other.update), "sha256": ""}


def _fields(update: Any) -> dict[str, Any]:
    return {name: getattr(update, name) for name in update.__struct_fields__}


def test_versions_are_numbered_announced_and_usable() -> None:
    features, actual, incumbent, ts = events(250, "binary")
    saved = learner(LOGREG, every=100, model="fraud/eu").observe(features, actual, incumbent, ts)
    assert [(one.update.version, one.update.parent, one.update.samples, one.update.ts) for one in saved][1:] == [
        ("2", "1", 200, 199.0)
    ]
    first, second = saved
    assert first.path == "fraud%2Feu/logreg/1.river"
    assert first.update.uri == "models/fraud%2Feu/logreg/1.river"
    assert first.update.sha256 == sha256(first.artifact).hexdigest()
    assert first.update.id != second.update.id
    assert first.update.challenger == "logreg"
    again = learner(LOGREG, every=100, model="fraud/eu").observe(features, actual, incumbent, ts)
    assert [one.update.id for one in again] == [one.update.id for one in saved]
    artifact = read_artifact(second.artifact)
    assert (artifact.model, artifact.samples, artifact.task) == ("fraud/eu", 200, "binary")
    judged = artifact.trained().predict({"x": 3.0, "z": 0.9, "country": "BR"})
    assert judged is not None
    assert judged.answer is True
    with pytest.raises(StateRefused):
        read_artifact(b"something else")


def test_a_challenger_that_raises_is_switched_off_and_the_rest_goes_on() -> None:
    features, actual, incumbent, ts = events(60, "binary")
    broken = Challenger("broken", ({"river.preprocessing.FeatureHasher": {"n_features": 0}}, LOGISTIC))
    mine = learner(broken, LOGREG, every=30)
    saved = mine.observe(features, actual, incumbent, ts)
    off, on = mine.views()
    assert off.off is not None
    assert "after 0 outcomes" in off.off
    assert (on.off, on.samples) == (None, 60)
    assert [one.update.challenger for one in saved] == ["logreg", "logreg"]
    assert mine.notes() == [f"challenger broken is switched off: {off.off}"]
    restored = learner(broken, LOGREG, every=30)
    restored.restore(mine.state())
    assert restored.views() == mine.views()


def test_one_that_diverges_is_switched_off() -> None:
    wild = Challenger(
        "wild", ({"river.linear_model.LinearRegression": {"optimizer": {"river.optim.SGD": {"lr": 1e300}}}},)
    )
    mine = learner(wild, task="regression")
    mine.observe(*events(300, "regression"))
    (view,) = mine.views()
    assert view.off is not None
    assert "diverged" in view.off
    assert all(value is None or math.isfinite(value) for value in view.metrics.values())


def test_a_classifier_without_probabilities_is_scored_by_its_answers() -> None:
    codes = {"river.multiclass.OutputCodeClassifier": {"classifier": [SCALER, LOGISTIC], "code_size": 8}}
    mine = learner(Challenger("codes", (codes,)), task="multiclass")
    mine.observe(*events(200, "multiclass"))
    (view,) = mine.views()
    assert view.samples == 200
    assert view.metrics["log_loss"] is None
    assert view.metrics["accuracy"] is not None
    assert view.off is None


def test_a_challenger_described_anew_starts_anew_with_the_next_version() -> None:
    features, actual, incumbent, ts = events(100, "binary")
    old = learner(LOGREG, FOREST, every=50)
    old.observe(features, actual, incumbent, ts)
    changed = Challenger("logreg", (SCALER, {LOGISTIC: {"l2": 0.1}}))
    new = learner(changed, every=50)
    new.restore(old.state())
    assert [(view.name, view.samples, view.version) for view in new.views()] == [("logreg", 0, "2")]
    (saved,) = new.observe(features[:50], actual[:50], incumbent[:50], ts[:50])
    assert (saved.update.version, saved.update.samples) == ("3", 50)


def test_without_challengers_nothing_is_kept() -> None:
    mine = learner()
    assert mine.observe([], [True], [False], np.zeros(1)) == []
    assert (mine.views(), mine.notes()) == ([], [])
    learner().restore(mine.state())


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises(StateRefused):
        learner(LOGREG).restore(b"noise")


def test_inputs_are_bounded_whatever_comes() -> None:
    inputs, text = Inputs(), Inputs(text=True)
    for n in range(3000):
        row: dict[str, Scalar] = {f"name{n}": 1.0, "category": f"value{n}", "inf": math.inf}
        read, kept = inputs.read(row), text.read(row)
        assert len(read) <= MAX_INDICATORS + 1
        assert "inf" not in read
    assert kept == {"category": "__other__"}
    assert len(inputs.names) == len(text.names) == MAX_FEATURES
    assert len(inputs.names["category"]) == MAX_INDICATORS
    assert len(text.names["category"]) == MAX_TEXTS


def test_indicators_are_zero_when_absent() -> None:
    inputs = Inputs()
    assert inputs.read({"c": "a"}) == {"c=a": 1.0}
    assert inputs.read({"c": "b", "ok": True}) == {"c=a": 0.0, "c=b": 1.0, "ok": 1.0}
    assert inputs.read({"c": None}) == {}

"""Pipelines from the configuration: what is built, and what each wrong description is told."""

from __future__ import annotations

from typing import Any

import pytest
from river import compose, ensemble, linear_model, optim, preprocessing

from stream.config import Challenger
from stream.events import Task
from stream.learning.pipeline import build, check_challenger, names_in, public_names

SCALER, LOGISTIC = "river.preprocessing.StandardScaler", "river.linear_model.LogisticRegression"


def spec(*model: Any, seed: int = 0) -> Challenger:
    return Challenger(name="c", model=model, seed=seed)


def test_names_with_and_without_parameters() -> None:
    built = build(spec(SCALER, {LOGISTIC: {"l2": 0.001}}))
    assert isinstance(built, compose.Pipeline)
    assert [type(step) for step in built.steps.values()] == [
        preprocessing.StandardScaler,
        linear_model.LogisticRegression,
    ]
    assert built["LogisticRegression"].l2 == 0.001
    assert isinstance(build(spec({LOGISTIC: None})), linear_model.LogisticRegression)


def test_parameters_may_be_steps_and_a_list_of_steps_is_a_pipeline() -> None:
    built = build(
        spec({LOGISTIC: {"optimizer": {"river.optim.Adam": {"lr": 0.5}}, "loss": "river.optim.losses.Hinge"}})
    )
    assert isinstance(built.optimizer, optim.Adam)
    assert isinstance(built.loss, optim.losses.Hinge)
    bagged = build(spec({"river.ensemble.BaggingClassifier": {"model": [SCALER, LOGISTIC]}}))
    assert isinstance(bagged, ensemble.BaggingClassifier)
    assert isinstance(bagged.model, compose.Pipeline)
    voting = build(spec({"river.ensemble.VotingClassifier": {"models": [LOGISTIC, [SCALER, LOGISTIC]]}}))
    assert [type(model) for model in voting.models] == [linear_model.LogisticRegression, compose.Pipeline]


def test_text_and_numbers_take_different_ways() -> None:
    text = [{"river.compose.SelectType": {"types": ["str"]}}, "river.preprocessing.OneHotEncoder"]
    numbers = [{"river.compose.SelectType": {"types": ["float"]}}, SCALER]
    built = build(spec({"river.compose.TransformerUnion": {"transformers": [text, numbers]}}, LOGISTIC))
    for n in range(20):
        built.learn_one({"c": "a" if n % 2 else "b", "x": float(n)}, bool(n % 2))
    assert built.predict_proba_one({"c": "a", "x": 3.0})[True] > 0.5


def test_the_seed_reaches_every_estimator_that_takes_one() -> None:
    forest = build(spec({"river.forest.ARFClassifier": {"n_models": 3}}, seed=7))
    assert forest.seed == 7
    inner = {"river.forest.ARFClassifier": {"seed": 3}}
    bagged = build(spec({"river.ensemble.BaggingClassifier": {"model": inner}}, seed=7))
    assert (bagged.seed, bagged.model.seed) == (7, 3)


def test_every_public_name_of_a_learner_is_found() -> None:
    assert {"river.tree.HoeffdingTreeClassifier", "river.optim.losses.Huber"} <= set(public_names())
    assert list(names_in(spec(SCALER, {LOGISTIC: {"optimizer": "river.optim.SGD"}}))) == [
        SCALER,
        LOGISTIC,
        "river.optim.SGD",
    ]


GOOD: list[tuple[Task, str]] = [
    ("binary", LOGISTIC),
    ("multiclass", "river.linear_model.SoftmaxRegression"),
    ("multiclass", "river.forest.ARFClassifier"),
    ("regression", "river.linear_model.LinearRegression"),
]


@pytest.mark.parametrize(("task", "last"), GOOD)
def test_what_can_do_the_task_passes(task: Task, last: str) -> None:
    check_challenger(spec(SCALER, last), task)


BAD: list[tuple[Task, tuple[Any, ...], str]] = [
    ("binary", (), "found no steps"),
    ("binary", (SCALER, "river.linear_model.LogisticRegresion"), f"step 2: found river.*nearest is {LOGISTIC}"),
    ("binary", ("sklearn.linear_model.LogisticRegression",), f"step 1: found sklearn.*nearest is {LOGISTIC}"),
    ("binary", ("os.system",), "step 1: found os.system, which is no class of river's learning packages"),
    ("binary", ("river.datasets.Phishing",), "no class of river's learning packages"),
    ("binary", ("river.stream.iter_csv",), "no class of river's learning packages"),
    ("binary", ("river.compose.pipeline.base.Estimator",), "no class"),
    ("binary", ("river.tree.__init__",), "no class"),
    ("binary", ("river.tree.base.Branch",), "interface|no class"),
    ("binary", ({LOGISTIC: {"l3": 1}},), "step 1: .*LogisticRegression has no parameter l3; nearest is l2"),
    ("binary", ({LOGISTIC: {"optimizer": "river.optim.Adm"}},), "step 1, optimizer of LogisticRegression: found river"),
    ("binary", ({LOGISTIC: {"l1": 1, "l2": 1}},), "step 1: .*does not take these parameters"),
    ("binary", ({LOGISTIC: {}, SCALER: {}},), "step 1: found .*expected a name such as"),
    ("binary", ({LOGISTIC: [1]},), "step 1: found .*expected a name such as"),
    ("binary", (7,), "step 1: found 7"),
    ("binary", (SCALER,), "step 1: .*is a transformer, expected a classifier for a binary model, such as river"),
    ("binary", ("river.linear_model.LinearRegression",), "is a regressor, expected a classifier"),
    ("regression", (SCALER, LOGISTIC), "step 2: .*is a classifier, expected a regressor for a regression model"),
    ("multiclass", (LOGISTIC,), "knows two classes only: put it into {river.multiclass.OneVsRestClassifier"),
]


@pytest.mark.parametrize(("task", "model", "message"), BAD)
def test_what_is_wrong_is_told(task: Task, model: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_challenger(spec(*model), task)

"""Learners come back as they were; a pickle that would run code does not run."""

from __future__ import annotations

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import compose, drift, ensemble, forest, linear_model, multiclass, naive_bayes, neighbors, optim, tree
from river import preprocessing as prep

from stream.checkpoint.pickles import dumps, loads
from stream.checkpoint.port import StateRefused

LEARNERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: prep.StandardScaler() | linear_model.LogisticRegression(optim.Adam(0.01)),
    "softmax": lambda: prep.StandardScaler() | linear_model.SoftmaxRegression(),
    "passive-aggressive": lambda: linear_model.PAClassifier(mode=1),  # type: ignore[no-untyped-call]
    "mixed": lambda: (
        (compose.SelectType(str) | prep.OneHotEncoder()) + (compose.SelectType(float) | prep.StandardScaler())
        | linear_model.LogisticRegression()
    ),
    "bayes": naive_bayes.GaussianNB,
    "neighbours": lambda: neighbors.KNNClassifier(3),
    "tree": lambda: tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1),
    "forest": lambda: forest.ARFClassifier(n_models=3, seed=1),
    "mondrian": lambda: forest.AMFClassifier(n_estimators=3, seed=1),
    "patches": lambda: ensemble.SRPClassifier(n_models=3, seed=1),
    "bagging": lambda: ensemble.LeveragingBaggingClassifier(linear_model.LogisticRegression(), n_models=3, seed=1),
    "output-code": lambda: multiclass.OutputCodeClassifier(linear_model.LogisticRegression(), 3, seed=1),
    "random-features": lambda: prep.GaussianRandomProjector(2, seed=1) | linear_model.LogisticRegression(),
}  # fmt: skip


def _teach(learner: Any, seed: int, rows: int) -> list[Any]:
    rng = random.Random(seed)
    answers = []
    for _ in range(rows):
        x: dict[str, Any] = {"a": rng.gauss(0, 1), "b": rng.random(), "c": rng.choice("xyz")}
        if "SelectType" not in str(learner):
            x["c"] = float(ord(str(x["c"])) - 120)
        answers.append(learner.predict_one(x))
        learner.learn_one(x, x["a"] + x["b"] > 0.5)
    return answers


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_goes_on_as_if_it_had_never_stopped(name: str) -> None:
    learner = LEARNERS[name]()
    _teach(learner, 1, 150)
    restored = loads(dumps(learner))
    assert _teach(restored, 2, 60) == _teach(learner, 2, 60)


DETECTORS = [
    drift.ADWIN,
    lambda: drift.KSWIN(seed=1),
    drift.PageHinkley,
    drift.binary.DDM,
    drift.binary.EDDM,
    drift.binary.FHDDM,
    drift.binary.HDDMA,
    drift.binary.HDDMW,
]


@pytest.mark.parametrize("kind", DETECTORS)
def test_a_detector_goes_on_as_if_it_had_never_stopped(kind: Callable[[], Any]) -> None:
    rng = random.Random(1)
    values = [int(rng.random() < (0.1 if n < 700 else 0.7)) for n in range(1000)]
    whole, part = kind(), kind()
    found = [whole.update(value) or whole.drift_detected for value in values]
    again = [part.update(value) or part.drift_detected for value in values[:650]]
    part = loads(dumps(part))
    again += [part.update(value) or part.drift_detected for value in values[650:]]
    assert again == found


def test_plain_parts_come_back() -> None:
    rng, generator = random.Random(3), np.random.RandomState(3)
    back = loads(
        dumps({"rng": rng, "np": generator, "array": np.arange(3.0), "scalar": np.float64(2), "set": {1, "a"}})
    )
    assert back["rng"].random() == rng.random()
    assert back["np"].random_sample() == generator.random_sample()
    assert (back["array"].tolist(), back["scalar"], back["set"]) == ([0.0, 1.0, 2.0], 2.0, {1, "a"})


class _Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def _text(module: str, name: str, *arguments: str) -> bytes:
    """A pickle, written by hand, that calls module.name: names that the pickler would not write."""
    pushed = b"".join(b"V" + argument.encode() + b"\n" for argument in arguments)
    return f"c{module}\n{name}\n(".encode() + pushed + b"tR."


def _hostile(target: str) -> dict[str, bytes]:
    from importlib import import_module

    return {
        "system": pickle.dumps(_Call(os.system, f"touch {target}")),
        "eval": pickle.dumps(_Call(eval, f"open({target!r}, 'w')")),
        "open": pickle.dumps(_Call(open, target, "w")),
        "import": pickle.dumps(_Call(import_module, "os")),
        "path": pickle.dumps(_Call(Path.touch, Path(target))),
        "dump": pickle.dumps(_Call(np.ndarray.tofile, np.arange(3), target)),
        "load": pickle.dumps(_Call(np.load, target)),
        "through river's imports": _text("river.linear_model.base", "np.save", target, "x"),
        "module attribute of river": _text("river.compose.pipeline", "io.open", target, "w"),
        "river download": _text("river.datasets.base", "RemoteDataset", target),
        "river file reader": _text("river.stream.iter_csv", "iter_csv", target),
        "dunder": _text("river.drift.adwin", "ADWIN.__init__.__globals__.get", "os"),
        "subclasses": _text("builtins", "object.__subclasses__"),
        "dunder of a class": b"criver.drift.adwin\nADWIN.__init__\n.",
        "getattr dunder": _text("builtins", "getattr", "text", "__class__"),
        "river's getattr": _text("river.base.base", "importlib.import_module", "os"),
        "not river": _text("riverside.evil", "run", target),
        "dots": _text("river..os", "system", target),
        "codecs": _text("_codecs", "encode", "x", "latin1"),
        "persistent": b"Pevil\n.",
    }


@pytest.mark.parametrize("kind", _hostile(""))
def test_a_hostile_pickle_does_not_run(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "made by a pickle"
    with pytest.raises(StateRefused):
        loads(_hostile(str(target))[kind])
    assert not target.exists()


def test_a_refusal_names_what_was_found_and_what_to_do() -> None:
    with pytest.raises(StateRefused, match=r"names (posix|nt)\.system, .*nothing of it was run.*stream reset"):
        loads(pickle.dumps(_Call(os.system, "true")))
    with pytest.raises(StateRefused, match=r"cannot be read.*damaged.*stream reset"):
        loads(dumps(linear_model.LogisticRegression())[:-20])


@pytest.mark.parametrize("put", [b"p4194304\n", b"r" + (1 << 22).to_bytes(4, "little"), b"q\xff"])
def test_a_place_in_the_memo_that_takes_more_memory_than_the_pickle_is_refused(put: bytes) -> None:
    for pickled in (b"\x80\x05N" + put + b".", b"c\n\n" + put + b".", b"\x80\x05\x8c\x01rI1\n" + put + b"."):
        with pytest.raises(StateRefused, match="no stored learner has the opcode"):
            loads(pickled)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda held: st.lists(held) | st.dictionaries(st.text(), held) | st.tuples(held, held),
    )
)
def test_what_is_written_is_read(value: object) -> None:
    assert loads(dumps([value, value])) == [value, value]


@given(st.binary())
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    try:
        loads(noise)
    except StateRefused:
        pass

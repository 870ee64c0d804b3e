"""What challengers learn from stays finite, and the bounds survive a restart."""

from __future__ import annotations

import numpy as np

from stream.config import Challenger, Learn, Limits
from stream.events import Scalar
from stream.learning.bounds import MAX_TEXT, OTHER, Bounds, reads_words
from stream.learning.learner import Learner

ONE_HOT = Challenger("c", ("river.preprocessing.OneHotEncoder", "river.linear_model.LogisticRegression"))


def test_names_and_texts_beyond_the_limits() -> None:
    bounds = Bounds(names=2, texts=2)
    assert bounds.within({"a": "x", "b": 1.0, "c": 2.0}) == {"a": "x", "b": 1.0}
    assert bounds.within({"a": "y", "c": "z"}) == {"a": "y"}
    assert bounds.within({"a": "z", "b": None}) == {"a": OTHER, "b": None}
    assert bounds.within({"a": "x"}) == {"a": "x"}


def test_long_names_and_texts_are_not_kept() -> None:
    bounds = Bounds(names=2)
    assert bounds.within({"n" * (MAX_TEXT + 1): 1.0, "a": "t" * (MAX_TEXT + 1)}) == {"a": OTHER}
    assert bounds.state() == {"a": []}


def test_the_bounds_survive_a_restart() -> None:
    bounds, again = Bounds(2, 2), Bounds(2, 2)
    for text in "xyz":
        bounds.within({"a": text})
    again.restore(bounds.state())
    rows: list[dict[str, Scalar]] = [{"a": text, "b": 1.0, "c": 2.0} for text in "wxyz"]
    assert [again.within(row) for row in rows] == [bounds.within(row) for row in rows]


def test_learners_of_words_get_whole_texts() -> None:
    words = Challenger("w", ({"river.feature_extraction.TFIDF": {"on": "text"}}, "river.naive_bayes.MultinomialNB"))
    assert reads_words(words)
    assert not reads_words(ONE_HOT)
    assert Bounds(1, None).within({"text": "one two " * 1000}) == {"text": "one two " * 1000}


def test_a_learner_stops_growing() -> None:
    learner = Learner(Learn(challengers=(ONE_HOT,)), "m", "binary", Limits(features=5))
    sizes = []
    for start in (0, 1200, 2400):
        rows: list[dict[str, Scalar]] = [{f"f{i}": 1.0, "kind": f"k{i}"} for i in range(start, start + 1200)]
        truth = [i % 2 == 0 for i in range(1200)]
        learner.observe(rows, truth, truth, np.arange(1200.0))
        sizes.append(len(learner.state()))
    assert sizes[2] < 1.05 * sizes[1]

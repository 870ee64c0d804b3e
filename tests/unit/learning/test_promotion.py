"""Promotion: what is better is promoted, what is not is not, and what turns out worse is taken back."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.config import Challenger, Learn, Promote
from stream.events import Scalar
from stream.learning.challenger import Saved
from stream.learning.learner import Learner
from stream.learning.trained import Judged, read_artifact
from stream.learning.trial import Trial, loss

LOGREG = Challenger("logreg", ("river.preprocessing.StandardScaler", "river.linear_model.LogisticRegression"))
PROMOTE = Promote(min_samples=200)


def losses(seed: int, count: int, gain: float) -> Any:
    rng = np.random.default_rng(seed)
    ours, theirs = (np.minimum(rng.exponential(0.4, count), 4.6) for _ in range(2))
    return zip((ours - gain).tolist(), theirs.tolist(), strict=True)


@pytest.mark.parametrize("promote", [Promote(confidence=0.9, min_samples=20), Promote("brier", 0.9, 20)])
def test_an_equal_challenger_is_rarely_promoted_though_it_is_looked_at_always(promote: Promote) -> None:
    wrong = 0
    for seed in range(100):
        trial = Trial()
        for ours, theirs in losses(seed, 1000, 0.0):
            trial.add(min(ours, 1.0), min(theirs, 1.0), promote)
            if trial.wins(promote):
                wrong += 1
                break
    assert wrong <= 10


def test_a_better_challenger_wins_and_the_bound_is_below_the_truth() -> None:
    won = 0
    for seed in range(20):
        trial = Trial()
        for ours, theirs in losses(seed, 2000, 0.2):
            trial.add(ours, theirs, PROMOTE)
            assert trial.samples >= PROMOTE.min_samples or not trial.wins(PROMOTE)
        lower = trial.lower(PROMOTE)
        assert lower is not None
        assert lower < 0.2
        won += trial.wins(PROMOTE)
        assert not trial.wins(Promote(min_samples=200, margin=0.25))
    assert won == 20


def test_a_long_equal_past_does_not_hide_the_present() -> None:
    trial = Trial()
    for ours, theirs in losses(1, 20_000, 0.0):
        trial.add(ours, theirs, PROMOTE)
        assert not trial.wins(PROMOTE)
    won = []
    for ours, theirs in losses(2, 6000, 0.3):
        trial.add(ours, theirs, PROMOTE)
        won.append(trial.wins(PROMOTE))
    assert any(won[:4000])
    assert trial.round > 1


def test_losses_of_answers() -> None:
    sure = Judged("a", {"a": 0.0, "b": 1.0})
    assert loss(Promote("log_loss"), "multiclass", "a", sure) == pytest.approx(4.605, abs=1e-3)
    assert loss(Promote("brier"), "multiclass", "a", sure) == 1.0
    assert loss(Promote("accuracy"), "multiclass", "a", sure) == 0.0
    assert loss(Promote("log_loss"), "multiclass", "a", Judged("a")) is None


def events(count: int, broken_from: int, healed_from: int) -> tuple[Any, ...]:
    """The incumbent knows the truth but from `broken_from` to `healed_from`, where it guesses; then x turns around, and
    the incumbent knows that."""
    rng = random.Random(3)
    features: list[dict[str, Scalar]] = []
    actual, incumbent, scores = [], [], []
    for number in range(count):
        x = rng.gauss(0, 1)
        truth = (x + rng.gauss(0, 0.4) > 0) != (number >= healed_from)
        score = 0.5 if broken_from <= number < healed_from else (0.92 if truth else 0.08)
        features.append({"x": x})
        actual.append(truth)
        incumbent.append(score >= 0.5)
        scores.append({True: score, False: 1 - score})
    return features, actual, incumbent, np.arange(count, dtype=float), scores


def learn(cuts: list[int], restart: bool, rows: tuple[Any, ...]) -> tuple[Learner, list[Saved]]:
    spec = Learn(challengers=(LOGREG,), save_every=1000, registry="models", promote=PROMOTE)
    learner, saved = Learner(spec, "m", "binary"), []
    for start, end in pairwise([0, *sorted(cuts), len(rows[0])]):
        saved += learner.observe(*(part[start:end] for part in rows))
        if restart:
            state, learner = learner.state(), Learner(spec, "m", "binary")
            learner.restore(state)
    return learner, saved


ROWS = events(4000, 500, 1800)


def test_promoted_when_better_and_rolled_back_when_worse() -> None:
    learner, saved = learn([], False, ROWS)
    decided = [each for each in saved if each.update.action in ("promoted", "rolled_back")]
    promoted, taken_back = decided[0], decided[1]
    assert promoted.update.action == "promoted"
    assert promoted.update.reason.startswith("promoted: mean log_loss of logreg 0.")
    assert 500 < promoted.update.ts < 1800
    assert read_artifact(promoted.artifact).version == promoted.update.version
    assert taken_back.update.action == "rolled_back"
    assert taken_back.update.reason.startswith("rolled back: mean log_loss of the incumbent 0.")
    assert taken_back.update.ts > 1800
    assert not taken_back.artifact
    same = ("model", "challenger", "version", "uri", "sha256")
    assert [getattr(taken_back.update, name) for name in same] == [getattr(promoted.update, name) for name in same]
    assert taken_back.update.id != promoted.update.id
    (view,) = learner.views()
    assert view.trial is not None
    assert view.trial.rival == "incumbent"
    assert view.incumbent["log_loss"] is not None


def test_the_promoted_version_is_the_one_to_beat() -> None:
    rows = tuple(part[:1800] for part in ROWS)
    learner, saved = learn([], False, rows)
    (promoted,) = (each for each in saved if each.update.action == "promoted")
    (view,) = learner.views()
    assert view.promoted == promoted.update.version
    assert view.trial is not None
    assert view.trial.rival == f"logreg version {promoted.update.version}"


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=4))
def test_slices_and_restarts_change_no_decision(cuts: list[int]) -> None:
    whole, saved = learn([], False, ROWS)
    part, same = learn(cuts, True, ROWS)
    assert part.views() == whole.views()
    assert [each.update.id for each in same] == [each.update.id for each in saved]
    assert [each.update.reason for each in same] == [each.update.reason for each in saved]


def test_without_scores_nothing_is_compared() -> None:
    learner, saved = learn([], False, (*ROWS[:4], [{}] * 4000))
    assert all(each.update.action not in ("promoted", "rolled_back") for each in saved)
    (view,) = learner.views()
    assert view.trial is not None
    assert view.trial.samples == 0

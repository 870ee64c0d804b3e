"""Performance without labels: equal to scikit-learn's isotonic regression applied event by event; and at the edges."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as judge
from sklearn.isotonic import IsotonicRegression

from stream.monitor.basis.columns import WEIGHT_UNIT, Floats, Ints, Outcomes
from stream.monitor.estimates import estimate, guesses
from stream.monitor.estimates.estimate import Estimator, Expected
from stream.monitor.estimates.guesses import EXACT, PLACES, Counts, Grid, key, parts
from stream.monitor.metrics.layout import Layout

BINARY = Layout("binary")


def outcomes(predicted: Ints, actual: Ints, scores: Floats) -> Outcomes:
    n = len(actual)
    zeros, floats = np.zeros(n, np.int64), np.zeros(n)
    weight = np.full(n, int(1 / WEIGHT_UNIT), np.int64)
    segments = np.zeros((n, 1), np.int64)
    columns = scores.reshape(n, -1)
    return Outcomes(
        zeros, floats, zeros, predicted.astype(float), actual.astype(float), weight, columns, segments, floats
    )


def draw(rng: np.random.Generator, n: int, distinct: int | None, tilt: float = 1.0) -> tuple[Floats, Ints, Ints]:
    """Scores that are not calibrated, predictions and truths."""
    scores = rng.beta(1.0, 2.0, n)
    if distinct:
        scores = np.round(scores * distinct) / distinct * 0.97 + 0.0123456789
    chance = np.clip(scores**tilt * 0.9 + 0.03, 0, 1)
    return scores, (scores > 0.4).astype(np.int64), (rng.random(n) < chance).astype(np.int64)


def learnt(predicted: Ints, actual: Ints, scores: Floats, layout: Layout = BINARY) -> Estimator:
    """Calibrated on outcomes whose predictions it has seen."""
    estimator = Estimator()
    estimator.guessed(predicted.astype(float), scores.reshape(len(predicted), -1), layout)
    estimator.learn(outcomes(predicted, actual, scores), layout)
    estimator.calibrate()
    return estimator


def expected(estimator: Estimator, predicted: Ints, scores: Floats, layout: Layout = BINARY) -> Expected:
    keys = estimator.guessed(predicted.astype(float), scores.reshape(len(predicted), -1), layout)
    counts = Counts()
    if keys is not None:
        counts.add(keys.ravel()[keys.ravel() >= 0])
    return Expected(counts, estimator, layout)


def directly(p: Floats, predicted: Ints, scores: Floats) -> dict[str, float]:
    """scikit-learn's metrics where each prediction is an outcome of both classes, weighted by its chance."""
    n = len(p)
    truth = np.concatenate([np.ones(n), np.zeros(n)])
    weight = np.concatenate([p, 1 - p])
    twice, score = np.concatenate([predicted, predicted]), np.concatenate([scores, scores])
    return {
        "accuracy": judge.accuracy_score(truth, twice, sample_weight=weight),
        "precision": judge.precision_score(truth, twice, sample_weight=weight),
        "recall": judge.recall_score(truth, twice, sample_weight=weight),
        "f1": judge.f1_score(truth, twice, sample_weight=weight),
        "specificity": judge.recall_score(1 - truth, 1 - twice, sample_weight=weight),
        "roc_auc": judge.roc_auc_score(truth, score, sample_weight=weight),
        "average_precision": judge.average_precision_score(truth, score, sample_weight=weight),
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("distinct", "within"), [(20, 1e-9), (950, 1e-9), (None, 1e-3)])
def test_equals_isotonic_regression_of_the_reference_applied_to_each_chunk(
    seed: int, distinct: int | None, within: float
) -> None:
    rng = np.random.default_rng(seed)
    scores, predicted, actual = draw(rng, 10_000, distinct)
    estimator = learnt(predicted, actual, scores)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, actual)
    for tilt in (1.0, 2.0, 0.5):
        chunk, answers, _ = draw(rng, 3000, distinct, tilt)
        chunk = chunk**tilt if distinct is None else chunk
        found = expected(estimator, answers, chunk)
        assert found.samples == 3000
        for name, value in directly(reference.predict(chunk), answers, chunk).items():
            assert found.value(name, ["0", "1"]) == pytest.approx(value, abs=within), name


def test_scores_between_those_of_the_reference_are_interpolated() -> None:
    rng = np.random.default_rng(1)
    scores, predicted, actual = draw(rng, 5000, 100)
    estimator = learnt(predicted, actual, scores)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, actual)
    chunk = rng.choice(np.linspace(0, 1, 301), 2000)
    answers = (chunk > 0.5).astype(np.int64)
    found = expected(estimator, answers, chunk)
    for name, value in directly(reference.predict(chunk), answers, chunk).items():
        assert found.value(name, ["0", "1"]) == pytest.approx(value, abs=1e-9), name


def test_scores_near_zero_are_told_apart_in_bins() -> None:
    rng = np.random.default_rng(2)
    scores = 10.0 ** -rng.uniform(1, 5, 40_000)
    actual = (rng.random(40_000) < np.clip(scores * 3, 0, 1)).astype(np.int64)
    predicted = (scores > 0.02).astype(np.int64)
    estimator = learnt(predicted, actual, scores)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, actual)
    found = expected(estimator, predicted, scores)
    for name, value in directly(reference.predict(scores), predicted, scores).items():
        # The highest scores, where isotonic steps are made of few outcomes, decide on average precision.
        within = 3e-3 if name == "average_precision" else 1e-3
        assert found.value(name, ["0", "1"]) == pytest.approx(value, abs=within), name


def test_several_classes_near_what_comes_true() -> None:
    rng = np.random.default_rng(3)
    layout, names = Layout("multiclass", 3), ["cat", "dog", "eel"]
    scores = rng.dirichlet((0.6, 0.8, 1.0), 40_000)
    actual = (rng.random((40_000, 1)) > np.cumsum(scores, axis=1)).sum(axis=1).clip(0, 2)
    predicted = scores.argmax(axis=1)
    half = 20_000
    estimator = learnt(predicted[:half], actual[:half], scores[:half], layout)
    found = expected(estimator, predicted[half:], scores[half:], layout)
    truth, answers = actual[half:], predicted[half:]
    assert found.value("accuracy", names) == pytest.approx(judge.accuracy_score(truth, answers), abs=0.02)
    assert found.value("f1_macro", names) == pytest.approx(judge.f1_score(truth, answers, average="macro"), abs=0.02)
    recalls = judge.recall_score(truth, answers, average=None)
    assert found.value("recall_class_dog", names) == pytest.approx(recalls[1], abs=0.02)
    assert found.value("roc_auc_macro", names) == pytest.approx(
        judge.roc_auc_score(truth, scores[half:], multi_class="ovr"), abs=0.02
    )
    assert found.matrix.sum(axis=0) == pytest.approx(np.bincount(answers, minlength=3))
    assert math.isnan(found.value("recall_class_bat", names))


def test_nothing_is_estimated_from_too_little() -> None:
    rng = np.random.default_rng(4)
    scores, predicted, actual = draw(rng, 500, None)
    few = learnt(predicted[:99], actual[:99], scores[:99])
    one_class = learnt(predicted, np.zeros(500, np.int64), scores)
    none = learnt(predicted, actual, np.full(500, np.nan))
    for estimator in (few, one_class, none, Estimator()):
        assert not estimator.curves
        assert not expected(estimator, predicted, scores).known
        assert estimate.report(Counts(), estimator, BINARY, ["0", "1"]) == {}
    enough = learnt(predicted[:100], actual[:100], scores[:100])
    assert enough.curves
    assert not expected(enough, predicted, np.full(500, np.nan)).known


def test_scores_that_are_none_are_left_out() -> None:
    rng = np.random.default_rng(5)
    scores, predicted, actual = draw(rng, 2000, 50)
    holes = np.where(rng.random(2000) < 0.3, np.nan, scores)
    usable = ~np.isnan(holes)
    with_holes = expected(learnt(predicted, actual, holes), predicted, holes)
    without = expected(learnt(predicted[usable], actual[usable], scores[usable]), predicted[usable], scores[usable])
    assert with_holes.samples == usable.sum()
    assert (with_holes.matrix == without.matrix).all()


def test_calibration_follows_outcomes_as_they_come() -> None:
    rng = np.random.default_rng(6)
    scores, predicted, actual = draw(rng, 2000, 50)
    estimator = learnt(predicted, actual, scores)
    before = expected(estimator, predicted, scores).value("accuracy", [])
    assert not estimator.calibrate()
    for _ in range(60):
        estimator.learn(outcomes(predicted, 1 - actual, scores), BINARY)
        estimator.calibrate()
    assert expected(estimator, predicted, scores).value("accuracy", []) < before - 0.1


def test_old_outcomes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "KEPT", 2000)
    rng = np.random.default_rng(7)
    scores, predicted, actual = draw(rng, 2000, 50)
    estimator = learnt(predicted, actual, scores)
    for _ in range(3):
        estimator.learn(outcomes(predicted, 1 - actual, scores), BINARY)
        estimator.calibrate()
    assert {curve.shares.tobytes() for curve in estimator.curves.values()} == {
        curve.shares.tobytes() for curve in learnt(predicted, 1 - actual, scores).curves.values()
    }


def test_a_restored_estimator_goes_on_as_it_was() -> None:
    rng = np.random.default_rng(8)
    scores, predicted, actual = draw(rng, 3000, None)
    one = learnt(predicted[:2000], actual[:2000], scores[:2000])
    two = Estimator(one.state())
    for estimator in (one, two):
        estimator.guessed(predicted[2000:].astype(float), scores[2000:].reshape(-1, 1), BINARY)
        estimator.learn(outcomes(predicted[2000:], actual[2000:], scores[2000:]), BINARY)
        estimator.calibrate()
    assert estimate.report(_counts(one, predicted, scores), one, BINARY, []) == estimate.report(
        _counts(two, predicted, scores), two, BINARY, []
    )


def _counts(estimator: Estimator, predicted: Ints, scores: Floats) -> Counts:
    counts = Counts()
    keys = estimator.guessed(predicted.astype(float), scores.reshape(-1, 1), BINARY)
    assert keys is not None
    counts.add(keys.ravel())
    return counts


def sizes(draws: list[int], n: int) -> Iterator[slice]:
    start = 0
    for size in [*draws, n]:
        yield slice(start, start + size)
        start += size


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 900), max_size=8), st.booleans())
def test_counts_and_places_do_not_depend_on_slicing(cuts: list[int], continuous: bool) -> None:
    rng = np.random.default_rng(9)
    scores, predicted, _ = draw(rng, 3000, None if continuous else 300)
    whole, sliced, pieces = Estimator(), Estimator(), Counts()
    all_keys = whole.guessed(predicted.astype(float), scores.reshape(-1, 1), BINARY)
    for part in sizes(cuts, 3000):
        keys = sliced.guessed(predicted[part].astype(float), scores[part].reshape(-1, 1), BINARY)
        if keys is not None:
            pieces.add(keys.ravel())
    together = Counts()
    assert all_keys is not None
    together.add(all_keys.ravel())
    assert whole.grid.values == sliced.grid.values
    assert len(whole.grid.values) <= EXACT
    mine, others = together.state(), pieces.state()
    assert mine.keys.tolist() == others.keys.tolist()
    assert mine.counts.tolist() == others.counts.tolist()
    assert together.total == pieces.total == 3000


def test_what_was_added_is_taken_away_exactly() -> None:
    rng = np.random.default_rng(10)
    one, two, both = Counts(), Counts(), Counts()
    for counts in (one, two):
        keys = rng.integers(0, 5000, 6000)
        counts.add(keys)
        both.add(keys)
    both.merge(two, -1)
    assert both.total == one.total
    assert both.state().keys.tolist() == one.state().keys.tolist()
    assert both.state().counts.tolist() == one.state().counts.tolist()
    both.merge(one, -1)
    assert both.total == len(both.state().keys) == 0


def test_a_bin_lies_around_the_score_it_stands_for() -> None:
    scores = np.sort(np.random.default_rng(11).random(50_000))
    grid = Grid()
    places = grid.places(scores)
    assert EXACT <= places.min() < places.max() < PLACES
    assert (np.diff(places) >= 0).all()
    assert np.abs(grid.positions[places] - scores).max() <= 1 / 1024 + 1e-9
    assert parts(key(3, np.array([5]), places[:1])).place.tolist() == places[:1].tolist()


def test_names_that_are_not_estimated_are_refused() -> None:
    estimate.check("roc_auc", "binary")
    estimate.check("recall_class_cat", "multiclass")
    for name, task in (("log_loss", "binary"), ("accuracy", "regression"), ("acuracy", "binary")):
        with pytest.raises(ValueError, match="found"):
            estimate.check(name, task)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([0.0, -0.0, 0.5, 1.0, 1e-300, *np.linspace(0, 1, 2000).tolist()])), max_size=6)
)
def test_places_are_those_of_a_dictionary(slices: list[list[float]]) -> None:
    grid, known = Grid(), {value: place for place, value in enumerate(np.linspace(0.2, 0.3, 1000).tolist())}
    grid.places(np.array(list(known)), new=True)
    for scores in slices:
        for score in scores:
            if len(known) < EXACT:
                known.setdefault(score, len(known))
        places = grid.places(np.array(scores), new=True).tolist()
        restored = Grid(grid.values).places(np.array(scores)).tolist()
        for score, place, again in zip(scores, places, restored, strict=True):
            assert place == again
            assert place == known[score] if score in known else place >= EXACT


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.sampled_from([0, 1 << 40])), max_size=12),
    st.lists(st.integers(0, 2), max_size=12),
)
def test_what_is_counted_for_several_is_counted_in_each(adds: list[tuple[int, int, int]], read: list[int]) -> None:
    """As panes and windows do: one begins with what another holds, and both go on together."""
    rng = np.random.default_rng(12)
    first, second, raw = Counts(), Counts(), []
    for number, (size, most, offset) in enumerate(adds):
        keys = rng.integers(0, most + 1, size * 4000) + offset
        raw.append(keys)
        guesses.add([first, second] if number % 3 else [first], keys)
        if not number % 3:
            part = Counts()
            part.add(keys)
            second.merge(part)
        for which in read[number : number + 1]:
            (first, second)[which % 2].state()
    expected = np.unique(np.concatenate([np.empty(0, np.int64), *raw]), return_counts=True)
    for counts in (first, second):
        state = counts.state()
        assert state.keys.tolist() == expected[0].tolist()
        assert state.counts.tolist() == expected[1].tolist()
        assert counts.total == int(expected[1].sum())

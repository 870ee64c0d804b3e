"""Estimated losses follow the realised ones when predictions change, as gradient boosting does; and at the edges."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as judge
from sklearn.ensemble import GradientBoostingRegressor

from stream.checkpoint.packing import pack, unpack
from stream.config import Limits
from stream.monitor.basis.columns import Floats, Ints, Outcomes
from stream.monitor.estimates import estimate, losses
from stream.monitor.estimates.guesses import Counts
from stream.monitor.estimates.losses import ExpectedLosses, Losses, StoredLosses
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference_builder import from_events
from stream.monitor.metrics.layout import OUTCOMES, Layout
from tests.unit.monitor.outcome_data import as_outcomes

LAYOUT = Layout("regression")
Event = dict[str, float | str | bool | None]


class World:
    """A model whose errors depend on two numbers and a category, in the end on their mix; three features are noise."""

    def __init__(self, rng: np.random.Generator, n: int, shift: float = 0.0) -> None:
        size, age = rng.normal(shift, 1, n), rng.exponential(1 + abs(shift) / 2, n)
        land = np.where(rng.random(n) < 0.2 + 0.2 * (shift > 0), "far", "near")
        self.actual: Floats = 50 + 10 * size + 3 * age
        spread = np.exp(0.4 * size) * (1 + 0.5 * age) * np.where(land == "far", 2.0, 1.0)
        self.predicted: Floats = self.actual + spread * rng.normal(0, 1, n)
        noise = rng.normal(0, 1, (n, 3))
        self.inputs = np.column_stack([size, age, land == "far", noise, self.predicted])
        rows = zip(size.tolist(), age.tolist(), land.tolist(), noise.tolist(), strict=True)
        self.events: list[Event] = [
            {"size": a, "age": b, "land": c, **{f"n{i}": each for i, each in enumerate(rest)}} for a, b, c, rest in rows
        ]

    @property
    def errors(self) -> Floats:
        return np.abs(self.predicted - self.actual)

    def outcomes(self, places: Ints, factor: float = 1.0) -> Outcomes:
        actual = self.predicted + factor * (self.actual - self.predicted)
        return as_outcomes(self.predicted, actual, scores=places[:, None].astype(np.float64))


def learnt(world: World) -> tuple[Losses, FeatureLayout, Ints]:
    """Fitted to a world that is its reference, and the places of its predictions."""
    layout = FeatureLayout(from_events(world.events, world.predicted, None, Limits(), "a test"))
    columns, regressor = layout.columns(world.events, world.predicted), Losses()
    places = given_places(regressor, layout, columns)
    learn(regressor, world.outcomes(places))
    regressor.calibrate(LAYOUT, layout)
    return regressor, layout, places


def given_places(regressor: Losses, layout: FeatureLayout, columns: Ints) -> Ints:
    places = regressor.places(np.arange(len(columns)) + 1000, columns, 0)
    regressor.remember(columns, None, layout.reference.version)
    return places


def learn(regressor: Losses, outcomes: Outcomes) -> bool:
    return regressor.learn(outcomes, LAYOUT.entries(outcomes).sums)


def expected(regressor: Losses, places: Ints) -> ExpectedLosses:
    counts = Counts()
    counts.add(places)
    return ExpectedLosses(counts, regressor)


def placed(regressor: Losses, layout: FeatureLayout, world: World) -> Ints:
    return given_places(regressor, layout, layout.columns(world.events, world.predicted))


@pytest.mark.long
def test_follows_the_realised_loss_as_gradient_boosting_does_when_the_mix_shifts() -> None:
    off: dict[str, list[tuple[float, float, float]]] = {"mae": [], "rmse": []}
    for seed in range(3):
        rng = np.random.default_rng(seed)
        reference = World(rng, 4000)
        regressor, layout, _ = learnt(reference)
        boosted = {
            "mae": GradientBoostingRegressor(random_state=0).fit(reference.inputs, reference.errors),
            "rmse": GradientBoostingRegressor(random_state=0).fit(reference.inputs, reference.errors**2),
        }
        constant = {"mae": reference.errors.mean(), "rmse": math.sqrt((reference.errors**2).mean())}
        for shift in (-1.0, -0.5, 0.5, 1.0, 1.5):
            world = World(rng, 4000, shift)
            found = expected(regressor, placed(regressor, layout, world))
            realised = {
                "mae": judge.mean_absolute_error(world.actual, world.predicted),
                "rmse": judge.root_mean_squared_error(world.actual, world.predicted),
            }
            for name, value in realised.items():
                mean = boosted[name].predict(world.inputs).mean()
                theirs = mean if name == "mae" else math.sqrt(mean)
                guesses = found.value(name), theirs, constant[name]
                off[name].append(tuple(abs(each / value - 1.0) for each in guesses))
    for name, bound in (("mae", 0.05), ("rmse", 0.09)):
        ours, theirs, constant_off = np.mean(off[name], axis=0).tolist()
        # Measured: 0.039 beside 0.033 of boosting and 0.387 of a constant; rmse 0.074 beside 0.061 and 0.392.
        assert ours < bound, name
        assert ours < 1.5 * theirs, name
        assert ours < constant_off / 4, name


def test_without_a_shift_it_is_what_labels_say_later() -> None:
    rng = np.random.default_rng(5)
    regressor, layout, places = learnt(World(rng, 4000))
    world = World(rng, 20_000)
    found = expected(regressor, placed(regressor, layout, world))
    assert found.samples == 20_000
    smape = (2 * world.errors / (np.abs(world.actual) + np.abs(world.predicted))).mean()
    for name, realised in (
        ("mae", judge.mean_absolute_error(world.actual, world.predicted)),
        ("rmse", judge.root_mean_squared_error(world.actual, world.predicted)),
        ("smape", smape),
    ):
        assert found.value(name) == pytest.approx(realised, rel=0.05), name
    assert math.isnan(found.value("r2"))
    assert math.isnan(found.value("bias"))
    # Predictions that were made before the scale stood have theirs, too.
    assert expected(regressor, places).value("mae") == pytest.approx(found.value("mae"), rel=0.05)


def test_means_are_those_of_the_outcomes_on_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "SHRINKAGE", 1e-12)
    world = World(np.random.default_rng(6), 4000)
    regressor, layout, _ = learnt(world)
    assert regressor.scale is not None
    steps = 1 + regressor.scale.steps(layout.columns(world.events, world.predicted))
    for step in np.unique(steps):
        at = steps == step
        relative = judge.mean_absolute_percentage_error(world.actual[at], world.predicted[at])
        means = world.errors[at].mean(), (world.errors[at] ** 2).mean(), relative
        assert regressor.means[:3, step] == pytest.approx(means, rel=1e-9)


def test_late_labels_teach_what_losses_have_become(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "KEPT", 4000)
    rng = np.random.default_rng(7)
    regressor, layout, _ = learnt(World(rng, 4000))
    world = World(rng, 4000)
    places = placed(regressor, layout, world)
    before = expected(regressor, places).value("mae")
    assert not regressor.calibrate(LAYOUT, layout)
    seen = []
    for _ in range(3):
        learn(regressor, world.outcomes(places, factor=3.0))
        regressor.calibrate(LAYOUT, layout)
        seen.append(expected(regressor, places).value("mae"))
    assert before * 1.5 < seen[0] < seen[-1]
    assert seen[-1] == pytest.approx(3.0 * world.errors.mean(), rel=0.02)  # the first ones are forgotten


def test_until_the_scale_stands_the_mean_of_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(np.random.default_rng(8), 1500)
    regressor, _, places = learnt(world)
    assert regressor.scale is None
    assert expected(regressor, places[:300]).value("mae") == pytest.approx(world.errors.mean())
    few, _, some = learnt(World(np.random.default_rng(8), losses.LEAST - 1))
    assert not expected(few, some).known
    assert math.isnan(expected(few, some).value("mae"))


def test_predictions_beyond_the_tickets_have_the_mean_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    reference = World(rng, losses.TICKETS + 500)
    layout = FeatureLayout(from_events(reference.events, reference.predicted, None, Limits(), "a test"))
    columns, regressor = layout.columns(reference.events, reference.predicted), Losses()
    places = given_places(regressor, layout, columns)
    assert len(set(places.tolist())) == losses.TICKETS + 1
    # Labels have come for so few of those with tickets that the scale is fitted to fewer than it had better be.
    known = np.r_[0:700, losses.TICKETS : len(places)]
    learn(regressor, reference.outcomes(places).take(known))
    regressor.calibrate(LAYOUT, layout)
    assert regressor.scale is None
    for _ in range(20):
        learn(regressor, reference.outcomes(places).take(np.arange(losses.TICKETS, len(places))))
    regressor.calibrate(LAYOUT, layout)
    assert regressor.scale is not None
    state = regressor.state()
    assert state.young[1:, OUTCOMES].sum() == 700
    assert state.young[0, OUTCOMES] == 500 * 21
    assert expected(regressor, places).samples == len(places)


def test_of_many_features_fewer_predictions_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "REMEMBERED", 7 * 2500)
    regressor, _, places = learnt(World(np.random.default_rng(10), 4000))
    assert regressor.scale is not None
    assert (regressor.state().steps[:2500] > 0).all()
    assert not regressor.state().steps[2500:].any()
    assert expected(regressor, places).samples == 4000


def test_places_of_another_reference_mean_nothing() -> None:
    rng = np.random.default_rng(11)
    regressor, layout, places = learnt(World(rng, 4000))
    assert regressor.belongs(layout.reference.version)
    assert not regressor.belongs("another")
    assert not regressor.belongs(None)
    other = Losses()
    assert other.belongs("another")
    world = World(rng, 3000)
    mine = other.places(np.arange(3000) + 9000, layout.columns(world.events, world.predicted), 0)
    assert not learn(other, world.outcomes(places[:3000]))
    assert learn(other, world.outcomes(mine))
    other.calibrate(LAYOUT, layout)
    assert expected(other, places).samples == 0
    assert expected(other, mine).samples == 3000


def test_outcomes_without_a_place_teach_nothing() -> None:
    regressor, _, places = learnt(World(np.random.default_rng(12), 3000))
    world = World(np.random.default_rng(13), 100)
    assert not learn(regressor, as_outcomes(world.predicted, world.actual, scores=np.full((100, 1), np.nan)))
    before = expected(regressor, places).value("mae")
    assert not math.isnan(before)


def sizes(draws: list[int], n: int) -> Iterator[slice]:
    start = 0
    for size in [*draws, n]:
        yield slice(start, start + size)
        start += size


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 900), max_size=8), st.integers(0, 9))
def test_slicing_and_storing_make_no_difference(cuts: list[int], stored_at: int) -> None:
    """The reference is completed by the 1000th prediction; the scale is fitted in the middle."""
    world = World(np.random.default_rng(14), 4000)
    layout = FeatureLayout(from_events(world.events[:1000], world.predicted[:1000], None, Limits(), "a test"))
    columns, first = layout.columns(world.events, world.predicted), 1000

    def run(parts: list[slice]) -> tuple[Losses, list[int]]:
        regressor, places, done = Losses(), list[int](), 0
        fitted = False
        for number, part in enumerate(parts):
            stop = min(part.stop, 4000)
            if done < 3000 <= stop:
                parts.append(slice(3000, stop))
                stop = 3000
            seen = columns[done:stop].copy()
            seen[: max(first - done, 0)] = -1
            if stop < first:
                seen = seen[:, :0]
            mine = regressor.places(np.arange(done, stop), seen, done)
            complete = done < first <= stop
            version = layout.reference.version if stop >= first else None
            regressor.remember(seen, columns[:first] if complete else None, version)
            outcomes = world.outcomes(np.zeros(4000, np.int64)).take(np.arange(done, stop))
            outcomes.scores = mine[:, None].astype(np.float64)
            learn(regressor, outcomes)
            places += mine.tolist()
            done = stop
            if done == 3000 and not fitted:
                fitted = regressor.calibrate(LAYOUT, layout)
            if number == stored_at:
                regressor = Losses(unpack(StoredLosses, pack(regressor.state())))
        return regressor, places

    whole, together = run([slice(0, 4000)])
    sliced, apart = run(list(sizes(cuts, 4000)))
    assert whole.scale is not None
    assert apart == together
    assert pack(sliced.state()) == pack(whole.state())


def test_names_that_are_estimated_for_a_regression() -> None:
    assert estimate.names("regression") == ["mae", "rmse", "mape", "smape"]
    for name in ("r2", "bias", "accuracy"):
        with pytest.raises(ValueError, match="found"):
            estimate.check(name, "regression")

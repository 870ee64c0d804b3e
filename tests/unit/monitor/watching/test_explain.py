"""Explanations: what was planted is named first, and where nothing was planted nobody is blamed."""

from __future__ import annotations

import numpy as np
import pytest

from stream.config import Limits
from stream.events import SegmentShare, Task
from stream.monitor.basis.columns import Ints
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference_builder import from_events
from stream.monitor.metrics.layout import Layout
from stream.monitor.panes.pane import Pane, Sums
from stream.monitor.panes.window import Window
from stream.monitor.watching import explain
from tests.unit.monitor.outcome_data import as_outcomes

STORES, PANES, EACH = 40, 24, 1500
NAMES = ["all", *(f"store={number}" for number in range(STORES))]
WINDOW = 12


def unlike(task: Task) -> Ints:
    """Shape (2, width): what a small loss and a large one add."""
    if task == "regression":
        return Layout(task).contributions(as_outcomes([0.1, 1.0], [0.0, 0.0]))
    return Layout(task).contributions(as_outcomes([1, 1], [1, 0], scores=np.array([[0.9], [0.9]])))


def panes_of(seed: int, rise: float, since: int, where: int | None = None, task: Task = "binary") -> dict[int, Pane]:
    """One in ten outcomes has a large loss, and `rise` more since a pane, in one store or (None) everywhere."""
    rng = np.random.default_rng(seed)
    small, large = unlike(task)
    panes: dict[int, Pane] = {}
    for index in range(PANES):
        n = rng.multinomial(EACH, np.full(STORES, 1 / STORES))
        hit = (np.arange(STORES) == where) | (where is None)
        wrong = rng.binomial(n, 0.1 + rise * hit * (index >= since))
        tally = np.outer(n - wrong, small) + np.outer(wrong, large)
        panes[index] = Pane(index, Sums(tally=np.vstack([tally.sum(axis=0), tally])))
    return panes


def window() -> Window:
    made = Window(60.0 * WINDOW, WINDOW)
    made.last = PANES - 1
    return made


def explained(
    seed: int, rise: float, since: int, where: int | None = None, task: Task = "binary", metric: str | None = "accuracy"
) -> list[SegmentShare]:
    panes = panes_of(seed, rise, since, where, task)
    return explain.segments(explain.Tallied(Layout(task), NAMES), None, panes, window(), metric)


@pytest.mark.parametrize(("metric", "panes"), [("accuracy", 8), (None, 8), ("log_loss", 8), ("accuracy", 6)])
def test_the_segment_that_has_got_worse_is_named_first(metric: str | None, panes: int) -> None:
    """Of 40 segments, with about 37 outcomes in each pane since the change."""
    named = 0
    for seed in range(100):
        found = explained(seed, 0.2, PANES - panes, seed % STORES, metric=metric)
        named += bool(found) and found[0].segment == NAMES[1 + seed % STORES]
    assert named >= 95


def test_of_regression_too() -> None:
    found = explained(1, 0.2, PANES - 8, 7, "regression", "rmse")
    assert [each.segment for each in found] == ["store=7"]


def test_shares_say_how_much() -> None:
    (found,) = explained(3, 0.5, PANES - 8, 5)
    assert found.share > 0.6
    assert found.value == pytest.approx(0.6, abs=0.1)
    assert found.before == pytest.approx(0.1, abs=0.05)
    assert isinstance(found.lower, float)
    assert isinstance(found.upper, float)
    assert found.lower < found.share <= found.upper
    assert 200 < found.samples < 400


@pytest.mark.parametrize(("rise", "since"), [(0.0, PANES), (0.15, PANES - 8)])
def test_nobody_is_blamed_for_nothing_nor_for_what_happens_everywhere(rise: float, since: int) -> None:
    assert sum(bool(explained(seed, rise, since)) for seed in range(100)) <= 1


@pytest.mark.parametrize("young", [3, 6, 12])
def test_nor_for_luck_when_little_was_before(young: int) -> None:
    """Of forty segments one in fourteen has no error in its first 60 outcomes."""
    blamed = 0
    for seed in range(200):
        panes = {index: pane for index, pane in panes_of(seed, 0.0, PANES).items() if index >= PANES - young}
        blamed += bool(explain.segments(explain.Tallied(Layout("binary"), NAMES), None, panes, window(), "accuracy"))
    assert blamed <= 2


def test_what_a_chunk_adds_is_as_if_it_were_in_the_panes() -> None:
    layout, panes = Layout("binary"), panes_of(5, 0.4, PANES - 8, 2)
    whole = explain.segments(explain.Tallied(layout, NAMES), None, panes, window(), "accuracy")
    assert whole
    newest = panes.pop(PANES - 1)
    added = [(newest.index, segment, tally) for segment, tally in enumerate(newest.sums.tally)]
    tallied = explain.Tallied(layout, NAMES, added)
    assert explain.segments(tallied, None, panes, window(), "accuracy") == whole


def drifted(seed: int, shift: float) -> list[str]:
    rng = np.random.default_rng(seed)
    names = [f"f{number}" for number in range(10)]

    def drawn(n: int, by: float) -> list[dict[str, float | str | bool | None] | None]:
        values = rng.normal(0, 1, (n, 10))
        values[:, :2] += by
        kinds = rng.choice(list("abcdef"), n, p=[0.5, 0.3, 0.1, 0.06, 0.03, 0.01])
        pairs = zip(values.tolist(), kinds.tolist(), strict=True)
        return [{**dict(zip(names, row, strict=True)), "kind": kind} for row, kind in pairs]

    layout = FeatureLayout(from_events(drawn(1000, 0.0), None, None, Limits(), ""))
    counts = np.bincount(layout.columns(drawn(1000, shift)).ravel(), minlength=layout.width)
    return [each.feature for each in explain.features(layout, counts)]


@pytest.mark.long
def test_features_that_shift_are_named_first_and_others_are_not() -> None:
    assert sum(set(drifted(seed, 0.5)[:2]) == {"f0", "f1"} for seed in range(40)) >= 38
    assert sum(bool(drifted(seed, 0.0)) for seed in range(40)) <= 1

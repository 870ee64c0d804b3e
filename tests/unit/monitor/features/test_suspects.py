"""Groups of features: what they are called, what falls into them, who is taken, and whom they blame."""

from __future__ import annotations

import numpy as np
import pytest

from stream.config import Limits
from stream.events import Scalar
from stream.monitor.basis.columns import Ints
from stream.monitor.basis.ids import hashes
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference_builder import from_events
from stream.monitor.features.suspects import CATEGORIES, FIRST, NOT_TAKEN, TAKEN, Groups, Suspects, nothing
from stream.monitor.metrics.layout import Layout
from stream.monitor.panes.pane import Pane
from stream.monitor.panes.window import Window
from stream.monitor.watching import explain
from tests.unit.monitor.outcome_data import as_outcomes

COUNTRIES = [f"c{number:02d}" for number in range(40)]
WINDOW, PANES, EACH = 12, 24, 1500

Row = dict[str, Scalar]


def rows(rng: np.random.Generator, n: int) -> list[Row]:
    """The 40 countries are ever rarer."""
    shares = 1.0 / np.arange(5, 45)
    countries = rng.choice(COUNTRIES, n, p=shares / shares.sum())
    columns = countries.tolist(), rng.lognormal(3, 1, n).tolist(), rng.normal(size=n).tolist()
    return [
        {"country": country, "amount": amount, "noise": noise} for country, amount, noise in zip(*columns, strict=True)
    ]


LAYOUT = FeatureLayout(from_events(rows(np.random.default_rng(0), 2000), None, None, Limits(), ""))
GROUPS = Groups(LAYOUT, 50, ())


def groups_of(row: Row, layout: FeatureLayout = LAYOUT, groups: Groups = GROUPS) -> dict[str, str]:
    """The group that an event is in, by feature."""
    codes = groups.codes(layout.columns([row]))
    counts = groups.counts(codes, np.array([False]))
    assert counts.sum() == len(groups.features)
    names = [groups.names[at].partition("=") for at in np.flatnonzero(counts[:, 0])]
    return {feature: group for feature, _, group in names}


def test_every_value_is_in_one_group_of_its_feature() -> None:
    common = LAYOUT.block("country").feature.categories[0]  # type: ignore[union-attr]
    usual = groups_of({"country": common, "amount": 0.0, "noise": 1e9})
    assert usual["country"] == common
    assert usual["amount"].startswith("<")
    assert usual["noise"].startswith(">=")
    unlike = groups_of({"country": "nowhere", "amount": None, "noise": "text"})
    assert unlike == {"country": "__unseen__", "amount": "__missing__", "noise": "__invalid__"}
    assert {name for name in GROUPS.names if name.startswith("country=c")} == {f"country={name}" for name in COUNTRIES}


def test_of_very_many_categories_the_most_frequent_are_groups() -> None:
    events: list[dict[str, Scalar] | None] = [
        {"shop": f"s{n % m}"} for m in range(1, CATEGORIES + 21) for n in range(m)
    ]
    layout = FeatureLayout(from_events(events, None, None, Limits(categories=CATEGORIES + 20), ""))
    groups = Groups(layout, 50, ())
    assert len(groups.names) == CATEGORIES + 4
    found = [groups_of({"shop": f"s{n}"}, layout, groups)["shop"] for n in (0, CATEGORIES - 1, CATEGORIES + 19)]
    assert found == ["s0", f"s{CATEGORIES - 1}", "__other__"]


def test_numbers_are_in_the_group_that_its_name_says() -> None:
    for value in np.random.default_rng(5).lognormal(3, 1, 200).tolist():
        text = groups_of({"country": "c00", "amount": value, "noise": 0.0})["amount"]
        if text.startswith("<"):
            assert value < float(text[1:]) * (1 + 1e-5)
        elif text.startswith(">="):
            assert value >= float(text[2:]) * (1 - 1e-5)
        else:
            low, high = map(float, text.split(".."))
            assert low * (1 - 1e-5) <= value < high * (1 + 1e-5)


def test_limit_and_configured_segments_are_left_out() -> None:
    assert {name.partition("=")[0] for name in Groups(LAYOUT, 2, ()).names} == set(LAYOUT.names[:2])
    assert {name.partition("=")[0] for name in Groups(LAYOUT, 50, ("country",)).names} == {"amount", "noise"}
    off = Suspects(0, ())
    off.fit(LAYOUT)
    assert off.groups is None


@pytest.mark.parametrize("before", [0, 1, TAKEN, TAKEN + 1, 3 * TAKEN, 1_000_000])
def test_about_so_many_of_a_busy_pane_are_taken_by_their_ids(before: int) -> None:
    suspects = Suspects(50, ())
    suspects.enter(before)
    hashed = hashes([f"order-{number}" for number in range(before)])
    rows = suspects.taken(hashed)
    if before <= TAKEN:
        assert rows is None
    else:
        assert rows is not None
        assert TAKEN / 2 * 0.9 < len(rows) < TAKEN * 1.1


def test_of_regression_large_errors_are_bad_once_it_is_known_what_large_is() -> None:
    suspects = Suspects(50, ())
    suspects.fit(LAYOUT)
    errors = np.random.default_rng(3).permutation(np.arange(1.0, 2001.0))
    codes = np.zeros((len(errors), 3), np.uint8)
    codes[::2] = NOT_TAKEN
    outcomes = as_outcomes(errors.tolist(), np.zeros(len(errors)).tolist())
    parts = []
    for rows in np.split(np.arange(len(errors)), [3, 700, 1999]):
        part = type(outcomes)(*[getattr(outcomes, name)[rows] for name in type(outcomes).__struct_fields__])
        parts.append(suspects.meet(part, codes[rows], "regression"))
    assert all(part is None for part in parts), "1,000 of 2,000 are taken, and learned from"
    taken = np.sort(errors[1::2])
    assert suspects.learned.large == taken[int(0.8 * FIRST) - 1]
    found = suspects.meet(outcomes, codes, "regression")
    assert found is not None
    np.testing.assert_array_equal(found.bad, errors[1::2] > taken[799])


def panes_of(seed: int, since: int, rise: float, bad: str) -> dict[int, Pane]:
    """One in ten outcomes is bad, and `rise` more of one country, or of the largest amounts, since a pane."""
    rng = np.random.default_rng(seed)
    panes: dict[int, Pane] = {}
    for index in range(PANES):
        events = rows(rng, EACH)
        codes = GROUPS.codes(LAYOUT.columns(events))
        hit = np.array(
            [event["country"] == bad or (bad == "amount" and float(event["amount"] or 0) > 72) for event in events]
        )
        wrong = rng.random(EACH) < 0.1 + rise * hit * (index >= since)
        panes[index] = Pane(index, suspects=GROUPS.counts(codes, wrong).astype(np.int32))
    return panes


def blamed(panes: dict[int, Pane], added: list[tuple[int, Ints]] | None = None) -> list[str]:
    window = Window(60.0 * WINDOW, WINDOW)
    window.last = PANES - 1
    grouped = explain.Grouped(GROUPS, added or [])
    found = explain.segments(explain.Tallied(Layout("binary"), ["all"]), grouped, panes, window, "accuracy")
    assert all(each.inferred for each in found)
    return [each.segment for each in found]


@pytest.mark.parametrize("bad", ["c03", "amount"])
def test_a_planted_cause_that_nobody_configured_is_named_first(bad: str) -> None:
    named = 0
    for seed in range(20):
        found = blamed(panes_of(seed, PANES - 6, 0.25, bad))
        named += bool(found) and found[0].startswith("amount=" if bad == "amount" else "country=c03")
    assert named >= 19


@pytest.mark.parametrize(("since", "rise"), [(PANES, 0.0), (PANES - 6, 0.15)])
def test_nobody_is_blamed_for_nothing_nor_for_what_happens_everywhere(since: int, rise: float) -> None:
    shares = np.bincount(
        GROUPS.codes(LAYOUT.columns(rows(np.random.default_rng(1), 5000))).ravel() // 2 + np.tile(GROUPS.starts, 5000),
        minlength=len(GROUPS.names),
    )
    features = np.split(shares / 5000, GROUPS.starts[1:])
    found = 0
    for seed in range(100):
        rng, panes = np.random.default_rng(seed), {}
        for index in range(PANES):
            wrong = rng.binomial(EACH, 0.1 + rise * (index >= since))
            drawn = [np.concatenate([rng.multinomial(n, each) for each in features]) for n in (EACH - wrong, wrong)]
            panes[index] = Pane(index, suspects=np.stack(drawn, axis=1).astype(np.int32))
        found += bool(blamed(panes))
    assert found <= 1


def test_what_a_chunk_adds_is_as_if_it_were_in_the_panes() -> None:
    panes = panes_of(4, PANES - 6, 0.3, "c03")
    whole = blamed(panes)
    assert whole
    added = [(PANES - 1, panes[PANES - 1].suspects.astype(np.int64))]
    panes[PANES - 1].suspects = nothing()
    assert blamed(panes, added) == whole

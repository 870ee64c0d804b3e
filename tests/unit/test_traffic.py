"""The generated traffic is what it says: deterministic, calibrated, and drifting when told and only then."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from stream.events import Label, Prediction
from stream.traffic import NEW_YEAR, Event, Traffic, services, span

DRIFT = 60.0
Pairs: TypeAlias = list[tuple[dict[str, Any], Any]]
"""The body of a prediction, and its label."""


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return span(120, rate=400, concept_at=DRIFT, feature_at=DRIFT)


def outcomes(events: list[Event], model: str, *, since: float, until: float) -> Pairs:
    """Pairs of a prediction made in the span, and its label."""
    made = {
        e.id: e.body
        for e in events
        if e.side == "predictions" and e.model == model and since <= e.ts - NEW_YEAR < until and "error" not in e.body
    }
    return [(made[e.id], e.body["label"]) for e in events if e.side == "labels" and e.id in made]


def accuracy(pairs: Pairs) -> float:
    return float(np.mean([body["prediction"] == label for body, label in pairs]))


def test_every_record_is_valid_on_the_wire(events: list[Event]) -> None:
    kinds = {"predictions": Prediction, "labels": Label}
    for event in events[:5000]:
        record = msgspec.json.decode(event.value, type=kinds[event.side])
        assert (record.model, record.id, record.ts) == (event.model, event.id, event.ts)
        assert event.key == event.model.encode()


def test_ids_are_unique_and_time_never_falls(events: list[Event]) -> None:
    assert max(Counter((e.side, e.id) for e in events).values()) == 1
    assert all(a.ts <= b.ts for a, b in pairwise(events))


def test_the_seed_decides_everything() -> None:
    assert span(5, seed=1) == span(5, seed=1)
    assert span(5, seed=1) != span(5, seed=2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.0, 6.0), max_size=8))
def test_the_cuts_between_calls_do_not_matter(cuts: list[float]) -> None:
    traffic = Traffic(services(concept_at=3.0), start=NEW_YEAR, rate=60, seed=3)
    pieces = [event for cut in [*sorted(cuts), 6.0] for event in traffic.until(NEW_YEAR + cut)]
    assert pieces == span(6, rate=60, seed=3, concept_at=3.0)


def test_rate_counts_predictions_per_second(events: list[Event]) -> None:
    predictions = sum(e.side == "predictions" for e in events)
    assert predictions == pytest.approx(120 * 400, rel=0.03)


def test_scores_are_calibrated_until_the_concept_drifts(events: list[Event]) -> None:
    healthy = outcomes(events, "card-fraud", since=0, until=DRIFT)
    scores, truth = [body["score"] for body, _ in healthy], [label for _, label in healthy]
    assert np.mean(scores) == pytest.approx(np.mean(truth), abs=0.01)
    expected = np.mean([p * (1 - p) for p in scores])
    assert brier_score_loss(truth, scores) == pytest.approx(expected, abs=0.006)
    drifted = outcomes(events, "card-fraud", since=DRIFT, until=120)
    assert np.mean([label for _, label in drifted]) > np.mean([body["score"] for body, _ in drifted]) + 0.05
    assert accuracy(healthy) > 0.93
    assert accuracy(drifted) < 0.86


def test_the_concept_drifts_where_the_story_says(events: list[Event]) -> None:
    drifted = outcomes(events, "card-fraud", since=DRIFT, until=120)
    brazil = accuracy([pair for pair in drifted if pair[0]["attributes"]["country"] == "BR"])
    elsewhere = accuracy([pair for pair in drifted if pair[0]["attributes"]["country"] != "BR"])
    assert brazil < 0.65
    assert elsewhere > 0.93


def test_the_shifted_feature_leaves_the_error_alone(events: list[Event]) -> None:
    before, after = (outcomes(events, "house-price", since=s, until=s + DRIFT) for s in (0, DRIFT))

    def area(pairs: Pairs) -> float:
        return float(np.mean([v for body, _ in pairs if (v := body["features"]["area_m2"]) is not None]))

    def error(pairs: Pairs) -> float:
        return float(np.mean([abs(body["prediction"] - label) for body, label in pairs]))

    assert area(after) > area(before) + 30
    assert error(after) == pytest.approx(error(before), rel=0.1)


def test_the_multiclass_model_is_healthy_and_calibrated(events: list[Event]) -> None:
    pairs = outcomes(events, "ticket-routing", since=0, until=120)
    classes = sorted(pairs[0][0]["scores"])
    scores = np.array([[body["scores"][c] for c in classes] for body, _ in pairs])
    entropy = -(scores * np.log(scores)).sum(axis=1).mean()
    truth = [label for _, label in pairs]
    scores /= scores.sum(axis=1, keepdims=True)
    assert log_loss(truth, scores, labels=classes) == pytest.approx(entropy, rel=0.05)
    halves = [accuracy(outcomes(events, "ticket-routing", since=s, until=s + DRIFT)) for s in (0, DRIFT)]
    assert halves[0] == pytest.approx(halves[1], abs=0.02)


def test_labels_come_late_and_some_never(events: list[Event]) -> None:
    made = {e.id: e for e in events if e.side == "predictions" and e.ts < NEW_YEAR + 90}
    delays = np.array([e.ts - made[e.id].ts for e in events if e.side == "labels" and e.id in made])
    assert delays.min() > 0
    assert np.median(delays) == pytest.approx(2.0, abs=0.1)
    assert np.log(delays).std() == pytest.approx(0.6, abs=0.03)
    houses = [e for e in made.values() if e.model == "house-price"]
    labelled = {e.id for e in events if e.side == "labels"}
    assert np.mean([e.id in labelled for e in houses]) == pytest.approx(0.8, abs=0.02)


def test_some_requests_fail_and_get_no_label(events: list[Event]) -> None:
    failed = {e.id for e in events if "error" in e.body}
    assert 0.001 < len(failed) / (120 * 400) < 0.004
    assert not failed & {e.id for e in events if e.side == "labels"}


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match="not positive"):
        Traffic(services(), start=0.0, rate=0.0)

"""Taking records: what is expected of them makes decoding faster and changes nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stream.effects import StoredRecord
from stream.events import Prediction
from stream.taking import Intake

NAMES = ["amount", "land", "an odd näme", 'with "quotes"', "f0", ""]
SCALARS = st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.integers(-5, 5), st.text(max_size=3))
FEATURES = st.one_of(
    st.none(),
    st.dictionaries(st.sampled_from([*NAMES, "unheard of"]), st.one_of(SCALARS, SCALARS, st.just([1])), max_size=6),
)


def records(features: list[Any], keys: list[bytes]) -> list[StoredRecord]:
    """Predictions with these features; text stands for itself."""
    made = []
    for offset, each in enumerate(features):
        body = {"model": "m", "id": str(offset), "ts": 1000.0 + offset, "prediction": 1, "features": each}
        value = each.encode() if isinstance(each, str) else json.dumps(body).encode()
        made.append(StoredRecord(offset, 2_000_000, value, keys[offset % len(keys)]))
    return made


def taken(intake: Intake[Prediction], given: list[StoredRecord]) -> list[Any]:
    """All that comes of the records, with features as dictionaries."""
    intake.take(given, 2000.0, 0)
    ready = intake.ready(10_000)
    events = [(e.id, None if e.features is None else dict(e.features.items())) for e in ready.events]
    return [events, ready.tick.tolist(), [(one.record.offset, one.reason, one.detail, one.tick) for one in ready.bad]]


@given(
    st.lists(st.one_of(FEATURES, FEATURES, st.sampled_from(["{", "", "[]"])), max_size=30),
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1),
)
def test_expected_features_change_nothing(features: list[Any], names: list[str]) -> None:
    expecting = Intake("predictions", Prediction, 300.0)
    expecting.expect(b"k", names)
    given_records = records(features, [b"k", b"other"])
    assert taken(expecting, given_records) == taken(Intake("predictions", Prediction, 300.0), given_records)


def test_what_surprises_too_often_is_not_expected_any_more() -> None:
    intake = Intake("predictions", Prediction, 300.0)
    intake.expect(b"k", ["amount"])
    taken(intake, records([{"amount": 1.0}] * 50 + [{"new": 1.0}], [b"k"]))
    assert intake.expects(b"k")
    later = [
        StoredRecord(each.offset + 51, each.timestamp, each.value, each.key)
        for each in records([{"amount": 1.0}] * 8 + [{"new": 1.0}], [b"k"])
    ]
    taken(intake, later)
    assert not intake.expects(b"k")


def test_expectations_are_bounded() -> None:
    intake = Intake("predictions", Prediction, 300.0)
    for number in range(1000):
        intake.expect(str(number).encode(), ["amount"])
    assert sum(intake.expects(str(number).encode()) for number in range(1000)) <= 256

"""Repeats are dropped, everything else comes through in order, and memory is bounded."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.deduplicate import Once, distinct

ids = st.lists(st.sampled_from("abcdefgh"), max_size=50)


@given(ids)
def test_each_id_once_and_in_the_order_of_its_first(sequence: list[str]) -> None:
    once = Once()
    assert [id for id in sequence if once.new(id)] == list(dict.fromkeys(sequence))


@given(ids, st.integers(min_value=1, max_value=4))
def test_remembers_no_more_than_asked_and_the_latest(sequence: list[str], remembered: int) -> None:
    once = Once(remembered)
    for id in sequence:
        once.new(id)
    latest = list(dict.fromkeys(reversed(sequence)))[:remembered]
    assert once.ids() == latest[::-1]


@given(ids, st.integers(min_value=0, max_value=50), st.integers(min_value=1, max_value=4))
def test_goes_on_after_a_restart(sequence: list[str], cut: int, remembered: int) -> None:
    whole, first = Once(remembered), Once(remembered)
    expected = [whole.new(id) for id in sequence]
    found = [first.new(id) for id in sequence[:cut]]
    second = Once(remembered, first.ids())
    assert found + [second.new(id) for id in sequence[cut:]] == expected


def test_a_publisher_that_begins_again_is_not_heard_twice() -> None:
    alerts = [{"id": f"{n}", "state": ("firing", "resolved")[n % 2]} for n in range(100)]
    chance, sent = random.Random(1), []
    at = 0
    while at < len(alerts):
        upto = at + chance.randint(1, 10)
        sent += alerts[at:upto]
        # What was published and not confirmed comes again from the outbox, in order.
        at = upto - chance.randint(0, 3) if upto < len(alerts) else upto
    assert len(sent) > len(alerts)
    assert list(distinct(json.dumps(alert) for alert in sent)) == alerts


def test_passes_over_what_has_no_id() -> None:
    assert list(distinct([b"\xff\xfe", b"[1]", b"{}", b'{"id": 1}', None, '{"id": "x"}'])) == [{"id": "x"}]


def test_refuses_to_remember_nothing() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Once(0)

"""What may be fetched and what a shard is told, case by case."""

from __future__ import annotations

import pytest

from stream.effects import SIDES, Channel, Outgoing, Side, StoredRecord
from stream.engine import flow
from stream.engine.flow import Load, SideState

NOW = 1000.0


def side(**changes: float | None) -> SideState:
    """A topic of which everything was applied, silent for a minute."""
    state = SideState(
        opened=NOW - 100, fetched=50, delivered=50, highwater=50, taken=50, waiting=0, arrived=NOW - 60, asked=NOW
    )
    for name, value in changes.items():
        setattr(state, name, value)
    return state


def sides(predictions: SideState | None = None, labels: SideState | None = None) -> dict[Side, SideState]:
    return {"predictions": predictions or side(), "labels": labels or side()}


@pytest.mark.parametrize(
    ("changes", "behind"),
    [
        ({}, False),
        ({"highwater": None}, True),
        ({"highwater": 51, "arrived": NOW - 1}, True),
        ({"highwater": 51}, False),  # it has a record, but sends none: it holds nobody back
        ({"highwater": 51, "opened": NOW - 1}, True),  # it had no time to send
        ({"highwater": None, "arrived": NOW - 99}, True),  # nobody knows yet
        ({"waiting": 3}, True),
        ({"delivered": 60, "fetched": 60, "highwater": 60, "arrived": NOW}, True),  # on its way to the inbox
        ({"fetched": 52, "highwater": 52}, False),  # the last two offsets are control records
        ({"asked": NOW - 2}, True),  # its broker does not answer, and may have been sent something
        ({"asked": NOW - 61}, False),  # for too long
        ({"asked": 0.0}, False),
        ({"asked": 0.0, "opened": NOW - 1}, True),  # what was known before is not known to hold
    ],
)
def test_behind(changes: dict[str, float | None], behind: bool) -> None:
    assert ("labels" in flow.behind(sides(labels=side(**changes)), NOW)) == behind


def test_an_end_that_is_older_than_what_the_other_topic_has_given_is_none() -> None:
    """Both were asked for a moment ago: one of them, with an answer, and once more since."""
    old, new = side(asked=NOW - 0.2), side(asked=NOW - 0.1, given=NOW - 0.1)
    assert flow.behind(sides(new, old), NOW) == {"labels"}
    assert flow.behind(sides(old, new), NOW) == {"predictions"}
    assert not flow.behind(sides(new, side(asked=NOW - 0.1)), NOW)


@pytest.mark.parametrize(
    ("other", "waits"),
    [
        ({"asked": NOW - 0.2}, True),
        ({"asked": NOW - 0.1}, False),  # the same answer
        ({"asked": NOW - 0.2, "highwater": 51}, False),  # it holds the others back as it is
        ({"asked": NOW - 61}, False),  # it may never answer
    ],
)
def test_records_wait_for_an_answer_about_the_other_topic_that_is_as_new(other: dict[str, float], waits: bool) -> None:
    assert flow.too_new(NOW - 0.1, side(**other), NOW) == waits


@pytest.mark.parametrize(
    ("changes", "idle"),
    [
        ({}, True),
        ({"arrived": NOW - 1}, False),
        ({"highwater": 51}, False),
        ({"opened": NOW - 1}, False),
        ({"asked": NOW - 2}, False),  # its broker does not answer: silence of a lost broker is no silence
        ({"asked": NOW - 61}, False),
        ({"heard": NOW - 1}, False),  # it answers again: who sends may not have found it yet
        ({"heard": NOW - 6}, True),
    ],
)
def test_idle_only_when_both_are_caught_up_and_were_heard_to_be_silent(changes: dict[str, float], idle: bool) -> None:
    assert flow.clock(sides(labels=side(**changes)), NOW, 5.0).idle == idle
    assert flow.clock(sides(side(**changes)), NOW, 5.0).idle == idle


def test_the_topic_ahead_is_held_while_the_other_has_records_to_come() -> None:
    late = side(highwater=10_000, arrived=NOW - 1)
    full: dict[Side, int] = {"predictions": flow.BUFFERED_RECORDS}
    assert flow.held(sides(labels=late), full, 0, Load(), NOW) == {"predictions"}
    assert flow.held(sides(labels=late), {}, 0, Load(), NOW) == frozenset()
    assert flow.held(sides(), full, 0, Load(), NOW) == frozenset()


def test_a_topic_far_ahead_waits_in_the_inbox() -> None:
    late = side(highwater=10_000, arrived=NOW - 1)
    ahead: dict[Side, int] = {"predictions": flow.ENOUGH, "labels": flow.ENOUGH - 1}
    assert flow.far_ahead("predictions", sides(labels=late), ahead, Load(), NOW)
    assert not flow.far_ahead("labels", sides(labels=late), ahead, Load(), NOW), "it is what the other one waits for"
    assert not flow.far_ahead("predictions", sides(labels=late), {}, Load(), NOW)
    assert not flow.far_ahead("predictions", sides(), ahead, Load(), NOW), "nothing is to come of the other one"
    both: dict[Side, int] = dict.fromkeys(SIDES, flow.ENOUGH)
    assert not any(flow.far_ahead(each, sides(late, late), both, Load(), NOW) for each in SIDES), "one must go on"


def test_inboxes_are_emptied_before_they_keep_the_worker_from_fetching_what_they_wait_for() -> None:
    late = side(highwater=10_000, arrived=NOW - 1)
    ahead: dict[Side, int] = {"predictions": flow.ENOUGH}
    full = Load(waiting=flow.WORKER_RECORDS // 2)
    assert flow.held(sides(labels=late), ahead, 0, full, NOW) == frozenset()
    assert not flow.far_ahead("predictions", sides(labels=late), ahead, full, NOW)


@pytest.mark.parametrize(
    ("unsent", "load"),
    [
        (flow.UNSENT_EFFECTS, Load()),
        (0, Load(waiting=flow.WORKER_RECORDS)),
        (0, Load(unsaved=flow.UNSAVED_RECORDS)),
        (0, Load(unsent=flow.WORKER_EFFECTS)),
    ],
)
def test_everything_is_held_at_a_bound(unsent: int, load: Load) -> None:
    assert flow.held(sides(), {}, unsent, load, NOW) == frozenset(SIDES)


def test_large_effects_count_as_several() -> None:
    small = Outgoing(0, Channel.ALERTS, "m", b"x")
    large = Outgoing(1, Channel.DEAD_LETTERS, "m", b"x" * 1_000_000)
    assert flow.weight([small] * 3) == 3
    assert flow.weight([large]) * flow.EFFECT_BYTES == pytest.approx(1_000_000, rel=0.02)


def test_many_slices_hold_their_side_however_few_records_they_have() -> None:
    full = side(waiting=flow.INBOX_SLICES, slices=flow.INBOX_SLICES)
    assert flow.held(sides(full), {}, 0, Load(), NOW) == {"predictions"}


def test_a_slice_of_one_huge_record_counts_as_several() -> None:
    small, huge = (StoredRecord(0, 0, b"x" * size) for size in (500, 50_000_000))
    assert flow.slice_weight([small] * 100) == 1
    assert flow.slice_weight([huge]) == 12


def test_a_full_inbox_holds_its_side() -> None:
    assert flow.held(sides(side(waiting=flow.INBOX_RECORDS)), {}, 0, Load(), NOW) == {"predictions"}

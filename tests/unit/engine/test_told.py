"""What a store that was restored to an older snapshot has decided again goes out as it did before."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from stream.effects import Channel, Outgoing
from stream.engine.told import WITHIN, Told


def alert(seq: int, ts: float, state: str = "firing", rule: str = "low") -> Outgoing:
    body = {"id": f"{rule} {state} {ts}", "fingerprint": rule, "state": state, "ts": ts}
    return Outgoing(seq, Channel.ALERTS, "m", json.dumps(body).encode())


def snapshot(seq: int) -> Outgoing:
    return Outgoing(seq, Channel.SNAPSHOTS, "m", b"{}")


def test_an_alert_that_comes_a_tick_sooner_is_the_one_that_was_told() -> None:
    told = Told()
    first = [snapshot(0), alert(1, 100.0), snapshot(2), alert(3, 130.0, "resolved")]
    assert told.again(0, first) == first
    again = told.again(0, [snapshot(1), alert(2, 99.5), alert(3, 130.5, "resolved"), alert(4, 140.0)])
    assert [row.seq for row in again] == [1, 2, 3, 4]
    assert [row.value for row in again[1:]] == [first[1].value, first[3].value, alert(4, 140.0).value]


def test_each_stands_for_one_only() -> None:
    told = Told()
    told.again(0, [alert(5, 100.0), alert(6, 103.0, "resolved"), alert(7, 110.0)])
    again = told.again(0, [alert(5, 99.5), alert(6, 103.0, "resolved"), alert(7, 110.5), alert(8, 111.0)])
    assert [json.loads(row.value)["ts"] for row in again] == [100.0, 103.0, 110.0, 111.0]


def test_other_rules_other_partitions_and_other_times_are_other_alerts() -> None:
    told = Told()
    told.again(0, [alert(5, 100.0)])
    for other in (alert(5, 99.5, rule="high"), alert(5, 99.5, "resolved"), alert(5, 101.0 + WITHIN)):
        assert told.again(0, [other]) == [other]
    assert told.again(1, [alert(5, 99.5)]) == [alert(5, 99.5)]


def test_what_the_store_still_knows_is_not_decided_again() -> None:
    told = Told()
    told.again(0, [alert(5, 100.0), alert(6, 101.0, "resolved")])
    assert told.again(0, [alert(6, 101.5, "resolved"), alert(7, 102.0)])[1] == alert(7, 102.0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 300)), max_size=30), st.data())
def test_what_is_published_again_after_a_failure_stays_as_it_is(
    made: list[tuple[str, int]], data: st.DataObject
) -> None:
    told = Told()
    rows = [alert(seq, ts / 2, rule=rule) for seq, (rule, ts) in enumerate(made)]
    done = 0
    while done < len(rows):
        stop = data.draw(st.integers(done + 1, len(rows)))
        for _ in range(data.draw(st.integers(1, 3))):
            assert told.again(0, rows[done:stop]) == rows[done:stop]
        done = stop

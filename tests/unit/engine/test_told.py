"""What a store that was restored to an older snapshot has decided again goes out as it did before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from stream.effects import Channel, Outgoing
from stream.engine.outbox import PublishFailed
from stream.engine.told import SEQ, SHARD, WITHIN, Told


class Message(Struct):
    """A record of the alert topic."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Topic:
    """What is on the alert topic, and how often it was read."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.reads = 0
        self.fails = False

    async def read(self) -> Sequence[Message]:
        self.reads += 1
        await asyncio.sleep(0)
        if self.fails:
            raise PublishFailed("no broker")
        return list(self.messages)

    def add(self, rows: Sequence[Outgoing]) -> None:
        self.messages += [Message(row.value, row.headers) for row in rows if row.channel is Channel.ALERTS]

    def worker(self, group: str = "g") -> Told:
        """A worker that takes every partition from the store, restored or not."""
        return Told(group, self.read)


def alert(seq: int, ts: float, state: str = "firing", rule: str = "low") -> Outgoing:
    body = {"id": f"{rule} {state} {ts}", "fingerprint": rule, "state": state, "ts": ts}
    return Outgoing(seq, Channel.ALERTS, "m", json.dumps(body).encode())


def snapshot(seq: int) -> Outgoing:
    return Outgoing(seq, Channel.SNAPSHOTS, "m", b"{}")


def values(rows: Sequence[Outgoing]) -> list[bytes]:
    return [row.value for row in rows]


async def published(topic: Topic, *rows: Outgoing, partition: int = 0) -> None:
    """Rows of an earlier worker go out."""
    sent = await topic.worker().again(partition, rows)
    assert values(sent) == values(rows)
    topic.add(sent)


async def test_an_alert_that_comes_a_tick_sooner_is_the_one_that_was_told() -> None:
    topic = Topic()
    first = [snapshot(0), alert(1, 100.0), snapshot(2), alert(3, 130.0, "resolved")]
    await published(topic, *first)
    again = await topic.worker().again(0, [snapshot(1), alert(2, 99.5), alert(3, 130.5, "resolved"), alert(4, 140.0)])
    assert [row.seq for row in again] == [1, 2, 3, 4]
    assert values(again)[1:] == [first[1].value, first[3].value, alert(4, 140.0).value]


async def test_each_stands_for_one_only_though_it_was_sent_twice() -> None:
    topic = Topic()
    await published(topic, alert(5, 100.0), alert(6, 103.0, "resolved"), alert(7, 110.0))
    topic.messages.append(topic.messages[0])
    again = await topic.worker().again(
        0, [alert(5, 99.5), alert(6, 103.0, "resolved"), alert(7, 110.5), alert(8, 111.0)]
    )
    assert [json.loads(row.value)["ts"] for row in again] == [100.0, 103.0, 110.0, 111.0]


@pytest.mark.parametrize(
    ("other", "partition", "group"),
    [
        (alert(5, 99.5, rule="high"), 0, "g"),
        (alert(5, 99.5, "resolved"), 0, "g"),
        (alert(5, 101.0 + WITHIN), 0, "g"),
        (alert(5, 99.5), 1, "g"),
        (alert(5, 99.5), 0, "another"),
    ],
)
async def test_other_alerts_of_other_shards_or_times_are_others(other: Outgoing, partition: int, group: str) -> None:
    topic = Topic()
    await published(topic, alert(5, 100.0))
    assert values(await topic.worker(group).again(partition, [other])) == [other.value]


async def test_what_the_store_still_knows_is_not_decided_again() -> None:
    topic = Topic()
    await published(topic, alert(5, 100.0), alert(6, 101.0, "resolved"))
    told = topic.worker()
    assert await told.again(0, [snapshot(6)]) == [snapshot(6)]
    assert topic.reads == 1, "only for an alert"
    again = await told.again(0, [alert(7, 101.5, "resolved"), alert(8, 102.0)])
    assert values(again) == [alert(6, 101.0, "resolved").value, alert(8, 102.0).value]


async def test_the_topic_is_read_once_for_all_shards_that_were_taken_and_again_for_one_that_is_taken_later() -> None:
    topic = Topic()
    await published(topic, alert(5, 100.0), partition=0)
    await published(topic, alert(5, 100.0), partition=1)
    topic.reads = 0
    told = topic.worker()
    told.took(0)
    told.took(1)
    both = await asyncio.gather(told.again(0, [alert(5, 99.5)]), told.again(1, [alert(5, 100.5)]))
    assert [row.value for rows in both for row in rows] == [alert(5, 100.0).value] * 2
    assert topic.reads == 1
    told.took(0)
    assert values(await told.again(0, [alert(5, 99.0)])) == [alert(5, 100.0).value]
    await told.again(0, [alert(6, 170.0)])
    assert topic.reads == 2


async def test_foreign_records_are_passed_over() -> None:
    topic = Topic(
        Message(None, [(SHARD, b"g/0"), (SEQ, b"5")]),
        Message(b"{}", [(SHARD, b"g/0"), (SEQ, b"5")]),
        Message(alert(5, 99.0).value, [(SHARD, b"g/0"), (SEQ, b"five")]),
        Message(alert(5, 99.0).value, [(SHARD, b"g/0")]),
        Message(alert(5, 99.0).value, [(SHARD, b"\xff"), (SEQ, b"5")]),
        Message(alert(5, 99.0).value),
    )
    await published(topic, alert(5, 100.0))


async def test_when_the_topic_cannot_be_read_nothing_goes_out_until_it_can() -> None:
    topic = Topic()
    await published(topic, alert(5, 100.0))
    told = topic.worker()
    topic.fails = True
    for _ in range(2):
        with pytest.raises(PublishFailed):
            await told.again(0, [alert(5, 99.5)])
    topic.fails = False
    assert values(await told.again(0, [alert(5, 99.5)])) == [alert(5, 100.0).value]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 300)), max_size=30), st.data())
def test_what_is_published_again_after_a_failure_stays_as_it_is(
    made: list[tuple[str, int]], data: st.DataObject
) -> None:
    async def check() -> None:
        topic = Topic()
        before = [alert(seq, ts / 2 + 0.25, rule=rule) for seq, (rule, ts) in enumerate(made)]
        if data.draw(st.booleans(), "rolled back"):
            topic.add(await topic.worker().again(0, before))
        told = topic.worker()
        rows = [alert(seq, ts / 2, rule=rule) for seq, (rule, ts) in enumerate(made)]
        done, out = 0, list[bytes]()
        while done < len(rows):
            stop = data.draw(st.integers(done + 1, len(rows)))
            sent = [values(await told.again(0, rows[done:stop])) for _ in range(data.draw(st.integers(1, 3)))]
            assert all(each == sent[0] for each in sent)
            out += sent[0]
            done = stop
        if not topic.messages:
            assert out == values(rows)
        elif len({json.loads(row.value)["id"] for row in before}) == len(before):
            assert len(set(out)) == len(out), "no alert stands for two"

    asyncio.run(check())

"""A checkpoint stops after any of its steps and goes on later; slices that were lost on their way are missed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.port import Delta, Fenced, StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.effects import SIDES, Clock, Outgoing, Record, Side, StoredRecord
from stream.engine import checkpoints, flow
from stream.engine.aside import Aside
from stream.engine.cadence import Cadence
from stream.engine.flow import Load
from stream.engine.inbox import LOOK_EVERY, LOST_LOOKS
from stream.engine.outbox import Outbox, PublishFailed
from stream.engine.owned import Owned
from stream.engine.parts import Parts
from stream.engine.slices import Seek, Slice
from stream.engine.told import Message, Told
from stream.engine.turns import LEAST
from tests.integration.counting import CountingShard

NOW = Clock(now=1.0)


class Store(MemoryStore):
    """Fails on demand, before or after it has committed."""

    fails: str | None = None

    def commit(self, shard: int, epoch: int, delta: Delta) -> None:
        if self.fails == "before":
            raise StoreUnavailable("away")
        super().commit(shard, epoch, delta)
        if self.fails == "after":
            raise StoreUnavailable("the answer got lost")


class Out:
    """Keeps what is published, or fails."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.fails = False

    async def publish(self, rows: Iterable[Outgoing]) -> None:
        if self.fails:
            raise PublishFailed("no broker")
        self.sent += [row.seq for row in rows]


class Here:
    """Does on this loop what a worker does on another."""

    async def do(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await make()


async def nothing_told() -> Sequence[Message]:
    """The alert topic is empty."""
    return []


class Case:
    """One owned partition, and everything around it."""

    def __init__(self, threads: ThreadPoolExecutor, kind: type[CountingShard] = CountingShard) -> None:
        self.store, self.out, self.acked = Store(), Out(), list[tuple[Side, int]]()
        ignore = SimpleNamespace(observe=lambda _amount: None)
        parts = Parts(
            store=self.store,
            seal=Seal(b"a key of thirty-two bytes at least"),
            threads=threads,
            outbox=cast(Outbox, self.out),
            aside=cast(Aside, Here()),
            cadence=Cadence(0.5),
            timings=cast(Any, SimpleNamespace(apply=ignore, checkpoint=ignore, alert_delay=ignore)),
            wake=lambda: None,
            budget=1000,
            told=Told("g", nothing_told),
        )
        self.parts = parts
        self.shard = kind(0, None)
        self.owned = Owned(0, self.store.acquire(0), self.shard, parts)
        self.seeks: dict[Side, Seek] = {side: Seek(ticket=7) for side in SIDES}
        self.owned.inbox.attach(self.seeks)
        self.owned.open = True

    def give(self, side: Side, number: int, first: int, count: int = 1, ticket: int = 7) -> bool:
        """A slice of `count` records from offset `first`; the label of record 0 is wrong."""
        records: list[Record] = []
        for offset in range(first, first + count):
            value = {"id": f"e{offset}", "ts": 1.0, "prediction" if side == "predictions" else "label": 1}
            if side == "labels" and offset == 0:
                value["label"] = 0
            records.append(StoredRecord(offset, 0, msgspec.json.encode(value)))
        self.seeks[side].slices = max(self.seeks[side].slices, number + 1)
        ack = lambda: self.acked.append((side, first + count - 1))  # noqa: E731
        return self.owned.inbox.take(Slice(side, 0, ticket, number, records), side, ack)

    def stored(self) -> CountingShard:
        """The shard that the next owner would get."""
        return CountingShard(0, self.parts.seal.open_all(0, self.store.load(0)))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
async def case(threads: ThreadPoolExecutor) -> Case:
    made = Case(threads)
    made.give("predictions", 0, 0, 3)
    made.give("labels", 0, 0, 2)
    made.owned.apply(lambda: NOW)
    return made


async def test_all_steps(case: Case) -> None:
    await case.owned.checkpoints.save()
    assert case.out.sent == [1]
    assert sorted(case.acked) == [("labels", 1), ("predictions", 2)]
    assert case.owned.checkpoints.unsaved == 0
    assert case.owned.checkpoints.dirty, "the published effect is still in the store"
    await case.owned.checkpoints.save()
    assert not case.owned.checkpoints.dirty
    assert case.stored().outbox == []
    assert case.stored().sums == case.shard.sums


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_after_a_failed_commit_nothing_is_out_and_the_same_delta_comes_again(case: Case, fails: str) -> None:
    case.store.fails = fails
    with pytest.raises(StoreUnavailable):
        await case.owned.checkpoints.save()
    assert case.out.sent == []
    assert case.acked == []
    case.give("predictions", 1, 3)
    case.owned.apply(lambda: NOW)
    case.store.fails = None
    await case.owned.checkpoints.save()
    # What came meanwhile is not covered by the delta that was repeated.
    assert case.stored().next == {"predictions": 3, "labels": 2}
    assert case.out.sent == [1]
    assert ("predictions", 3) not in case.acked
    await case.owned.checkpoints.save()
    assert case.stored().next == {"predictions": 4, "labels": 2}
    assert ("predictions", 3) in case.acked


async def test_after_a_failed_publication_the_store_has_the_effect_and_nothing_is_acked(case: Case) -> None:
    case.out.fails = True
    with pytest.raises(PublishFailed):
        await case.owned.checkpoints.save()
    assert [row.seq for row in case.stored().outbox] == [1]
    assert case.acked == []
    case.out.fails = False
    await case.owned.checkpoints.save()
    assert case.out.sent == [1]
    assert len(case.acked) == 2


async def test_fenced_changes_nothing(case: Case) -> None:
    before = case.stored().sums
    case.store.acquire(0)
    with pytest.raises(Fenced):
        await case.owned.checkpoints.save()
    assert case.out.sent == []
    assert case.acked == []
    assert case.stored().sums == before


async def test_a_commit_that_is_cancelled_ends_first(case: Case) -> None:
    saving = asyncio.ensure_future(case.owned.checkpoints.save())
    await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert case.stored().sums == case.shard.sums
    assert case.owned.checkpoints.unsaved == 0


async def test_a_shard_whose_checkpoints_fail_unforeseen_is_said_to_have_failed(case: Case) -> None:
    """Nobody else would notice: it would go on until as much is unsaved as may be, and stand still."""
    failures: list[Exception] = []

    async def publish(rows: Iterable[Outgoing]) -> None:
        raise ZeroDivisionError

    case.out.publish = publish  # type: ignore[method-assign]
    case.owned.begin(case.seeks, lambda: None, failures.append)
    async with asyncio.timeout(10):
        while not failures:  # noqa: ASYNC110  # it comes by itself
            await asyncio.sleep(0.01)
    assert isinstance(failures[0], ZeroDivisionError)
    case.owned.pause()


async def test_what_is_left_at_the_end_is_saved_published_and_taken_out(case: Case) -> None:
    assert await case.owned.finish(5.0)
    assert case.out.sent == [1]
    assert case.stored().outbox == []
    assert not case.give("predictions", 1, 3), "a closed partition takes nothing"


async def test_after_a_dear_checkpoint_the_next_waits_while_records_come_and_not_in_silence(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "QUIET", 0.2)
    await case.owned.checkpoints.save()
    case.parts.cadence.every = 0.01
    case.parts.cadence.spent(0, 60.0)
    for number in (1, 2):
        await asyncio.sleep(0.02)
        now = time.monotonic()
        assert case.give("predictions", number, 2 + number)
        assert case.owned.checkpoints.due(urgent=False) >= now + 0.2
    case.owned.apply(lambda: NOW)
    case.owned.begin(case.seeks, lambda: None, lambda _error: None)
    async with asyncio.timeout(10):
        while case.owned.checkpoints.unsaved:  # noqa: ASYNC110  # it ends by itself
            await asyncio.sleep(0.01)
    case.owned.pause()


@pytest.mark.parametrize("load", [Load(unsaved=flow.UNSAVED_RECORDS), Load(unsent=flow.WORKER_EFFECTS)])
async def test_what_may_apply_no_more_has_its_checkpoint_at_once(
    case: Case, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However dear the last one was: the shard would stand still for as long."""
    monkeypatch.setattr(checkpoints, "QUIET", 3600.0)
    await case.owned.checkpoints.save()
    case.parts.cadence.spent(0, 60.0)
    assert case.give("predictions", 1, 3)
    case.owned.apply(lambda: NOW)
    assert case.give("predictions", 2, 4)
    assert not case.owned.ready(load)
    case.owned.apply(lambda: NOW, load)
    assert case.shard.next["predictions"] == 4, "nothing more was applied"
    keeper = asyncio.create_task(case.owned.checkpoints.keep(lambda: True, lambda: None))
    async with asyncio.timeout(10):
        while case.owned.checkpoints.unsaved:  # noqa: ASYNC110  # it ends by itself
            await asyncio.sleep(0.01)
    keeper.cancel()
    assert case.owned.ready(Load())


@pytest.mark.parametrize("fails", ["store", "broker"])
async def test_what_may_apply_no_more_does_not_hurry_a_store_or_broker_that_is_away(
    case: Case, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "_RETRY", (3600.0, 3600.0))
    case.store.fails, case.out.fails = ("before", False) if fails == "store" else (None, True)
    tries: list[int] = []
    save = case.owned.checkpoints.save

    async def counted() -> None:
        tries.append(len(tries))
        await save()

    monkeypatch.setattr(case.owned.checkpoints, "save", counted)
    keeper = asyncio.create_task(case.owned.checkpoints.keep(lambda: True, lambda: None))
    async with asyncio.timeout(10):
        while case.owned.checkpoints.trouble is None:  # noqa: ASYNC110  # it comes by itself
            await asyncio.sleep(0.01)
    for _ in range(20):
        case.owned.apply(lambda: NOW, Load(unsent=flow.WORKER_EFFECTS))
        await asyncio.sleep(0.01)
    keeper.cancel()
    assert tries == [0]


async def test_stale_and_repeated_slices_are_not_taken(case: Case) -> None:
    assert not case.give("predictions", 0, 0)
    assert not case.give("predictions", 1, 3, ticket=6)
    assert case.give("predictions", 1, 3)
    assert case.owned.inbox.waiting == 1


async def test_a_slice_is_cut_for_a_slow_shard_and_acked_when_all_of_it_is_saved(case: Case) -> None:
    case.owned._turns.took({"predictions": 3}, seconds=60.0)
    assert case.owned._turns.most("predictions") == LEAST
    assert case.give("predictions", 1, 3, 2 * LEAST + 10)
    turns = 0
    while case.owned.inbox.waiting:
        assert ("predictions", 2 * LEAST + 12) not in case.acked
        case.owned.apply(lambda: NOW)
        await case.owned.checkpoints.save()
        turns += 1
    assert turns > 1
    assert ("predictions", 2 * LEAST + 12) in case.acked
    assert case.shard.next["predictions"] == 2 * LEAST + 13
    assert case.shard.sums.repeats == case.shard.sums.skipped == 0
    assert case.owned.inbox.reread == 0


async def test_the_rest_of_a_slice_is_read_again_after_a_seek(case: Case) -> None:
    case.owned._turns.took({"predictions": 3}, seconds=60.0)
    assert case.give("predictions", 1, 3, 2 * LEAST)
    case.owned.apply(lambda: NOW)
    case.owned.inbox.detach()
    assert case.owned.inbox.wanted == {"predictions": LEAST + 3, "labels": 2}


class Asking(CountingShard):
    """Wants a row for every record, and goes on only when it wants none."""

    advanced = 0

    def apply(self, records: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        self.wanted += [f"pending/{record.offset}" for part in records.values() for record in part]
        self.advanced += not self.wanted
        return super().apply(records, clock)

    def answer(self, rows: Mapping[str, bytes]) -> None:
        self.wanted = []


async def test_a_shard_that_was_answered_goes_on_before_it_is_given_more(threads: ThreadPoolExecutor) -> None:
    case = Case(threads, Asking)
    assert isinstance(case.shard, Asking)
    for number in range(3):
        assert case.give("predictions", number, number)
        case.owned.apply(lambda: NOW)
        while case.owned.lender.lending:  # noqa: ASYNC110  # it ends by itself
            await asyncio.sleep(0.001)
        # The next slice is there before the shard has used its answer.
        assert case.give("labels", number, number)
        case.owned.apply(lambda: NOW)
        assert case.shard.advanced == 2 * number + 1
        case.owned.apply(lambda: NOW)
        while case.owned.lender.lending:  # noqa: ASYNC110  # it ends by itself
            await asyncio.sleep(0.001)
        case.owned.apply(lambda: NOW)
        assert case.shard.advanced == 2 * number + 2


async def test_a_gap_is_missed_at_once(case: Case) -> None:
    assert not case.owned.inbox.lost(time.monotonic())
    assert not case.give("predictions", 2, 9)
    assert case.owned.inbox.lost(time.monotonic())
    case.owned.inbox.detach()
    assert case.owned.inbox.wanted == {"predictions": 3, "labels": 2}


async def test_a_slice_that_follows_a_later_seek_says_that_ours_was_overtaken(case: Case) -> None:
    assert not case.give("predictions", 0, 0, ticket=6)
    assert not case.owned.inbox.lost(time.monotonic())
    assert not case.give("predictions", 0, 3, ticket=8)
    assert case.owned.inbox.lost(time.monotonic())


async def test_a_lost_end_is_missed_after_many_looks_but_not_after_one_late_look(case: Case) -> None:
    case.seeks["labels"].slices = 2
    now = time.monotonic()
    assert not case.owned.inbox.lost(now + 60), "the worker was held up"
    looks = [case.owned.inbox.lost(now + 60 + LOOK_EVERY * (1.001 * number)) for number in range(1, LOST_LOOKS + 2)]
    assert looks[-1]
    assert not looks[LOST_LOOKS // 2]


async def test_records_below_what_was_taken_are_passed_over(case: Case) -> None:
    assert case.give("predictions", 1, 1, 4)
    case.owned.apply(lambda: NOW)
    assert case.shard.sums.repeats == 0
    assert case.shard.next["predictions"] == 5
    assert case.owned.inbox.reread == 2

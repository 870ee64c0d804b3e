"""One partition that this worker owns: its shard, its epoch, what came in and is not applied, applied and not saved.

A checkpoint is `save`, in numbered steps; the shard goes on applying while the store commits.

Invariant: effects are published only after the commit that holds them, slices are acked only after the commit that
covers them, a delta that failed is retried before the next one is taken, and nothing is committed after Fenced.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import islice
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from stream.checkpoint.port import Delta, Fenced, Store, StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.effects import SIDES, Channel, Clock, Outgoing, Record, Side
from stream.engine import flow
from stream.engine.cadence import Cadence
from stream.engine.flow import SideState
from stream.engine.outbox import Outbox, PublishFailed
from stream.engine.transport import Progress, Seek, Slice
from stream.rows import PENDING
from stream.view import ShardView

logger = logging.getLogger(__name__)

T = TypeVar("T")

APPLY_RECORDS = 8_000
"""Records of one side per call of the shard: longer calls would hold up the page and the alerts of other shards."""

LOOK_EVERY, LOST_LOOKS = 0.1, 20
"""A slice that did not come in so many looks, seconds apart, was lost on its way through Faust."""

_PAGE, _GARBAGE = 1_000, 10_000
"""Rows that a patrol shows at once; rows that have expired before one is worth it."""

_CALM = 30.0
"""Seconds after the beginning before a patrol starts: what has come meanwhile is more urgent."""

_RETRY = (0.1, 5.0)
"""First and longest pause after a failed checkpoint, seconds."""


class ShardLike(Protocol):
    """What the engine needs of a shard; see stream/shard.py."""

    @property
    def next(self) -> dict[Side, int | None]:
        """Offset of the first record not applied, by side; None where none was ever seen."""

    @property
    def outbox(self) -> list[Outgoing]:
        """Effects decided and not yet confirmed as published."""

    @property
    def buffered(self) -> Mapping[Side, int]:
        """Records that wait for their tick."""

    @property
    def urgent(self) -> bool:
        """An alert was decided and is not in a delta yet."""

    def apply(self, records: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        """Takes records and time; returns the effects decided now."""

    wanted: list[str]
    """Keys of stored rows without which the shard cannot go on."""

    @property
    def stored_only(self) -> int:
        """Predictions that wait and are not in memory."""

    @property
    def garbage(self) -> int:
        """Stored rows that mean nothing any more."""

    def answer(self, rows: Mapping[str, bytes]) -> None:
        """Brings the wanted rows, those of them that exist."""

    def patrol(self, rows: Mapping[str, bytes]) -> None:
        """Looks at some stored rows of waiting predictions."""

    def delta(self) -> Delta:
        """Rows that changed since the previous delta."""

    def published(self, seq: int) -> None:
        """All effects up to `seq` are out."""

    def view(self) -> ShardView:
        """What is known."""


class Observer(Protocol):
    """A histogram."""

    def observe(self, amount: float) -> None:
        """Adds one observation, seconds."""


class Timings(Protocol):
    """Where the engine's durations go."""

    @property
    def apply(self) -> Observer:
        """One call of a shard."""

    @property
    def checkpoint(self) -> Observer:
        """From the start of a checkpoint until it is stored."""

    @property
    def alert_delay(self) -> Observer:
        """From the event time of an alert until it is acknowledged on its topic."""


class Parts(Struct):
    """What all shards of a worker share."""

    store: Store
    seal: Seal
    threads: Executor
    outbox: Outbox
    cadence: Cadence
    timings: Timings
    wake: Callable[[], None]
    """Says that a shard can go on."""
    budget: int
    """Waiting predictions that a shard keeps in memory."""
    checkpoints: int = 0


class _Draft(Struct):
    """A delta on its way to the store, and what it covers."""

    delta: Delta
    next: dict[Side, int | None]
    rows: list[Outgoing]
    records: int
    encoding: float


class _Time(Struct):
    ts: float


_alert_time = msgspec.json.Decoder(_Time).decode


class Owned:
    """The engine's side of one shard."""

    def __init__(self, partition: int, epoch: int, shard: ShardLike, parts: Parts) -> None:
        self.partition = partition
        self.epoch = epoch
        self.shard = shard
        self.parts = parts
        self.open = False
        """Whether slices are taken and time passes. Closed: opening, in a rebalance, stopping, or fenced."""
        self.trouble: str | None = None
        """Why checkpoints or effects do not get out, for a person."""
        self.unsaved = 0
        """Records applied since the last checkpoint."""
        self.reread = 0
        """Records that came again below what was taken: a topic was cut or made anew."""
        self.sides: dict[Side, SideState] = {}
        self.last_apply = 0.0
        self._seeks: dict[Side, Seek] = {}
        self._received: dict[Side, int] = {}
        self._gap = False
        self._looks, self._looked = 0, 0.0
        """Looks in a row that found slices on their way and none that had come; when the last one was."""
        self._taken: dict[Side, int | None] = dict(shard.next)
        self._inbox: dict[Side, deque[tuple[Slice, Callable[[], object]]]] = {side: deque() for side in SIDES}
        self._unacked: dict[Side, deque[tuple[int, Callable[[], object]]]] = {side: deque() for side in SIDES}
        self._saved: dict[Side, int | None] = dict(shard.next)
        self._confirmed = False
        """Effects were published since the last delta: the next one takes them out of the store."""
        self._draft: _Draft | None = None
        self._saving = asyncio.Lock()
        self._nudge = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._last_save = 0.0
        self._lender: asyncio.Task[None] | None = None
        self._patroller: asyncio.Task[None] | None = None
        self._patrolled = False
        self._begun = 0.0
        self.fenced = False

    # Opening and closing

    @property
    def wanted(self) -> dict[Side, int | None]:
        """Offsets to read from; None for a side of which nothing was ever seen."""
        return dict(self._taken)

    def begin(self, seeks: Mapping[Side, Seek], on_fenced: Callable[[], None]) -> None:
        """Slices are taken from now on, and checkpoints go by themselves."""
        self.attach(seeks)
        self.open = True
        self._begun = time.monotonic()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(on_fenced))

    def attach(self, seeks: Mapping[Side, Seek]) -> None:
        """Takes the slices that follow these seeks."""
        now = time.monotonic()
        self._seeks = dict(seeks)
        self._received = dict.fromkeys(SIDES, 0)
        self._gap, self._looks = False, 0
        self.sides = {
            side: SideState(opened=now, taken=self._taken[side] or seek.position, delivered=seek.position)
            for side, seek in seeks.items()
        }

    def detach(self) -> None:
        """Takes no more slices and forgets those not applied; they are read again after the next `attach`."""
        self._seeks = {}
        for side in SIDES:
            self._inbox[side].clear()
        for state in self.sides.values():
            state.waiting = state.slices = 0

    @property
    def attached(self) -> bool:
        """Whether slices are taken."""
        return self.open and bool(self._seeks)

    async def finish(self, patience: float) -> bool:
        """Last checkpoint, effects published, slices acked; True when all of it is done within `patience` seconds.

        The shard stays usable: `begin` opens it again.
        """
        keeper, self.open = self._keeper, False
        self._nudge.set()
        try:
            async with asyncio.timeout(patience):
                if keeper is not None:
                    # A checkpoint under way ends in peace: cut short, its effects would be published once more.
                    await asyncio.wait([keeper])
                self.pause()
                # The first saves what is there, the second takes out what the first has published.
                for _ in range(3):
                    if not self.dirty:
                        return True
                    await self.save()
                return not self.dirty
        except (TimeoutError, StoreUnavailable, PublishFailed) as error:
            self.pause()
            self.trouble = str(error) or "the last checkpoint took too long"
            return False

    def pause(self) -> None:
        """Nothing is taken and nothing saved until the next `begin`."""
        self.open = False
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        self.detach()

    async def verify(self) -> None:
        """Raises Fenced if another worker has had the shard since; StoreUnavailable if the store cannot say."""
        async with self._saving:
            await self._in_thread(self.parts.store.commit, self.partition, self.epoch, Delta())

    # What comes in

    def expect(self, part: Slice, side: Side) -> None:
        """A slice is on its way: until it was applied, the side is not caught up."""
        if self.attached and part.ticket == self._seeks[side].ticket:
            self.sides[side].delivered = part.records[-1].offset + 1

    def take(self, part: Slice, side: Side, ack: Callable[[], object]) -> bool:
        """Puts a slice into the inbox; False if it is not the next one after the seek."""
        if not self.attached or part.ticket != self._seeks[side].ticket:
            return False
        if part.number != self._received[side]:
            self._gap = True
            return False
        self._received[side] += 1
        self._looks = 0
        self._inbox[side].append((part, ack))
        state = self.sides[side]
        state.waiting += len(part.records)
        state.slices += flow.slice_weight(part.records)
        state.arrived = time.monotonic()
        return True

    def look(self, side: Side, progress: Progress) -> None:
        """Learns how far the client has read. Until the slices have come, its position says nothing: a topic with
        slices on their way would pass for one that is caught up, and the other would go on without it.
        """
        state = self.sides[side]
        state.fetched = progress.position if progress.slices == self._received[side] else None
        state.highwater = progress.highwater

    def lost(self, now: float) -> bool:
        """Whether slices were fetched and never came, which Faust does to some around a rebalance.

        A gap says so. Where nothing follows, it is that many looks, some time apart, between which nothing came: a
        worker that was held up for long has not lost anything.
        """
        if not self.attached or all(self._received[side] == self._seeks[side].slices for side in SIDES):
            self._looks = 0
        elif now - self._looked >= LOOK_EVERY:
            self._looks += 1
            self._looked = now
        return self.attached and (self._gap or self._looks > LOST_LOOKS)

    @property
    def waiting(self) -> int:
        """Records in the inbox."""
        return sum(state.waiting for state in self.sides.values())

    def apply(self, clock: Callable[[], Clock]) -> None:
        """Gives the shard what is in the inbox, at most APPLY_RECORDS of each side, and the time.

        The clock is read after that: what the shard is being given does not hold it back.
        """
        if self._lender is not None:
            # A row that cannot be read ends the shard here, where the engine sees it.
            self._lender.result()
        records: dict[Side, list[Record]] = {}
        for side in SIDES:
            if self._inbox[side]:
                records[side] = self._next_records(side)
        count = sum(len(part) for part in records.values())
        begun = time.perf_counter()
        decided = self.shard.apply(records, clock())
        if count:
            self.parts.timings.apply.observe(time.perf_counter() - begun)
        self.unsaved += count
        self.last_apply = time.monotonic()
        if self.shard.wanted:
            self._lender = asyncio.get_running_loop().create_task(self._lend())
        self._tell_refused(decided)
        if self.shard.urgent:
            self._nudge.set()

    def _tell_refused(self, decided: Sequence[Outgoing]) -> None:
        """One line per reason, at most one a minute, with the newest record as an example."""
        refused = [row for row in decided if row.channel is Channel.DEAD_LETTERS]
        if not refused:
            return
        newest = {headers["reason"]: headers for headers in (dict(row.headers) for row in refused)}
        counts = Counter(dict(row.headers)["reason"] for row in refused)
        for reason, headers in newest.items():
            said = {name: value.decode(errors="replace") for name, value in headers.items()}
            logger.warning(
                "%d records refused as %s, such as offset %s of %s-%s: %s",
                *(counts[reason], said["reason"], said["offset"], said["topic"], said["partition"]),
                said["detail"][:200],
                extra={"kind": f"refused {said['reason']}"},
            )

    def _next_records(self, side: Side) -> list[Record]:
        inbox, state = self._inbox[side], self.sides[side]
        records: list[Record] = []
        while inbox and (not records or len(records) + len(inbox[0][0].records) <= APPLY_RECORDS):
            part, ack = inbox.popleft()
            state.waiting -= len(part.records)
            state.slices -= flow.slice_weight(part.records)
            fresh = part.records
            if fresh[0].offset < state.taken:
                self.reread += len(fresh)
                fresh = [record for record in fresh if record.offset >= state.taken]
                self.reread -= len(fresh)
            last = part.records[-1].offset
            self._unacked[side].append((last, ack))
            state.taken = max(state.taken, last + 1)
            self._taken[side] = state.taken
            records = records + fresh if records else fresh
        return records

    # What is only in the store

    @property
    def lending(self) -> bool:
        """Whether the shard waits for rows from the store."""
        return self._lender is not None and not self._lender.done()

    async def _lend(self) -> None:
        pause = _RETRY[0]
        while self.shard.wanted:
            keys = list(self.shard.wanted)
            try:
                rows = await self._in_thread(self._stored, keys)
            except StoreUnavailable as error:
                self.trouble = str(error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY[1])
                continue
            self.shard.answer(rows)
        self.parts.wake()

    def _stored(self, keys: list[str]) -> dict[str, bytes]:
        """Runs in a thread: rows of the store, by one read."""
        return dict(self.parts.seal.open_all(self.partition, self.parts.store.get(self.partition, keys).items()))

    def _look_after_store(self) -> None:
        """Starts a patrol when stored rows fit into memory again, or when many have expired."""
        if time.monotonic() - self._begun < _CALM:
            return
        away, garbage = self.shard.stored_only, self.shard.garbage
        fits = 0 < away <= self.parts.budget and not self._patrolled
        if (fits or garbage > max(_GARBAGE, away // 4)) and (self._patroller is None or self._patroller.done()):
            self._patrolled = True
            self._patroller = asyncio.get_running_loop().create_task(self._patrol())

    async def _patrol(self) -> None:
        """Shows the shard every stored row of a waiting prediction, page by page, while it goes on."""
        loop = asyncio.get_running_loop()

        async def show(rows: dict[str, bytes]) -> bool:
            if self.open:
                self.shard.patrol(rows)
            return self.open

        def read() -> None:
            rows = self.parts.seal.open_all(self.partition, self.parts.store.load(self.partition, f"{PENDING}/"))
            while page := dict(islice(rows, _PAGE)):
                if not asyncio.run_coroutine_threadsafe(show(page), loop).result():
                    return

        try:
            await self._in_thread(read)
        except StoreUnavailable as error:
            logger.info("partition %d: %s", self.partition, error)
            self._patrolled = False

    # Checkpoints

    @property
    def dirty(self) -> bool:
        """Whether a checkpoint would change anything."""
        return (
            self._draft is not None or self._confirmed or bool(self.shard.outbox) or self.shard.next != self._saved
        ) and not self.fenced

    async def save(self) -> None:
        """One checkpoint. Raises Fenced, StoreUnavailable, PublishFailed; after the last two it may be called again."""
        started = time.perf_counter()
        async with self._saving:
            # 1. What changed since the last delta, together with the offsets it goes with.
            draft = self._draft = self._draft or self._encode()
            # 2. One atomic commit, fenced by the epoch. It must not be left alone half-way, so it is not cancelled.
            commit = asyncio.ensure_future(self._in_thread(self._commit, draft.delta))
            try:
                processor = await asyncio.shield(commit)
            except asyncio.CancelledError:
                await asyncio.wait([commit])
                if commit.exception() is None:
                    self._committed(draft, commit.result(), time.perf_counter() - started)
                raise
            self._committed(draft, processor, time.perf_counter() - started)
        # 3. What was decided goes out, all acknowledgements awaited.
        if draft.rows:
            await self.parts.outbox.publish(draft.rows)
            # 4. It leaves the store with the next delta.
            self.confirm(draft.rows)
        # 5. Faust may let the group's offsets follow.
        for side in SIDES:
            reached = draft.next[side] or 0
            unacked = self._unacked[side]
            while unacked and unacked[0][0] < reached:
                unacked.popleft()[1]()

    def _committed(self, draft: _Draft, processor: float, elapsed: float) -> None:
        self._draft = None
        self._saved = draft.next
        self.unsaved -= draft.records
        self._last_save = time.monotonic()
        self.parts.checkpoints += 1
        self.parts.timings.checkpoint.observe(elapsed)
        self.parts.cadence.spent(self.partition, draft.encoding + processor)

    def confirm(self, rows: list[Outgoing]) -> None:
        """Effects were published: alerts are timed, and the shard lets go of them."""
        wall = time.time()
        for row in rows:
            if row.channel is Channel.ALERTS:
                self.parts.timings.alert_delay.observe(max(0.0, wall - _alert_time(row.value).ts))
        self.shard.published(rows[-1].seq)
        self._confirmed = True

    def _encode(self) -> _Draft:
        begun = time.thread_time()
        rows = list(self.shard.outbox)
        delta = self.shard.delta()
        self._confirmed = False
        return _Draft(delta, dict(self.shard.next), rows, self.unsaved, time.thread_time() - begun)

    def _commit(self, delta: Delta) -> float:
        """Seals and commits; returns the processor time it took. Runs in a thread."""
        begun = time.thread_time()
        sealed = Delta(self.parts.seal.seal_all(self.partition, delta.put), delta.delete)
        self.parts.store.commit(self.partition, self.epoch, sealed)
        return time.thread_time() - begun

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.parts.threads, call, *args)

    async def _keep(self, on_fenced: Callable[[], None]) -> None:
        pause = 0.0
        while True:
            await self._until_due(pause)
            if not self.open:
                return
            try:
                await self.save()
            except Fenced:
                self.fenced = True
                on_fenced()
                return
            except (StoreUnavailable, PublishFailed) as error:
                if self.trouble is None:
                    logger.warning("partition %d: %s", self.partition, error)
                self.trouble = str(error)
                pause = min(max(2 * pause, _RETRY[0]), _RETRY[1])
            else:
                if self.trouble is not None:
                    logger.info("partition %d: checkpoints go on", self.partition)
                self.trouble, pause = None, 0.0
                self._look_after_store()

    async def _until_due(self, pause: float) -> None:
        """Waits for the next checkpoint: the interval, sooner when an alert waits; `pause` after a failure."""
        if pause:
            self._nudge.clear()
            await self._nudged(pause)
            return
        while self.open:
            urgent = self.shard.urgent
            due = self._last_save + self.parts.cadence.interval(urgent)
            wait = due - time.monotonic()
            if wait <= 0 and self.dirty:
                return
            if urgent:
                await asyncio.sleep(max(wait, 0.001))
                continue
            self._nudge.clear()
            await self._nudged(wait if wait > 0 else self.parts.cadence.every)

    async def _nudged(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._nudge.wait(), seconds)
        except TimeoutError:
            pass

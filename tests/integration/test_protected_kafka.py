"""A Kafka that wants passwords and certificates: commands and workers get in with the right ones, and only then."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.servers.kafka import Kafka, free_port

pytestmark = pytest.mark.real

PASSWORD = "s3cr3t-of-the-broker"
TOKEN = "s3cr3t-of-the-page-1"
KEY = "s3cr3t-of-the-state-1"


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    broker = Kafka(tmp_path_factory.mktemp("kafka"), password=PASSWORD)
    broker.start()
    deadline = time.monotonic() + 30
    for address in (broker.sasl_address, broker.ssl_address):
        host, port = address.split(":")
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    yield broker
    broker.stop()


def configuration(folder: Path, broker: str, security: str, port: int = 0) -> Path:
    path = folder / "monitor.yaml"
    path.write_text(
        f"kafka: {{brokers: '{broker}', group: g, partitions: 2, security: {security}}}\n"
        f"checkpoint: {{store: 'sqlite:///{folder}/state.db', key: '${{KEY}}'}}\n"
        f"http: {{port: {port}, token: '${{TOKEN}}'}}\n"
    )
    return path


def sasl(broker: Kafka, mechanism: str = "SCRAM-SHA-512", password: str = "${PASSWORD}", ca: bool = True) -> str:
    trust = f", ssl_cafile: '{broker.directory}/cert.pem'" if ca else ""
    user = f"sasl_mechanism: {mechanism}, sasl_username: worker, sasl_password: '{password}'"
    return f"{{protocol: SASL_SSL, {user}{trust}}}"


def mutual(broker: Kafka, certificate: bool = True) -> str:
    own = (
        f", ssl_certfile: '{broker.directory}/cert.pem', ssl_keyfile: '{broker.directory}/key.pem'"
        if certificate
        else ""
    )
    return f"{{protocol: SSL, ssl_cafile: '{broker.directory}/cert.pem'{own}}}"


ENVIRONMENT = {**os.environ, "PASSWORD": PASSWORD, "TOKEN": TOKEN, "KEY": KEY}


def topics(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream", "topics", "--create", "-c", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=ENVIRONMENT)
    assert "s3cr3t" not in ran.stdout + ran.stderr
    return ran


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"])
def test_the_right_password_gets_in(protected: Kafka, tmp_path: Path, mechanism: str) -> None:
    ran = topics(configuration(tmp_path, protected.sasl_address, sasl(protected, mechanism)))
    assert ran.returncode == 0, ran.stderr


def test_a_client_certificate_gets_in(protected: Kafka, tmp_path: Path) -> None:
    ran = topics(configuration(tmp_path, protected.ssl_address, mutual(protected)))
    assert ran.returncode == 0, ran.stderr


def test_what_is_wrong_does_not(protected: Kafka, tmp_path: Path) -> None:
    for address, security in (
        (protected.sasl_address, sasl(protected, password="s3cr3t-that-is-wrong")),
        (protected.sasl_address, sasl(protected, ca=False)),
        (protected.ssl_address, mutual(protected, certificate=False)),
    ):
        ran = topics(configuration(tmp_path, address, security))
        assert ran.returncode == 1, security
        assert address in ran.stderr, ran.stderr


def test_a_worker_reads_and_writes_and_shows_no_secret(protected: Kafka, tmp_path: Path) -> None:
    port = free_port()
    path = configuration(tmp_path, protected.sasl_address, sasl(protected), port)
    assert topics(path).returncode == 0
    now = time.time()
    good = [{"model": "m", "id": str(i), "ts": now, "prediction": 1, "score": 0.9} for i in range(500)]
    asyncio.run(_produce(protected, [*(json.dumps(each).encode() for each in good), b"not JSON"]))
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "stream", "run", "-c", str(path)]
        worker = subprocess.Popen(command, stdout=log, stderr=log, env=ENVIRONMENT)
        try:
            seen = ""
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and worker.poll() is None:
                seen = _get(f"http://127.0.0.1:{port}/api/status", TOKEN)
                totals = json.loads(seen)["totals"] if seen else {}
                if totals.get("predictions") == 500 and totals.get("dead_letters") == 1:
                    break
                time.sleep(0.3)
            else:
                pytest.fail(f"{seen[:500]}\n{(tmp_path / 'log').read_text()[-3000:]}")
            said = [seen, *(_get(f"http://127.0.0.1:{port}{path}", TOKEN) for path in ("/", "/metrics", "/readyz"))]
            assert all(said)
            assert "s3cr3t" not in "".join(said)
            assert _get(f"http://127.0.0.1:{port}/", None) == ""
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait(10)
    text = (tmp_path / "log").read_text()
    assert "s3cr3t" not in text
    assert "records refused as not_json" in text


async def _produce(broker: Kafka, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.address)
    await producer.start()
    try:
        for value in values:
            await producer.send("predictions", value, key=b"m")
    finally:
        await producer.stop()


def _get(url: str, token: str | None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        return error.read().decode() if error.code == 503 else ""
    except OSError:
        return ""

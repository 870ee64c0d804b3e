"""The example service sends records that the monitor takes: a prediction, its label, and a failure."""

from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path
from queue import Queue
from types import ModuleType
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from stream.events import Label, Prediction, seconds

ROOT = Path(__file__).resolve().parents[3]
BENIGN = {
    "mean radius": 12.0,
    "mean texture": 15.0,
    "mean smoothness": 0.09,
    "mean compactness": 0.06,
    "mean concavity": 0.03,
}


@pytest.fixture(scope="module")
def service() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flask_service", ROOT / "examples/flask_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(service: ModuleType) -> Any:
    return service.trained()


@pytest.fixture
def sent() -> list[tuple[str, dict[str, Any]]]:
    return []


@pytest.fixture
def client(service: ModuleType, model: Any, sent: list[tuple[str, dict[str, Any]]]) -> FlaskClient:
    app = service.create_app(model, lambda topic, event: sent.append((topic, event)))
    client: FlaskClient = app.test_client()
    return client


def test_a_prediction_and_its_label_carry_one_id(client: FlaskClient, sent: list[tuple[str, dict[str, Any]]]) -> None:
    answer = client.post("/predict", json=BENIGN)
    assert answer.status_code == 200
    assert answer.json is not None
    assert client.post(f"/outcomes/{answer.json['id']}", json={"label": 1}).status_code == 204
    (first, prediction), (second, label) = sent
    assert (first, second) == ("predictions", "labels")
    known = msgspec.convert(prediction, Prediction)
    truth = msgspec.convert(label, Label)
    assert (known.model, known.id) == (truth.model, truth.id)
    assert known.prediction == 1
    assert known.score is not None
    assert known.score > 0.9
    assert known.features == BENIGN
    assert seconds(known.ts) <= seconds(truth.ts)
    assert known.latency_ms is not None


def test_a_request_that_cannot_be_scored_is_told_as_an_error(
    client: FlaskClient, sent: list[tuple[str, dict[str, Any]]]
) -> None:
    answer = client.post("/predict", json={**BENIGN, "mean radius": "large"})
    assert answer.status_code == 422
    known = msgspec.convert(sent[0][1], Prediction)
    assert known.prediction is None
    assert known.error


class FakeProducer:
    """Starts at the second attempt, then keeps what it is given."""

    attempts = 0
    sent: Queue[tuple[str, bytes, bytes]] = Queue()

    def __init__(self, **_: object) -> None:
        pass

    async def start(self) -> None:
        FakeProducer.attempts += 1
        if FakeProducer.attempts == 1:
            raise OSError("no broker")

    async def send(self, topic: str, value: bytes, key: bytes) -> None:
        self.sent.put((topic, value, key))

    async def stop(self) -> None:
        pass


def test_events_go_out_in_order_and_keyed_once_a_broker_answers(
    service: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AIOKafkaProducer", FakeProducer)
    monkeypatch.setattr(service, "RETRY_SECONDS", 0.01)
    publish = service.Publisher("nowhere:9092")
    for number in range(10):
        publish("predictions", {"model": "m", "id": str(number)})
    arrived = [FakeProducer.sent.get(timeout=10) for _ in range(10)]
    assert [msgspec.json.decode(value)["id"] for _, value, _ in arrived] == [str(number) for number in range(10)]
    assert {(topic, key) for topic, _, key in arrived} == {("predictions", b"m")}
    assert FakeProducer.attempts == 2


def test_what_exceeds_the_queue_is_dropped_and_counted(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "AIOKafkaProducer", Unreachable)
    monkeypatch.setattr(service, "QUEUE", 5)
    publish = service.Publisher("nowhere:9092")
    for number in range(8):
        publish("predictions", {"model": "m", "id": str(number)})
    deadline = time.monotonic() + 10
    while publish.dropped < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Unreachable(FakeProducer):
    """Never starts."""

    async def start(self) -> None:
        await asyncio.Event().wait()

"""A Flask service that serves a scikit-learn model and tells the monitor of every prediction and every outcome.

    pip install flask scikit-learn aiokafka
    KAFKA=localhost:9092 flask --app examples/flask_service.py run

    curl localhost:5000/predict -H 'Content-Type: application/json' -d '{"mean radius": 14.1, "mean texture": 19.3}'
    curl localhost:5000/outcomes/ID -H 'Content-Type: application/json' -d '{"label": 1}'     # when the truth is known

Monitoring never fails a request and never makes one wait: events are handed to a thread that sends them in batches, and
are dropped (and counted) when Kafka is away for so long that the queue is full.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from flask import Flask, Response, jsonify, request
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODEL, VERSION = "tumour", "1.0.0"
FEATURES = ["mean radius", "mean texture", "mean smoothness", "mean compactness", "mean concavity"]
QUEUE = 10_000
RETRY_SECONDS = 1.0

Publish = Callable[[str, dict[str, Any]], None]
logger = logging.getLogger(__name__)


class Publisher:
    """Sends events from any thread, in the background. The key is the model's name: so the monitor joins them."""

    def __init__(self, brokers: str) -> None:
        self.dropped = 0
        self._brokers = brokers
        self._loop = asyncio.new_event_loop()
        self._queue: asyncio.Queue[tuple[str, bytes, bytes]] = asyncio.Queue(QUEUE)
        threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True).start()

    def __call__(self, topic: str, event: dict[str, Any]) -> None:
        """Returns at once."""
        record = (topic, json.dumps(event).encode(), event["model"].encode())
        self._loop.call_soon_threadsafe(self._put, record)

    def _put(self, record: tuple[str, bytes, bytes]) -> None:
        try:
            self._queue.put_nowait(record)
        except asyncio.QueueFull:
            self.dropped += 1

    async def _run(self) -> None:
        while True:
            producer = AIOKafkaProducer(bootstrap_servers=self._brokers, linger_ms=20)
            try:
                await producer.start()
                while True:
                    topic, value, key = await self._queue.get()
                    await producer.send(topic, value, key=key)
            except Exception as error:  # noqa: BLE001 - the service goes on, whatever is wrong with Kafka
                logger.warning("events wait: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                await producer.stop()


def trained() -> Any:
    """A model that gives the probability that a tumour is benign."""
    table = load_breast_cancer()
    columns = [list(table.feature_names).index(name) for name in FEATURES]
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(table.data[:, columns], table.target)


def create_app(model: Any, publish: Publish) -> Flask:
    """The service: `publish(topic, event)` tells the monitor."""
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> tuple[Response, int]:
        began = time.perf_counter()
        features: dict[str, float] = request.get_json()
        event: dict[str, Any] = {"model": MODEL, "version": VERSION, "id": str(uuid.uuid4()), "ts": time.time()}
        event["features"] = features
        try:
            score = float(model.predict_proba([[float(features[name]) for name in FEATURES]])[0, 1])
            event |= {"prediction": int(score >= 0.5), "score": score}
            answer, code = {"id": event["id"], "benign": event["prediction"], "score": score}, 200
        except (KeyError, TypeError, ValueError) as error:
            event |= {"prediction": None, "error": repr(error)[:200]}
            answer, code = {"id": event["id"], "error": "these features cannot be scored"}, 422
        event["latency_ms"] = 1000 * (time.perf_counter() - began)
        publish("predictions", event)
        return jsonify(answer), code

    @app.post("/outcomes/<id>")
    def outcome(id: str) -> tuple[str, int]:
        publish("labels", {"model": MODEL, "id": id, "ts": time.time(), "label": request.get_json()["label"]})
        return "", 204

    return app


if "KAFKA" in os.environ:  # `flask --app` looks for this name
    app = create_app(trained(), Publisher(os.environ["KAFKA"]))

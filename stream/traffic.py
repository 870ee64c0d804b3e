"""Seeded traffic of three models, as their services would send it: for the demo, for tests and for benchmarks.

Invariant: events are a function of the seed and the span of event time alone. Each second of each model has its own
random generator, so any way of cutting a span into calls of `Traffic.until` yields the same events.

Scores are calibrated by construction: a label is drawn with the probability that the model states. What breaks that is
drift, whose time and kind are known, so that a monitor can be judged by what it finds.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from stream.effects import Side
from stream.events import Scalar, Task

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Draw: TypeAlias = "Callable[[np.random.Generator, int, Bools], Drawn]"

_encode = msgspec.json.Encoder().encode


class Event(Struct, frozen=True, gc=False):
    """One record as a service publishes it."""

    side: Side
    ts: float
    model: str
    id: str
    body: dict[str, Any]

    @property
    def key(self) -> bytes:
        """The partitioning key."""
        return self.model.encode()

    @property
    def value(self) -> bytes:
        """The record on the wire."""
        return _encode(self.body)


class Drawn(Struct):
    """n predictions of one model, and the truth about each."""

    features: dict[str, list[Scalar]]
    attributes: dict[str, list[str]]
    predicted: list[Scalar]
    actual: list[Scalar]
    score: list[float] | None = None
    scores: list[dict[str, float]] | None = None


class Service(Struct, frozen=True):
    """One model in production. Times are seconds of event time after the beginning of the traffic."""

    name: str
    task: Task
    draw: Draw
    drift_at: float | None = None
    """From here on `draw` is told to draw what has drifted; None: never."""
    share: float = 1.0
    """Its part of the total rate, relative to the others."""
    versions: dict[str, float] = field(default_factory=lambda: {"1.0.0": 1.0})
    """Version and its share of the traffic."""
    label_delay: float = 2.0
    """Median; the distribution is log-normal."""
    label_spread: float = 0.6
    """Standard deviation of the logarithm of the delay."""
    labelled: float = 0.97
    """Share of predictions whose truth ever becomes known."""
    failing: float = 0.002
    """Share of requests that the service answers with an error."""
    missing: float = 0.01
    """Share of feature values that are null."""
    latency_ms: float = 18.0
    """Median; the distribution is log-normal."""


NEW_YEAR = 1_767_225_600.0
"""2026-01-01T00:00:00Z: where traffic begins when nobody says otherwise."""

COUNTRIES = {"US": 0.38, "BR": 0.27, "DE": 0.2, "IN": 0.15}
CITIES = {"Porto": 0.4, "Lyon": 0.35, "Graz": 0.25}
QUEUES = ("billing", "technical", "sales", "account")


def _sigmoid(logit: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-logit))


def _choose(rng: np.random.Generator, n: int, shares: dict[str, float]) -> list[str]:
    names = list(shares)
    edges = np.cumsum(list(shares.values()))
    return [names[i] for i in np.searchsorted(edges / edges[-1], rng.random(n), side="right").tolist()]


def card_fraud(rng: np.random.Generator, n: int, drifted: Bools) -> Drawn:
    """Binary. The drift: a new kind of fraud, online in Brazil, that looks like ordinary payments to the model."""
    amount = rng.lognormal(3.6, 0.9, n)
    distance = rng.exponential(20.0, n)
    velocity = rng.poisson(1.2, n)
    age = rng.gamma(2.0, 400.0, n)
    hour = rng.integers(0, 24, n)
    country = _choose(rng, n, COUNTRIES)
    channel = _choose(rng, n, {"online": 0.6, "store": 0.3, "atm": 0.1})
    risk = 1.1 * (np.log(amount) - 3.6) + 0.03 * (distance - 20) + 0.7 * (velocity - 1.2) - 0.001 * (age - 800)
    risk += np.where((hour < 6), 0.8, 0.0) + np.array([0.4 if c == "online" else 0.0 for c in channel])
    score = _sigmoid(2.2 * risk - 6.0)
    target = np.array([a == "BR" and b == "online" for a, b in zip(country, channel, strict=True)], dtype=np.bool_)
    truth = rng.random(n) < np.where(drifted & target, np.maximum(score, 0.8), score)
    return Drawn(
        features={
            "amount": np.round(amount, 2).tolist(),
            "distance_km": np.round(distance, 1).tolist(),
            "payments_last_hour": velocity.astype(float).tolist(),
            "account_age_days": np.round(age).tolist(),
            "hour": hour.astype(float).tolist(),
            "channel": list(channel),
            "country": list(country),
        },
        attributes={"country": country, "channel": channel},
        predicted=(score >= 0.5).astype(int).tolist(),
        actual=truth.astype(int).tolist(),
        score=np.round(score, 6).tolist(),
    )


def house_price(rng: np.random.Generator, n: int, drifted: Bools) -> Drawn:
    """Regression. The drift: larger houses than before, which the model still prices well: only its input moved."""
    area = np.maximum(rng.normal(96.0, 27.0, n) + np.where(drifted, 38.0, 0.0), 18.0)
    rooms = np.maximum(np.round(area / 27.0 + rng.normal(0.0, 0.6, n)), 1.0)
    year = np.round(rng.uniform(1920, 2024, n))
    centre = rng.exponential(5.0, n)
    city = _choose(rng, n, CITIES)
    condition = rng.choice(4, n, p=[0.1, 0.3, 0.4, 0.2])
    price = area * (2900.0 + 8.0 * (year - 1970)) * np.exp(-0.02 * centre) + 9000.0 * rooms + 22000.0 * condition
    return Drawn(
        features={
            "area_m2": np.round(area, 1).tolist(),
            "rooms": rooms.tolist(),
            "year_built": year.tolist(),
            "centre_km": np.round(centre, 2).tolist(),
            "condition": [("poor", "fair", "good", "new")[i] for i in condition.tolist()],
        },
        attributes={"city": city},
        predicted=np.round(price + rng.normal(0.0, 9000.0, n)).tolist(),
        actual=np.round(price + rng.normal(0.0, 21000.0, n)).tolist(),
    )


def ticket_routing(rng: np.random.Generator, n: int, drifted: Bools) -> Drawn:
    """Multiclass, and healthy whatever `drifted` says."""
    words = np.round(rng.lognormal(4.0, 0.7, n))
    attachments = rng.poisson(0.4, n)
    urgency = rng.beta(2.0, 5.0, n)
    language = _choose(rng, n, {"en": 0.6, "es": 0.25, "fr": 0.15})
    tier = _choose(rng, n, {"free": 0.6, "team": 0.3, "enterprise": 0.1})
    centre = rng.choice(len(QUEUES), n, p=[0.35, 0.3, 0.2, 0.15])
    logits = rng.normal(0.0, 1.0, (n, len(QUEUES)))
    logits[np.arange(n), centre] += 4.0
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares = np.round(shares / shares.sum(axis=1, keepdims=True), 6)
    truth = np.minimum((shares.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), len(QUEUES) - 1)
    return Drawn(
        features={
            "words": words.tolist(),
            "attachments": attachments.astype(float).tolist(),
            "urgency": np.round(urgency, 4).tolist(),
            "language": list(language),
        },
        attributes={"language": language, "tier": tier},
        predicted=[QUEUES[i] for i in shares.argmax(axis=1).tolist()],
        actual=[QUEUES[i] for i in truth.tolist()],
        scores=[dict(zip(QUEUES, row, strict=True)) for row in shares.tolist()],
    )


def services(concept_at: float | None = None, feature_at: float | None = None) -> tuple[Service, ...]:
    """The three models, drifting at these seconds after the beginning (None: healthy)."""
    return (
        Service("card-fraud", "binary", card_fraud, concept_at, 2.0, {"2.4.0": 0.9, "2.5.0-rc1": 0.1}),
        Service("house-price", "regression", house_price, feature_at, 1.0, {"7": 1.0}, labelled=0.8),
        Service("ticket-routing", "multiclass", ticket_routing, None, 1.0, latency_ms=60.0),
    )


class Traffic:
    """Events in order of event time, from `start` on, at `rate` predictions a second over all services."""

    def __init__(self, services: tuple[Service, ...], *, start: float, rate: float, seed: int = 0) -> None:
        if rate <= 0:
            raise ValueError(f"rate {rate} is not positive")
        self._services, self._start, self._rate, self._seed = services, start, rate, seed
        self._second = 0
        self._waiting: list[tuple[float, int, Event]] = []
        self._serial = 0

    def until(self, end: float) -> list[Event]:
        """All events before `end` that were not handed out yet, in order of event time."""
        while self._start + self._second < end:
            for index in range(len(self._services)):
                for event in self._drawn(index):
                    heapq.heappush(self._waiting, (event.ts, self._serial, event))
                    self._serial += 1
            self._second += 1
        ready = []
        while self._waiting and self._waiting[0][0] < end:
            ready.append(heapq.heappop(self._waiting)[2])
        return ready

    def _drawn(self, index: int) -> Iterator[Event]:
        """What one service predicts in the current second, and the labels that come of it, whenever they come."""
        service = self._services[index]
        rng = np.random.default_rng([self._seed, index, self._second])
        total = sum(each.share for each in self._services)
        n = int(rng.poisson(self._rate * service.share / total))
        after = self._second + np.sort(rng.random(n))
        drifted = after >= (np.inf if service.drift_at is None else service.drift_at)
        drawn = service.draw(rng, n, drifted)
        ts = np.round(self._start + after, 3).tolist()
        version = _choose(rng, n, service.versions)
        latency = np.round(rng.lognormal(np.log(service.latency_ms), 0.4, n), 2).tolist()
        due = np.round(ts + rng.lognormal(np.log(service.label_delay), service.label_spread, n), 3).tolist()
        known = (rng.random(n) < service.labelled).tolist()
        failed = (rng.random(n) < service.failing).tolist()
        nulls = (rng.random((n, len(drawn.features))) < service.missing).tolist()
        names = list(drawn.features)
        for i in range(n):
            identity = f"{service.name}-{self._second:06d}-{i:04d}"
            features = {f: None if nulls[i][j] else drawn.features[f][i] for j, f in enumerate(names)}
            body: dict[str, Any] = {"model": service.name, "id": identity, "ts": ts[i]}
            if failed[i]:
                body |= {"prediction": None, "error": "upstream timeout"}
            else:
                body["prediction"] = drawn.predicted[i]
                if drawn.score is not None:
                    body["score"] = drawn.score[i]
                if drawn.scores is not None:
                    body["scores"] = drawn.scores[i]
            body |= {
                "version": version[i],
                "features": features,
                "attributes": {name: values[i] for name, values in drawn.attributes.items()},
                "latency_ms": latency[i],
            }
            yield Event("predictions", ts[i], service.name, identity, body)
            if known[i] and not failed[i]:
                label = {"model": service.name, "id": identity, "ts": due[i], "label": drawn.actual[i]}
                yield Event("labels", due[i], service.name, identity, label)


def span(seconds: float, *, rate: float = 200.0, seed: int = 0, **drifts: float) -> list[Event]:
    """All events of the first `seconds` of `NEW_YEAR`; `drifts` as in `services`."""
    return Traffic(services(**drifts), start=NEW_YEAR, rate=rate, seed=seed).until(NEW_YEAR + seconds)

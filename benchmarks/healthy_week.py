"""Default rules on healthy traffic: a week of event time of twenty models must raise no alert.

    python -m benchmarks.healthy_week [--days 7] [--models 20] [--seed 0] [--pane 900]

Twenty models of three tasks, of 2 to 14 features of many shapes, with 0.02 to 0.8 predictions a second on average, five
times as many at the day's height as at its depth, labels that come after seconds to a day, failures and empty values.
Nothing of it changes but the volume. Events go through one shard, as in a replay. Then the demo's traffic with its two
drifts, for each of several seeds: both must be found. Prints JSON; exits 1 when an alert came that should not, or did
not that should.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np

from stream.config import Config, Model
from stream.effects import SIDES, Channel, Clock, Side, StoredRecord
from stream.events import Alert
from stream.recorded import slices
from stream.shard import Shard
from stream.traffic import NEW_YEAR, Event, Floats, span

DAY, HOUR = 86400.0, 3600.0
SLOWEST, FASTEST = 0.02, 0.8
"""Predictions a second on average of the model with fewest and the one with most."""

CLASSES = ("billing", "technical", "sales", "account", "other")
WORDS = tuple(f"value-{number}" for number in range(40))

SHAPES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, n: rng.normal(50.0, 9.0, n),
    "lognormal": lambda rng, n: rng.lognormal(3.0, 1.0, n),
    "exponential": lambda rng, n: rng.exponential(20.0, n),
    "poisson": lambda rng, n: rng.poisson(1.2, n).astype(float),
    "uniform": lambda rng, n: rng.uniform(-1.0, 1.0, n),
    "beta": lambda rng, n: rng.beta(0.5, 2.0, n),
}
NOISES: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, n: rng.normal(0.0, 1.0, n),
    "laplace": lambda rng, n: rng.laplace(0.0, 1.0, n),
    "student": lambda rng, n: rng.standard_t(3, n),
}
"""Of regressions: relative errors, some with heavy tails."""

_encode = msgspec.json.Encoder().encode
_alert = msgspec.json.Decoder(Alert).decode


class Healthy:
    """One model whose world does not change. What it is like is drawn from the seed."""

    def __init__(self, number: int, models: int, seed: int, scale: float) -> None:
        self._rng = rng = np.random.default_rng([seed, number])
        self.name = f"model-{number:02d}"
        self.task = ("binary", "multiclass", "regression")[number % 3]
        self.rate = scale * SLOWEST * (FASTEST / SLOWEST) ** (number / max(1, models - 1))
        self.peak = rng.uniform(0.0, DAY)
        """Time of day with most traffic."""
        self.depth = 2.0 / 3.0
        """Volume swings by this share of its mean: five times as much at the height as at the depth."""
        self.numeric = [str(rng.choice(list(SHAPES))) for _ in range(rng.integers(2, 10))]
        self.words = [int(rng.integers(2, 20)) for _ in range(rng.integers(0, 5))]
        """Number of values of each categorical feature."""
        self.skill = rng.uniform(1.0, 4.0)
        self.prior = rng.uniform(-4.0, 0.0)
        self.noise = str(rng.choice(list(NOISES)))
        self.delay = float(np.exp(rng.uniform(np.log(2.0), np.log(6 * HOUR))))
        self.missing = float(rng.choice([0.0, 0.01, 0.1]))
        self.failing = float(rng.choice([0.0, 0.002, 0.01]))
        self.labelled = rng.uniform(0.5, 1.0)
        self._serial = itertools.count()

    def hour(self, start: float) -> tuple[list[tuple[float, bytes]], list[tuple[float, bytes]]]:
        """Predictions of one hour and the labels that come of them, as (time, record)."""
        rng = self._rng
        swing = 1.0 + self.depth * np.cos(2 * np.pi * (start + HOUR / 2 - NEW_YEAR - self.peak) / DAY)
        n = int(rng.poisson(self.rate * HOUR * swing))
        ts = np.round(start + np.sort(rng.random(n)) * HOUR, 3)
        due = np.round(ts + rng.lognormal(np.log(self.delay), 0.7, n), 3).tolist()
        names, columns = self._features(n)
        guesses, truths = self._answers(n)
        failed, known = (rng.random(n) < self.failing).tolist(), (rng.random(n) < self.labelled).tolist()
        latency = np.round(rng.lognormal(3.0, 0.5, n), 2).tolist()
        predictions, labels = [], []
        for row, at in enumerate(ts.tolist()):
            identity = f"{next(self._serial):x}"
            body: dict[str, Any] = {"model": self.name, "id": identity, "ts": at, "latency_ms": latency[row]}
            body["features"] = {name: column[row] for name, column in zip(names, columns, strict=True)}
            body |= {"prediction": None, "error": "timeout"} if failed[row] else guesses[row]
            predictions.append((at, _encode(body)))
            if known[row] and not failed[row]:
                label = {"model": self.name, "id": identity, "ts": due[row], "label": truths[row]}
                labels.append((due[row], _encode(label)))
        return predictions, labels

    def _features(self, n: int) -> tuple[list[str], list[list[Any]]]:
        rng = self._rng
        drawn: list[list[Any]] = [np.round(SHAPES[shape](rng, n), 4).tolist() for shape in self.numeric]
        for size in self.words:
            shares = 1.0 / np.arange(1, size + 1)
            drawn.append([WORDS[code] for code in rng.choice(size, n, p=shares / shares.sum()).tolist()])
        for column in drawn:
            for row in np.flatnonzero(rng.random(n) < self.missing).tolist():
                column[row] = None
        return [f"f{number}" for number in range(len(drawn))], drawn

    def _answers(self, n: int) -> tuple[list[dict[str, Any]], list[Any]]:
        """What the model says, and the truth: drawn from the probabilities that the model states."""
        rng = self._rng
        if self.task == "regression":
            truth = rng.lognormal(5.0, 0.6, n)
            error = NOISES[self.noise](rng, n)
            guess = np.round(truth + 0.1 * truth * error, 3).tolist()
            return [{"prediction": each} for each in guess], np.round(truth, 3).tolist()
        if self.task == "binary":
            score = np.round(1.0 / (1.0 + np.exp(-rng.normal(self.prior, self.skill, n))), 6)
            truth = (rng.random(n) < score).astype(int).tolist()
            return [{"prediction": int(each >= 0.5), "score": each} for each in score.tolist()], truth
        logits = rng.normal(0.0, self.skill, (n, len(CLASSES)))
        shares = np.round(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), 6)
        chosen = np.minimum((shares.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), len(CLASSES) - 1)
        said = [
            {"prediction": CLASSES[best], "scores": dict(zip(CLASSES, row, strict=True))}
            for best, row in zip(shares.argmax(axis=1).tolist(), shares.tolist(), strict=True)
        ]
        return said, [CLASSES[code] for code in chosen.tolist()]


def traffic(models: list[Healthy], hours: int) -> dict[Side, Iterator[StoredRecord]]:
    """Both topics in event-time order; hours are drawn when either comes to them."""
    pending: dict[Side, list[tuple[float, int, bytes]]] = {"predictions": [], "labels": []}
    drawn, serial = itertools.count(), itertools.count()
    done = 0

    def draw() -> None:
        nonlocal done
        done = next(drawn) + 1
        for model in models:
            for side, rows in zip(SIDES, model.hour(NEW_YEAR + (done - 1) * HOUR), strict=True):
                for at, value in rows:
                    heapq.heappush(pending[side], (at, next(serial), value))

    def records(side: Side) -> Iterator[StoredRecord]:
        queue = pending[side]
        for offset in itertools.count():
            while done < hours and (not queue or queue[0][0] >= NEW_YEAR + done * HOUR):
                draw()
            if not queue or queue[0][0] >= NEW_YEAR + hours * HOUR:
                return
            at, _, value = heapq.heappop(queue)
            yield StoredRecord(offset, int(np.ceil(at * 1000)), value)

    return {side: records(side) for side in SIDES}


def run(models: list[Healthy], hours: int, pane: float, progress: bool = False) -> tuple[list[Alert], int]:
    """The alerts of default rules on that traffic, and the number of events."""
    config = Config(defaults=Model(pane=pane))
    shard, alerts, events, told = Shard(0, config), list[Alert](), 0, NEW_YEAR
    for side, batch, behind in slices(traffic(models, hours), 5000):
        events += len(batch)
        now = batch[-1].timestamp / 1000 if batch else told
        decided = shard.apply({side: batch}, Clock(now=now, behind=behind))
        found = [_alert(each.value) for each in decided if each.channel is Channel.ALERTS]
        shard.forget_effects()
        alerts += [each for each in found if each.state == "firing"]
        for alert in found if progress else ():
            print(f"{(alert.ts - NEW_YEAR) / DAY:.2f} d {alert.state} {alert.rule}: {alert.summary}", file=sys.stderr)
        if progress and now - told >= 6 * HOUR:
            told = now
            print(f"{(now - NEW_YEAR) / DAY:.2f} d, {events:,} events", file=sys.stderr, flush=True)
    return alerts, events


def drifts(seed: int, rate: float = 400.0) -> dict[str, float | None]:
    """Seconds from each of the demo's drifts to the first alert about it (None: there was none), and the number of
    alerts about its healthy model."""
    concept, feature, end = 15.0, 20.0, 120.0
    events = span(end, rate=rate, seed=seed, concept_at=concept, feature_at=feature)
    shard = Shard(0, Config())
    alerts: list[Alert] = []
    sides = {side: _stored([event for event in events if event.side == side]) for side in SIDES}
    for side, batch, behind in slices(sides, 2000):
        decided = shard.apply({side: batch}, Clock(now=NEW_YEAR + end, behind=behind))
        alerts += [_alert(each.value) for each in decided if each.channel is Channel.ALERTS]
        shard.forget_effects()
    firing = [alert for alert in alerts if alert.state == "firing"]

    def first(model: str, rule: str, since: float) -> float | None:
        found = [alert.ts - NEW_YEAR for alert in firing if (alert.model, alert.rule) == (model, rule)]
        return min((at - since for at in found), default=None)

    return {
        "concept": first("card-fraud", "concept-drift", concept),
        "feature": first("house-price", "feature-drift", feature),
        "healthy": float(sum(alert.model == "ticket-routing" for alert in firing)),
    }


def _stored(events: list[Event]) -> Iterator[StoredRecord]:
    for offset, event in enumerate(events):
        yield StoredRecord(offset, int(np.ceil(event.ts * 1000)), event.value)


def main() -> int:
    """Prints the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="of all volumes")
    parser.add_argument(
        "--pane", type=float, default=900.0, help="seconds; most of the time goes into snapshots of panes"
    )
    parser.add_argument("--drifts", type=int, default=5, help="seeds of the demo's traffic")
    chosen = parser.parse_args()
    began = time.perf_counter()
    models = [Healthy(number, chosen.models, chosen.seed, chosen.scale) for number in range(chosen.models)]
    alerts, events = run(models, round(chosen.days * 24), chosen.pane, progress=True)
    seconds = time.perf_counter() - began
    found = [drifts(seed) for seed in range(chosen.drifts)]
    result = {
        "days": chosen.days,
        "models": chosen.models,
        "pane": chosen.pane,
        "events": events,
        "seconds": round(seconds, 1),
        "alerts": [f"{alert.model} {alert.rule} {alert.summary}" for alert in alerts],
        "drifts": found,
    }
    print(json.dumps(result, indent=2))
    wrong = any(each["concept"] is None or each["feature"] is None or each["healthy"] for each in found)
    return 1 if alerts or wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())

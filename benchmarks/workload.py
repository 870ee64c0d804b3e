"""The reference job's events: the same bytes for every contestant, and the truth that each of them must count.

Predictions of about 480 bytes (10 numeric and 2 categorical features) of binary models, and a label for each, which
comes `lag` predictions later in the same partition. From half-way on, `flipped` of the labels are inverted. In each
partition every event is `step` seconds of event time after the one before it. Each topic's partition ends with one
record more, a second later and without a counterpart: as live traffic does, it tells that what came before is complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from aiokafka.partitioner import murmur2
from msgspec import Struct

from stream.effects import SIDES, Side, StoredRecord

BEGIN = 1_767_225_600.0
"""2026-01-01T00:00:00Z: event time of the first record, unless told otherwise."""

TAIL = "5f3c9a1e-7b64-4d21-9e0c"
"""Makes ids as long as UUIDs."""

NUMERIC = (
    "amount",
    "balance",
    "income",
    "debt_ratio",
    "account_age",
    "velocity_24h",
    "distance_km",
    "merchant_risk",
    "device_age",
    "hour_sin",
)
CATEGORICAL = {"channel": ("online", "store", "phone", "atm"), "country": ("US", "BR", "DE", "IN", "FR", "JP", "MX")}


class Truth(Struct):
    """Outcomes, and correct ones, of each model."""

    outcomes: Counter[str]
    correct: Counter[str]

    def plus(self, other: Truth) -> Truth:
        """Both together."""
        return Truth(self.outcomes + other.outcomes, self.correct + other.correct)


class Workload(Struct, frozen=True):
    """What is generated. `models` are spread evenly over the partitions."""

    predictions: int = 200_000
    lag: int = 1_000
    partitions: int = 4
    models: int = 8
    step: float = 0.001
    flipped: float = 0.15
    seed: int = 7
    begin: float = BEGIN

    @property
    def events(self) -> int:
        """Predictions and their labels, without the last record of each topic's partition."""
        return 2 * self.predictions

    @property
    def records_in_all(self) -> int:
        """What is in the topics."""
        return self.events + 2 * self.partitions

    def names(self, partition: int) -> list[str]:
        """The models whose key leads to this partition in Kafka's default partitioner."""
        found: list[str] = []
        candidate = 0
        while len(found) < max(1, self.models // self.partitions):
            name = f"model-{candidate:02d}"
            if (murmur2(name.encode()) & 0x7FFFFFFF) % self.partitions == partition:
                found.append(name)
            candidate += 1
        return found

    def records(self, partition: int) -> tuple[dict[Side, list[StoredRecord]], Truth]:
        """All records of one partition of both topics, in order, and what there is to count in them."""
        made = dict.fromkeys(SIDES, 0)
        sides: dict[Side, list[StoredRecord]] = {side: [] for side in SIDES}
        truth = Truth(Counter(), Counter())
        for side, ts, model, value in self.lines(partition, truth):
            record = StoredRecord(made[side], round(ts * 1000), value.encode(), model.encode())
            made[side] += 1
            sides[side].append(record)
        return sides, truth

    def lines(self, partition: int, truth: Truth) -> Iterator[tuple[Side, float, str, str]]:
        """Topic, event time, model and value of each record, in order; what there is to count goes into `truth`."""
        n = self.predictions // self.partitions
        rng = np.random.default_rng([self.seed, partition])
        names = self.names(partition)
        which = rng.integers(0, len(names), n).tolist()
        score = rng.beta(0.25, 0.5, n)
        flip = (np.arange(n) >= n // 2) & (rng.random(n) < self.flipped)
        label = ((rng.random(n) < score) ^ flip).astype(int).tolist()
        scores = np.round(score, 6).tolist()
        numbers = np.round(rng.normal(50.0, 12.0, (n, len(NUMERIC))), 4).tolist()
        words = {f: rng.choice(values, n).tolist() for f, values in CATEGORICAL.items()}
        latency = np.round(rng.lognormal(3.0, 0.4, n), 2).tolist()
        events = 0
        for i in range(n + self.lag):
            if i < n:
                ts = round(self.begin + events * self.step, 3)
                events += 1
                features = ",".join(
                    [f'"{f}":{value}' for f, value in zip(NUMERIC, numbers[i], strict=True)]
                    + [f'"{f}":"{values[i]}"' for f, values in words.items()]
                )
                model = names[which[i]]
                yield (
                    "predictions",
                    ts,
                    model,
                    f'{{"model":"{model}","id":"{partition}-{i:08d}-{TAIL}","ts":{ts},'
                    f'"prediction":{int(scores[i] >= 0.5)},"score":{scores[i]},"version":"3.1.4",'
                    f'"features":{{{features}}},"attributes":{{"region":"eu-west-1","service":"scoring-api","pod":"7d9f8b-xk2lp"}},"latency_ms":{latency[i]}}}',
                )
            if (j := i - self.lag) >= 0:
                ts = round(self.begin + events * self.step, 3)
                events += 1
                model = names[which[j]]
                truth.outcomes[model] += 1
                truth.correct[model] += int(scores[j] >= 0.5) == label[j]
                identity = f"{partition}-{j:08d}-{TAIL}"
                body = f'{{"model":"{model}","id":"{identity}","ts":{ts},"label":{label[j]}}}'
                yield "labels", ts, model, body
        ts, model = round(ts + 1.0, 3), names[0]
        yield "predictions", ts, model, f'{{"model":"{model}","id":"{partition}-last","ts":{ts},"prediction":0}}'
        yield "labels", ts, model, f'{{"model":"{model}","id":"{partition}-never","ts":{ts},"label":0}}'

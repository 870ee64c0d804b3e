"""Hostile input by kind: what a broken or malicious producer could send, without end, to make a worker grow or stop.

Invariant: record number i of an attack is a function of i alone, so runs of any length agree where they overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Struct

from stream.config import Challenger, Config, Learn, Limits, Model, Reference
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.shard import Shard

START = 1_700_000_000.0
STEP = 0.01
"""Seconds of event time between two records."""

TEN_YEARS = 10 * 365.25 * 86400.0
MEGABYTE = 1 << 20

Body = Callable[[int], dict[str, object] | bytes]


class Attack(Struct, frozen=True):
    """One kind of hostile input."""

    name: str
    predictions: Body | None = None
    labels: Body | None = None
    spec: Model = Model(segments=("country",), reference=Reference(first=30), horizon=600.0)
    share: int = 1
    """Of so many records that are asked for, one is sent: some are large."""
    refused: str | None = None
    """The reason under which every record is refused; None where most are taken."""


def prediction(number: int, **changes: object) -> dict[str, object]:
    """A good prediction, but for what is changed."""
    return {
        "model": "m",
        "id": str(number),
        "ts": START + number * STEP,
        "prediction": number % 2,
        "score": number % 100 / 100,
        "features": {"amount": number % 1000 / 10, "kind": "abc"[number % 3]},
        "attributes": {"country": ("BR", "DE")[number % 2]},
        **changes,
    }


def label(number: int, **changes: object) -> dict[str, object]:
    """A good label, but for what is changed."""
    return {"model": "m", "id": str(number), "ts": START + number * STEP, "label": number % 2, **changes}


def _long(number: int, character: str) -> str:
    return f"{number:08d}" + character * (MEGABYTE - 1000)


def _raw(number: int, field: str, text: bytes) -> bytes:
    """A prediction with JSON of one's own in one field."""
    record = prediction(number)
    record[field] = msgspec.Raw(text)
    return msgspec.json.encode(record)


_ODD: Sequence[object] = (True, "yes", 0.5, 1e17, "", "0", False, -1, "ja")
_BAD_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 400)
_LEARN = Learn(
    challengers=(
        Challenger(
            "one-hot",
            ("river.preprocessing.OneHotEncoder", "river.linear_model.LogisticRegression"),
        ),
    )
)

ATTACKS = (
    Attack("model names", lambda i: prediction(i, model=f"model {i}")),
    Attack("segment values", lambda i: prediction(i, attributes={"country": f"country {i}"}), label),
    Attack("categories", lambda i: prediction(i, features={"amount": 1.0, "kind": f"kind {i if i > 200 else i % 3}"})),
    Attack("categories from the start", lambda i: prediction(i, features={"kind": f"kind {i}"})),
    Attack("feature names", lambda i: prediction(i, features={f"feature {i}": 1.0})),
    Attack(
        "many features at once", lambda i: prediction(i, features={f"f{i}.{j}": 1.0 for j in range(1000)}), share=1000
    ),
    Attack(
        "class names",
        lambda i: prediction(i, prediction=f"class {i}", score=None),
        lambda i: label(i, label=f"truth {i}"),
    ),
    Attack(
        "scores of many classes", lambda i: prediction(i, prediction="a", score=None, scores={"a": 0.5, f"c{i}": 0.5})
    ),
    Attack("versions", lambda i: prediction(i, version=f"version {i}")),
    Attack("ids of 1 MB", lambda i: prediction(i, id=_long(i, "i")), share=1000, refused="invalid"),
    Attack("model names of 1 MB", lambda i: prediction(i, model=_long(i, "m")), share=1000, refused="invalid"),
    Attack("segment values of 1 MB", lambda i: prediction(i, attributes={"country": _long(i, "s")}), share=1000),
    Attack("categories of 1 MB", lambda i: prediction(i, features={"amount": 1, "kind": _long(i, "c")}), share=1000),
    Attack("feature names of 1 MB", lambda i: prediction(i, features={_long(i, "f"): 1}), share=1000),
    Attack("class names of 1 MB", lambda i: prediction(i, prediction=_long(i, "p"), score=None), share=1000),
    Attack("versions of 1 MB", lambda i: prediction(i, version=_long(i, "v")), share=1000),
    Attack("times ten years ahead", lambda i: prediction(i, ts=START + TEN_YEARS), refused="future"),
    Attack("times since 1970", lambda i: prediction(i, ts=0 if i % 100 == 0 else START + i * STEP)),
    Attack(
        "messages of 50 MB",
        lambda i: b'{"model": "m", "id": "%d%b"}' % (i, b"x" * 50 * MEGABYTE),
        share=50_000,
        refused="too_large",
    ),
    Attack("deep JSON", lambda i: _raw(i, "features", b'{"a":' * 100_000), share=1000, refused="invalid"),
    Attack(
        "deep JSON where nobody reads", lambda i: b'{"%d": %b' % (i, b"[" * 500_000), share=1000, refused="not_json"
    ),
    Attack("numbers that are none", lambda i: _raw(i, "prediction", _BAD_NUMBERS[i % 5])),
    Attack("bytes that are not UTF-8", lambda i: b'{"model": "m", "id": "%d\xff"}' % i, refused="not_json"),
    Attack("bytes that are not JSON", lambda i: bytes(range(i % 200, 256))),
    Attack("labels of changing type", prediction, lambda i: label(i, label=_ODD[i % len(_ODD)])),
    Attack("predictions of changing type", lambda i: prediction(i, prediction=_ODD[i % len(_ODD)]), label),
    Attack(
        "features of changing type",
        lambda i: prediction(i, features={"amount": _ODD[i % 9], "kind": (7, None, "a")[i % 3]}),
    ),
    Attack(
        "duplicate keys",
        lambda i: (
            b'{"model": "x", "model": "m", "id": "a", "id": "%d", "ts": 1, "ts": %f, "prediction": 1}'
            % (i, START + i * STEP)
        ),
    ),
    Attack(
        "what challengers learn from",
        lambda i: prediction(i, features={f"feature {i}": 1.0, "kind": f"kind {i}"}),
        label,
        spec=Model(reference=Reference(first=30), horizon=600.0, learn=_LEARN),
        share=10,
    ),
)


def batches(attack: Attack, count: int, size: int = 1000) -> Iterator[dict[Side, list[StoredRecord]]]:
    """The records of an attack, as slices of both topics."""
    count = max(1, count // attack.share)
    size = max(1, size // attack.share)
    bodies: dict[Side, Body | None] = {"predictions": attack.predictions, "labels": attack.labels}
    for start in range(0, count, size):
        part: dict[Side, list[StoredRecord]] = {}
        for side, body in bodies.items():
            if body is not None:
                part[side] = [_record(body(number), number) for number in range(start, min(start + size, count))]
        yield part


def _record(body: dict[str, object] | bytes, number: int) -> StoredRecord:
    value = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return StoredRecord(number, int((START + number * STEP) * 1000), value, b"m")


class Run(Struct):
    """What a worker makes of an attack."""

    shard: Shard
    records: int = 0
    effects: dict[Channel, int] = {}
    largest: int = 0
    """Bytes of the largest effect, key and headers included."""
    stored: dict[str, bytes] = {}
    """Every stored row, where they are kept."""
    keeps: bool = True

    def feed(self, part: dict[Side, list[StoredRecord]]) -> None:
        """One slice of both topics, then a checkpoint, whose effects are published."""
        self.records += sum(map(len, part.values()))
        last = max(side[-1].timestamp for side in part.values()) / 1000
        self.shard.apply(part, Clock(now=last))
        self.settle()

    def settle(self) -> None:
        """A checkpoint."""
        for row in self.shard.outbox:
            self.effects[row.channel] = self.effects.get(row.channel, 0) + 1
            size = len(row.key.encode()) + len(row.value) + sum(len(name) + len(value) for name, value in row.headers)
            self.largest = max(self.largest, size)
        delta = self.shard.delta()
        if self.keeps:
            for key in delta.delete:
                self.stored.pop(key, None)
            self.stored |= delta.put
        if self.shard.outbox:
            self.shard.published(self.shard.outbox[-1].seq)


def run(attack: Attack, count: int, limits: Limits) -> Run:
    """A worker under attack, to the end."""
    under = Run(Shard(0, Config(defaults=attack.spec, limits=limits)))
    for part in batches(attack, count):
        under.feed(part)
    under.shard.finish()
    under.settle()
    return under

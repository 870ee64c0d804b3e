"""State as this version stores it, kept as a file for the versions to come: `python -m tests.stored.make`.

Writes `format-N.db.gz`, N being the present format: a SQLite store after the first half of the records in
`records.jsonl.gz`. Run it when the format has grown (see stream/upgrades.py), and before a first release when what is
stored has changed without that. Files of earlier formats, and the records, stay as they are.
"""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from stream.checkpoint.port import Delta
from stream.checkpoint.seal import Seal
from stream.checkpoint.sqlite import SqliteStore
from stream.config import Challenger, Config, Learn, Model, Reference, Rule
from stream.effects import Clock, Outgoing, Side, StoredRecord
from stream.rows import FORMAT
from stream.shard import Shard

HERE = Path(__file__).parent
RECORDS = HERE / "records.jsonl.gz"

GROUP = "stored"
SEAL = Seal(b"a key of the tests, 32 bytes long")
SLICE = 25

START = 1_700_000_000.0

RULES = (
    Rule(name="wrong", metric="accuracy", below=0.75, window=60.0, segment="*", min_samples=20, hold=3.0),
    Rule(name="ranks", metric="roc_auc", below=0.8, window=60.0, min_samples=20),
    Rule(name="guess", metric="estimated_accuracy", below=0.7, window=60.0, min_samples=20),
    Rule(name="amounts", feature="amount", test="psi", above=0.1, window=60.0, min_samples=40),
    Rule(name="gone", metric="missing_rate", feature="amount", above=0.1, window=60.0, min_samples=20),
    Rule(name="loss", detector="river.drift.ADWIN", signal="loss", params={"delta": 0.1}),
    Rule(name="guard", guard="error_rate", false_alarms=1000),
)
LINEAR = Challenger("linear", ("river.preprocessing.StandardScaler", "river.linear_model.LogisticRegression"))
CONFIG = Config(
    models={
        "binary": Model(
            pane=10.0,
            windows=(60.0,),
            horizon=40.0,
            segments=("country",),
            reference=Reference(first=40),
            rules=RULES,
            learn=Learn(challengers=(LINEAR,), save_every=30),
        ),
        "regression": Model(
            pane=10.0,
            windows=(60.0,),
            horizon=40.0,
            reference=Reference(first=40),
            rules=(Rule(name="far", metric="mae", above=0.5, window=60.0, min_samples=5),),
        ),
    }
)

Slices = list[tuple[dict[Side, list[StoredRecord]], Clock]]


def drawn(count: int = 300) -> Iterator[tuple[Side, float, dict[str, object] | bytes]]:
    """What the kept records were drawn as: labels that come late, early, twice or never; failures; rubbish."""
    rng = random.Random(1)
    events: list[tuple[Side, float, dict[str, object] | bytes]] = []
    for number in range(count):
        ts = START + 0.3 * number
        model = "regression" if number % 5 == 0 else "binary"
        score = round(rng.random(), 4)
        truth = int(rng.random() < (score if number < 0.4 * count else 1 - score))
        binary = model == "binary"
        event: dict[str, object] = {
            "model": model,
            "id": str(number),
            "ts": ts,
            "prediction": int(score > 0.5) if binary else 10 * score,
            **({"score": score} if binary else {}),
            "features": {"amount": round(rng.gauss(number / count, 1), 4), "kind": rng.choice("abc")},
            "attributes": {"country": rng.choice(("BR", "DE"))},
            "latency_ms": round(rng.expovariate(1 / 20), 2),
        }
        if rng.random() < 0.05:
            event["error"], event["prediction"] = "timeout", None
        events.append(("predictions", ts, event))
        for _ in range(rng.choice((0, 1, 1, 1, 1, 1, 2))):
            at = ts + rng.choice((-3.0, 0.0, 1.0, 5.0, 50.0)) * rng.random()
            said = {"model": model, "id": str(number), "ts": at, "label": truth if binary else 9 * score, "weight": 2}
            events.append(("labels", at, said))
    events.append(("labels", START + 30.0, b"\xff not JSON"))
    return iter(sorted(events, key=lambda each: each[1]))


def write_records() -> None:
    """Makes the file of records."""
    offsets: dict[Side, int] = {"predictions": 0, "labels": 0}
    lines = []
    for side, ts, body in drawn():
        value = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
        lines.append(json.dumps([side, offsets[side], int(ts * 1000), value.decode("latin-1")]))
        offsets[side] += 1
    RECORDS.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def slices() -> Slices:
    """All kept records as a worker gets them when it catches up."""
    found: Slices = []
    lines = gzip.decompress(RECORDS.read_bytes()).decode().splitlines()
    for start in range(0, len(lines), SLICE):
        part: dict[Side, list[StoredRecord]] = {"predictions": [], "labels": []}
        for line in lines[start : start + SLICE]:
            side, offset, timestamp, text = json.loads(line)
            part[side].append(StoredRecord(offset, timestamp, text.encode("latin-1")))
        latest = max(record.timestamp for records in part.values() for record in records)
        found.append((part, Clock(now=latest / 1000.0, behind=frozenset(("predictions", "labels")))))
    return found


def halves() -> tuple[Slices, Slices]:
    """What the stored state has seen, and what comes after it."""
    every = slices()
    return every[: len(every) // 2], every[len(every) // 2 :]


def feed(shard: Shard, part: Slices) -> list[Outgoing]:
    """Applies slices; what was decided."""
    return [effect for records, clock in part for effect in shard.apply(records, clock)]


def write_state(path: Path) -> None:
    """Makes the file of the present format. Effects of the last slice are not published."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "state.db"
        store = SqliteStore(made, GROUP)
        shard, epoch = Shard(0, CONFIG), store.acquire(0)
        before, _ = halves()
        for number, (records, clock) in enumerate(before):
            shard.apply(records, clock)
            delta = shard.delta()
            store.commit(0, epoch, Delta(SEAL.seal_all(0, delta.put), delta.delete))
            if shard.outbox and number < len(before) - 1:
                shard.published(shard.outbox[-1].seq)
        store.close()
        with sqlite3.connect(made, isolation_level=None) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("VACUUM")
        connection.close()
        path.write_bytes(gzip.compress(made.read_bytes(), mtime=0))


def fixture(number: int = FORMAT) -> Path:
    """The file of a format."""
    return HERE / f"format-{number}.db.gz"


if __name__ == "__main__":
    if not RECORDS.exists():
        write_records()
    write_state(fixture())
    sys.stdout.write(f"{fixture().name}: {fixture().stat().st_size:,} bytes\n")

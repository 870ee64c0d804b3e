"""Broken bytes for everything that reads bytes: refused in the documented way, never a crash, never a hang.

    python -m tests.fuzz [--inputs 1000000] [--seed 0] [--only pickles]

Inputs are mutations of good ones: flipped bits, changed, removed, repeated and swapped parts, pieces of other inputs
and of what readers are known to trip over. Each target runs in a process of its own with bounded memory, so that a
crash of native code is a finding too; one that takes longer than `PATIENCE` is one as well.
Invariant: input number i of a target is a function of the seed and i.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import TypeAlias

import msgspec
from river import drift, linear_model, preprocessing, tree

from stream.checkpoint.packing import unpack
from stream.checkpoint.pickles import dumps, loads
from stream.checkpoint.port import StateRefused
from stream.checkpoint.seal import Seal
from stream.config import Config, Limits
from stream.configfile import ConfigurationError
from stream.configfile.load import parse
from stream.effects import Clock, Outgoing, Side, StoredRecord
from stream.monitor.basis.join_rows import Early, Waiting
from stream.monitor.estimates.estimate import StoredEstimator
from stream.monitor.features.normal import Stored
from stream.monitor.features.reference import ReferenceRefused, from_bytes
from stream.monitor.joining.settled import Block
from stream.monitor.panes.baseline import StoredBaseline
from stream.monitor.panes.stored import Head, StoredPane
from stream.rows import RESIDENT, Formatted, ShardHead
from stream.shard import Shard
from tests.attacks import ATTACKS, START, label, prediction, run

PATIENCE = 20
"""Seconds of processor time for a batch, which usually takes less than one."""

MEMORY = 6 << 30
SEED_CONFIGURATIONS = Path(__file__).parent / "unit" / "configurations"

Target: TypeAlias = tuple[Callable[[], list[bytes]], Callable[[list[bytes]], None], float]
"""Good inputs; what reads a batch of broken ones; its share of all inputs."""

_PIECES = (
    *(
        b"\x00",
        b"\xff",
        b"\x80",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    ),
    *(b"NaN", b"1e999", b"-1", b"null", b"true", b"9" * 40, b'"', b"{", b"}", b"[", b"]" * 50, b"[" * 2000, b"\\ud800"),
    *(b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xcb\x7f\xf8" + b"\x00" * 6),
    *(
        b"&a [*a, *a]",
        b"*a",
        b"!!python/object:os.system",
        b"${X}",
        b"<<: ",
        b"\t",
        b"\n  - ",
        b": ",
        b"|",
        b"2020-01-01",
    ),
    *(b"cos\nsystem\n", b"R", b"b", b".", b"0", b"]", b"}", b"\x93", b"\x81", b"\x95" + b"\xff" * 8, b"i", b"o", b"Q"),
)


def mutated(good: list[bytes], rng: random.Random) -> bytes:
    """One broken input."""
    data = bytearray(rng.choice(good))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 16, 200)))
        match rng.randrange(8):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                data[at:end] = rng.randbytes(end - at)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * rng.choice((1, 2, 50))
            case 4:
                data[at:at] = rng.choice(_PIECES)
            case 5:
                data[at:end] = rng.choice(_PIECES)
            case 6:
                other = rng.choice(good)
                start = rng.randrange(len(other) + 1)
                data[at:end] = other[start : start + rng.randrange(200)]
            case _:
                del data[at:]
    return bytes(data[: 1 << 20])


@cache
def _stored() -> dict[str, bytes]:
    """Rows of a shard that has seen some traffic."""
    names = ("segment values", "predictions of changing type", "what challengers learn from", "class names")
    rows: dict[str, bytes] = {}
    for attack in ATTACKS:
        if attack.name in names:
            under = run(attack, 200 * attack.share, Limits(models=5, segments=5, classes=5, features=5, categories=5))
            rows |= {key.replace("/m/", f"/{len(rows)}/"): row for key, row in under.stored.items()}
    return rows


def _rows_of(*kinds: str) -> list[bytes]:
    rows = [row for key, row in _stored().items() if key.startswith(kinds)]
    return rows[:: max(1, len(rows) // 40)]


def _records(side: Side) -> tuple[Callable[[], list[bytes]], Callable[[list[bytes]], None]]:
    make = prediction if side == "predictions" else label
    extra = [body for attack in ATTACKS if attack.share == 1 and (body := getattr(attack, side)) is not None]

    def good() -> list[bytes]:
        bodies = [make(number) for number in range(20)] + [body(number) for body in extra for number in (0, 1, 500)]
        return [body if isinstance(body, bytes) else msgspec.json.encode(body) for body in bodies]

    def read(batch: list[bytes]) -> None:
        shard = Shard(0, Config(limits=Limits(models=20, segments=5, classes=5, features=5, categories=5)))
        records = [StoredRecord(number, int(START * 1000) + 1000, value) for number, value in enumerate(batch)]
        shard.apply({side: records}, Clock(now=START + 60))
        shard.finish()
        shard.delta()
        counts = [model.counts for model in shard.view().models]
        total = sum(count.predictions + count.labels for count in counts) + sum(shard.view().dead_letters.values())
        assert total == len(batch), f"{total} of {len(batch)} accounted for"

    return good, read


def _each(read: Callable[[bytes], object], *refusals: type[Exception]) -> Callable[[list[bytes]], None]:
    def every(batch: list[bytes]) -> None:
        for one in batch:
            try:
                read(one)
            except refusals:
                continue

    return every


def _configurations() -> list[bytes]:
    return [path.read_bytes() for path in sorted(SEED_CONFIGURATIONS.glob("*/*.yaml"))]


def _configuration(text: bytes) -> None:
    parse(text.decode("utf-8", "replace"), "c.yaml", {"PASSWORD": "x" * 20, "PORT": "1"}, SEED_CONFIGURATIONS)


STORED = (
    *(ShardHead, Head, StoredPane, Stored, StoredBaseline, StoredEstimator),
    *(Block, Waiting, Early, Outgoing, Formatted),
)


def _unpacked(packed: bytes) -> None:
    for kind in STORED:
        try:
            unpack(kind, packed)
        except StateRefused:
            continue


def _shards() -> list[bytes]:
    """Rows with their keys, which hold no newline."""
    chosen = {key: row for key, row in _stored().items() if not key.startswith(("pending/", "early/"))}
    return [key.encode() + b"\n" + row for key, row in chosen.items()]


def _restored(packed: bytes) -> None:
    """A shard in which one row is broken."""
    written, _, row = packed.partition(b"\n")
    key = written.decode("utf-8", "replace")
    base = {name: content for name, content in _stored().items() if not name.startswith(("pending/", "early/"))}
    same = key.partition("/")[2].partition("/")[0]
    kept = {name: content for name, content in base.items() if f"/{same}/" in name or name == "shard"}
    Shard.restore(0, Config(), {**kept, key: row}.items())


def _learners() -> list[bytes]:
    pipeline = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    growing = tree.HoeffdingTreeClassifier(grace_period=20)
    detector = drift.ADWIN()  # type: ignore[no-untyped-call]
    for number in range(100):
        row = {"a": float(number % 7), "b": number / 10}
        pipeline.learn_one(row, number % 2 == 0)
        growing.learn_one(row, number % 2)  # type: ignore[no-untyped-call]
        detector.update(number % 3)  # type: ignore[no-untyped-call]
    return [
        dumps(each) for each in (pipeline, growing, detector, drift.KSWIN(seed=1), random.Random(1), {"a": [1.5, "x"]})
    ]


def _references() -> list[bytes]:
    kept = [unpack(Stored, row).reference for row in _rows_of("normal/")]
    return [reference for reference in kept if reference is not None]


_SEAL = Seal(b"a secret for the tests of seals")

TARGETS: dict[str, Target] = {
    "predictions": (*_records("predictions"), 0.35),
    "labels": (*_records("labels"), 0.2),
    "configuration": (_configurations, _each(_configuration, ConfigurationError), 0.02),
    "unpack": (lambda: _rows_of(*RESIDENT, "pending/"), _each(_unpacked), 0.13),
    "restore": (_shards, _each(_restored, StateRefused), 0.02),
    "pickles": (_learners, _each(loads, StateRefused), 0.13),
    "references": (_references, _each(from_bytes, ReferenceRefused), 0.05),
    "seals": (
        lambda: [_SEAL.seal(0, "k", row) for row in _rows_of("model/", "pane/")],
        _each(lambda sealed: _SEAL.open(0, "k", sealed), StateRefused),
        0.1,
    ),
}
BATCH = 100


class Hang(BaseException):
    """A batch took too long."""


@contextmanager
def patience() -> Iterator[None]:
    """Raises Hang in what takes longer than it may."""

    def expired(_signal: int, _frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, expired)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def fuzz(name: str, inputs: int, seed: int) -> None:
    """Reads so many broken inputs. What is raised is a finding; the failing batch is named in a note."""
    make, read, _ = TARGETS[name]
    good = make()
    for start in range(0, inputs, BATCH):
        batch = [mutated(good, random.Random(f"{seed} {name} {i}")) for i in range(start, min(start + BATCH, inputs))]
        try:
            with patience():
                read(batch)
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}, inputs {start} to {start + len(batch) - 1}")
            raise


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TARGETS)
    arguments = parser.parse_args()
    if arguments.only:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        begun = time.perf_counter()
        fuzz(arguments.only, arguments.inputs, arguments.seed)
        print(json.dumps({"inputs": arguments.inputs, "seconds": round(time.perf_counter() - begun, 1)}))
        return
    failed, total, begun = [], 0, time.perf_counter()
    for name, (_, _, share) in TARGETS.items():
        count = round(arguments.inputs * share)
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--inputs",
            str(count),
            "--seed",
            str(arguments.seed),
            "--only",
            name,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        total += count
        said = ran.stdout.strip() if ran.returncode == 0 else f"exit code {ran.returncode}"
        print(f"{name:14} {count:9,} inputs: {said}", flush=True)
        if ran.returncode:
            failed.append(name)
            print(ran.stderr[-4000:])
    print(f"{total:,} inputs in {time.perf_counter() - begun:.0f} s; findings in: {', '.join(failed) or 'none'}")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()

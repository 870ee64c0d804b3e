"""What bad input does to the log: one line per kind and minute, whatever comes."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from typing import Any, cast

import pytest

from stream.config import Config
from stream.effects import Clock, Record, StoredRecord
from stream.engine.owned import Owned
from stream.engine.parts import Parts
from stream.engine.placement import Placement
from stream.shard import Shard
from stream.telemetry import logs
from tests.attacks import ATTACKS, START, Attack, batches

NOW = 1_700_000_000.0


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    out = io.StringIO()
    logs.configure("text", out=out)
    yield out
    root.handlers, root.level = handlers, level


def test_a_flood_of_bad_records_is_one_line_per_reason(lines: io.StringIO) -> None:
    shard = Shard(3, Config())
    owned = Owned(3, 1, shard, cast(Parts, None))
    offset = 0
    for turn in range(5):
        bad: list[Record] = []
        for value in (b"{\n", b'{"model": 1}', None, b'{"model":"m","id":"1","ts":9e9,"prediction":1}') * 50:
            bad.append(StoredRecord(offset, int(NOW * 1000), value))
            offset += 1
        real = shard.apply
        shard.apply = lambda _, clock, real=real, bad=bad: real({"predictions": bad}, clock)  # type: ignore[method-assign,misc]
        owned.apply(lambda turn=turn: Clock(now=NOW + turn))  # type: ignore[misc]
        shard.apply = real  # type: ignore[method-assign]
    text = lines.getvalue().splitlines()
    assert len(text) == 4, text
    assert sorted(line.split(" records refused as ")[1].split(",")[0] for line in text) == [
        *("empty", "future", "invalid", "not_json"),
    ]
    assert "offset" in text[0]
    assert "predictions-3" in text[0]


REFUSED = [attack for attack in ATTACKS if attack.refused is not None]


@pytest.mark.parametrize("attack", REFUSED, ids=[attack.name for attack in REFUSED])
def test_an_attack_is_one_line_a_minute(attack: Attack, lines: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    filters = [each for handler in logging.getLogger().handlers for each in handler.filters]
    (limit,) = [each for each in filters if isinstance(each, logs.OncePerMinute)]
    monkeypatch.setattr(limit, "_clock", lambda: now)
    shard = Shard(0, Config())
    owned = Owned(0, 1, shard, cast(Parts, None))
    real = shard.apply
    for part, now in zip(batches(attack, 4 * attack.share, attack.share), (0.0, 30.0, 59.0, 60.0), strict=True):
        for slices, passed in ((part, 0.0), ({}, 1.0)):
            monkeypatch.setattr(shard, "apply", lambda _, clock, slices=slices: real(slices, clock))
            owned.apply(lambda time=START + now + passed: Clock(now=time))  # type: ignore[misc]
    assert shard.view().dead_letters[str(attack.refused)] == 4
    assert len(lines.getvalue().splitlines()) == 2


def test_models_on_the_wrong_partition_are_one_line(lines: io.StringIO) -> None:
    placement = Placement()
    for number in range(300):
        body = b'{"model": "m%d", "id": "1", "ts": 1, "prediction": 1}' % number
        for partition in (0, 1):
            placement.warn(partition, [StoredRecord(number, int(NOW * 1000), body, str(number).encode())])
    assert len(placement.misplaced) == 300
    assert len(lines.getvalue().splitlines()) == 1


def test_nothing_refused_says_nothing(lines: io.StringIO) -> None:
    shard: Any = Shard(0, Config())
    Owned(0, 1, shard, cast(Parts, None)).apply(lambda: Clock(now=NOW))
    assert not lines.getvalue()

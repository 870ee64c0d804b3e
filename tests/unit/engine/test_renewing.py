"""References that running workers are told to take anew: kept in the store, known to every worker, refused in words."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.open import open_store
from stream.checkpoint.seal import Seal
from stream.config import Config, Model, Renewal
from stream.engine import renewing
from stream.engine.renewing import AHEAD, Renewing
from stream.engine.shared import SHARD
from stream.engine.silencing import Silencing
from stream.monitor.rules.machine import TICK

SEAL = Seal(b"0123456789abcdef0123456789abcdef")
CONFIG = Config(models={"fraud": Model()}, unknown_models="dead-letter", references=(Renewal("fraud", 60.0, 500),))


def ask(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_what_one_worker_is_told_every_worker_knows_and_after_a_restart(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/s.db"
    one, other = (Renewing(open_store(where, "g"), SEAL, CONFIG) for _ in range(2))
    other.shared.ensure()
    before = time.time()
    given = one.add(ask(model="fraud", first=2000, reason="new price list"))
    assert before + AHEAD <= given.at <= time.time() + AHEAD + TICK
    assert given.at % TICK == 0
    other.shared.read()
    later = Renewing(open_store(where, "g"), SEAL, CONFIG)
    later.shared.ensure()
    for each in (one, other, later):
        assert each.renewals.after("fraud", 60.0) == Renewal("fraud", given.at, 2000, "new price list")
        assert [(known.at, known.first) for known in each.listed()] == [(60.0, 500), (given.at, 2000)]


def test_silences_beside_it_stay() -> None:
    store = MemoryStore()
    silencing = Silencing(store, SEAL, CONFIG)
    silencing.add(ask(model="fraud", **{"for": "2h"}))
    Renewing(store, SEAL, CONFIG).add(ask(model="fraud"))
    silencing.shared.read()
    assert len(silencing.silences.given) == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "truncated"),
        (ask(first=5), "missing required field `model`"),
        (ask(model="fraut"), "did you mean fraud"),
        (ask(model="fraud", at="tomorrow"), "RFC ?3339|Invalid"),
        (ask(model="fraud", at="2020-01-01T00:00:00Z"), "2020-01-01T00:00:00.000Z, which is over"),
        (ask(model="fraud", first=0), "found 0, expected a number of predictions"),
        (ask(model="fraud", first=10_000_000), "expected at most 100,000"),
        (ask(model="fraud", window="1h"), "unknown field `window`"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_wrong(body: bytes, message: str) -> None:
    store = MemoryStore()
    with pytest.raises(ValueError, match=message):
        Renewing(store, SEAL, CONFIG).add(body)
    assert store.get(SHARD, [renewing.ROW]) == {}


def test_moments_of_a_model_follow_each_other() -> None:
    store = MemoryStore()
    told = Renewing(store, SEAL, CONFIG)
    told.add(ask(model="fraud", at="2100-01-01T00:00:00Z"))
    for at in ("2100-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
        with pytest.raises(ValueError, match=r"after the model's last, 2100-01-01T00:00:00\.000Z"):
            told.add(ask(model="fraud", at=at))
    assert told.add(ask(model="fraud", at="2100-01-02T00:00:00Z")).model == "fraud"


def test_old_ones_are_forgotten_but_for_the_last_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    anyone = Config()
    told = Renewing(MemoryStore(), SEAL, anyone)
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    for model in ("a", "a", "b"):
        told.add(ask(model=model))
        now[0] += 10.0
    now[0] += renewing.KEPT + 60
    told.add(ask(model="c"))
    assert [each.model for each in told.listed()] == ["a", "b", "c"]


def test_there_are_not_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewing, "MOST", 3)
    told = Renewing(MemoryStore(), SEAL, Config())
    for number in range(3):
        told.add(ask(model=f"m{number}"))
    with pytest.raises(ValueError, match="already"):
        told.add(ask(model="m3"))

"""Silences given to running workers: kept in the store, seen by every worker, refused when they name nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.open import open_store
from stream.checkpoint.port import Delta, Fenced, StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.config import Config, Model, Rule, Silence
from stream.engine.shared import SHARD
from stream.engine.silencing import ROW, Given, Silencing

SEAL = Seal(b"0123456789abcdef0123456789abcdef")
CONFIG = Config(
    models={"fraud": Model(rules=(Rule(name="low", metric="accuracy", below=0.9),), segments=("country",))},
    silences=(Silence(rule="low", reason="known"),),
)


def ask(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def store_at(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/s.db"


def test_what_one_worker_is_told_every_worker_knows_and_after_a_restart(tmp_path: Path) -> None:
    one, other = (Silencing(open_store(store_at(tmp_path), "g"), SEAL, CONFIG) for _ in range(2))
    other.shared.ensure()
    given = one.add(ask(model="fraud", until="2100-01-01T00:00:00Z", reason="night shift"))
    assert one.silences.given == (Silence("fraud", None, None, 4102444800.0, "night shift"),)
    assert not other.silences.given
    other.shared.read()
    assert other.silences.given == one.silences.given
    assert [each.id for each in other.listed()] == ["configuration-0", given.id]
    assert other.remove(given.id)
    assert not other.remove(given.id)
    later = Silencing(open_store(store_at(tmp_path), "g"), SEAL, CONFIG)
    later.shared.ensure()
    assert not later.silences.given
    one.shared.read()
    assert not one.silences.given


def test_two_workers_at_once_lose_nothing() -> None:
    class Meddled(MemoryStore):
        """Another worker changes silences between the reading and the writing."""

        meddle = True

        def commit(self, shard: int, epoch: int, delta: Delta) -> None:
            if self.meddle:
                self.meddle = False
                Silencing(self, SEAL, CONFIG).add(ask(rule="low", **{"for": "2h"}))
            super().commit(shard, epoch, delta)

    store = Meddled()
    mine = Silencing(store, SEAL, CONFIG)
    mine.add(ask(model="fraud", **{"for": "1h"}))
    assert [(each.model, each.rule) for each in mine.silences.given] == [(None, "low"), ("fraud", None)]


def test_it_gives_up_when_it_is_always_overtaken() -> None:
    class Contested(MemoryStore):
        def commit(self, shard: int, epoch: int, delta: Delta) -> None:
            raise Fenced

    with pytest.raises(StoreUnavailable, match="at the same time"):
        Silencing(Contested(), SEAL, CONFIG).add(ask(model="fraud", **{"for": "1h"}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "truncated"),
        (ask(model="fraud"), "expected until"),
        (ask(model="fraud", until=1, **{"for": "2h"}), "expected until"),
        (ask(model="fraud", until="tomorrow"), "RFC ?3339|Invalid"),
        (ask(model="fraud", **{"for": "two hours"}), "not a duration"),
        (ask(until="2100-01-01T00:00:00Z"), "names nothing"),
        (ask(rule="lew", **{"for": "2h"}), "did you mean low"),
        (ask(segment="BR", **{"for": "2h"}), "name=value"),
        (ask(models="fraud", **{"for": "2h"}), "unknown field"),
    ],
)
def test_what_is_no_silence_is_refused_with_what_is_wrong(body: bytes, message: str) -> None:
    store = MemoryStore()
    silencing = Silencing(store, SEAL, CONFIG)
    with pytest.raises(ValueError, match=message):
        silencing.add(body)
    assert store.get(SHARD, [ROW]) == {}


def test_what_another_key_sealed_does_not_hold_and_can_be_replaced() -> None:
    store = MemoryStore()
    Silencing(store, Seal(b"another-key-another-key-another!"), CONFIG).add(ask(model="fraud", **{"for": "2h"}))
    mine = Silencing(store, SEAL, CONFIG)
    mine.shared.ensure()
    assert not mine.silences.given
    assert isinstance(mine.add(ask(rule="low", **{"for": "2h"})), Given)
    assert len(mine.silences.given) == 1

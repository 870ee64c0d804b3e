"""The contract of the store port, for every store: the same tests in memory, in SQLite and in a real Redis."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream.checkpoint import sqlite
from stream.checkpoint.open import open_store
from stream.checkpoint.port import Delta, Fenced, Store
from tests.servers.redis_server import RedisServer

Open = Callable[..., Store]


@pytest.fixture(params=["memory", "sqlite", pytest.param("redis", marks=pytest.mark.real)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the store under test is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/stream.db"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        return server.url
    return "memory://"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url, "team")
    yield store
    store.close()


def test_a_commit_is_what_load_and_get_return(store: Store) -> None:
    epoch = store.acquire(3)
    store.commit(3, epoch, Delta({"b": b"2", "a": b"1", "c": b"3"}))
    store.commit(3, epoch, Delta({"b": b"22", "d": b""}, ["c", "absent"]))
    assert list(store.load(3)) == [("a", b"1"), ("b", b"22"), ("d", b"")]
    assert store.get(3, ["b", "c", "d", "a"]) == {"b": b"22", "d": b"", "a": b"1"}
    assert store.get(3, []) == {}


def test_a_key_that_is_put_and_deleted_is_put(store: Store) -> None:
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"1"}))
    store.commit(0, epoch, Delta({"a": b"2"}, ["a"]))
    assert list(store.load(0)) == [("a", b"2")]


def test_an_empty_delta_changes_nothing(store: Store) -> None:
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"1"}))
    store.commit(0, epoch, Delta())
    assert list(store.load(0)) == [("a", b"1")]


def test_any_text_is_a_key_and_any_bytes_are_a_value(store: Store) -> None:
    rng = random.Random(1)
    alphabet = "az/:*?[]\\{}%_-,.\x00\x7f\u00e9\u4e2d\U0001f600\uffff"
    rows = {
        "".join(rng.choices(alphabet, k=rng.randint(1, 12))): rng.randbytes(rng.randint(0, 300)) for _ in range(3000)
    }
    rows |= {"nul\x00": b"\x00" * 10, "comma": b",,,", "": b"empty key"}
    epoch = store.acquire(1)
    store.commit(1, epoch, Delta(rows))
    assert list(store.load(1)) == sorted(rows.items(), key=lambda row: row[0].encode())
    assert store.get(1, rows) == rows


@pytest.mark.parametrize(
    "prefix", ["", "p", "pending/", "pending/x", "pane", "pane/\U0010ffff", "zzz", "*", "é", "p\x7f"]
)
def test_load_by_prefix_is_ordered_and_complete(store: Store, prefix: str) -> None:
    keys = ["p", "pending", "pending/", "pending/x1", "pending/x", "pending/y", "pending0", "pane/\U0010ffff", "p\x7f"]
    keys += ["pane/\U0010ffff\U0010ffff", "*", "**", "é", "éa", "P", "outbox/1"]
    epoch = store.acquire(1)
    store.commit(1, epoch, Delta({key: key.encode() for key in keys}))
    expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    assert [key for key, _ in store.load(1, prefix)] == expected


def test_shards_and_groups_are_apart(store: Store, url: str) -> None:
    other = open_store(url, "te{am}*") if url != "memory://" else open_store(url, "other")
    for shard in (10, 2):
        store.commit(shard, store.acquire(shard), Delta({"a": b"%d" % shard}))
    other.commit(2, other.acquire(2), Delta({"a": b"other"}))
    store.acquire(5)
    assert (store.shards(), other.shards()) == ([2, 10], [2])
    assert list(store.load(2)) == [("a", b"2")]
    assert list(other.load(2)) == [("a", b"other")]
    other.close()


def test_what_was_never_acquired_is_empty_and_cannot_be_committed(store: Store) -> None:
    assert list(store.load(7)) == []
    assert store.get(7, ["a"]) == {}
    with pytest.raises(Fenced):
        store.commit(7, 1, Delta({"a": b"1"}))
    assert store.shards() == []


def test_an_earlier_owner_is_fenced_and_leaves_no_trace(store: Store) -> None:
    first = store.acquire(0)
    store.commit(0, first, Delta({"a": b"1", "b": b"1"}))
    second = store.acquire(0)
    assert second > first
    with pytest.raises(Fenced):
        store.commit(0, first, Delta({"a": b"zombie", "c": b"zombie"}, ["b"]))
    with pytest.raises(Fenced):
        store.commit(0, second + 1, Delta({"a": b"future"}))
    assert list(store.load(0)) == [("a", b"1"), ("b", b"1")]
    store.commit(0, second, Delta({"a": b"2"}))
    assert store.get(0, ["a"]) == {"a": b"2"}


def test_reset_forgets_the_rows_and_fences_the_owner(store: Store) -> None:
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"1", "pending/1": b"1"}))
    store.reset(0)
    assert (list(store.load(0)), store.shards()) == ([], [])
    with pytest.raises(Fenced):
        store.commit(0, epoch, Delta({"a": b"1"}))
    assert store.acquire(0) > epoch
    store.reset(9)  # one that never was


def test_a_delta_with_more_rows_than_fit_one_statement(store: Store) -> None:
    epoch = store.acquire(0)
    rows = {f"pending/{n:05d}": b"%d" % n * 20 for n in range(9_999)}
    store.commit(0, epoch, Delta(dict(rows)))
    gone = [key for n, key in enumerate(rows) if n % 3]
    store.commit(0, epoch, Delta({"offsets": b"1"}, gone))
    left = {key: value for n, (key, value) in enumerate(rows.items()) if not n % 3}
    assert dict(store.load(0, "pending/")) == left
    assert store.get(0, rows) == left


def test_values_larger_than_a_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_PAGE_BYTES", 64_000)
    epoch = store.acquire(0)
    rows = {f"state/{n}": bytes([n]) * 30_000 * n for n in range(9)} | {f"state/x{n:03d}": b"x" for n in range(50)}
    store.commit(0, epoch, Delta(dict(rows)))
    assert dict(store.load(0)) == rows
    assert store.get(0, rows) == rows


def test_a_load_sees_no_later_commit_in_part(store: Store) -> None:
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({f"pending/{n:05d}": b"old" for n in range(9_000)}))
    rows = store.load(0)
    first = next(rows)
    store.commit(0, epoch, Delta({f"pending/{n:05d}": b"new" for n in range(9_000)}))
    assert {value for _, value in (first, *rows)} == {b"old"}


def test_a_load_can_be_left_early(store: Store) -> None:
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({f"{n:05d}": b"1" for n in range(9_000)}))
    next(store.load(0))
    store.commit(0, epoch, Delta({}, ["00000"]))
    assert next(store.load(0))[0] == "00001"


def test_ping_answers(store: Store) -> None:
    store.ping()


def test_threads_count_every_increment_once(store: Store) -> None:
    """Many owners fight for a shard; each adds one when it owns it. What is stored equals what was granted."""

    def work(seed: int) -> int:
        done = 0
        rng = random.Random(seed)
        for _ in range(12):
            epoch = store.acquire(0)
            while rng.random() < 0.8:
                count = int(store.get(0, ["count"]).get("count", b"0"))
                try:
                    store.commit(0, epoch, Delta({"count": b"%d" % (count + 1), "twin": b"%d" % (count + 1)}))
                except Fenced:
                    break
                done += 1
        return done

    with ThreadPoolExecutor(6) as pool:
        total = sum(pool.map(work, range(6)))
    assert total > 0
    assert store.get(0, ["count", "twin"]) == {"count": b"%d" % total, "twin": b"%d" % total}


def _own_and_count(url: str, rounds: int) -> int:
    store = open_store(url, "team")
    done = 0
    for _ in range(rounds):
        epoch = store.acquire(4)
        try:
            for _ in range(5):
                count = int(store.get(4, ["count"]).get("count", b"0"))
                store.commit(4, epoch, Delta({"count": b"%d" % (count + 1)}))
                done += 1
        except Fenced:
            continue
    store.close()
    return done


def test_processes_count_every_increment_once(url: str) -> None:
    if url == "memory://":
        pytest.skip("memory is not shared between processes")
    open_store(url, "team").ping()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        total = sum(pool.starmap(_own_and_count, [(url, 10)] * 3))
    store = open_store(url, "team")
    assert store.get(4, ["count"]) == {"count": b"%d" % total}
    store.close()

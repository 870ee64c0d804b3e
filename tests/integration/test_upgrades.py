"""State that was stored by this and earlier versions is read, and what follows is exactly what would have followed.

Where this fails because what is stored has changed, stream/upgrades.py says what to do.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from stream.checkpoint.port import Delta, StateRefused, Store, StoreUnavailable
from stream.checkpoint.sqlite import SqliteStore
from stream.effects import Channel, Outgoing
from stream.engine.restoring import resident_rows
from stream.rows import FORMAT, HEAD, RESIDENT, Formatted
from stream.shard import Shard
from stream.upgrades import STEPS, Step
from tests.stored.make import CONFIG, GROUP, SEAL, feed, fixture, halves, slices

FILES = {int(path.name.removeprefix("format-").split(".")[0]): path for path in fixture().parent.glob("format-*.db.gz")}


def stored(number: int, directory: Path) -> SqliteStore:
    """A store with the state of a format."""
    path = directory / "state.db"
    path.write_bytes(gzip.decompress(fixture(number).read_bytes()))
    return SqliteStore(path, GROUP)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = stored(FORMAT, tmp_path)
    yield opened
    opened.close()


def opened(store: Store) -> dict[str, bytes]:
    return dict(SEAL.open_all(0, store.load(0)))


def restored(store: Store, known: dict[int, Step] = STEPS) -> Shard:
    """As a worker does it; what waits in the store is lent when it is wanted."""
    return Shard.restore(0, CONFIG, resident_rows(store, SEAL, 0, store.acquire(0), RESIDENT, known).items())


def go_on(shard: Shard, store: Store) -> list[Outgoing]:
    """What is decided from where the shard is to the end; it takes no notice of records that it has had."""
    decided: list[Outgoing] = []
    for records, clock in slices():
        decided += shard.apply(records, clock)
        while shard.wanted:
            shard.answer(dict(SEAL.open_all(0, store.get(0, shard.wanted).items())))
            decided += shard.apply({}, clock)
    return decided + shard.finish()


def what(effects: Sequence[Outgoing]) -> list[tuple[str, str, bytes]]:
    """Effects as consumers see them. Pickles of equal learners may differ: equal texts may be one object or two."""
    found = []
    for effect in effects:
        value = b"" if effect.channel is Channel.ARTIFACTS else effect.value
        if effect.channel is Channel.UPDATES:
            value = msgspec.json.encode({**msgspec.json.decode(value), "sha256": ""})
        found.append((effect.channel.value, effect.key, value))
    return found


@pytest.fixture(scope="module")
def whole() -> tuple[Shard, list[Outgoing]]:
    """A worker of this version that never stopped, and what it decided of the second half."""
    shard = Shard(0, CONFIG)
    before, after = halves()
    feed(shard, before)
    return shard, feed(shard, after) + shard.finish()


def test_there_is_a_file_of_every_format_that_can_be_read() -> None:
    assert FILES.keys() == {FORMAT, *STEPS}, "python -m tests.stored.make"
    assert all(path.stat().st_size < 100_000 for path in FILES.values())


@pytest.mark.parametrize("number", FILES)
def test_it_is_read_and_goes_on_exactly(number: int, tmp_path: Path, whole: tuple[Shard, list[Outgoing]]) -> None:
    store = stored(number, tmp_path)
    shard = restored(store)
    assert len(shard.outbox) > 0
    assert shard.stored_only > 10
    assert what(go_on(shard, store)) == what(whole[1])
    assert shard.next == whole[0].next
    assert [model.counts for model in shard.view().models] == [model.counts for model in whole[0].view().models]
    store.close()


def test_the_file_has_rows_of_every_kind(store: SqliteStore) -> None:
    assert {key.split("/")[0] for key in opened(store)} == {prefix.split("/")[0] for prefix in (*RESIDENT, "pending")}


# A format before the first one, made up: another name of a field in the head row, another kind of key.


def _backwards(rows: dict[str, bytes]) -> dict[str, bytes]:
    head = msgspec.msgpack.decode(rows[HEAD])
    head["done"], head["format"] = head.pop("closed"), FORMAT - 1
    old = {key.replace("pending/", "waits/", 1).replace("pane/", "cell/", 1): row for key, row in rows.items()}
    return old | {HEAD: msgspec.msgpack.encode(head)}


def _forwards(rows: dict[str, bytes]) -> dict[str, bytes]:
    head = msgspec.msgpack.decode(rows[HEAD])
    head["closed"] = head.pop("done")
    new = {key.replace("cell/", "pane/", 1): row for key, row in rows.items()}
    return new | {HEAD: msgspec.msgpack.encode(head)}


OLD_RESIDENT = (*RESIDENT, "cell/")
KNOWN = {FORMAT - 1: Step(_forwards)}


@pytest.fixture
def old(store: SqliteStore) -> SqliteStore:
    """The state as that format had it; waiting predictions are as they are now."""
    rows = opened(store)
    before = {key: row for key, row in _backwards(rows).items() if not key.startswith("waits/")}
    put = SEAL.seal_all(0, before)
    store.commit(0, store.acquire(0), Delta(put, [key for key in rows if not key.startswith("pending/")]))
    return store


def test_an_earlier_format_is_brought_here_once(old: SqliteStore, whole: tuple[Shard, list[Outgoing]]) -> None:
    with pytest.raises(StateRefused, match=f"format {FORMAT - 1}, this version reads {FORMAT}"):
        resident_rows(old, SEAL, 0, old.acquire(0), RESIDENT, {})
    rows = resident_rows(old, SEAL, 0, old.acquire(0), OLD_RESIDENT, KNOWN)
    now = opened(old)
    assert msgspec.msgpack.decode(now[HEAD], type=Formatted).format == FORMAT
    assert {key: row for key, row in now.items() if not key.startswith("pending/")} == rows
    assert not any(key.startswith("cell/") for key in now)
    # Nothing is left to do for the next one, which knows no way from the earlier format.
    shard = restored(old, known={})
    assert what(go_on(shard, old)) == what(whole[1])


def test_waiting_predictions_are_read_only_for_a_step_that_concerns_them(old: SqliteStore) -> None:
    seen: list[int] = []

    def look(rows: dict[str, bytes]) -> dict[str, bytes]:
        seen.append(sum(key.startswith("pending/") for key in rows))
        return _forwards(rows)

    before = opened(old)
    for waiting in (False, True):
        old.commit(0, old.acquire(0), Delta(SEAL.seal_all(0, before), list(opened(old))))
        resident_rows(old, SEAL, 0, old.acquire(0), OLD_RESIDENT, {FORMAT - 1: Step(look, waiting)})
    assert seen == [0, sum(key.startswith("pending/") for key in before)]


def test_an_upgrade_that_cannot_be_committed_changes_nothing(old: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened(old)
    epoch = old.acquire(0)

    def away(shard: int, epoch: int, delta: Delta) -> None:
        raise StoreUnavailable("it is full")

    with monkeypatch.context() as patch:
        patch.setattr(old, "commit", away)
        with pytest.raises(StoreUnavailable, match="full"):
            resident_rows(old, SEAL, 0, epoch, OLD_RESIDENT, KNOWN)
    assert opened(old) == before


def test_a_newer_format_is_refused(store: SqliteStore) -> None:
    head = msgspec.msgpack.decode(opened(store)[HEAD])
    newer = {HEAD: msgspec.msgpack.encode({**head, "format": FORMAT + 1})}
    store.commit(0, store.acquire(0), Delta(SEAL.seal_all(0, newer)))
    with pytest.raises(StateRefused, match=f"format {FORMAT + 1}, this version reads {FORMAT}: run the version that"):
        restored(store)


def test_rows_without_their_head_are_refused(store: SqliteStore) -> None:
    store.commit(0, store.acquire(0), Delta({}, [HEAD]))
    with pytest.raises(StateRefused, match=r"no head row.*stream reset --shard 0"):
        restored(store)


def test_rows_without_a_field_that_has_a_default_are_read(store: SqliteStore) -> None:
    """As those of a version that did not know the field yet. Unknown fields, of a later one, are passed over."""
    head = msgspec.msgpack.decode(opened(store)[HEAD])
    del head["format"]
    changed = {HEAD: msgspec.msgpack.encode({**head, "a field of later": [1, 2]})}
    store.commit(0, store.acquire(0), Delta(SEAL.seal_all(0, changed)))
    assert restored(store).next == halves_end()


def halves_end() -> dict[str, int]:
    shard = Shard(0, CONFIG)
    feed(shard, halves()[0])
    return {side: offset for side, offset in shard.next.items() if offset is not None}

"""What SQLite state looks like after a crash, a full disk, a lock that is held, a file that is something else."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stream.checkpoint import sqlite, sqlite_session
from stream.checkpoint.port import Delta, Fenced, StoreUnavailable
from stream.checkpoint.sqlite import SqliteStore

OLD = {f"pending/{n:04d}": b"old" for n in range(3000)} | {"offsets": b"1"}
NEW = {f"pending/{n:04d}": b"new" for n in range(1500, 4500)} | {"offsets": b"2"}

_CRASH = """
import os, sys
from pathlib import Path
from stream.checkpoint.port import Delta
from stream.checkpoint.sqlite import SqliteStore

path, epoch, fatal = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store = SqliteStore(path, "team")
store.ping()
seen = 0

def die(statement):
    global seen
    if seen == fatal:
        os.kill(os.getpid(), 9)
    seen += 1

store._writer._connection.set_trace_callback(die)
new = {f"pending/{n:04d}": b"new" for n in range(1500, 4500)} | {"offsets": b"2"}
store.commit(0, epoch, Delta(new, [f"pending/{n:04d}" for n in range(1500)]))
print("done", seen)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stream.db"


def test_a_crash_between_any_two_statements_leaves_the_old_or_the_new_state(path: Path) -> None:
    store = SqliteStore(path, "team")
    outcomes = []
    for fatal in range(20):
        epoch = store.acquire(0)
        store.commit(0, epoch, Delta(dict(OLD), list(NEW)))
        store.close()
        command = [sys.executable, "-c", _CRASH, str(path), str(epoch), str(fatal)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        rows = dict(store.load(0))
        assert rows in (OLD, NEW), f"killed before statement {fatal}: a mixture of states"
        outcomes.append(rows == NEW)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
    assert outcomes == [False] * (len(outcomes) - 1) + [True]
    assert len(outcomes) >= 6  # begin, epoch, put, delete, commit at least


def test_a_full_disk_changes_nothing_and_passes(path: Path) -> None:
    store = SqliteStore(path, "team")
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta(dict(OLD)))
    delta = Delta({"big": b"x" * 2_000_000, "offsets": b"2"}, ["pending/0000"])
    writer = store._writer._connection
    assert writer is not None
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 10}")
    with pytest.raises(StoreUnavailable, match=r"full.*free some"):
        store.commit(0, epoch, delta)
    assert dict(store.load(0)) == OLD
    store.commit(0, epoch, delta)  # the connection that found it full is gone, and its limit with it
    assert store.get(0, ["offsets", "pending/0000"]) == {"offsets": b"2"}


def test_a_held_lock_is_unavailable_and_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_session, "_PATIENCE", 0.05)
    store = SqliteStore(path, "team")
    epoch = store.acquire(0)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.commit(0, epoch, Delta({"a": b"1"}))
        assert dict(store.load(0)) == {}
        other.execute("ROLLBACK")
    store.commit(0, epoch, Delta({"a": b"1"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a database" * 1000, "something else"),
        ("CREATE TABLE theirs (x)", "another program's"),
        ("PRAGMA application_id = 7", "another program's"),
        (f"PRAGMA application_id = {sqlite_session._APPLICATION}; PRAGMA user_version = 99", "run the version"),
    ],
)
def test_a_file_that_is_not_ours_is_left_alone(path: Path, content: bytes | str, message: str) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with sqlite3.connect(path) as theirs:
            theirs.executescript(content)
        theirs.close()
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=message):
        SqliteStore(path, "team").acquire(0)
    assert path.read_bytes() == before


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="file"):
        SqliteStore(tmp_path / "file" / "stream.db", "team").ping()


def test_an_owner_whose_file_was_replaced_is_fenced(path: Path) -> None:
    store = SqliteStore(path, "team")
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"1"}))
    for file in path.parent.glob("stream.db*"):
        file.unlink()
    other = SqliteStore(path, "team")
    assert other.acquire(0) == epoch  # a fresh file counts from one again
    other.commit(0, epoch, Delta({"a": b"other"}))
    with pytest.raises(Fenced, match="replaced"):
        store.commit(0, epoch, Delta({"a": b"zombie"}))
    assert dict(store.load(0)) == {"a": b"other"}
    store.commit(0, store.acquire(0), Delta({"a": b"2"}))


def test_a_load_looks_at_no_rows_but_those_it_returns(path: Path) -> None:
    """Else a restart would take longer the more predictions wait."""
    SqliteStore(path, "team").ping()
    with sqlite3.connect(path) as connection:
        for query, values in ((sqlite._CUT, 6), (sqlite._PAGE, 5)):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", (None,) * values).fetchall()
            assert any(re.search(r"\(space=\? AND key>\? AND key<\?\)", row[3]) for row in plan), plan
    connection.close()


def test_state_is_for_its_owner_only(path: Path) -> None:
    store = SqliteStore(path, "team")
    store.commit(0, store.acquire(0), Delta({"a": b"1"}))
    assert {stat.S_IMODE(os.stat(file).st_mode) for file in path.parent.glob("stream.db*")} == {0o600}

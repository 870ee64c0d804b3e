"""Several processes share a SQLite file, come and go, and none takes the log away under another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stream.checkpoint.port import Delta
from stream.checkpoint.sqlite import SqliteStore

_GUEST = """
import sys
from pathlib import Path
from stream.checkpoint.port import Delta
from stream.checkpoint.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), "group")
store.commit(1, store.acquire(1), Delta({"guest": b"1"}))
store.close()
"""


def test_a_process_that_ends_leaves_the_log_to_those_that_stay(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    host = SqliteStore(path, "group")
    epoch = host.acquire(0)
    host.commit(0, epoch, Delta({"row": b"1"}))
    # Reading opens and closes a connection of its own, beside the one that stays.
    assert dict(host.load(0)) == {"row": b"1"}
    log = path.with_name("shared.db-wal")
    before = log.stat().st_ino
    subprocess.run([sys.executable, "-c", _GUEST, str(path)], check=True, timeout=60, cwd=Path(__file__).parents[2])
    assert log.stat().st_ino == before
    host.commit(0, epoch, Delta({"row": b"2"}))
    assert dict(host.load(0)) == {"row": b"2"}
    assert dict(host.load(1)) == {"guest": b"1"}
    host.close()

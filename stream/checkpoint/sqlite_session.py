"""One connection to a SQLite file, opened when it is needed and again whenever it broke or the file was replaced.

Invariant: a transaction is whole or did not happen, and every SQLite error leaves as StoreUnavailable with the reason.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from stream.checkpoint.port import StoreUnavailable

_APPLICATION, _LAYOUT = 0x534D4F4E, 1
"""Marks the file as ours (`PRAGMA application_id`) and says which layout it has (`PRAGMA user_version`)."""

_PATIENCE = 10.0
"""Seconds to wait for another process's transaction."""

_LOG_PAGES = 8192
"""The write-ahead log is copied into the file each time it has this many pages (32 MiB). Rows are keyed by random ids,
so commits touch the same pages again and again: the longer log halves the time of a commit."""

_CACHE_KIB = 64 * 1024
"""Pages in memory per worker: a commit that touches more of them writes some twice."""

_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS owners (team TEXT NOT NULL, shard INTEGER NOT NULL, epoch INTEGER NOT NULL,
  space INTEGER PRIMARY KEY, UNIQUE (team, shard));
CREATE TABLE IF NOT EXISTS state (space INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
  UNIQUE (space, key));
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_LAYOUT};
COMMIT;
"""


class Session:
    """A connection that any thread may use, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self.replacements = 0
        """How often the file was found to be another one than before."""

    @contextmanager
    def transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """Commits when the block ends, rolls back when it raises."""
        with self._lock:
            try:
                connection = self._current()
                connection.execute(begin)
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._drop()  # closing rolls back, and the next call starts with a connection that is not broken
                raise self.unavailable(error) from error
            except BaseException:
                self._drop()
                raise

    def connect(self) -> sqlite3.Connection:
        """A new connection of the caller's own, to a file that is checked and has its tables."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._create()
            connection = sqlite3.connect(
                self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        except OSError as error:
            raise StoreUnavailable(f"{self._path}: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise self.unavailable(error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self.unavailable(error) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        """Predictions are other people's data: the file, and the log beside it, are for their owner only.

        A file that is there is not opened: closing it again would give up all locks that connections of this process
        hold on it, and another process would take the log away under them (sqlite.org/howtocorrupt.html, 2.2).
        """
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            pass

    def close(self) -> None:
        """Closes the connection; a later call opens another."""
        with self._lock:
            self._drop()

    def unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        """The error as the port's, with what can be done about it."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = {
            sqlite3.SQLITE_FULL: "no space left for state: free some, the worker goes on by itself",
            sqlite3.SQLITE_BUSY: f"another process has held it for {_PATIENCE:g} s",
            sqlite3.SQLITE_READONLY: "the file or its directory cannot be written",
            sqlite3.SQLITE_CANTOPEN: "the file or its directory cannot be opened",
            sqlite3.SQLITE_IOERR: "the disk does not answer, or is full",
            sqlite3.SQLITE_CORRUPT: "the file is damaged: move it away, and shards are rebuilt from Kafka",
            sqlite3.SQLITE_NOTADB: "this file is something else: point checkpoint.store to another path",
        }.get(code)
        return StoreUnavailable(f"{self._path}: {error}" + (f" ({advice})" if advice else ""))

    def _current(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode_now() != self._inode:
            # SQLite would go on writing to a file that has been deleted or replaced, and nobody would notice.
            self._drop()
            self.replacements += 1
        if self._connection is None:
            self._connection = self.connect()
            self._inode = self._inode_now()
        return self._connection

    def _inode_now(self) -> tuple[int, int]:
        try:
            status = os.stat(self._path)
        except OSError:
            return (0, 0)
        return (status.st_dev, status.st_ino)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != _APPLICATION and (application or tables):
            raise StoreUnavailable(f"{self._path} is another program's database: point checkpoint.store elsewhere")
        if layout > _LAYOUT:
            raise StoreUnavailable(
                f"{self._path} has layout {layout}, this version reads up to {_LAYOUT}: run the version that wrote it"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 8192}")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if layout < _LAYOUT:
            connection.executescript(_TABLES)

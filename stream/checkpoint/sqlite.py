"""State in one SQLite file, for workers on one machine.

Invariant: a commit is one transaction that first looks at the epoch under the write lock. WAL with
`synchronous=NORMAL`: a killed process loses nothing; a power cut may lose the last commits but leaves a whole earlier
state, and what is missing is read again from Kafka. So no commit waits for the disk.

Python's sqlite3 gives up the interpreter lock at every step of every statement, and a thread that wants it back waits
for up to 5 ms while another one computes. Row by row, 10,000 rows beside a busy event loop would take 20 s. Here one
statement carries thousands of rows, and one result row brings thousands back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, repeat
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from stream.checkpoint.port import Delta, Fenced
from stream.checkpoint.sqlite_session import Session

T = TypeVar("T")

_LARGEST = 4096
"""Rows per statement: three parameters each stay below SQLite's limit of 32,766."""

_PAGE_BYTES = 32 * 1024 * 1024
"""What one result row brings back at most, unless a single value is larger."""

_FIND = "SELECT epoch, space FROM owners WHERE team = ? AND shard = ?"

_RAISE_EPOCH = """
INSERT INTO owners (team, shard, epoch) VALUES (?, ?, 1)
  ON CONFLICT (team, shard) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, space
"""

_SHARDS = """
SELECT shard FROM owners WHERE team = ? AND EXISTS (SELECT 1 FROM state WHERE state.space = owners.space)
  ORDER BY shard
"""

_CUT = """
SELECT max(key), sum(length(value)) FROM (
  SELECT key, value FROM state WHERE space = ? AND key >= ? AND key < ? AND (? IS NULL OR key > ?)
    ORDER BY key LIMIT ?)
"""
"""The last key of a page, and the bytes of its values. Both ends are plain comparisons, which an index can answer: the
rows behind a prefix, perhaps millions, are not looked at."""

_GATHER = """
SELECT CAST(group_concat(key, '') AS BLOB), group_concat(length(key)),
  CAST(group_concat(value, '') AS BLOB), group_concat(length(value))
  FROM (SELECT key, value FROM state WHERE space = ? AND {which} ORDER BY key)
"""
"""Many rows as one: keys end to end, their lengths, values end to end, their lengths."""

_PAGE = _GATHER.format(which="key >= ? AND key <= ? AND (? IS NULL OR key > ?)")


def database_path(url: str) -> Path:
    """The file of `sqlite:///relative.db` or `sqlite:////absolute.db`. Raises ValueError when there is none.

    >>> str(database_path("sqlite:///var/stream.db")), str(database_path("sqlite:////var/stream.db"))
    ('var/stream.db', '/var/stream.db')
    """
    parts = urlsplit(url)
    path = unquote(parts.path[1:])
    if parts.netloc or not path:
        raise ValueError(f"{url!r} names no file: expected sqlite:///relative.db or sqlite:////absolute.db")
    return Path(path)


class SqliteStore:
    """A store in a file. Safe to use from any thread; several processes may have it open."""

    def __init__(self, path: Path, group: str) -> None:
        self._group = group
        self._writer = Session(path)
        self._reader = Session(path)
        """Apart from the writer, so that a read does not wait for a commit."""
        self._owned: dict[int, int] = {}
        """Per shard acquired here: how often the file had been replaced by then."""

    def acquire(self, shard: int) -> int:
        """See the port."""
        with self._writer.transaction() as connection:
            self._owned[shard] = self._writer.replacements
            return int(connection.execute(_RAISE_EPOCH, (self._group, shard)).fetchall()[0][0])

    def load(self, shard: int, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """See the port. Rows come in pages, all of them as they were at the first."""
        low = prefix.encode()
        high = _after(low)
        connection = self._reader.connect()
        try:
            connection.execute("BEGIN")
            space = self._space(connection, shard)
            last: bytes | None = None
            limit = _LARGEST
            while True:
                cut, size = connection.execute(_CUT, (space, low, high, last, last, limit)).fetchall()[0]
                if cut is None:
                    return
                if size > _PAGE_BYTES and limit > 1:
                    limit //= 2
                    continue
                yield from _rows(connection.execute(_PAGE, (space, low, cut, last, last)).fetchall()[0])
                low = last = cut
                limit = min(limit * 2, _LARGEST)
        except sqlite3.Error as error:
            raise self._reader.unavailable(error) from error
        finally:
            connection.close()

    def get(self, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """See the port."""
        wanted = [key.encode() for key in keys]
        with self._reader.transaction("BEGIN") as connection:
            space = self._space(connection, shard)
            return dict(chain.from_iterable(_some(connection, space, batch) for batch in _batches(wanted)))

    def commit(self, shard: int, epoch: int, delta: Delta) -> None:
        """See the port."""
        put = [(key.encode(), value) for key, value in delta.put.items()]
        gone = [key.encode() for key in delta.delete if key not in delta.put]
        with self._writer.transaction() as connection:
            current, space = next(iter(connection.execute(_FIND, (self._group, shard)).fetchall()), (None, -1))
            if current != epoch:
                raise Fenced(f"shard {shard}: epoch {epoch} has been succeeded by {current}")
            if self._owned.get(shard, self._writer.replacements) != self._writer.replacements:
                raise Fenced(f"shard {shard}: the database file has been replaced since it was acquired")
            for rows in _batches(put):
                row = "INSERT OR REPLACE INTO state (space, key, value) VALUES "
                parameters = tuple(chain.from_iterable((space, key, value) for key, value in rows))
                connection.execute(row + _repeated("(?,?,?)", len(rows)), parameters)
            for batch in _batches(gone):
                keys = _repeated("?", len(batch))
                connection.execute(
                    f"DELETE FROM state WHERE space = ? AND key IN ({keys})",  # noqa: S608 (question marks only)
                    (space, *batch),
                )

    def reset(self, shard: int) -> None:
        """See the port."""
        with self._writer.transaction() as connection:
            space = connection.execute(_RAISE_EPOCH, (self._group, shard)).fetchall()[0][1]
            connection.execute("DELETE FROM state WHERE space = ?", (space,))

    def shards(self) -> list[int]:
        """See the port."""
        with self._reader.transaction("BEGIN") as connection:
            return [shard for (shard,) in connection.execute(_SHARDS, (self._group,)).fetchall()]

    def ping(self) -> None:
        """See the port. Takes the write lock for a moment, since a store that cannot write is of no use."""
        with self._writer.transaction() as connection:
            connection.execute("SELECT count(*) FROM owners").fetchall()

    def close(self) -> None:
        """See the port."""
        self._writer.close()
        self._reader.close()

    def _space(self, connection: sqlite3.Connection, shard: int) -> int:
        """The number under which a shard's rows are kept; -1 for one that was never acquired."""
        return next((int(space) for _, space in connection.execute(_FIND, (self._group, shard)).fetchall()), -1)


def _some(connection: sqlite3.Connection, space: int, keys: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Those of `keys` that exist; in halves when the values are too long for one page."""
    which = f"key IN ({_repeated('?', len(keys))})"
    size = f"SELECT sum(length(value)) FROM state WHERE space = ? AND {which}"  # noqa: S608 (question marks only)
    if len(keys) > 1 and (connection.execute(size, (space, *keys)).fetchall()[0][0] or 0) > _PAGE_BYTES:
        yield from _some(connection, space, keys[: len(keys) // 2])
        yield from _some(connection, space, keys[len(keys) // 2 :])
    else:
        yield from _rows(connection.execute(_GATHER.format(which=which), (space, *keys)).fetchall()[0])


def _rows(gathered: tuple[bytes | None, str, bytes, str]) -> Iterator[tuple[str, bytes]]:
    """The rows that one `_GATHER` brought back."""
    keys, key_lengths, values, value_lengths = gathered
    if keys is None:
        return
    key_end = value_end = 0
    for key_length, value_length in zip(key_lengths.split(","), value_lengths.split(","), strict=True):
        key_start, value_start = key_end, value_end
        key_end += int(key_length)
        value_end += int(value_length)
        yield keys[key_start:key_end].decode(), values[value_start:value_end]


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """The rows in few pieces whose lengths are powers of two, the last one filled up by repeating its last row.

    So there are 13 statements to compile, not one for each number of rows; repeating a row changes nothing.
    """
    for start in range(0, len(rows), _LARGEST):
        piece = rows[start : start + _LARGEST]
        missing = (1 << (len(piece) - 1).bit_length()) - len(piece)
        yield [*piece, *repeat(piece[-1], missing)]


@lru_cache(maxsize=64)
def _repeated(mark: str, times: int) -> str:
    return ",".join([mark] * times)


def _after(prefix: bytes) -> bytes:
    """The end of all keys that start with `prefix`, which is UTF-8, as keys are: no byte of it is the largest.

    >>> _after(b"a/"), _after(b"")
    (b'a0', b'\\xff')
    """
    return prefix[:-1] + bytes((prefix[-1] + 1,)) if prefix else b"\xff"

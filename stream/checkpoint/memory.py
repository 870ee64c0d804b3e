"""State that lives as long as the process: for `stream replay`, demonstrations and tests.

Invariant: as the port's. Each store is apart; nothing survives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock

from stream.checkpoint.port import Delta, Fenced


class MemoryStore:
    """A store in a dictionary, safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._epochs: dict[int, int] = {}
        self._rows: dict[int, dict[str, bytes]] = {}

    def acquire(self, shard: int) -> int:
        """See the port."""
        with self._lock:
            self._epochs[shard] = self._epochs.get(shard, 0) + 1
            return self._epochs[shard]

    def load(self, shard: int, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """See the port. The rows are those at the time of the call."""
        with self._lock:
            rows = [row for row in self._rows.get(shard, {}).items() if row[0].startswith(prefix)]
        return iter(sorted(rows, key=lambda row: row[0].encode()))

    def get(self, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """See the port."""
        with self._lock:
            rows = self._rows.get(shard, {})
            return {key: rows[key] for key in keys if key in rows}

    def commit(self, shard: int, epoch: int, delta: Delta) -> None:
        """See the port."""
        with self._lock:
            current = self._epochs.get(shard, 0)
            if epoch != current:
                raise Fenced(f"shard {shard}: epoch {epoch} has been succeeded by {current}")
            rows = self._rows.setdefault(shard, {})
            for key in delta.delete:
                rows.pop(key, None)
            rows.update(delta.put)

    def reset(self, shard: int) -> None:
        """See the port."""
        with self._lock:
            self._epochs[shard] = self._epochs.get(shard, 0) + 1
            self._rows.pop(shard, None)

    def shards(self) -> list[int]:
        """See the port."""
        with self._lock:
            return sorted(shard for shard, rows in self._rows.items() if rows)

    def ping(self) -> None:
        """Always there."""

    def close(self) -> None:
        """Nothing to release."""

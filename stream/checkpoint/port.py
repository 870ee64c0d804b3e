"""The port behind which shard state is kept: rows of bytes per shard, written atomically, fenced by epoch.

Invariant: what `load` and `get` return is the result of whole commits by owners of the then current epoch, in order.
Values are opaque here; `seal.py` signs and checks them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import Struct, field


class Fenced(Exception):
    """Another owner has acquired the shard since: the caller must drop it and forget what it knew."""


class StoreUnavailable(Exception):
    """The store cannot be reached or cannot write now; the same call may succeed later. The message says why."""


class StateRefused(Exception):
    """Stored bytes are not ours, not intact or not readable by this version. The message says what to do."""


class Delta(Struct):
    """Rows of one shard that change together."""

    put: dict[str, bytes] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)


class Store(Protocol):
    """A store of shard rows. Methods block: an event loop calls them in a thread.

    Every method raises StoreUnavailable when the store is away; none leaves a partial effect.
    """

    def acquire(self, shard: int) -> int:
        """Raises the shard's epoch and returns it: every earlier owner is fenced.

        A shared store's epochs also grow with the store's clock, so that one that was wiped or went back to an older
        copy never hands out the number of an owner it has forgotten.
        """

    def load(self, shard: int, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """All rows of a shard whose key starts with `prefix`, in key order (UTF-8 bytes)."""

    def get(self, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """Those of `keys` that exist, in one round trip however many they are."""

    def commit(self, shard: int, epoch: int, delta: Delta) -> None:
        """Applies a delta atomically; a key in both `put` and `delete` is put.

        Raises Fenced when `epoch` is not current, or when the store has lost commits that this owner had made: then
        a delta would be applied to a state it does not belong to. After StoreUnavailable the delta may have been
        applied or not; committing it (or a later one that contains it) again is safe.
        """

    def reset(self, shard: int) -> None:
        """Forgets all rows of a shard and raises its epoch, so that it is rebuilt from Kafka."""

    def shards(self) -> list[int]:
        """The shards that have rows, ascending."""

    def ping(self) -> None:
        """Raises StoreUnavailable unless the store answers."""

    def close(self) -> None:
        """Releases connections and files."""

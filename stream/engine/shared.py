"""Lists that all workers of a group share: what operators tell running workers, kept in the checkpoint store.

Each is one row of a shard that is no partition. A change takes that shard, reads, writes and is fenced when another
worker changed something meanwhile: then it is done again. Every worker looks for changes every few seconds.
Invariant: what is known here was in the store when it was last read or written.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.port import Delta, Fenced, StateRefused, Store, StoreUnavailable
from stream.checkpoint.seal import Seal

logger = logging.getLogger(__name__)

SHARD = -1
"""Number of the shard that holds them: no partition has it."""

TRIES = 20

Item = TypeVar("Item", bound=Struct)
Answer = TypeVar("Answer")


def asked(body: bytes, of: type[Item]) -> Item:
    """What a request says. Raises ValueError where it says nothing of the kind."""
    try:
        return msgspec.json.decode(body, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def refuse(problems: Sequence[tuple[str, str]]) -> None:
    """Raises ValueError with what is wrong with a request, if anything is: keys, or nothing, and words."""
    if problems:
        raise ValueError("; ".join(f"{key}: {words}" if key else words for key, words in problems))


class Shared(Generic[Item]):
    """One list. Its methods reach the store, and block."""

    def __init__(self, store: Store, seal: Seal, row: str, of: type[Item], hold: Callable[[tuple[Item, ...]], None]):
        """`row` is its key, and its name for a person; `hold` is given the list whenever it is read or changed."""
        self.known: tuple[Item, ...] = ()
        self._store, self._seal, self._row, self._type, self._hold = store, seal, row, list[of], hold  # type: ignore[valid-type]
        self._read = False
        self._lock = threading.Lock()
        self._trouble = ""

    def ensure(self) -> None:
        """Reads it once. Raises StoreUnavailable."""
        if not self._read:
            self.read()

    def read(self) -> None:
        """Reads what other workers have changed. Raises StoreUnavailable."""
        with self._lock:
            self._take(self._stored())

    def change(self, change: Callable[[list[Item]], tuple[list[Item], Answer]]) -> Answer:
        """Changes the list; `change` may be called several times. Raises what it raises, and StoreUnavailable."""
        with self._lock:
            for _ in range(TRIES):
                epoch = self._store.acquire(SHARD)
                changed, answer = change(self._stored())
                row = self._seal.seal(SHARD, self._row, pack(changed))
                try:
                    self._store.commit(SHARD, epoch, Delta({self._row: row}))
                except Fenced:
                    continue
                self._take(changed)
                return answer
        raise StoreUnavailable(f"other workers change {self._row} at the same time: try again")

    def _stored(self) -> list[Item]:
        row = self._store.get(SHARD, [self._row]).get(self._row)
        if row is None:
            return []
        try:
            found: list[Item] = unpack(self._type, self._seal.open(SHARD, self._row, row))
        except StateRefused as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                logger.warning("%s given to earlier workers cannot be read, and do not hold: %s", self._row, error)
            return []
        return found

    def _take(self, known: list[Item]) -> None:
        self.known, self._read = tuple(known), True
        self._hold(self.known)

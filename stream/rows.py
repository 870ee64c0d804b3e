"""Keys of the rows that a shard stores, and its head row.

A key begins with its kind, so that a shard is restored without its waiting predictions, of which there may be millions.
Invariant: `split_key` undoes every key; an id or a model name may hold any character.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from msgspec import Struct

HEAD = "shard"
OUTBOX = "outbox"
PENDING = "pending"

RESIDENT = ("baseline/", "early/", "estimate/", "learner/", "model/", "normal/", "outbox/", "pane/", "settled/", HEAD)
"""Prefixes of the rows that a shard is restored from; the others stay in the store until they are asked for."""


FORMAT = 1
"""Of everything that a shard stores. `upgrades.py` says when it grows, and reads what has a smaller one."""


class Formatted(Struct):
    """What every version can read of a head row."""

    format: int = 1


class ShardHead(Struct):
    """What of a shard belongs to no model."""

    next: tuple[int | None, int | None]
    """Predictions, labels: offset of the first record that is not applied."""
    reached: tuple[float, float]
    closed: int
    events: int
    sequence: int
    dead_letters: dict[str, int]
    arrived: float
    idle_from: float
    format: int = FORMAT


class ModelKeys:
    """Keys of one model's rows.

    >>> split_key(ModelKeys("a/b").pending("order/1"))
    ('a/b', 'pending', 'order/1')
    """

    def __init__(self, model: str) -> None:
        self._name = quote(model, safe="")
        self._pending = f"{PENDING}/{self._name}/"
        self.head = f"model/{self._name}/"
        self.normal = f"normal/{self._name}/"
        self.baseline = f"baseline/{self._name}/"
        self.estimate = f"estimate/{self._name}/"
        self.learner = f"learner/{self._name}/"

    def pane(self, index: int) -> str:
        """A pane."""
        return f"pane/{self._name}/{index}"

    def pending(self, event_id: str) -> str:
        """A prediction that waits."""
        return self._pending + event_id

    def early(self, event_id: str) -> str:
        """A label that waits."""
        return f"early/{self._name}/{event_id}"

    def settled(self, block: str) -> str:
        """A block of ids that have had their outcome."""
        return f"settled/{self._name}/{block}"


def outbox_key(seq: int) -> str:
    """An effect that is not known to be published."""
    return f"{OUTBOX}/{seq:020d}"


def split_key(key: str) -> tuple[str | None, str, str]:
    """Model (None for rows of the shard itself), kind and rest of a key."""
    kind, _, rest = key.partition("/")
    if kind in (HEAD, OUTBOX):
        return None, kind, rest
    name, _, rest = rest.partition("/")
    return unquote(name), kind, rest

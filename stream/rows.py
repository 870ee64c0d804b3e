"""Keys of the rows that a shard stores, and its head row.

Invariant: `split_key` undoes every key; an id or a model name may hold any character.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from msgspec import Struct

HEAD = "shard"
OUTBOX = "outbox"


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


class ModelKeys:
    """Keys of one model's rows.

    >>> split_key(ModelKeys("a/b").pending("order/1"))
    ('a/b', 'pending', 'order/1')
    """

    def __init__(self, model: str) -> None:
        self._prefix = f"model/{quote(model, safe='')}"
        self.head = f"{self._prefix}/head/"
        self.normal = f"{self._prefix}/normal/"
        self.learner = f"{self._prefix}/learner/"

    def pane(self, index: int) -> str:
        """A pane."""
        return f"{self._prefix}/pane/{index}"

    def pending(self, event_id: str) -> str:
        """A prediction that waits."""
        return f"{self._prefix}/pending/{event_id}"

    def early(self, event_id: str) -> str:
        """A label that waits."""
        return f"{self._prefix}/early/{event_id}"

    def settled(self, block: str) -> str:
        """A block of ids that have had their outcome."""
        return f"{self._prefix}/settled/{block}"


def outbox_key(seq: int) -> str:
    """An effect that is not known to be published."""
    return f"{OUTBOX}/{seq:020d}"


def split_key(key: str) -> tuple[str | None, str, str]:
    """Model (None for rows of the shard itself), part and rest of a key."""
    kind, _, rest = key.partition("/")
    if kind != "model":
        return None, kind, rest
    name, part, rest = rest.split("/", 2)
    return unquote(name), part, rest

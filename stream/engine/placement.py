"""Finds models whose records arrive on more than one partition, where predictions and labels cannot meet.

Invariant: nothing is reported about a model whose records are keyed as they should be, by its name, or by `name#k` for
a model that is spread on purpose. Memory and work per slice are bounded; what is looked at is a sample.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from stream.effects import Record

logger = logging.getLogger(__name__)

SAMPLE = 8
"""Unknown keys decoded per slice."""

_KNOWN_KEYS = 10_000
"""Per partition."""

_KNOWN_MODELS = 10_000


class _Named(msgspec.Struct, gc=False):
    model: str


_decode = msgspec.json.Decoder(_Named).decode


def _shown(key: bytes | None) -> str:
    return "none" if key is None else repr(key[:60].decode("utf-8", "replace"))


class Placement:
    """Which models came on which partitions, seen by one worker."""

    def __init__(self) -> None:
        self._seen: dict[int, set[bytes | None]] = {}
        self._homes: dict[str, dict[int, bytes | None]] = {}
        """By model, or by `name#k`: the partitions it came on, each with the first key."""
        self.misplaced: dict[str, str] = {}
        """What to tell a person, by model."""

    def warn(self, partition: int, records: Sequence[Record]) -> None:
        """Looks at one slice; what is new goes to the log, a line a minute: whoever sends may invent models."""
        for finding in self.look(partition, records):
            logger.warning("%s", finding, extra={"kind": "misplaced model"})

    def look(self, partition: int, records: Sequence[Record]) -> list[str]:
        """Looks at the keys of one slice; returns the findings that are new."""
        seen = self._seen.setdefault(partition, set())
        fresh = {record.key for record in records} - seen
        if not fresh:
            return []
        found = []
        for key in sorted(fresh, key=lambda key: key or b"")[:SAMPLE]:
            if len(seen) < _KNOWN_KEYS:
                seen.add(key)
            finding = self._place(partition, key, next(record for record in records if record.key == key))
            if finding:
                found.append(finding)
        return found

    def _place(self, partition: int, key: bytes | None, record: Record) -> str | None:
        try:
            model = _decode(record.value or b"").model
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        text = None if key is None else key.decode("utf-8", "replace")
        prefix, mark, number = (text or "").rpartition("#")
        spread = bool(mark) and prefix == model and number.isdecimal()
        name = text if spread and text is not None else model
        if name not in self._homes and len(self._homes) >= _KNOWN_MODELS:
            return None
        homes = self._homes.setdefault(name, {})
        homes.setdefault(partition, key)
        if len(homes) < 2 or model in self.misplaced:
            return None
        (first, first_key), (second, second_key) = sorted(homes.items())[:2]
        plain = all(k is not None and k.decode("utf-8", "replace") == name for k in homes.values())
        remedy = (
            "its producers use different partitioners, or the topics have different partition counts: use one of each"
            if plain
            else f"key both topics by the model's name, or by {model + '#k'!r} with k = hash(id) mod shards"
        )
        self.misplaced[model] = (
            f"model {model!r} arrives on partitions {first} (key {_shown(first_key)}) and {second} "
            f"(key {_shown(second_key)}), where its predictions and labels cannot all meet: {remedy}"
        )
        return self.misplaced[model]

"""What a shard has decided and nobody has confirmed yet: numbered effects, from decision to publication.

Invariant: numbers grow by one without gaps; an effect stays until it is known to be published, and every effect is
stored by the delta after it was decided and taken out by the delta after it was published.
"""

from __future__ import annotations

from collections.abc import Iterable

from stream.checkpoint.packing import pack
from stream.checkpoint.port import Delta
from stream.config import Topics
from stream.effects import CUT, CUT_BYTES, Channel, Outgoing
from stream.events import encode
from stream.monitor.exchange import Emission
from stream.rows import outbox_key
from stream.taking import Bad

WHOLE_BYTES = 1_040_000
"""A dead letter of up to so many bytes is the whole original: with its headers it stays below the 1,048,588 bytes that
Kafka's `max.message.bytes` allows unless told otherwise."""

KEY_BYTES = 1024
"""What is kept of the key of a dead letter."""

CHANNELS = {"Alert": Channel.ALERTS, "MetricSnapshot": Channel.SNAPSHOTS, "ModelUpdate": Channel.UPDATES}


class Decided:
    """The effects of one shard."""

    def __init__(self, partition: int, topics: Topics) -> None:
        self._partition, self._topics = partition, topics
        self.rows: list[Outgoing] = []
        """What is not known to be published, by number."""
        self.sequence = 0
        """Number of the next effect."""
        self.dead_letters: dict[str, int] = {}
        """Records refused, by reason."""
        self.urgent = False
        """An alert waits for the next checkpoint."""
        self._unstored = 0
        """Rows at the end that no delta holds yet."""
        self._published: list[int] = []

    def restore(self, rows: Iterable[Outgoing]) -> None:
        """Goes on from stored effects."""
        self.rows = sorted(rows, key=lambda each: each.seq)

    def push(self, channel: Channel, key: str, value: bytes, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        """Adds one."""
        self.rows.append(Outgoing(self.sequence, channel, key, value, headers))
        self.sequence += 1
        self._unstored += 1

    def emit(self, emissions: Iterable[tuple[int, str, Emission]]) -> None:
        """Adds what models tell: tick, model and record of each, in order."""
        for _, name, emission in emissions:
            channel = CHANNELS[type(emission.record).__name__]
            self.push(channel, name, encode(emission.record))
            self.urgent = self.urgent or channel is Channel.ALERTS

    def bury(self, bad: Bad) -> None:
        """Adds a record that was refused, with the reason and its original bytes, or as many as a topic takes."""
        self.dead_letters[bad.reason] = self.dead_letters.get(bad.reason, 0) + 1
        record = bad.record
        value, key = record.value or b"", (record.key or b"")[:KEY_BYTES].decode("utf-8", "replace")
        headers: tuple[tuple[str, bytes], ...] = (
            ("reason", bad.reason.encode()),
            ("detail", bad.detail.encode("utf-8", "replace")[:1000]),
            ("topic", getattr(self._topics, bad.side).encode()),
            ("partition", str(self._partition).encode()),
            ("offset", str(record.offset).encode()),
        )
        size = len(value) if bad.size is None else bad.size
        if size > WHOLE_BYTES:
            headers, value = (*headers, (CUT, str(size).encode())), value[:CUT_BYTES]
        self.push(Channel.DEAD_LETTERS, key, value, headers)

    def published(self, seq: int) -> None:
        """Effects up to `seq` are out: the next delta forgets them."""
        stored = len(self.rows) - self._unstored
        done = [row.seq for row in self.rows[:stored] if row.seq <= seq]
        self._published += done
        self.rows = self.rows[len(done) :]

    def forget(self) -> None:
        """Replay: what was decided is written where it belongs, and no delta will be asked for."""
        self.rows, self._unstored, self.urgent = [], 0, False

    def changes(self, delta: Delta) -> None:
        """Puts into a delta what was decided and takes out what was published since the last call."""
        stored = len(self.rows) - self._unstored
        delta.put |= {outbox_key(row.seq): pack(row) for row in self.rows[stored:]}
        delta.delete += [outbox_key(seq) for seq in self._published]
        self._unstored, self._published, self.urgent = 0, [], False

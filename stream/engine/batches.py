"""Hands out fetched records a batch of the log at a time.

aiokafka's parser is compiled, but its records then pass through three Python loops one by one, which takes longer than
parsing them, and are copied into a dataclass of eleven fields, which takes longer still.
Invariant: the same records as from aiokafka, in order, none twice, and the position that it would keep.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice

from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException

from stream.effects import Record


class Batches:
    """What is left of one answer of the broker, for one partition."""

    def __init__(self, found: PartitionRecords) -> None:
        self.next_fetch_offset: int = found.next_fetch_offset
        """Offset of the next record to hand out, under the name by which aiokafka compares it with its position."""
        self._answer = found._records
        self._checks: bool = found._check_crcs
        self._partition = found._tp
        self._batch: Iterator[Record] | None = None
        """What was begun. Records are parsed as they are taken: one batch may hold very many."""
        self._end = found.next_fetch_offset
        """Offset behind it."""

    @property
    def left(self) -> bool:
        """Whether there may be more."""
        return self._batch is not None or self._answer.has_next()

    def take(self, most: int) -> list[Record]:
        """The next records, at most so many. Raises CorruptRecordException where a batch has another checksum."""
        taken: list[Record] = []
        while self.left and len(taken) < most:
            batch = self._begin() if self._batch is None else self._batch
            wanted = most - len(taken)
            part = list(islice(batch, wanted))
            over, self._batch = len(part) < wanted, batch
            if part and part[0].offset < self.next_fetch_offset:
                part = [record for record in part if record.offset >= self.next_fetch_offset]
            if over:
                # A batch ends where it says: what follows its last record was compacted away.
                self.next_fetch_offset, self._batch = self._end, None
            elif part:
                self.next_fetch_offset = part[-1].offset + 1
            taken = taken + part if taken else part
        return taken

    def _begin(self) -> Iterator[Record]:
        """Opens the next batch."""
        batch = self._answer.next_batch()
        if self._checks and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {self._partition}")
        self._end = batch.next_offset
        # The parser cannot be asked for an iterator twice, a chain can.
        return chain(() if batch.is_control_batch else batch)


def by_batches(fetched: FetchResult) -> None:
    """Has an answer hand out its records so from now on."""
    if isinstance(fetched._partition_records, PartitionRecords):
        fetched._partition_records = Batches(fetched._partition_records)
        fetched.getall = partial(_getall, fetched)


def _getall(fetched: FetchResult, max_records: int | None = None) -> list[Record]:
    """FetchResult.getall."""
    if not fetched.check_assignment(fetched._topic_partition) or not fetched.has_more():
        return []
    found: Batches = fetched._partition_records
    records = found.take(sys.maxsize if max_records is None else max_records)
    fetched._update_position()
    if not found.left:
        fetched._partition_records = None
    return records

"""Hands out fetched records a batch of the log at a time.

aiokafka's parser is compiled, but its records then pass through three Python loops one by one, which takes longer than
parsing them, and are copied into a dataclass of eleven fields, which takes longer still.
Invariant: the same records as from aiokafka, in order, none twice, and the position that it would keep.
"""

from __future__ import annotations

import sys
from functools import partial

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
        self._records: list[Record] = []
        """Parsed and not handed out."""
        self._end = found.next_fetch_offset
        """Offset behind the parsed batch."""

    @property
    def left(self) -> bool:
        """Whether there may be more."""
        return bool(self._records) or self._answer.has_next()

    def take(self, most: int) -> list[Record]:
        """The next records, at most so many. Raises CorruptRecordException where a batch has another checksum."""
        taken: list[Record] = []
        while self.left and len(taken) < most:
            if not self._records:
                self._parse()
            part = self._records[: most - len(taken)]
            self._records = self._records[len(part) :]
            # A batch ends where it says: what follows its last record was compacted away.
            self.next_fetch_offset = part[-1].offset + 1 if self._records else self._end
            taken = taken + part if taken else part
        return taken

    def _parse(self) -> None:
        """Reads the next batch."""
        batch = self._answer.next_batch()
        if self._checks and not batch.validate_crc():
            raise CorruptRecordException(f"Invalid CRC - {self._partition}")
        self._end = batch.next_offset
        if batch.is_control_batch:
            return
        records = list(batch)
        if records and records[0].offset < self.next_fetch_offset:
            records = [record for record in records if record.offset >= self.next_fetch_offset]
        self._records = records


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

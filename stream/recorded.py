"""Recorded events: JSON lines, Parquet or CSV files of predictions or labels as records in event-time order.

Invariant: what comes out is a function of the files' content and their order alone. A file that is in event-time order
is read as it is needed; one that is not is sorted in memory. A row that has no readable time keeps its place.
"""

from __future__ import annotations

import gzip
import heapq
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from stream.effects import Side, StoredRecord
from stream.events import Timestamp, seconds

Row: TypeAlias = tuple[float, bytes]
"""Event time (that of the row before when it cannot be read) and the record as it would be sent."""

Progress: TypeAlias = Callable[[int], None]
"""Told how many bytes of the files have been read since it was told last."""

GROUPS = ("features", "attributes", "scores", "resources")
"""Fields that a table may spread over columns: `features.amount`, `features.country`."""

BATCH = 4096
"""Rows of a table that are in memory at once."""


class UnreadableFile(Exception):
    """A file that cannot be read as recorded events. The message names the file, what was found and what to do."""


class _Time(Struct):
    ts: Timestamp


_time = msgspec.json.Decoder(_Time).decode
_encode = msgspec.json.Encoder(enc_hook=str).encode


def records(paths: Sequence[Path], progress: Progress = lambda _: None) -> Iterator[StoredRecord]:
    """The rows of all files, merged in event-time order; equal times keep the order of files and rows.

    Offsets count from 0. The timestamp, which is when a broker would have taken the record, is its event time.
    Raises UnreadableFile.
    """
    sources = [_ordered(path, progress) for path in paths]
    rows = sources[0] if len(sources) == 1 else heapq.merge(*sources, key=itemgetter(0))
    for offset, (time, value) in enumerate(rows):
        yield StoredRecord(offset, math.ceil(time * 1000), value)


def slices(
    sources: Mapping[Side, Iterator[StoredRecord]], size: int
) -> Iterator[tuple[Side, list[StoredRecord], frozenset[Side]]]:
    """Slices of the topic that has come least far, and the topics that have more to come after each."""
    reached: dict[Side, int] = dict.fromkeys(sources, -1)
    while reached:
        side = min(reached, key=lambda each: reached[each])
        batch = list(islice(sources[side], size))
        if batch:
            reached[side] = batch[-1].timestamp
        if len(batch) < size:
            del reached[side]
        yield side, batch, frozenset(reached)


def size(paths: Sequence[Path]) -> int:
    """Bytes that reading the files will report as progress. Raises UnreadableFile when one is not there."""
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except OSError as error:
            raise UnreadableFile(f"{path}: {(error.strerror or str(error)).lower()}") from None
    return total


def _ordered(path: Path, progress: Progress) -> Iterator[Row]:
    """The rows of one file in event-time order."""
    if _ascending(_rows(path, lambda _: None)):
        return _rows(path, progress)
    return iter(sorted(_rows(path, progress), key=itemgetter(0)))


def _ascending(rows: Iterator[Row]) -> bool:
    last = -math.inf
    for time, _ in rows:
        if time < last:
            return False
        last = time
    return True


def _rows(path: Path, progress: Progress) -> Iterator[Row]:
    """The rows of one file as they stand in it."""
    last = 0.0
    try:
        for value in _values(path, progress):
            try:
                last = seconds(_time(value).ts)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass  # the shard refuses the row with a reason, where it stands
            yield last, value
    except (OSError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(f"{path}: {why}") from None


def _values(path: Path, progress: Progress) -> Iterator[bytes]:
    name = path.name.lower()
    if name.endswith(".parquet"):
        yield from _table(path, progress, _parquet)
    elif name.endswith((".csv", ".csv.gz")):
        yield from _table(path, progress, _csv)
    else:
        yield from _lines(path, progress)


def _lines(path: Path, progress: Progress) -> Iterator[bytes]:
    with path.open("rb") as file:
        head = file.peek(4)[:4]
        if head == b"PAR1":
            raise UnreadableFile(f"{path}: found a Parquet file, expected JSON lines: give it the ending .parquet")
        content = gzip.GzipFile(fileobj=file) if head[:2] == b"\x1f\x8b" else file
        told = 0
        for number, line in enumerate(content):
            if number % BATCH == 0:
                progress(file.tell() - told)
                told = file.tell()
            value = line.strip()
            if value:
                yield value
        progress(file.tell() - told)


def _table(path: Path, progress: Progress, batches: Callable[[Path], Iterator[tuple[int, Any]]]) -> Iterator[bytes]:
    try:
        import pyarrow
    except ImportError:
        raise UnreadableFile(
            f"{path}: reading Parquet and CSV needs pyarrow: pip install 'stream-monitor[parquet]'"
        ) from None
    try:
        told = 0
        for position, batch in batches(path):
            progress(position - told)
            told = position
            for row in batch.to_pylist():
                yield _encode(_record(row))
        progress(path.stat().st_size - told)
    except pyarrow.ArrowException as error:
        raise UnreadableFile(f"{path}: {str(error).splitlines()[0]}") from None


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        done, rows, total = 0, max(file.metadata.num_rows, 1), path.stat().st_size
        for batch in file.iter_batches(BATCH):
            yield total * done // rows, batch
            done += batch.num_rows


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow.csv

    with pyarrow.csv.open_csv(path) as file:
        for batch in file:
            yield 0, batch


def _record(row: dict[str, Any]) -> dict[str, Any]:
    """A row of a table as the record that a service would have sent; an empty field is left out."""
    record: dict[str, Any] = {}
    for name, value in row.items():
        group, dot, key = name.partition(".")
        if dot and group in GROUPS:
            if value is not None or group == "features":
                record.setdefault(group, {})[key] = _plain(value)
        elif name in GROUPS and isinstance(value, list):  # a map column: pairs
            record[name] = {str(key): _plain(item) for key, item in value}
        elif name in ("model", "id", "version") and value is not None:
            record[name] = str(value)
        elif value is not None or name == "prediction":
            record[name] = _plain(value)
    return record


def _plain(value: Any) -> Any:
    """A value as JSON has it; a time without an offset is UTC."""
    if hasattr(value, "isoformat"):
        text: str = value.isoformat()
        aware = getattr(value, "tzinfo", None) is not None
        return text if aware or "T" not in text else f"{text}Z"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value

"""Makes a reference from events: the first N of a stream, or all of a file.

Invariant: the reference is a function of the first N rows in order, however they were sliced; nothing else enters.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import cast

import msgspec
import numpy as np
from msgspec import Struct, field

from stream.config import FeatureKind, Limits
from stream.events import Scalar
from stream.monitor.binning import MAX_CATEGORY_LENGTH, categorical, numeric
from stream.monitor.columns import Floats
from stream.monitor.feature_rows import FeatureRow
from stream.monitor.features import FeatureLayout, Row
from stream.monitor.kinds import infer, kind
from stream.monitor.readers import finite_numbers
from stream.monitor.reference import OUTPUT, Feature, Reference, sealed
from stream.monitor.vocabulary import MAX_NAME


class _Collected(Struct):
    """Rows as columns; a column shorter than `rows` ends in values that are missing."""

    rows: int = 0
    columns: dict[str, list[Scalar]] = field(default_factory=dict)
    outputs: list[Scalar] = field(default_factory=list)


class ReferenceBuilder:
    """Collects the first N events and makes a reference of them."""

    def __init__(self, first: int, declared: Mapping[str, FeatureKind] | None, limits: Limits) -> None:
        """`declared`: the configuration's features, None to infer them."""
        self.first = first
        self._declared = declared
        self._limits = limits
        self._collected = _Collected()

    @property
    def rows(self) -> int:
        """Events taken so far."""
        return self._collected.rows

    @property
    def full(self) -> bool:
        """Whether all N events are there."""
        return self.rows >= self.first

    def add(self, features: Sequence[Row], outputs: Sequence[Scalar] | Floats | None = None) -> int:
        """Takes events until there are N and says how many it took. `outputs` as in `FeatureLayout.read`."""
        taken = min(len(features), self.first - self.rows)
        rows = features[:taken]
        if not self._add_alike(rows):
            for row in rows:
                self._add({} if row is None else row)
        answers: list[Scalar] = [None] * taken if outputs is None else _scalars(outputs[:taken])
        self._collected.outputs.extend(answers)
        return taken

    def _add_alike(self, rows: Sequence[Row]) -> bool:
        """Takes rows at once, if each has just the features collected so far; else takes none."""
        at, columns = self._collected.rows, self._collected.columns
        if len(columns) < 2 or set(map(type, rows)) != {dict}:
            return False
        alike = cast(Sequence[dict[str, Scalar]], rows)
        try:
            fetched = list(map(itemgetter(*columns), alike))
        except KeyError:
            return False
        if set(map(len, alike)) != {len(columns)}:
            return False
        for column, values in zip(columns.values(), zip(*fetched, strict=True), strict=True):
            column.extend([None] * (at - len(column)))
            column.extend(map(_kept, values) if str in set(map(type, values)) else values)
        self._collected.rows += len(rows)
        return True

    def _add(self, row: Mapping[str, Scalar] | FeatureRow) -> None:
        at, columns = self._collected.rows, self._collected.columns
        for name, value in row.items():
            if self._declared is not None and name not in self._declared:
                continue
            column = columns.get(name)
            if column is None:
                if len(columns) >= 2 * self._limits.features or len(name) > MAX_NAME:
                    continue
                column = columns[name] = []
            if len(column) < at:
                column.extend([None] * (at - len(column)))
            column.append(_kept(value))
        self._collected.rows += 1

    def finish(self, source: str) -> Reference:
        """The reference of the events taken so far."""
        rows, outputs = self.rows, self._collected.outputs
        columns = {name: [*column, *[None] * (rows - len(column))] for name, column in self._collected.columns.items()}
        kinds = infer(columns, self._declared, self._limits)
        watched = {name: columns.get(name, [None] * rows) for name, each in kinds.items() if each != "ignore"}
        features = tuple(self._feature(name, values, kinds[name]) for name, values in watched.items())
        answered = [value for value in outputs if value is not None]
        output = self._feature(OUTPUT, outputs, _output_kind(answered)) if answered else None
        ignored = tuple(name for name, each in kinds.items() if each == "ignore")
        draft = Reference(rows, source, features, output, ignored)
        return sealed(_counted(draft, [*watched.values(), outputs] if output else list(watched.values())))

    def _feature(self, name: str, values: Sequence[Scalar], each: FeatureKind) -> Feature:
        if each == "numeric":
            return numeric(name, finite_numbers(values))
        return categorical(name, values, self._limits.categories)

    def state(self) -> bytes:
        """What was collected, for a checkpoint."""
        return msgspec.msgpack.encode(self._collected)

    def restore(self, state: bytes) -> None:
        """Goes on from where `state` was taken. Raises msgspec.DecodeError for anything else."""
        self._collected = msgspec.msgpack.decode(state, type=_Collected)


def from_events(
    features: Sequence[Row],
    outputs: Sequence[Scalar] | Floats | None,
    declared: Mapping[str, FeatureKind] | None,
    limits: Limits,
    source: str,
) -> Reference:
    """The reference of all these events."""
    builder = ReferenceBuilder(len(features), declared, limits)
    builder.add(features, outputs)
    return builder.finish(source)


def _kept(value: Scalar) -> Scalar:
    """The value, or what stands for a text too long to be a category: as long texts differ, so do their stand-ins.

    >>> len(_kept("x" * 1_000_000)), _kept("x" * 1_000_000) == _kept("x" * 1_000_000), _kept("short")
    (288, True, 'short')
    """
    if not isinstance(value, str) or len(value) <= MAX_CATEGORY_LENGTH:
        return value
    digest = hashlib.blake2b(value.encode(), digest_size=16).hexdigest()
    return value[:MAX_CATEGORY_LENGTH] + digest


def _output_kind(answered: Sequence[Scalar]) -> FeatureKind:
    """An output is watched whatever it looks like."""
    found = kind(answered, Limits())
    if found != "ignore":
        return found
    return "categorical" if isinstance(answered[0], str) else "numeric"


def _scalars(outputs: Sequence[Scalar] | Floats) -> list[Scalar]:
    if isinstance(outputs, np.ndarray):
        return [None if math.isnan(value) else value for value in outputs.tolist()]
    return list(outputs)


def _counted(draft: Reference, values: Sequence[Sequence[Scalar]]) -> Reference:
    """The draft with the histogram of its own events."""
    layout = FeatureLayout(draft)
    counts = layout.histogram_of_values(values)
    features = [
        msgspec.structs.replace(block.feature, counts=tuple(counts[block.start : block.stop].tolist()))
        for block in layout.blocks
    ]
    split = len(draft.features)
    output = features[split] if draft.output is not None else None
    return msgspec.structs.replace(draft, features=tuple(features[:split]), output=output)

"""Makes a reference from events: the first N of a stream, or all of a file.

Invariant: the reference is a function of the first N rows in order, however they were sliced; nothing else enters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from operator import itemgetter
from types import NoneType
from typing import cast

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from stream.config import FeatureKind, Limits, Rule
from stream.events import Scalar
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.vocabulary import MAX_NAME
from stream.monitor.features import joint_drift, segment_drift
from stream.monitor.features.binning import MAX_CATEGORY_LENGTH, categorical, numeric
from stream.monitor.features.blocks import blocks
from stream.monitor.features.collected import Column, State
from stream.monitor.features.embedding import Embedding
from stream.monitor.features.feature_layout import FeatureLayout, Row
from stream.monitor.features.feature_rows import BATCH, FeatureRow, parts
from stream.monitor.features.kinds import infer, kind
from stream.monitor.features.readers import finite_numbers
from stream.monitor.features.reference import OUTPUT, Feature, Reference, sealed


class _Collected(Struct):
    """What is stored; a column shorter than `rows` ends in values that are missing."""

    rows: int
    columns: dict[str, State]
    outputs: State
    segments: list[State] = []


class ReferenceBuilder:
    """Collects the first N events and makes a reference of them."""

    def __init__(
        self,
        first: int,
        declared: Mapping[str, FeatureKind] | None,
        limits: Limits,
        *,
        joint: bool = False,
        by_segment: Sequence[Rule] = (),
    ) -> None:
        """`declared`: the configuration's features, None to infer them. `joint`: measure them together, too.

        `by_segment`: rules for which features are counted by segment, too.
        """
        self.first = first
        self._declared = declared
        self._limits = limits
        self._joint, self._by_segment = joint, by_segment
        self.rows = 0
        """Events taken so far."""
        self._columns: dict[str, Column] = {}
        self._outputs = Column()
        self._segments: list[Column] = []
        """For each kind of segment, the names of those that the events are of."""

    @property
    def known(self) -> Set[str]:
        """Features collected so far."""
        return self._columns.keys()

    @property
    def full(self) -> bool:
        """Whether all N events are there."""
        return self.rows >= self.first

    def add(self, features: Sequence[Row], outputs: Sequence[Scalar] | Floats | None = None) -> int:
        """Takes events until there are N and says how many it took. `outputs` as in `FeatureLayout.read`."""
        taken = min(len(features), self.first - self.rows)
        for start in range(0, taken, BATCH):
            rows = features[start : min(start + BATCH, taken)]
            if not self._add_alike(rows):
                for row in rows:
                    self._add({} if row is None else row)
        if outputs is None:
            self._outputs.pad(self.rows)
        elif isinstance(outputs, np.ndarray):
            self._outputs.extend_floats(outputs[:taken])
        else:
            self._outputs.extend(outputs[:taken])
        return taken

    def add_segments(self, codes: Ints, names: Sequence[str]) -> None:
        """Says which segments the newest events are of: codes (n, D), column 0 the whole model's."""
        if not self._by_segment:
            return
        before = self.rows - len(codes)
        while len(self._segments) < codes.shape[1] - 1:
            self._segments.append(Column())
        for column, of in zip(self._segments, codes.T[1:].tolist(), strict=False):
            column.pad(before)
            column.extend([names[code] for code in of])

    def _add_alike(self, rows: Sequence[Row]) -> bool:
        """Takes rows at once, if each has just the features collected so far; else takes none."""
        found = self._fetched(rows)
        if found is None:
            return False
        for name, (values, types) in found.items():
            column = self._columns[name]
            column.pad(self.rows)
            column.extend(values, types)
        self.rows += len(rows)
        return True

    def _fetched(self, rows: Sequence[Row]) -> dict[str, tuple[Sequence[Scalar], set[type]]] | None:
        """The values by feature, where all rows are of one kind and have no feature but those collected so far."""
        kinds = set(map(type, rows))
        kind = kinds.pop()
        if kinds or kind is NoneType:
            return None
        columns = self._columns
        fetched: Iterable[tuple[str, Sequence[Scalar | UnsetType]]]
        if issubclass(kind, FeatureRow):
            fetched = next(parts(cast(Sequence[FeatureRow], rows))).columns.items()
        else:
            alike = cast(Sequence[dict[str, Scalar]], rows)
            if len(columns) < 2 or set(map(len, alike)) != {len(columns)}:
                return None
            try:
                fetched = zip(columns, zip(*map(itemgetter(*columns), alike), strict=True), strict=True)
            except KeyError:
                return None
        found: dict[str, tuple[Sequence[Scalar], set[type]]] = {}
        for name, values in fetched:
            types = set(map(type, values))
            if name in columns:
                plain = cast(Sequence[Scalar], values)
                if UnsetType in types:
                    plain = [None if value is UNSET else value for value in values]
                found[name] = list(map(_kept, plain)) if str in types else plain, types
            elif types != {UnsetType} and (self._declared is None or name in self._declared):
                return None
        return found

    def _add(self, row: Mapping[str, Scalar] | FeatureRow) -> None:
        columns = self._columns
        # Features of one event come in any order; in which they are watched must not hang on how it was decoded.
        for name, value in sorted(row.items()):
            if self._declared is not None and name not in self._declared:
                continue
            column = columns.get(name)
            if column is None:
                if len(columns) >= 2 * self._limits.features or len(name) > MAX_NAME:
                    continue
                column = columns[name] = Column()
            column.pad(self.rows)
            column.extend([_kept(value)])
        self.rows += 1

    def columns(self, layout: FeatureLayout) -> Ints:
        """Shape (n, F): the histogram columns of the events taken, by the layout of their reference."""
        held = {**self._columns, OUTPUT: self._outputs}
        return layout.columns_of_values([held.get(name, Column()).whole(self.rows) for name in layout.names])

    def finish(self, source: str) -> Reference:
        """The reference of the events taken so far."""
        rows, outputs = self.rows, self._outputs.whole(self.rows)
        columns = {name: column.whole(rows) for name, column in self._columns.items()}
        kinds = infer(columns, self._declared, self._limits)
        watched = {name: columns.get(name, [None] * rows) for name, each in kinds.items() if each != "ignore"}
        features = tuple(self._feature(name, values, kinds[name]) for name, values in watched.items())
        answered = outputs if isinstance(outputs, np.ndarray) else [value for value in outputs if value is not None]
        output = self._feature(OUTPUT, outputs, _output_kind(answered)) if len(answered) else None
        ignored = tuple(name for name, each in kinds.items() if each == "ignore")
        draft = Reference(rows, source, features, output, ignored)
        return sealed(self._counted(draft, [*watched.values(), outputs] if output else list(watched.values())))

    def _counted(self, draft: Reference, values: Sequence[Sequence[Scalar] | Floats]) -> Reference:
        """The draft with what is counted of its own events."""
        layout = FeatureLayout(draft)
        columns = layout.columns_of_values(values)
        counts = layout.histogram(columns)
        features = [
            msgspec.structs.replace(block.feature, counts=tuple(counts[block.start : block.stop].tolist()))
            for block in layout.blocks
        ]
        split = len(draft.features)
        output = features[split] if draft.output is not None else None
        reference = msgspec.structs.replace(draft, features=tuple(features[:split]), output=output)
        if self._joint:
            embedding = Embedding(blocks(reference.features))
            reference = msgspec.structs.replace(reference, joint=joint_drift.measured(embedding, columns))
        if self._by_segment:
            segments = [[*column.whole(self.rows)] for column in self._segments]
            counted = segment_drift.measured(layout, columns, self._by_segment, segments)
            reference = msgspec.structs.replace(reference, by_segment=counted)
        return reference

    def _feature(self, name: str, values: Sequence[Scalar] | Floats, each: FeatureKind) -> Feature:
        if each == "numeric":
            return numeric(name, finite_numbers(values))
        plain = values.tolist() if isinstance(values, np.ndarray) else values
        return categorical(name, plain, self._limits.categories)

    def state(self) -> bytes:
        """What was collected, for a checkpoint."""
        columns = {name: column.state() for name, column in self._columns.items()}
        segments = [column.state() for column in self._segments]
        return msgspec.msgpack.encode(_Collected(self.rows, columns, self._outputs.state(), segments))

    def restore(self, state: bytes) -> None:
        """Goes on from where `state` was taken. Raises msgspec.DecodeError or ValueError for anything else."""
        found = msgspec.msgpack.decode(state, type=_Collected)
        self.rows = found.rows
        self._columns = {name: Column(column) for name, column in found.columns.items()}
        self._outputs = Column(found.outputs)
        self._segments = [Column(column) for column in found.segments]


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


def _output_kind(answered: Sequence[Scalar] | Floats) -> FeatureKind:
    """An output is watched whatever it looks like."""
    found = kind(answered, Limits())
    if found != "ignore":
        return found
    return "categorical" if isinstance(answered[0], str) else "numeric"

"""Turns the features of events into columns of a histogram: the hottest loop of the program.

Every event adds one to exactly one column per monitored feature: a bin, "missing" or "invalid". So the histogram of a
pane is `numpy.bincount` of these columns, histograms add up, and each feature's block sums to the number of events.
Invariant: the column of a value depends on the value and the reference alone, not on the other events of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, filterfalse
from types import NoneType
from typing import TypeAlias, cast

import numpy as np
from msgspec import Struct

from stream.events import Scalar
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.blocks import Block, Shape, blocks
from stream.monitor.features.feature_rows import FeatureRow, parts
from stream.monitor.features.readers import Categories, Numbers, Rows, reader
from stream.monitor.features.reference import Categorical, Numeric, Reference

Row: TypeAlias = Mapping[str, Scalar] | FeatureRow | None
"""The features of one event."""


class Read(Struct, frozen=True):
    """What a batch of n events says."""

    columns: Ints
    """Shape (n, F): for each event and monitored feature the histogram column that it adds one to."""
    new: dict[str, int]
    """Events by feature that the reference does not know, in order of appearance."""


class FeatureLayout:
    """The columns of a histogram over the features of one reference; the output's block, if any, is the last."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.reference_shares: dict[tuple[str, str], float] = {}
        """Shares of bad values in the reference by feature and cause, as they are asked for."""
        self.blocks = blocks(reference.monitored)
        self.width = self.blocks[-1].stop if self.blocks else 0
        self.names = tuple(block.feature.name for block in self.blocks)
        self._shapes: dict[str, Shape] = {}
        inputs = self.blocks[: len(reference.features)]
        numeric = [(row, block) for row, block in enumerate(inputs) if isinstance(block.feature, Numeric)]
        self._numbers = Numbers([block for _, block in numeric])
        self._number_rows = np.array([row for row, _ in numeric], dtype=np.int64)
        self._categories = [
            (row, Categories(block, block.feature))
            for row, block in enumerate(inputs)
            if isinstance(block.feature, Categorical)
        ]
        self._output = reader(self.blocks[-1]) if reference.output is not None else None
        self._inputs = len(inputs)
        self.known = frozenset((*(block.feature.name for block in inputs), *reference.ignored))
        """Features that the reference knows, the ignored ones too."""

    @cached_property
    def shape(self) -> Shape | None:
        """All blocks in the arrays that distances are computed with; None when there is no block."""
        return Shape(self.blocks) if self.blocks else None

    def shape_of(self, feature: str) -> Shape:
        """The same of one feature."""
        shape = self._shapes.get(feature)
        if shape is None:
            shape = self._shapes[feature] = Shape([self.block(feature)])
        return shape

    def block(self, feature: str) -> Block:
        """Where a feature stands. Raises ValueError for one that is not monitored."""
        return self.blocks[self.names.index(feature)]

    def columns(self, features: Sequence[Row], outputs: Sequence[Scalar] | Floats | None = None) -> Ints:
        """Shape (n, F) of histogram columns; see `read`."""
        return self.read(features, outputs).columns

    def read(self, features: Sequence[Row], outputs: Sequence[Scalar] | Floats | None = None) -> Read:
        """The columns of n events, and the features among them that the reference does not know.

        `outputs` are what the model answered: score, number or class; None, or NaN in an array, where there is none.
        Left out, all are missing. An event without features misses every feature.
        """
        index = np.empty((len(self.blocks), len(features)), dtype=np.int64)
        known = True
        for at, rows in _alike(features):
            if isinstance(rows[0], FeatureRow):
                self._read_slots(cast(Sequence[FeatureRow], rows), index, at)
                known = known and self.known.issuperset(rows[0].slots)
            else:
                plain = cast(Rows, rows)
                complete = self._read_inputs(plain, index, at)
                known = known and self._are_known(plain, complete)
        if self._output is not None:
            index[-1] = self._output.of_values([None] * len(features) if outputs is None else outputs)
        names = () if known else chain.from_iterable(row for row in features if row is not None)
        return Read(np.ascontiguousarray(index.T), dict(Counter(filterfalse(self.known.__contains__, names))))

    def _read_inputs(self, rows: Rows, index: Ints, at: slice | Ints) -> bool:
        """Writes the columns of rows of one kind to their places; returns whether each surely has every feature."""
        numbers, complete = self._numbers.of_rows(rows)
        self._put_numbers(numbers, index, at)
        for row, categories in self._categories:
            index[row, at], found = categories.of_rows(rows)
            complete = complete and found
        return complete

    def _read_slots(self, rows: Sequence[FeatureRow], index: Ints, at: slice | Ints) -> None:
        """Writes the columns of rows in slots to their places."""
        values, absent = self._numbers.room(len(rows))
        codes: list[list[int]] = [[] for _ in self._categories]
        for part in parts(rows):
            self._numbers.fill(part, values, absent)
            for known, (_, categories) in zip(codes, self._categories, strict=True):
                known.extend(categories.of_part(part))
        self._put_numbers(self._numbers.place(values, absent), index, at)
        for (row, _), column in zip(self._categories, codes, strict=True):
            index[row, at] = column

    def _put_numbers(self, numbers: Ints, index: Ints, at: slice | Ints) -> None:
        if isinstance(at, slice):
            index[self._number_rows] = numbers
        else:
            index[self._number_rows[:, None], at] = numbers

    def _are_known(self, rows: Rows, complete: bool) -> bool:
        """Whether no row can have a feature that the reference does not know.

        `complete`: each row has every monitored feature, so counting may do.
        """
        if complete and sum(map(len, rows)) == len(rows) * self._inputs:
            return True
        return self.known.issuperset(set().union(*rows))

    def histogram(self, columns: Ints) -> Ints:
        """Shape (width): how often each column stands in `columns`."""
        return np.bincount(columns.ravel(), minlength=self.width)

    def columns_of_values(self, values: Sequence[Sequence[Scalar] | Floats]) -> Ints:
        """Shape (n, F): the columns of n events that come as one list of values per block."""
        read = [reader(block).of_values(column) for block, column in zip(self.blocks, values, strict=True)]
        return np.array(read, dtype=np.int64).reshape(len(read), len(values[0]) if read else 0).T


def _alike(features: Sequence[Row]) -> Iterator[tuple[slice | Ints, Rows | Sequence[FeatureRow]]]:
    """The features in parts of one kind each, with their places."""
    types = list(map(type, features))
    kinds = set(types)
    if len(kinds) == 1 and NoneType not in kinds:
        yield slice(None), cast(Rows | Sequence[FeatureRow], features)
        return
    for kind in kinds:
        at = [place for place, each in enumerate(types) if each is kind]
        rows = [{}] * len(at) if kind is NoneType else [features[place] for place in at]
        yield np.array(at), cast(Rows | Sequence[FeatureRow], rows)

"""Turns the features of events into columns of a histogram: the hottest loop of the program.

Every event adds one to exactly one column per monitored feature: a bin, "missing" or "invalid". So the histogram of a
pane is `numpy.bincount` of these columns, histograms add up, and each feature's block sums to the number of events.
Invariant: the column of a value depends on the value and the reference alone, not on the other events of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain, filterfalse
from typing import TypeAlias, cast

import numpy as np
from msgspec import Struct

from stream.events import Scalar
from stream.monitor.blocks import Block, Shape, blocks
from stream.monitor.columns import Floats, Ints
from stream.monitor.feature_rows import FeatureRow, plain
from stream.monitor.readers import Categories, Numbers, Rows, reader
from stream.monitor.reference import Categorical, Numeric, Reference

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
        rows = _alike(features)
        index = np.empty((len(self.blocks), len(rows)), dtype=np.int64)
        index[self._number_rows], complete = self._numbers.of_rows(rows)
        for row, categories in self._categories:
            index[row], found = categories.of_rows(rows)
            complete = complete and found
        if self._output is not None:
            index[-1] = self._output.of_values([None] * len(rows) if outputs is None else outputs)
        return Read(np.ascontiguousarray(index.T), self._new(rows, complete))

    def _new(self, rows: Rows, complete: bool) -> dict[str, int]:
        """Rows by feature that is unknown. `complete`: each row has every monitored feature, so counting may do."""
        names: Iterable[str]
        if rows and isinstance(rows[0], FeatureRow):
            names = rows[0].slots
        elif complete and sum(map(len, cast(Sequence[Mapping[str, Scalar]], rows))) == len(rows) * self._inputs:
            return {}
        else:
            names = set().union(*rows)
        if self.known.issuperset(names):
            return {}
        return dict(Counter(filterfalse(self.known.__contains__, chain.from_iterable(rows))))

    def histogram(self, columns: Ints) -> Ints:
        """Shape (width): how often each column stands in `columns`."""
        return np.bincount(columns.ravel(), minlength=self.width)

    def histogram_of_values(self, values: Sequence[Sequence[Scalar]]) -> Ints:
        """The histogram of events that come as one list of values per block."""
        read = [reader(block).of_values(column) for block, column in zip(self.blocks, values, strict=True)]
        return self.histogram(np.array(read, dtype=np.int64))


def _alike(features: Sequence[Row]) -> Rows:
    """The features as rows of one kind: as they are, if they are all of one type, else as dictionaries."""
    kinds = set(map(type, features))
    if len(kinds) == 1:
        kind = kinds.pop()
        if kind is dict or issubclass(kind, FeatureRow):
            return cast(Rows, features)
    return [plain(row) or {} for row in features]

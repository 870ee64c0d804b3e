"""Groups of features that may explain a rise of the loss: how many outcomes each had, and how many of them were bad.

Every monitored feature is cut into the groups that drift is measured on: categories, about ten ranges of a number,
missing and invalid values. A prediction takes the numbers of its groups along until its label comes; then each group
counts a good or a bad outcome in the pane of the prediction. Bad is an error; for regression an error larger than four
in five of the first ones. Of busy models one prediction in 2, 4, 8 … is taken, by its id.
Invariant: counts are a function of the events in order and of the reference, however the stream is sliced.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from stream.events import Task
from stream.monitor.basis.columns import Floats, Ints, Outcomes
from stream.monitor.basis.ids import Hashes
from stream.monitor.features.blocks import Block
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference import OTHER, OUTPUT, Numeric

Bytes = npt.NDArray[np.uint8]
Small = npt.NDArray[np.int32]

NOT_TAKEN = 255
"""In the place of the first feature's group: the prediction was not taken."""

CATEGORIES = 100
"""Most frequent categories that are a group each; the rest of a feature's is one. With those that are none of them,
twice their number fits into a byte."""

TAKEN = 4_000
"""Predictions of a pane that are taken, about: from half of it to all."""

FIRST, SHARE = 1_000, 0.8
"""Regression: errors from which it is learned what a large one is, and the share of them that is not."""


def nothing() -> Small:
    """Counts of no group."""
    return np.zeros((0, 2), np.int32)


class Learned(Struct):
    """What a checkpoint keeps, besides panes and waiting predictions."""

    halvings: int = 0
    """One in 2**halvings predictions is taken."""
    held: list[float] = field(default_factory=list)
    """Regression: the first errors, until they are enough."""
    large: float | None = None
    """Regression: errors above are large."""


class Groups:
    """The groups of some features of a reference, numbered one feature after the other."""

    def __init__(self, layout: FeatureLayout, limit: int, without: Sequence[str]) -> None:
        """`limit` features at most; those of `without` are looked at otherwise."""
        picked = [
            (row, block)
            for row, block in enumerate(layout.blocks)
            if block.feature.name not in without and block.feature.name != OUTPUT
        ][:limit]
        self.tag = bytes([CATEGORIES, *bytes.fromhex(layout.reference.version)[:4]])
        """Tells the groups of one reference, and of one way to cut it, from others."""
        self.features: Ints = np.array([row for row, _ in picked], np.int64)
        self.names: list[str] = []
        self.starts: Ints = np.zeros(len(picked), np.int64)
        """The first group of each feature."""
        self._codes = np.full(layout.width + 1, NOT_TAKEN, np.uint8)
        """By column of the histogram twice the group within its feature; the last one is that of column -1."""
        for number, (_, block) in enumerate(picked):
            names, of_column = _groups(block)
            self.starts[number] = len(self.names)
            self.names += [f"{block.feature.name}={name}" for name in names]
            self._codes[block.start : block.stop] = 2 * of_column
        self._firsts = 2 * self.starts

    def codes(self, cells: Ints) -> Bytes:
        """Shape (n, features): what predictions take along."""
        return self._codes.take(cells[:, self.features])

    def counts(self, codes: Bytes, bad: npt.NDArray[np.bool_]) -> Ints:
        """Shape (groups, 2): good and bad outcomes."""
        keys = codes + self._firsts
        keys += bad[:, None]
        return np.bincount(keys.ravel(), minlength=2 * len(self.names)).reshape(-1, 2)


class Counted(Struct):
    """Outcomes of a chunk whose prediction was taken."""

    groups: Groups
    rows: Ints
    """Of the chunk's outcomes, ascending."""
    pane: Ints
    codes: Bytes
    bad: npt.NDArray[np.bool_]

    def by_pane(self, stop: int | None = None) -> list[tuple[int, Ints]]:
        """What outcomes before row `stop` add, by pane."""
        end = len(self.rows) if stop is None else int(np.searchsorted(self.rows, stop))
        pane = self.pane[:end]
        if not end or (pane == pane[0]).all():
            return [(int(index), self.groups.counts(self.codes[:end], self.bad[:end])) for index in pane[:1]]
        found = []
        for index in np.unique(pane).tolist():
            mine = pane == index
            found.append((index, self.groups.counts(self.codes[:end][mine], self.bad[:end][mine])))
        return found


class Suspects:
    """The groups of one model, and which of its predictions are taken."""

    def __init__(self, limit: int, without: Sequence[str], learned: Learned | None = None) -> None:
        self.learned = learned or Learned()
        self.groups: Groups | None = None
        """None while there is no reference, or nothing to look at."""
        self._limit, self._without = limit, tuple(without)
        self._layout: FeatureLayout | None = None

    def fit(self, layout: FeatureLayout | None) -> bool:
        """Takes the groups of a reference; whether they are other ones than before."""
        if layout is self._layout:
            return False
        self._layout, self.groups = layout, None
        if layout is not None and self._limit:
            groups = Groups(layout, self._limit, self._without)
            self.groups = groups if len(groups.features) else None
        return True

    def restart(self) -> None:
        """Errors mean something else from now on."""
        self.learned.held, self.learned.large = [], None

    def enter(self, before: int) -> None:
        """A pane begins; the one before had so many predictions."""
        self.learned.halvings = max(0, (max(before, 1) - 1) // TAKEN).bit_length()

    def taken(self, hashed: Hashes) -> Ints | None:
        """Rows of predictions that are taken, by the hashes of their ids; None: all."""
        if not self.learned.halvings:
            return None
        return np.flatnonzero(hashed >> np.uint64(64 - self.learned.halvings) == 0)

    def meet(self, outcomes: Outcomes, codes: Bytes, task: Task | None) -> Counted | None:
        """The outcomes whose prediction was taken, by what each took along, shape (n, features)."""
        if self.groups is None or not len(codes):
            return None
        rows = np.flatnonzero((codes[:, 0] != NOT_TAKEN) & (outcomes.weight > 0))
        differ = outcomes.predicted[rows] - outcomes.actual[rows]
        bad = differ != 0
        if task == "regression":
            errors = np.abs(differ)
            begin = self._learn(errors)
            rows, bad = rows[begin:], errors[begin:] > (self.learned.large or 0.0)
        if not len(rows):
            return None
        return Counted(self.groups, rows, outcomes.pane[rows], codes if len(rows) == len(codes) else codes[rows], bad)

    def _learn(self, errors: Floats) -> int:
        """Takes the first errors to learn from; how many it took."""
        if self.learned.large is not None:
            return 0
        took = errors[: FIRST - len(self.learned.held)]
        self.learned.held += took.tolist()
        if len(self.learned.held) == FIRST:
            self.learned.large = float(np.sort(self.learned.held)[int(FIRST * SHARE) - 1])
            self.learned.held = []
        return len(took)


def _groups(block: Block) -> tuple[list[str], Ints]:
    """The names of a feature's groups, and the group of each column of its block."""
    feature = block.feature
    if isinstance(feature, Numeric):
        of_bin = np.array(feature.groups, np.int64)
        firsts = np.searchsorted(of_bin, np.arange(1, of_bin[-1] + 1))
        edges = [f"{feature.edges[first - 1]:g}" for first in firsts.tolist()]
        inner = [f"{low}..{high}" for low, high in pairwise(edges)]
        names = [f"<{edges[0]}", *inner, f">={edges[-1]}"] if edges else ["__any__"]
    else:
        kept = feature.categories[:CATEGORIES]
        of_bin = np.minimum(np.arange(feature.bins), len(kept))
        of_bin[-1] = len(kept) + 1
        names = [*kept, OTHER, "__unseen__"]
    return [*names, "__missing__", "__invalid__"], np.concatenate([of_bin, [len(names), len(names) + 1]])

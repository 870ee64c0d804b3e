"""Drift of single features within a segment, against what they were in that segment at reference.

Bins and groups are those of the whole reference, for which a pane counts anyway; shares are the segment's own. So a
segment that was always different is not drifting, and a window that holds more of it is not either.
Invariant: what is kept says which feature it is of, so that rules may come and go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from msgspec import UNSET, structs

from stream.config import Rule
from stream.monitor.basis.columns import Ints
from stream.monitor.features.blocks import Shape, blocks
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference import Reference
from stream.monitor.rules import asked

LEAST = 100
"""Reference predictions of a segment below which nothing is compared with them."""

BySegment = dict[str, dict[int, Ints]]
"""By feature and segment code: the histogram of its block."""


class SegmentReference:
    """The features of one segment that rules compare, one behind the other as in a layout of their own."""

    def __init__(self, layout: FeatureLayout, counts: Mapping[str, tuple[int, ...]]) -> None:
        """`counts` by feature: what the reference had of it in the segment."""
        whole = [layout.block(name) for name in counts]
        self.names = tuple(counts)
        features = [structs.replace(block.feature, counts=counts[block.feature.name]) for block in whole]
        self._blocks = blocks(features)
        self._columns: Ints = np.concatenate([np.arange(block.start, block.stop) for block in whole])
        """Where its cells stand in the histogram of all features."""
        rows = sum(features[0].counts)
        self.reference = Reference(rows, layout.reference.source, tuple(features), None)
        """Of these features and this segment alone."""

    @cached_property
    def shape(self) -> Shape:
        """The arrays that distances are computed with."""
        return Shape(self._blocks)

    def picked(self, histogram: Ints) -> Ints:
        """Shape (..., cells) of histograms of all features (..., width)."""
        found: Ints = histogram[..., self._columns]
        return found

    def add(self, sums: BySegment, segment: int, histogram: Ints) -> None:
        """Adds a histogram of all features to what is kept."""
        mine = self.picked(histogram)
        for name, block in zip(self.names, self._blocks, strict=True):
            held, part = sums.setdefault(name, {}), mine[block.start : block.stop]
            held[segment] = held[segment] + part if segment in held else part.copy()

    def held(self, sums: BySegment, segment: int) -> Ints:
        """Shape (cells): what is kept of the segment."""
        found = np.zeros(self._blocks[-1].stop, np.int64)
        for name, block in zip(self.names, self._blocks, strict=True):
            part = sums.get(name, {}).get(segment)
            if part is not None:
                found[block.start : block.stop] = part
        return found


def merge(mine: BySegment, other: BySegment, sign: int) -> None:
    """Adds (or takes away) what another pane keeps."""
    for name, by_code in other.items():
        held = mine.setdefault(name, {})
        for segment, part in by_code.items():
            held[segment] = held[segment] + sign * part if segment in held else sign * part


def references(layout: FeatureLayout, rules: Sequence[Rule], segments: Sequence[str]) -> dict[int, SegmentReference]:
    """By segment code what rules compare there, where the reference has enough predictions of the segment."""
    known = layout.reference.by_segment
    found: dict[int, SegmentReference] = {}
    if known is UNSET:
        return found
    for code, segment in enumerate(segments):
        counts = {
            name: counted
            for name, counted in known.get(segment, {}).items()
            if name in layout.names and any(asked.compares(rule, segment, name) for rule in rules)
        }
        if counts and sum(next(iter(counts.values()))) >= LEAST:
            found[code] = SegmentReference(layout, counts)
    return found


def measured(
    layout: FeatureLayout, columns: Ints, rules: Sequence[Rule], dimensions: Sequence[Sequence[object]]
) -> dict[str, dict[str, tuple[int, ...]]]:
    """What a reference keeps of its events: by segment and feature the counts that rules compare with.

    `columns` are those of the events (n, F); `dimensions` name, for each kind of segment, that of each event.
    """
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for names in dimensions:
        rows: dict[object, list[int]] = {}
        for row, segment in enumerate(names):
            rows.setdefault(segment, []).append(row)
        for segment, mine in rows.items():
            if not isinstance(segment, str):
                continue
            watched = [name for name in layout.names if any(asked.compares(rule, segment, name) for rule in rules)]
            histogram = layout.histogram(columns[mine]) if watched else np.zeros(0, np.int64)
            spans = {name: layout.block(name) for name in watched}
            counts = {name: tuple(histogram[block.start : block.stop].tolist()) for name, block in spans.items()}
            if counts:
                found[segment] = counts
    return found

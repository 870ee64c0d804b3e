"""The course of a chunk: what a run of ticks adds to panes and windows, and what a window held at the end of each tick.

A chunk lies within one pane of the watermark, so its windows do not slide. Rows are added at once; rules look at the
running totals at tick ends. Invariant: `window sums before + at(…)[-1]` is what the window holds after `commit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stream.monitor.basis.columns import Floats, Ints, Outcomes, Traffic
from stream.monitor.estimates import guesses
from stream.monitor.estimates.guesses import Counts
from stream.monitor.features.embedding import Embedding
from stream.monitor.features.suspects import Counted
from stream.monitor.metrics.layout import Layout
from stream.monitor.metrics.scores import EXACT, ScoreHistogram, encode
from stream.monitor.panes import serving
from stream.monitor.panes.joint_course import JointCourse
from stream.monitor.panes.pane import ERRORS, LATENCY_BOUNDS, PREDICTIONS, Pane, Sums, counts_of, widened
from stream.monitor.panes.segment_course import SegmentFeatures
from stream.monitor.panes.window import Window
from stream.monitor.rules.machine import TICK

Flags = npt.NDArray[np.bool_]
Scored = tuple[Ints, Flags, Ints]

DENSE = 1 << 19
"""Contributions of a chunk are kept as full rows up to so many numbers (4 MiB), where that is faster, else sparsely."""


class Course:
    """One chunk of one model."""

    def __init__(
        self, traffic: Traffic, outcomes: Outcomes, layout: Layout | None, cells: int, also: Ints | None = None
    ) -> None:
        """`cells` is the width of the feature histogram; `also` are ticks to look at though they add nothing."""
        self.traffic, self.outcomes = traffic, outcomes
        self._layout, self._cells = layout, cells
        others = outcomes.tick if also is None else np.concatenate([outcomes.tick, also])
        if traffic.repeats is not None:
            others = np.concatenate([others, traffic.repeats[0]])
        self.ticks: Ints = np.union1d(traffic.tick, others)
        self.ends: Floats = ((self.ticks + 1) * TICK).astype(np.float64)
        """Event time of each tick's end."""
        self._traffic_at = np.searchsorted(self.ticks, traffic.tick)
        self._outcome_at = np.searchsorted(self.ticks, outcomes.tick)
        self.segmented: SegmentFeatures | None = None
        """Counts features of segments; None where none are kept."""
        self.answers: Ints | None = None
        """Of outcomes, what `Traffic.guesses` is of predictions; None where no rule asks."""
        self.suspects: Counted | None = None
        """Outcomes by the groups of their features."""
        self.joint: JointCourse | None = None
        """What the chunk adds to the sums of all features together; None where they are not kept."""
        self._added = self._entries = None
        if layout is not None and len(outcomes):
            if len(outcomes) * layout.width <= DENSE:
                self._added = layout.contributions(outcomes).T
            else:
                self._entries = layout.entries(outcomes)

    @classmethod
    def still(cls, tick: int, layout: Layout | None, cells: int, dimensions: int) -> Course:
        """A chunk without events: windows at the end of one tick."""
        none, whole = np.empty(0, np.int64), np.empty(0)
        segments = np.empty((0, dimensions), np.int64)
        traffic = Traffic(none, none, segments, np.empty(0, np.bool_), none, np.empty((0, 0), np.int64))
        scores = np.empty((0, 1))
        outcomes = Outcomes(none, whole, none, whole, whole, none, scores, segments, whole)
        return cls(traffic, outcomes, layout, cells, np.array([tick]))

    def part(self, traffic: Ints, outcomes: Ints) -> Course:
        """A chunk of some of the rows, with the same ticks, and without features and guesses."""
        mine, theirs = self.traffic, self.outcomes
        empty = np.empty((len(traffic), 0), np.int64)
        kept = Traffic(
            mine.tick[traffic],
            mine.pane[traffic],
            mine.segments[traffic],
            mine.failed[traffic],
            mine.latency[traffic],
            empty,
            None,
            None if mine.answers is None else mine.answers[traffic],
            None if mine.resources is None else mine.resources[traffic],
        )
        return Course(kept, theirs.take(outcomes), self._layout, 0, self.ticks)

    def embed(self, embedding: Embedding) -> None:
        """Sums up all features together, too."""
        self.joint = JointCourse(embedding, self.traffic, self._traffic_at)

    @property
    def served(self) -> bool:
        """Whether predictions came, be they repeats."""
        return len(self.traffic) > 0 or self.traffic.repeats is not None

    # -- what windows held at tick ends --------------------------------------------------------------------------

    def tallies(self, window: Window, segment: int) -> Ints:
        """Shape (T, width): the tally of a segment at the end of each tick."""
        width = 0 if self._layout is None else self._layout.width
        total = np.zeros((len(self.ticks), width), np.int64)
        if width and len(self.outcomes):
            rows = self._inside(self.outcomes.pane, self.outcomes.segments, window, segment)
            total = self._by_tick(None if rows is None else np.flatnonzero(rows))
        return _running(total, _row(window.sums.tally, segment, width))

    def _by_tick(self, rows: Ints | None) -> Ints:
        """Shape (T, width): what some of the outcomes add at each tick; None: all of them."""
        return self.sums(self._outcome_at if rows is None else self._outcome_at[rows], len(self.ticks), rows)

    def sums(self, group: Ints, groups: int, rows: Ints | None = None) -> Ints:
        """Shape (groups, width): what some of the outcomes add to each group; None: all of them."""
        if self._entries is not None:
            return self._entries.sums(group, groups, rows)
        assert self._added is not None
        added = self._added if rows is None else self._added[:, rows]
        total = np.zeros((groups, len(added)), np.int64)
        if len(group):
            if (np.diff(group) < 0).any():
                order = np.argsort(group, kind="stable")
                group, added = group[order], added[:, order]
            present, starts = np.unique(group, return_index=True)
            total[present] = np.add.reduceat(added, starts, axis=1).T
        return total

    def _sum(self, rows: Ints | None) -> Ints:
        """Shape (width,): what some of the outcomes add; None: all of them."""
        if self._entries is not None:
            n = len(self.outcomes) if rows is None else len(rows)
            total: Ints = self._entries.sums(np.zeros(n, np.int64), 1, rows)[0]
            return total
        assert self._added is not None
        summed: Ints = (self._added if rows is None else self._added[:, rows]).sum(axis=1)
        return summed

    def added(self, at: int) -> list[tuple[int, int, Ints]]:
        """Pane, segment and tally of what outcomes add up to the end of the tick at position `at`."""
        stop = int(np.searchsorted(self._outcome_at, at, side="right"))
        if self._layout is None or not stop:
            return []
        groups = _groups(self.outcomes.pane[:stop], self.outcomes.segments[:stop])
        return [(pane, segment, self._sum(rows)) for pane, segment, rows in groups]

    def outcome_rows(self, window: Window, segment: int) -> tuple[Ints, Ints]:
        """Rows of `outcomes` that the window takes in, and where each tick's end in them."""
        rows = self._inside(self.outcomes.pane, self.outcomes.segments, window, segment)
        picked = np.arange(len(self.outcomes)) if rows is None else np.flatnonzero(rows)
        return picked, np.searchsorted(self._outcome_at[picked], np.arange(len(self.ticks)), side="right")

    def traffics(self, window: Window, segment: int) -> Ints:
        """Shape (T, 2): predictions and failed ones of a segment at the end of each tick."""
        rows = self._inside(self.traffic.pane, self.traffic.segments, window, segment)
        at, failed = self._traffic_at, self.traffic.failed
        if rows is not None:
            at, failed = at[rows], failed[rows]
        total = np.empty((len(self.ticks), 2), np.int64)
        total[:, PREDICTIONS] = np.bincount(at, minlength=len(self.ticks))
        total[:, ERRORS] = np.bincount(at[failed], minlength=len(self.ticks))
        return _running(total, _row(window.sums.traffic, segment, 2))

    def latencies(self, window: Window) -> Ints:
        """Shape (T, buckets): the latency histogram at the end of each tick."""
        size = len(LATENCY_BOUNDS) + 1
        rows = self.traffic.latency >= 0
        inside = self._inside(self.traffic.pane, self.traffic.segments, window, 0)
        if inside is not None:
            rows = rows & inside
        keys = self._traffic_at[rows] * size + self.traffic.latency[rows]
        total = np.bincount(keys, minlength=len(self.ticks) * size).reshape(-1, size)
        return _running(total, window.sums.latency)

    def traffic_rows(self, window: Window) -> tuple[Ints, Ints]:
        """Rows of `traffic` that the window takes in, and the tick (position in `ticks`) of each."""
        inside = self._inside(self.traffic.pane, self.traffic.segments, window, 0)
        rows = np.arange(len(self.traffic)) if inside is None else np.flatnonzero(inside)
        return rows, self._traffic_at[rows]

    def features(self, window: Window, picked: Ints, segment: int = 0) -> Ints:
        """Shape (len(picked), cells): the feature histogram at the end of some of the ticks; of a segment what the
        chunk adds to it alone."""
        inside = self._inside(self.traffic.pane, self.traffic.segments, window, segment)
        rows = slice(None) if inside is None else inside
        cells = self.traffic.cells[rows]
        # Row r of `total` is what comes between the picked tick before and picked tick r; what comes later is cut off.
        at = np.searchsorted(picked, self._traffic_at[rows], side="left")
        counted = (cells >= 0) & (at < len(picked))[:, None]
        keys = (at[:, None] * self._cells + cells)[counted]
        total = np.bincount(keys, minlength=len(picked) * self._cells).reshape(len(picked), self._cells)
        known = len(window.sums.features) and not segment
        before = window.sums.features if known else np.zeros(self._cells, np.int64)
        return _running(total, before)

    def guesses(self, window: Window, segment: int, picked: Ints) -> Iterator[Counts]:
        """The scores of all predictions of a segment at the end of some of the ticks; one object, that grows."""
        rows = self._inside(self.traffic.pane, self.traffic.segments, window, segment)
        held = window.sums.guesses.get(segment)
        return _growing(held, self.traffic.guesses, self._traffic_at, rows, picked)

    def answered(self, window: Window, segment: int, picked: Ints) -> Iterator[Counts]:
        """The same of predictions whose labels have come."""
        rows = self._inside(self.outcomes.pane, self.outcomes.segments, window, segment)
        return _growing(window.sums.answers.get(segment), self.answers, self._outcome_at, rows, picked)

    def _inside(self, pane: Ints, segments: Ints, window: Window, segment: int) -> Flags | None:
        """Rows in a window and a segment; None: all of them."""
        rows = None
        if len(pane) and int(pane.min()) < window.first:
            rows = pane >= window.first
        if segment:
            mine = (segments == segment).any(axis=1)
            rows = mine if rows is None else rows & mine
        return rows

    # -- taking the chunk in -------------------------------------------------------------------------------------

    def commit(self, panes: dict[int, Pane], windows: list[Window]) -> dict[int, set[int]]:
        """Adds the chunk to panes (made on first use) and windows; returns the segments touched, by pane."""
        touched: dict[int, set[int]] = {}
        targets = _Targets(panes, windows)
        if len(self.traffic):
            self._add_traffic(targets, touched)
        for pane, added in () if self.joint is None else self.joint.panes():
            for sums in targets.of(pane):
                sums.joint = sums.joint + added if len(sums.joint) else added.copy()
        for place, panes_of in ((serving.REPEATED, self.traffic.again), (serving.STRANGE, self.traffic.odd)):
            for pane in panes_of[1].tolist():
                for sums in targets.of(pane):
                    sums.serving.odd[place] += 1
        if len(self.outcomes):
            self._add_outcomes(targets, touched)
        return touched

    def _add_traffic(self, targets: _Targets, touched: dict[int, set[int]]) -> None:
        traffic = self.traffic
        for pane, segment, rows in _groups(traffic.pane, traffic.segments):
            added = np.array([len(rows), np.count_nonzero(traffic.failed[rows])], np.int64)
            for sums in targets.of(pane):
                sums.traffic = widened(sums.traffic, segment + 1, 2)
                sums.traffic[segment] += added
            touched.setdefault(pane, set()).add(segment)
            if traffic.guesses is not None:
                keys = _counted(traffic.guesses if len(rows) == len(traffic) else traffic.guesses[rows])
                guesses.add([counts_of(sums.guesses, segment) for sums in targets.of(pane)], keys)
            if segment:
                if self.segmented is not None and self._cells:
                    self.segmented.add(targets.of(pane), segment, traffic.cells[rows], self._cells)
                continue
            codes, samples = (None if each is None else each[rows] for each in (traffic.answers, traffic.resources))
            for sums in targets.of(pane):
                sums.serving.add_traffic(codes, samples)
            latency = traffic.latency[rows]
            latency = np.bincount(latency[latency >= 0], minlength=len(LATENCY_BOUNDS) + 1)
            cells = traffic.cells[rows]
            cells = np.bincount(
                cells[cells >= 0] if cells.size and cells.min() < 0 else cells.ravel(), minlength=self._cells
            )
            for sums in targets.of(pane):
                sums.latency += latency
                if self._cells:
                    if not len(sums.features):
                        sums.features = np.zeros(self._cells, np.int64)
                    sums.features += cells

    def _add_outcomes(self, targets: _Targets, touched: dict[int, set[int]]) -> None:
        assert self._layout is not None
        outcomes, layout = self.outcomes, self._layout
        for pane, segment, rows in _groups(outcomes.pane, outcomes.segments):
            added = self._sum(None if len(rows) == len(outcomes) else rows)
            held = targets.of(pane)
            for sums in held:
                sums.tally = widened(sums.tally, segment + 1, layout.width)
                sums.tally[segment] += added
            _add_scores(held, segment, self._scores_of(rows))
            if self.answers is not None:
                guesses.add([counts_of(sums.answers, segment) for sums in held], _counted(self.answers[rows]))
            if segment == 0:
                delays = serving.delays(layout, outcomes, rows)
                for sums in held:
                    sums.serving.add_labels(*delays)
            touched.setdefault(pane, set()).add(segment)
        for index, counts in [] if self.suspects is None else self.suspects.by_pane():
            held_before = targets.pane(index).suspects
            targets.pane(index).suspects = (held_before + counts if len(held_before) else counts).astype(np.int32)

    def suspected(self, at: int) -> list[tuple[int, Ints]]:
        """Pane and counts by group of what outcomes add up to the end of the tick at position `at`."""
        if self.suspects is None:
            return []
        return self.suspects.by_pane(int(np.searchsorted(self._outcome_at, at, side="right")))

    def add_scores(self, sums: Sums, segment: int, rows: Ints) -> None:
        """Adds the scores of some outcomes to a segment's histograms."""
        _add_scores([sums], segment, self._scores_of(rows))

    def _scores_of(self, rows: Ints) -> list[Scored]:
        """By class what its histogram takes of some outcomes: codes, whether they are of the class, weights."""
        found: list[Scored] = []
        whole = len(rows) == len(self.outcomes)
        weight = self.outcomes.weight if whole else self.outcomes.weight[rows]
        for codes, positive, usable in self._encoded:
            mine = (codes, positive, weight) if whole else (codes[rows], positive[rows], weight)
            if usable is not None:
                kept = usable if whole else usable[rows]
                if not kept.all():
                    mine = mine[0][kept], mine[1][kept], mine[2][kept]
            found.append(mine)
        return found

    @cached_property
    def _encoded(self) -> list[tuple[Ints, Flags, Flags | None]]:
        """By class the code of each outcome's score, whether it is of the class, and where the score is usable (None:
        everywhere)."""
        layout, outcomes = self._layout, self.outcomes
        if layout is None or layout.task == "regression":
            return []
        encoded: list[tuple[Ints, Flags, Flags | None]] = []
        for code in [layout.positive] if layout.task == "binary" else range(outcomes.scores.shape[1]):
            column = np.ascontiguousarray(outcomes.scores[:, 0 if layout.task == "binary" else code])
            usable = (column >= 0.0) & (column <= 1.0)
            everywhere = bool(usable.all())
            codes = encode(column if everywhere else np.where(usable, column, 0.0))
            encoded.append((codes, outcomes.actual == code, None if everywhere else usable))
        return encoded


def _add_scores(sums: list[Sums], segment: int, scores: list[Scored]) -> None:
    """Adds to each of `sums`; many outcomes are put in order once, for all of them."""
    if not any(len(codes) for codes, _, _ in scores):
        return
    for number, (codes, positive, weight) in enumerate(scores):
        histograms = [each.histograms(segment, len(scores))[number] for each in sums]
        if len(codes) < EXACT or len(histograms) == 1:
            for histogram in histograms:
                histogram.add_codes(codes, positive, weight)
        else:
            part = ScoreHistogram()
            part.add_codes(codes, positive, weight)
            for histogram in histograms:
                histogram.merge(part)


def _growing(held: Counts | None, keys: Ints | None, at: Ints, rows: Flags | None, picked: Ints) -> Iterator[Counts]:
    """What is counted at the end of some ticks, where some rows' keys are added to what is held; one object."""
    counts = Counts() if held is None else held.copy()
    if keys is not None and rows is not None:
        keys, at = keys[rows], at[rows]
    done = 0
    for tick in picked.tolist():
        if keys is not None:
            end = int(np.searchsorted(at, tick, side="right"))
            counts.add(_counted(keys[done:end]))
            done = end
        yield counts


def _counted(keys: Ints) -> Ints:
    """Keys in one row, without those that stand for no score."""
    flat = keys.ravel()
    return flat[flat >= 0] if len(flat) and flat.min() < 0 else flat


class _Targets:
    """Where a pane's rows are added: the pane itself, and every window that covers it."""

    def __init__(self, panes: dict[int, Pane], windows: list[Window]) -> None:
        self._panes, self._windows = panes, windows

    def pane(self, index: int) -> Pane:
        pane = self._panes.get(index)
        if pane is None:
            pane = self._panes[index] = Pane(index)
        return pane

    def of(self, index: int) -> list[Sums]:
        return [self.pane(index).sums, *(window.sums for window in self._windows if window.covers(index))]


def _groups(pane: Ints, segments: Ints) -> list[tuple[int, int, Ints]]:
    """(pane, segment, rows) for every pair that occurs, rows ascending."""
    found: list[tuple[int, int, Ints]] = []
    single = int(pane[0]) if pane[0] == pane[-1] and (pane == pane[0]).all() else None
    for column in range(segments.shape[1]):
        codes = segments[:, column]
        if single is not None and column == 0:
            found.append((single, 0, np.arange(len(pane))))
            continue
        order = np.lexsort((codes, pane))
        sorted_pane, sorted_code = pane[order], codes[order]
        starts = np.flatnonzero(np.diff(sorted_pane, prepend=-1) | np.diff(sorted_code, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            found.append((int(sorted_pane[start]), int(sorted_code[start]), order[start:stop]))
    return found


def _running(total: Ints, before: Ints) -> Ints:
    np.cumsum(total, axis=0, out=total)
    total += before
    return total


def _row(sums: Ints, segment: int, width: int) -> Ints:
    """A segment's row, zeros when it has none yet."""
    if segment < len(sums) and sums.shape[1] == width:
        row: Ints = sums[segment]
        return row
    return np.zeros(width, np.int64)

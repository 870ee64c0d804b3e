"""What rules on features of segments see of a chunk; distances of all features of a segment are made at once."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features import drift
from stream.monitor.features.segment_drift import SegmentReference
from stream.monitor.known import Known
from stream.monitor.panes.course import Course
from stream.monitor.panes.window import Window
from stream.monitor.watching.placed import Watch


class Part(Struct, frozen=True):
    """A segment that rules compare with the reference."""

    code: int
    reference: SegmentReference

    def running(self, window: Window, course: Course, ticks: Ints) -> Ints:
        """Shape (len(ticks), cells): what a window holds at the end of some of the ticks."""
        added = self.reference.picked(course.features(window, ticks, self.code))
        return added + self.reference.held(window.sums.by_segment, self.code)

    def counts(self, window: Window, course: Course | None, at: int) -> Ints:
        """Shape (cells): the same at the end of one tick; without a chunk what the window holds."""
        if course is None:
            return self.reference.held(window.sums.by_segment, self.code)
        found: Ints = self.running(window, course, np.array([at]))[0]
        return found


def compared_in(m: Known, segment: str) -> Part | None:
    """None where no rule compares the segment, or the reference does not know it."""
    code = m.segments.code(segment)
    found = None if code is None else m.normal.of_segments(m.segments.names).get(code)
    return None if code is None or found is None else Part(code, found)


class SegmentLook:
    """One chunk, at the ticks at which drift is judged."""

    def __init__(self, m: Known, course: Course, ticks: Ints) -> None:
        self._m, self._course, self._ticks = m, course, ticks
        self._cells: dict[tuple[int, int], Ints] = {}
        self._distances: dict[tuple[int, int, str], tuple[Floats, Ints]] = {}

    def seen(self, watch: Watch) -> tuple[Floats, Ints] | None:
        """The distance of a feature and the samples behind it; None where nothing is judged, or compared."""
        part, feature = compared_in(self._m, watch.subject.segment), watch.subject.feature
        if part is None or feature is None or feature not in part.reference.names or not len(self._ticks):
            return None
        test, where = watch.rule.test or "psi", (watch.window, part.code)
        if where not in self._cells:
            self._cells[where] = part.running(self._m.windows[watch.window], self._course, self._ticks)
        key, counts = (*where, test), self._cells[where]
        if key not in self._distances:
            compared = part.reference
            self._distances[key] = drift.every(compared, counts, test), drift.samples_of_all(compared, counts)
        observed, samples = self._distances[key]
        at = part.reference.names.index(feature)
        return observed[:, at], samples[:, at]

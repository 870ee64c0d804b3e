"""Performance at reference: sums over the predictions that the reference was made of, as their labels come.

Of `first: N` it counts the outcomes of predictions whose time is not after that of the first N, and the traffic until
the tick of the N-th; of a file, what `stream profile` counted. Invariant: the sums at a tick are a function of the
events up to it, so a rule by change sees the same however the stream was sliced.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct, structs

from stream.checkpoint.packing import unpack
from stream.events import Task
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.metrics.layout import Layout
from stream.monitor.panes import values
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import Pane, Sums
from stream.monitor.panes.stored import StoredPane
from stream.monitor.panes.values import Names
from stream.monitor.panes.window import Window
from stream.monitor.rules.machine import TICK
from stream.monitor.rules.watch import METRICS

_ALWAYS = 2**62


class StoredBaseline(Struct):
    """What a checkpoint, or a reference in a file, keeps."""

    task: Task | None
    classes: list[str]
    width: int
    """Classes that the layout has room for."""
    positive: str | None
    segments: list[str]
    sums: StoredPane
    began: float
    until: float
    tick: int
    complete: bool
    since: float = -math.inf


class Measured(Struct):
    """A metric at reference: at each tick of the chunk, or once where it does not change in it."""

    values: Floats
    samples: Ints
    tallies: Ints
    names: Names


class Baseline:
    """The sums of one model's reference."""

    def __init__(self, since: float = -math.inf) -> None:
        """`since`: event time from which on predictions may belong to the reference."""
        self.since = since
        self.window = Window(math.inf, 2 * _ALWAYS)
        self.window.last = _ALWAYS
        """A window over all of time: what is put into it stays."""
        self.given: Names | None = None
        """What the sums of a file mean; those counted here mean what the model's do."""
        self.began, self.until = math.inf, -math.inf
        """Event time of the first and the last prediction that belongs to the reference."""
        self.tick = -1
        """That of the prediction that completed it."""
        self.complete = False
        """All predictions that belong to it have come."""
        self.fresh = False
        """That has become so in the present chunk."""
        self.course: Course | None = None
        """What the present chunk adds."""
        self._known: dict[tuple[str, str], Measured] = {}
        """What has been asked since the sums changed."""
        self.changed = since > -math.inf
        """It has to be stored again."""

    @property
    def sums(self) -> Sums:
        """What has been counted."""
        return self.window.sums

    # -- counting ------------------------------------------------------------------------------------------------

    def extend(self, ticks: Ints, ts: Floats, *, complete: bool) -> None:
        """Predictions have become part of the reference."""
        self.began, self.until = min(self.began, float(ts.min())), max(self.until, float(ts.max()))
        self.window.seconds = max(self.until - self.began, TICK)
        self.tick, self.complete, self.fresh, self.changed = int(ticks[-1]), complete, complete, True

    def look(self, course: Course, *, collecting: bool) -> None:
        """Picks from a chunk what belongs to the reference; `add` takes it in. `collecting`: the first N have not all
        come."""
        if self.given is not None:
            return
        ts = course.outcomes.ts
        outcomes = (ts >= self.since) & (ts <= self.until)
        traffic = course.traffic.tick <= (_ALWAYS if collecting else self.tick)
        if outcomes.any() or traffic.any():
            self.course = course.part(np.flatnonzero(traffic), np.flatnonzero(outcomes))

    def add(self) -> None:
        """Takes the chunk in."""
        if self.course is not None:
            self.course.commit({}, [self.window])
            self.course, self.changed = None, True
            self._known = {}
        self.fresh = False

    def grow(self, layout: Layout, classes: int) -> None:
        """Makes room for classes that have come up."""
        if self.given is None and self.sums.tally.shape[1]:
            self.sums.tally = layout.grow(self.sums.tally, classes)
            self.changed, self._known = True, {}

    def restart(self) -> None:
        """Outcomes have been counted under another task, or mean something else now."""
        if self.given is not None:
            return
        sums = self.sums
        sums.tally, sums.scores, sums.guesses = np.zeros((1, 0), np.int64), {}, {}
        sums.serving.forget_classes()
        self.changed, self._known = True, {}

    def whole_only(self) -> None:
        """Segments are other ones now: what was counted of them is dropped."""
        if self.given is not None:
            return
        sums = self.sums
        sums.traffic, sums.tally = sums.traffic[:1], sums.tally[:1]
        sums.scores = {0: sums.scores[0]} if 0 in sums.scores else {}
        sums.guesses = {}
        self.changed, self._known = True, {}

    # -- looking -------------------------------------------------------------------------------------------------

    def measured(self, name: str, segment: str, names: Names) -> Measured | None:
        """A metric of a segment; None where the reference does not know the segment. `names` are the model's."""
        key = name, segment
        known = self._known.get(key)
        if known is not None and self.course is None:
            return known
        task = None if names.layout is None else names.layout.task
        names = names if self.given is None else structs.replace(self.given, value=names.value)
        if name not in METRICS and (names.layout is None or names.layout.task != task):
            return None
        code = names.code(segment)
        if code is None:
            return None
        course = self.course
        if course is None:
            course = Course.still(0, names.layout, 0, 1)
        tallies = course.tallies(self.window, code)
        found = Measured(*values.metric(name, course, self.window, code, names, tallies), tallies, names)
        if self.course is None:
            self._known[key] = found
        return found

    # -- storing -------------------------------------------------------------------------------------------------

    def state(self, task: Task | None, names: Names, positive: str | None) -> StoredBaseline:
        """For a checkpoint or a file; `names` are the model's."""
        width = 0 if names.layout is None else names.layout.classes
        meaning = task, names.classes, width, positive, names.segments
        span = self.began, self.until, self.tick, self.complete, self.since
        return StoredBaseline(*meaning, StoredPane.of(Pane(0, self.sums)), *span)

    def restore(self, stored: StoredBaseline) -> None:
        """Goes on from a checkpoint."""
        self.window.sums = stored.sums.pane().sums
        self.began, self.until, self.tick, self.complete = stored.began, stored.until, stored.tick, stored.complete
        self.since = stored.since
        self.window.seconds = max(self.until - self.began, TICK)
        self.changed, self._known = False, {}

    def give(self, content: bytes) -> None:
        """Takes what a reference in a file says."""
        stored = unpack(StoredBaseline, content)
        self.restore(stored)
        layout = None
        if stored.task is not None:
            positive = stored.classes.index(stored.positive) if stored.positive in stored.classes else 1
            layout = Layout(stored.task, stored.width, positive)
        self.given, self.complete = Names(layout, stored.classes, stored.segments), True

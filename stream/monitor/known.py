"""What is known of one model, as far as events can be counted and rules can be judged by it.

Invariant: it changes only where `model.ModelMonitor` lets it.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import UNSET

from stream.config import Limits, Model
from stream.events import Task
from stream.monitor import intake
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.join_rows import Era
from stream.monitor.estimates import estimate
from stream.monitor.features.normal import Normal
from stream.monitor.features.reference import Reference
from stream.monitor.features.suspects import Suspects
from stream.monitor.joining.join import Join
from stream.monitor.metrics.layout import Layout
from stream.monitor.panes.baseline import Baseline, StoredBaseline
from stream.monitor.panes.pane import LATENCY_BOUNDS, Pane
from stream.monitor.panes.serving import DELAY_BOUNDS
from stream.monitor.panes.stored import Counters, Histogram, Renewed
from stream.monitor.panes.values import Names
from stream.monitor.panes.window import Window
from stream.monitor.rules.machine import TICK
from stream.monitor.rules.silences import Silences
from stream.monitor.sent import Sent


class Known:
    """One model."""

    def __init__(self, name: str, spec: Model, limits: Limits, reference: Reference | None, silences: Silences) -> None:
        self.name, self.spec, self.limits = name, spec, limits
        self.counters = Counters()
        self.task: Task | None = None
        self.firm = False
        """Predictions have spoken for the task."""
        self.classes = intake.Classes(limits.classes)
        self.segments = intake.Segments(spec.segments, limits.segments, bins=spec.bins)
        self.layout: Layout | None = None
        self.normal = Normal(spec, limits, reference)
        self.baseline = Baseline()
        if reference is not None and reference.measured is not UNSET:
            self.baseline.give(reference.measured)
        self.renewed = Renewed()
        self.estimator = estimate.begun(reference)
        self.join = Join(1, 1 + len(spec.segments), bool(spec.learn.challengers), spec.pane)
        self.suspects = Suspects(spec.explain, spec.segments)
        self.eras = [Era(None, spec.segments)]
        """What the numbers of stored waiting predictions mean, by their era; the last is today's."""
        self.panes: dict[int, Pane] = {}
        self.stale: dict[int, int] = {}
        """Panes whose snapshots must be sent again, and at which pane of the watermark."""
        self.windows = [Window(seconds, max(1, math.ceil(seconds / spec.pane))) for seconds in spec.windows]
        self.position = -1
        """Pane of the watermark; -1 before the first event."""
        self.tick = -1
        """Ticks below this one are done."""
        self.floor = 0
        """Panes below this one are final: no event is put into them any more."""
        self.parted: list[tuple[Pane, Layout | None]] | None = None
        """Forgotten panes and what their tallies mean, for whoever wants them and empties this; None: nobody does."""
        self.version: str | None = None
        self.sent = Sent(silences)
        self.resources: dict[str, float] = {}
        """The newest sample of each."""
        self.latency = Histogram(LATENCY_BOUNDS)
        self.delay = Histogram(DELAY_BOUNDS)
        self.notes: list[str] = []
        self.changed: set[int] = set()
        """Panes to store again."""
        self.gone: set[int] = set()
        self.revision = 0
        """Grows when something may have changed: what the page shows is made anew then."""

    @property
    def names(self) -> Names:
        """What its sums mean."""
        return Names(self.layout, self.classes.names, self.segments.names, self.spec.value)

    def at_reference(self) -> StoredBaseline:
        """How well it did at reference, for a checkpoint or a file."""
        return self.baseline.state(self.task, self.names, self.classes.positive_name if self.task == "binary" else None)

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def watermark(self) -> float | None:
        """How far event time has come, seconds; None before the first event."""
        return None if self.tick < 0 else self.tick * TICK

    @property
    def horizon_panes(self) -> int:
        """Panes after which a pane is final."""
        return max(1, math.ceil(self.spec.horizon / self.spec.pane))

    def pane_at(self, tick: int) -> int:
        """The pane of the watermark at the beginning of a tick."""
        return int(tick * TICK // self.spec.pane)

    def panes_at(self, ticks: Ints) -> Ints:
        """The same of many ticks."""
        panes: Ints = np.floor_divide(ticks * TICK, self.spec.pane).astype(np.int64)
        return panes

    def panes_of(self, ts: Floats) -> Ints:
        """The panes that event times are in."""
        return np.floor_divide(ts, self.spec.pane).astype(np.int64)

    def tick_of(self, pane: int) -> int:
        """The first tick of a pane of the watermark."""
        return math.ceil(pane * self.spec.pane / TICK)

    def start(self, pane: int) -> None:
        """The watermark begins in a pane."""
        self.position = pane
        self.floor = max(0, pane - self.horizon_panes)
        for window in self.windows:
            window.slide(pane, self.panes)

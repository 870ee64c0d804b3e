"""What detectors and guards are fed: single values of a chunk in order, and the tick of each.

Invariant: every name in `watch.SIGNALS` has its values here.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.known import Known
from stream.monitor.rules.machine import TICK
from stream.monitor.rules.watch import FEATURE_SIGNAL
from stream.monitor.watching.look import Flow, Look
from stream.monitor.watching.placed import Watch


def signal(name: str, flow: Flow, m: Known, segment: str) -> tuple[Floats, Ints]:
    """What a detector is fed: values in order, and the tick of each."""
    code = m.segments.code(segment)
    outcomes, waiting = flow.outcomes, flow.waiting
    if name in ("loss", "scaled_loss", "capped_loss", "error"):
        difference = outcomes.predicted - outcomes.actual
        if m.task == "regression":
            observed = difference if name == "error" else np.abs(difference)
        else:
            observed = (difference != 0).astype(np.float64)
        ticks, where = outcomes.tick, outcomes.segments
        if m.normal.since > -math.inf:
            # Outcomes of predictions before the reference was taken anew say nothing of what is normal now.
            fresh = outcomes.ts >= m.normal.since
            observed, ticks, where = observed[fresh], ticks[fresh], where[fresh]
        return _of(observed, ticks, where, code)
    if name == "latency":
        return _of(flow.latency * 1000.0, waiting.tick, waiting.segments, code)
    if name == "score":
        scores = waiting.scores
        if m.task == "multiclass" and len(waiting):
            observed = scores[np.arange(len(scores)), waiting.predicted.astype(np.int64)]
        else:
            observed = scores[:, 0] if scores.shape[1] else np.full(len(scores), np.nan)
        return _of(observed, waiting.tick, waiting.segments, code)
    if name.startswith(FEATURE_SIGNAL):
        feature = name.removeprefix(FEATURE_SIGNAL)
        raw = [(event.features or {}).get(feature) for event in flow.events]
        numeric = [float(value) if isinstance(value, int | float) else np.nan for value in raw]
        return _of(np.array(numeric, np.float64), waiting.tick, waiting.segments, code)
    return _of(waiting.predicted, waiting.tick, waiting.segments, code)


class Guarded:
    """What the guards of one chunk are fed; what several of them need is made once."""

    def __init__(self, look: Look) -> None:
        self._m, self._traffic = look.m, look.course.traffic
        assert look.flow is not None
        self._flow = look.flow
        self._ends: dict[str, Floats] = {}
        self._signals: dict[tuple[str, str], tuple[Floats, Floats]] = {}

    def of(self, watch: Watch) -> tuple[Floats | Ints, Floats]:
        """Values and the tick end of each; of features their columns, counted from the feature's first."""
        guard, segment = watch.rule.guard, watch.subject.segment
        assert guard is not None
        if guard in ("error_rate", "loss", "score"):
            name = "score" if guard == "score" else "loss"
            if (name, segment) not in self._signals:
                observed, ticks = signal(name, self._flow, self._m, segment)
                self._signals[name, segment] = observed, _ends(ticks)
            return self._signals[name, segment]
        layout = self._m.normal.layout
        assert layout is not None
        assert watch.subject.feature is not None
        codes = self._codes[layout.names.index(watch.subject.feature)]
        rows = self._rows(segment)
        if segment not in self._ends:
            self._ends[segment] = _ends(self._traffic.tick if rows is None else self._traffic.tick[rows])
        return codes if rows is None else codes[rows], self._ends[segment]

    @cached_property
    def _codes(self) -> Ints:
        """Shape (F, n): the columns of the features' blocks, each from its first."""
        layout = self._m.normal.layout
        assert layout is not None
        starts = np.array([block.start for block in layout.blocks])
        return np.ascontiguousarray((self._traffic.cells - starts).T)

    def _rows(self, segment: str) -> npt.NDArray[np.bool_] | None:
        """Which events are of a segment; None: all."""
        code = self._m.segments.code(segment)
        return None if code == 0 else (self._traffic.segments == (-1 if code is None else code)).any(axis=1)


def _ends(ticks: Ints) -> Floats:
    ends: Floats = ((ticks + 1) * TICK).astype(np.float64)
    return ends


def _of(observed: Floats, ticks: Ints, segments: Ints, code: int | None) -> tuple[Floats, Ints]:
    if code == 0:
        return observed, ticks
    rows = (segments == (-1 if code is None else code)).any(axis=1)
    return observed[rows], ticks[rows]

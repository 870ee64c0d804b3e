"""Rules on many features, judged as one: what all features have at the tick ends is computed and compared at once.

Invariant: the transitions are those of judging each feature by itself; features whose rule is quiet and whose values
are inside the bounds cost three assignments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features import drift, quality
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.panes import values
from stream.monitor.rules import bounds
from stream.monitor.rules.asked import is_joint
from stream.monitor.rules.change import is_change
from stream.monitor.rules.machine import Phase, Transition
from stream.monitor.rules.watch import LABEL, METRICS
from stream.monitor.watching.look import Look
from stream.monitor.watching.placed import Watch


class Batch:
    """One rule on features of the whole model."""

    def __init__(self, watches: Sequence[Watch]) -> None:
        self._watches = watches
        self._rule = watches[0].rule
        self._window = watches[0].window
        self._layout: FeatureLayout | None = None
        self._columns: Ints = np.empty(0, np.int64)
        """Places of the watched features in the layout."""
        self._known: list[Watch] = []
        """Those whose feature the reference has."""
        self._shares: Floats = np.empty(0)
        """Of a metric that is counted from the reference: what it is there."""

    def look(self, look: Look) -> list[tuple[Watch, list[Transition]]]:
        """Moves the rule over a chunk; the features that something happened to."""
        end = float(look.course.ends[-1])
        seen = self._seen(look)
        if seen is None:
            # Without an evaluation, a hold may still end within the chunk.
            pending = [watch for watch in self._watches if watch.state.phase is Phase.PENDING]
            return [(watch, bounds.pass_time(watch.rule, watch.state, end)) for watch in pending]
        observed, samples = seen
        times = look.judged
        beyond = bounds.beyond(observed, self._rule.above, self._rule.below)
        crossed: list[bool] = np.any(beyond, axis=0).tolist()
        last, last_samples, time = observed[-1].tolist(), samples[-1].tolist(), float(times[-1])
        found: list[tuple[Watch, list[Transition]]] = []
        for at, watch in enumerate(self._known):
            state = watch.state
            if crossed[at] or state.phase is not Phase.INACTIVE:
                moved = bounds.scan(watch.rule, state, times, observed[:, at], samples[:, at], until=end)
                if moved:
                    found.append((watch, moved))
            else:
                state.time, state.value, state.samples = time, last[at], last_samples[at]
        return found

    def _seen(self, look: Look) -> tuple[Floats, Ints] | None:
        """Values and samples, shape (T, features); None when nothing is judged in the chunk."""
        layout = look.m.normal.layout
        if layout is None or not len(look.judged):
            return None
        if layout is not self._layout:
            self._fit(layout)
        if not self._known:
            return None
        counts, rule = look.cells(self._window), self._rule
        if rule.metric is None:
            observed = look.distances(self._window, rule.test or "psi")
            samples = drift.samples_of_all(layout, counts)
        else:
            observed, samples = quality.shares(layout, counts, values.cause(rule.metric))
            if rule.metric.endswith("_rise"):
                return observed[:, self._columns] - self._shares, samples[:, self._columns]
        return observed[:, self._columns], samples[:, self._columns]

    def _fit(self, layout: FeatureLayout) -> None:
        """Finds the features in a layout that is new."""
        self._layout = layout
        self._known = [watch for watch in self._watches if watch.subject.feature in layout.names]
        names = [watch.subject.feature or "" for watch in self._known]
        self._columns = np.array([layout.names.index(name) for name in names], np.int64)
        if self._rule.metric is not None:
            cause = values.cause(self._rule.metric)
            self._shares = np.array([quality.reference_share(layout, name, cause) for name in names], np.float64)


def planned(watches: Sequence[Watch]) -> list[Watch | Batch]:
    """The watches in their order, those that can be judged together as one."""
    plan: list[Watch | Batch] = []
    run: list[Watch] = []
    for watch in watches:
        if run and (watch.rule.name != run[0].rule.name or not _joins(watch)):
            plan.append(Batch(run))
            run = []
        if _joins(watch):
            run.append(watch)
        else:
            plan.append(watch)
    return [*plan, Batch(run)] if run else plan


def _joins(watch: Watch) -> bool:
    rule = watch.rule
    if watch.subject.feature is None or rule.guard is not None or rule.detector is not None or is_change(rule):
        return False
    if rule.metric is None:
        return rule.feature != LABEL and not is_joint(rule) and watch.subject.segment == "all"
    return METRICS[rule.metric].per_feature and watch.subject.segment == "all"

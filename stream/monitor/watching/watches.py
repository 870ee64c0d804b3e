"""The rules of one model at work: each stands here once per segment and feature that it applies to.

Invariant: what a rule sees at a tick is a function of the window's sums at that tick, so alerts do not depend on how
the stream was sliced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stream.config import Model, Rule
from stream.events import Alert, AlertKind
from stream.monitor.basis.columns import Ints
from stream.monitor.features.reference import Reference
from stream.monitor.known import Known
from stream.monitor.panes.course import Course
from stream.monitor.panes.stored import WatchState
from stream.monitor.rules import bounds
from stream.monitor.rules.alerts import Subject, build, resolved
from stream.monitor.rules.asked import is_by_segment, is_joint
from stream.monitor.rules.change import is_change
from stream.monitor.rules.detectors import Detector
from stream.monitor.rules.machine import TICK, Event, Phase, Reason, RuleState, Transition, step
from stream.monitor.rules.occurrences import Detection, scan_absence, scan_detections
from stream.monitor.rules.watch import LABEL, METRICS, kind, named, signal_of
from stream.monitor.watching import defaults, guarding, signals
from stream.monitor.watching.batches import Batch, planned
from stream.monitor.watching.composites import Composite, Move, composites
from stream.monitor.watching.look import NO_SAMPLES, NOTHING, Flow, Look, Seen, ends_of
from stream.monitor.watching.placed import Watch, made_for
from stream.monitor.watching.segment_look import compared_in

CELL = 10
"""Ticks. Drift moves slowly and costs more to look at: it is judged at the first tick with events in each such span."""

NO_PERFORMANCE = (
    "rules by change are silent: the reference does not say how the model did; write it with `stream profile --labels`"
)

NO_LONGER_CONFIGURED = "its rule is no longer configured like this"


class Watches:
    """All rules of one model."""

    def __init__(self, model: str, spec: Model) -> None:
        self._model, self._spec = model, spec
        self._seen: tuple[object, ...] = ()
        self._list: list[Watch] = []
        self._plan: list[Watch | Batch] = []
        """The same, with those together that are judged together."""
        self.due = math.inf
        """Event time of the next thing that a rule does by itself."""
        self._composites: list[Composite] = []
        self._moves: list[Move] = []
        """Alerts that began or ended in the present call, of any rule, for composite ones."""
        self._stored: dict[tuple[str, str, str | None], WatchState] = {}
        self._loads: Callable[[bytes], Any] | None = None
        self.last_cell = -1
        self.answered = any(rule.against is not None for rule in spec.rules or ())
        """Whether a rule compares outcomes with what was estimated of them."""

    @property
    def all(self) -> list[Watch]:
        """Every rule on every segment and feature it applies to."""
        return self._list

    def refresh(self, m: Known) -> None:
        """Applies rules to segments and features that have come up since."""
        seen = (m.task, m.normal.features, len(m.segments.names))
        if seen == self._seen:
            return
        self._seen = seen
        known = {watch.key: watch for watch in self._list}
        listed = defaults.rules(m.task) if self._spec.rules is None else self._spec.rules
        of = {rule.name: kind_of(rule, listed) for rule in listed}
        self._list = []
        for rule in listed:
            for segment, feature in defaults.applied(rule, m.segments.names, m.normal.features):
                fitted = defaults.fitted(rule, feature, self._reference_of(m, segment))
                subject = Subject(self._model, fitted, segment, feature, of[rule.name])
                watch = known.get((rule.name, segment, feature)) or self._new(subject)
                if watch.rule != fitted:
                    # Its bound depends on the reference, which may be new.
                    watch.made_for = made_for(fitted)
                watch.subject = subject
                self._list.append(watch)
        self._composites, self._plan = composites(self._list), planned(self._list)
        self._note_due()
        unknown = m.normal.reference is not None and not m.baseline.complete
        if unknown and any(is_change(rule) and rule.feature is None and rule.against is None for rule in listed):
            m.notes = [*(note for note in m.notes if note != NO_PERFORMANCE), NO_PERFORMANCE]

    @staticmethod
    def _reference_of(m: Known, segment: str) -> Reference | None:
        """What features of a segment are compared with; None where that is not known."""
        if segment == "all":
            return m.normal.reference
        part = compared_in(m, segment)
        return None if part is None else part.reference.reference

    def _new(self, subject: Subject) -> Watch:
        seconds = subject.rule.window or min(self._spec.windows, default=0.0)
        watch = Watch(subject, self._spec.windows.index(seconds) if seconds in self._spec.windows else 0)
        stored = self._stored.get(watch.key)
        if stored is not None and stored.made_for == watch.made_for and self._loads is not None:
            del self._stored[watch.key]
            watch.state = stored.state
            if watch.detector is not None and stored.detector is not None:
                watch.detector.restore(stored.detector, self._loads)
            elif watch.rule.guard is not None:
                watch.guarded = stored.detector
        return watch

    def dismiss(self, m: Known) -> list[Alert]:
        """Ends the alerts of rules that are no longer configured, or are configured otherwise."""
        gone = [(each.rule, each.segment, each.feature) for each in self._stored.values() if _fires(each)]
        self._stored = {}
        if not gone:
            return []
        newest = {(alert.rule, alert.segment, alert.feature or None): alert for alert in reversed(m.sent.recent)}
        return [resolved(newest[key], m.tick * TICK, NO_LONGER_CONFIGURED) for key in gone if key in newest]

    # -- looking -------------------------------------------------------------------------------------------------

    def evaluate(self, course: Course, flow: Flow | None, m: Known) -> list[Alert]:
        """Looks at every rule at the tick ends of a chunk, before the chunk is added to the windows.

        `flow` is None when nothing came and the windows slid.
        """
        self.refresh(m)
        if not len(course.ticks):
            return []
        look = Look(course, flow, m, self._drift_ticks(course, flow))
        alerts: list[Alert] = []
        guarded = guarding.feed(self._list, self._spec, look)
        for each in self._plan:
            if isinstance(each, Batch):
                for watch, transitions in each.look(look):
                    alerts += self._alerts(watch, transitions, look)
            elif each.rule.guard is None:
                alerts += self._evaluate(each, look)
            elif each.key in guarded:
                alerts += self._guard(each, look, guarded[each.key])
        alerts += self._together(float(course.ends[-1]), look)
        self._note_due()
        return alerts

    def _together(self, until: float, look: Look) -> list[Alert]:
        """Moves composite rules over what the others did in this call; event time has come to `until`."""
        alerts: list[Alert] = []
        for composite in self._composites:
            moves = sorted(self._moves, key=lambda move: move.time)
            transitions = composite.look(moves, look.m.tick * TICK, until)
            alerts += self._alerts(composite.watch, transitions, look)
        self._moves = []
        return alerts

    def _drift_ticks(self, course: Course, flow: Flow | None) -> Ints:
        """Which ticks (positions in `course.ticks`) drift is judged at."""
        if flow is None:
            return np.array([0])
        cells = course.ticks // CELL
        picked = np.flatnonzero(np.diff(cells, prepend=self.last_cell))
        self.last_cell = int(cells[-1])
        return picked

    def _evaluate(self, watch: Watch, look: Look) -> list[Alert]:
        rule, state, m = watch.rule, watch.state, look.m
        if named(rule):
            return []
        end = float(look.course.ends[-1])
        if watch.detector is not None:
            if look.flow is None:
                return []
            fed, ticks = signals.signal(signal_of(rule), look.flow, m, watch.subject.segment)
            found = watch.detector.feed(fed, ends_of(ticks))
            if watch.detector.failure is not None and not watch.reported:
                watch.reported = True
                m.notes.append(f"rule {rule.name}: {watch.detector.failure}")
            if not found and state.phase is Phase.INACTIVE:
                return []
            return self._alerts(watch, scan_detections(rule, state, found, end), look)
        if rule.absent is not None:
            return self._alerts(watch, scan_absence(rule, state, look.seen(rule.absent, state), end), look)
        if is_joint(rule):
            seen = look.joint(watch)
        elif is_by_segment(rule):
            part = look.segments.seen(watch)
            seen = None if part is None else Seen(look.judged, *part)
        else:
            seen = look.labels(watch) if rule.feature == LABEL and rule.metric is None else look.metric(watch)
        if seen is None:
            # Without an evaluation, a hold may still end within the chunk.
            return self._alerts(watch, bounds.pass_time(rule, state, end), look) if state.due is not None else []
        transitions = bounds.scan(rule, state, seen.times, seen.values, seen.samples, until=end, bounds=seen.bounds)
        return self._alerts(watch, transitions, look)

    def _guard(self, watch: Watch, look: Look, found: list[Detection]) -> list[Alert]:
        if not found and watch.state.phase is Phase.INACTIVE:
            return []
        rule = guarding.quiet(watch.rule)
        return self._alerts(watch, scan_detections(rule, watch.state, found, float(look.course.ends[-1])), look)

    def pass_time(self, until: float, m: Known) -> list[Alert]:
        """Time has come to `until`: holds that end, silences, detectors that have been quiet."""
        if self.due > until and not any(composite.anew for composite in self._composites):
            return []
        alerts: list[Alert] = []
        look = Look(None, None, m, NO_SAMPLES)
        for watch in self._list:
            rule, state = watch.rule, watch.state
            if state.due is None or state.due > until or named(rule):
                continue
            if watch.detector is not None or rule.guard is not None:
                transitions = scan_detections(guarding.quiet(rule), state, [], until)
            elif rule.absent is not None:
                transitions = scan_absence(rule, state, NOTHING, until)
            else:
                transitions = bounds.pass_time(rule, state, until)
            alerts += self._alerts(watch, transitions, look)
        alerts += self._together(until, look)
        self._note_due()
        return alerts

    def _note_due(self) -> None:
        self.due = min((watch.state.due for watch in self._list if watch.state.due is not None), default=math.inf)

    def _alerts(self, watch: Watch, transitions: list[Transition], look: Look) -> list[Alert]:
        if self._composites:
            self._moves += [Move(each.time, watch, each.state == "firing") for each in transitions]
        return [build(watch.subject, transition, look.evidence(watch, transition)) for transition in transitions]

    def renew(self, m: Known) -> list[Alert]:
        """The reference is taken anew: alerts that compare with the old one end, detectors and guards begin anew."""
        alerts: list[Alert] = []
        look, time = Look(None, None, m, NO_SAMPLES), m.tick * TICK
        for watch in self._list:
            if not compares(watch.rule):
                continue
            sent: list[Transition] = []
            step(watch.state, Event.FALSE, time, Reason.RENEWED, sent)
            alerts += self._alerts(watch, sent, look)
            watch.state, watch.guard, watch.guarded = RuleState(), None, None
            watch.detector = Detector.of(watch.rule) if watch.detector is not None else None
        alerts += self._together(time, look)
        self._seen = ()
        self._note_due()
        return alerts

    # -- storing -------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Forgets what rules saw of outcomes counted under another task; the page keeps their alerts."""
        for watch in self._list:
            if watch.rule.guard in guarding.OF_TASK:
                watch.state, watch.guard, watch.guarded = RuleState(), None, None
            if watch.rule.detector is not None or (watch.rule.metric is not None and watch.rule.metric not in METRICS):
                watch.state = RuleState()
                watch.detector = Detector.of(watch.rule) if watch.detector is not None else None
        self._composites = composites(self._list)
        self._note_due()

    def states(self) -> list[WatchState]:
        """For a checkpoint."""
        stored = []
        for watch in self._list:
            detector = watch.guarded if watch.detector is None else watch.detector.snapshot()
            if watch.guard is not None:
                detector = watch.guard.snapshot()
            stored.append(WatchState(*watch.key, watch.made_for, watch.state, detector))
        return stored

    def restore(self, states: list[WatchState], loads: Callable[[bytes], Any]) -> None:
        """Goes on from a checkpoint; `loads` unpickles detectors safely. A rule that is new begins from nothing."""
        self._loads = loads
        self._stored = {(stored.rule, stored.segment, stored.feature): stored for stored in states}


def compares(rule: Rule) -> bool:
    """Whether a rule compares with the reference, or with what was before."""
    if rule.metric is not None:
        return is_change(rule) or (rule.metric in METRICS and METRICS[rule.metric].per_feature)
    return rule.feature is not None or rule.guard is not None or rule.detector is not None


def kind_of(rule: Rule, listed: Sequence[Rule]) -> AlertKind:
    """The kind of alert of a rule; of a composite one that of the first rule that it names."""
    for name in named(rule)[:1]:
        return kind_of(next(each for each in listed if each.name == name), listed)
    return kind(rule)


def _fires(stored: WatchState) -> bool:
    return stored.state.phase is Phase.FIRING

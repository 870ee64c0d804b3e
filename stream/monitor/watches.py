"""The rules of one model at work: what each one sees at tick ends, and the alerts that follow.

A rule stands here once per segment and feature that it applies to. Invariant: what a rule sees at a tick is a function
of the window's sums at that tick, so alerts do not depend on how the stream was sliced.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct, structs

from stream.config import Model, Rule
from stream.events import Alert, Explanation, FeatureShare, Prediction, SegmentShare, Span
from stream.monitor import defaults, drift, explain, guarding, performance, rules, values
from stream.monitor.alerts import Evidence, Subject, build, resolved
from stream.monitor.columns import Floats, Ints, Outcomes
from stream.monitor.course import Course
from stream.monitor.detectors import Detector
from stream.monitor.estimate import Expected
from stream.monitor.guards import Guard
from stream.monitor.join import Incoming
from stream.monitor.layout import OUTCOMES
from stream.monitor.machine import TICK, Phase, RuleState, Transition
from stream.monitor.occurrences import scan_absence, scan_detections
from stream.monitor.pane import PREDICTIONS
from stream.monitor.stored import WatchState
from stream.monitor.watch import ESTIMATED, METRICS, kind, signal_of

if TYPE_CHECKING:
    from stream.monitor.model import ModelMonitor

CELL = 10
"""Ticks. Drift moves slowly and costs more to look at: it is judged at the first tick with events in each such span."""

NO_LONGER_CONFIGURED = "its rule is no longer configured like this"

_NONE: Floats = np.empty(0)
_NO_SAMPLES: Ints = np.empty(0, np.int64)


class Flow(Struct):
    """What detectors and absence rules need of a chunk, besides its sums."""

    events: list[Prediction]
    waiting: Incoming
    outcomes: Outcomes
    latency: Floats
    """Seconds; NaN where none came."""
    label_ticks: Ints


class Watch:
    """One rule on one segment and feature."""

    def __init__(self, subject: Subject, window: int) -> None:
        self.subject = subject
        self.window = window
        self.state = RuleState()
        self.detector = Detector.of(subject.rule) if subject.rule.detector is not None else None
        self.guard: Guard | None = None
        """None until it is known what to guard: the task, or the reference of the feature."""
        self.guarded: bytes | None = None
        """The state of the guard to come."""
        self.made_for = made_for(subject.rule)
        self.reported = False
        """Its detector was switched off, and the page says so."""

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.subject.rule

    @property
    def key(self) -> tuple[str, str, str | None]:
        """Rule, segment and feature: unique in a model."""
        return self.rule.name, self.subject.segment, self.subject.feature


class Watches:
    """All rules of one model."""

    def __init__(self, model: str, spec: Model) -> None:
        self._model, self._spec = model, spec
        self._seen: tuple[object, ...] = ()
        self._list: list[Watch] = []
        self._stored: dict[tuple[str, str, str | None], WatchState] = {}
        self._loads: Callable[[bytes], Any] | None = None
        self.last_cell = -1

    @property
    def all(self) -> list[Watch]:
        """Every rule on every segment and feature it applies to."""
        return self._list

    def refresh(self, m: ModelMonitor) -> None:
        """Applies rules to segments and features that have come up since."""
        seen = (m.task, m.normal.features, len(m.segments.names))
        if seen == self._seen:
            return
        self._seen = seen
        known = {watch.key: watch for watch in self._list}
        listed = defaults.rules(m.task) if self._spec.rules is None else self._spec.rules
        self._list = []
        for rule in listed:
            for segment, feature in defaults.applied(rule, m.segments.names, m.normal.features):
                fitted = defaults.fitted(rule, feature, m.normal.reference)
                subject = Subject(self._model, fitted, segment, feature)
                watch = known.get((rule.name, segment, feature)) or self._new(subject)
                watch.subject = subject  # its bound depends on the reference, which may be new
                self._list.append(watch)

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

    def dismiss(self, m: ModelMonitor) -> list[Alert]:
        """Ends the alerts of rules that are no longer configured, or are configured otherwise."""
        gone = [(each.rule, each.segment, each.feature) for each in self._stored.values() if _fires(each)]
        self._stored = {}
        if not gone:
            return []
        newest = {(alert.rule, alert.segment, alert.feature or None): alert for alert in reversed(m.recent)}
        return [resolved(newest[key], m.tick * TICK, NO_LONGER_CONFIGURED) for key in gone if key in newest]

    # -- looking -------------------------------------------------------------------------------------------------

    def evaluate(self, course: Course, flow: Flow | None, m: ModelMonitor) -> list[Alert]:
        """Looks at every rule at the tick ends of a chunk, before the chunk is added to the windows.

        `flow` is None when nothing came and the windows slid.
        """
        self.refresh(m)
        if not len(course.ticks):
            return []
        look = Look(course, flow, m, self._drift_ticks(course, flow))
        alerts: list[Alert] = []
        for watch in self._list:
            alerts += self._evaluate(watch, look)
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
        end = float(look.course.ends[-1])
        if rule.guard is not None:
            return self._guard(watch, look)
        if watch.detector is not None:
            if look.flow is None:
                return []
            fed, ticks = values.signal(signal_of(rule), look.flow, m, watch.subject.segment)
            found = watch.detector.feed(fed, _ends(ticks))
            if watch.detector.failure is not None and not watch.reported:
                watch.reported = True
                m.notes.append(f"rule {rule.name}: {watch.detector.failure}")
            if not found and state.phase is Phase.INACTIVE:
                return []
            return self._alerts(watch, scan_detections(rule, state, found, end), look)
        if rule.absent is not None:
            return self._alerts(watch, scan_absence(rule, state, look.seen(rule.absent, state), end), look)
        seen = look.metric(watch) if rule.metric is not None else look.drift(watch)
        # Without an evaluation, a hold may still end within the chunk.
        times, observed, samples = (_NONE, _NONE, _NO_SAMPLES) if seen is None else seen
        transitions = rules.scan(rule, state, times, observed, samples, until=end)
        return self._alerts(watch, transitions, look)

    def _guard(self, watch: Watch, look: Look) -> list[Alert]:
        if look.flow is None:
            return []
        if watch.guard is None:
            scheme = guarding.scheme(watch.subject, self._spec, look.m)
            if scheme is None:
                return []
            watch.guard = Guard(scheme)
            if watch.guarded is not None:
                watch.guard.restore(watch.guarded)
                watch.guarded = None
        fed, ticks = values.guarded(watch, look)
        found = watch.guard.feed(fed, _ends(ticks))
        if not found and watch.state.phase is Phase.INACTIVE:
            return []
        rule = guarding.quiet(watch.rule)
        return self._alerts(watch, scan_detections(rule, watch.state, found, float(look.course.ends[-1])), look)

    def pass_time(self, until: float, m: ModelMonitor) -> list[Alert]:
        """Time has come to `until`: holds that end, silences, detectors that have been quiet."""
        alerts: list[Alert] = []
        for watch in self._list:
            rule, state = watch.rule, watch.state
            if state.due is None or state.due > until:
                continue
            if watch.detector is not None or rule.guard is not None:
                transitions = scan_detections(guarding.quiet(rule), state, [], until)
            elif rule.absent is not None:
                transitions = scan_absence(rule, state, _NONE, until)
            else:
                transitions = rules.scan(rule, state, _NONE, _NONE, _NO_SAMPLES, until=until)
            alerts += self._alerts(watch, transitions, Look(None, None, m, _NO_SAMPLES))
        return alerts

    @property
    def due(self) -> float:
        """Event time of the next thing that a rule does by itself."""
        return min((watch.state.due for watch in self._list if watch.state.due is not None), default=math.inf)

    def _alerts(self, watch: Watch, transitions: list[Transition], look: Look) -> list[Alert]:
        return [build(watch.subject, transition, look.evidence(watch, transition)) for transition in transitions]

    # -- storing -------------------------------------------------------------------------------------------------

    def restart(self) -> None:
        """Forgets what rules saw of outcomes counted under another task; the page keeps their alerts."""
        for watch in self._list:
            if watch.rule.guard in guarding.OF_TASK:
                watch.state, watch.guard, watch.guarded = RuleState(), None, None
            if watch.rule.detector is not None or (watch.rule.metric is not None and watch.rule.metric not in METRICS):
                watch.state = RuleState()
                watch.detector = Detector.of(watch.rule) if watch.detector is not None else None

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


def made_for(rule: Rule) -> str:
    """A digest of all that decides what a rule's state means."""
    told = structs.replace(rule, severity="info")
    return blake2b(msgspec.json.encode(told, order="sorted"), digest_size=8).hexdigest()


def _fires(stored: WatchState) -> bool:
    return stored.state.phase is Phase.FIRING


class Look:
    """What rules see of one chunk; sums that several rules need are made once."""

    def __init__(self, course: Course | None, flow: Flow | None, m: ModelMonitor, drift_ticks: Ints) -> None:
        self._course, self.flow, self.m, self._drift_ticks = course, flow, m, drift_ticks
        self._tallies: dict[tuple[int, int], Ints] = {}
        self._cells: dict[int, Ints] = {}
        self._distances: dict[tuple[int, str], Floats] = {}
        self._expected: dict[tuple[int, int], list[Expected]] = {}
        self._explained: dict[tuple[int, int, str | None], Explanation] = {}

    @property
    def course(self) -> Course:
        """The chunk."""
        assert self._course is not None
        return self._course

    def seen(self, what: str, state: RuleState) -> Floats:
        """Tick ends at which predictions or labels came; for labels, the model's beginning first."""
        if self.flow is None:
            return _NONE
        predictions, labels = np.unique(self.course.traffic.tick), np.unique(self.flow.label_ticks)
        ticks = predictions if what == "predictions" else labels
        if what == "labels" and state.time == -math.inf and len(predictions):
            ticks = np.union1d(predictions[:1], labels)
        return _ends(ticks)

    def tallies(self, window: int, segment: int) -> Ints:
        """Running tallies, shape (T, width)."""
        key = window, segment
        if key not in self._tallies:
            self._tallies[key] = self.course.tallies(self.m.windows[window], segment)
        return self._tallies[key]

    def metric(self, watch: Watch) -> tuple[Floats, Floats, Ints] | None:
        """Times, values and samples of a rule's metric; None when nothing that it depends on has changed."""
        m, name = self.m, watch.rule.metric
        segment = m.segments.code(watch.subject.segment)
        if name is None or segment is None:
            return None
        window = m.windows[watch.window]
        if name in METRICS:
            if watch.subject.feature is not None:
                return self._quality(watch, name)
            if self.flow is not None and not len(self.course.traffic) and name != "coverage":
                return None
            observed, samples = values.service(name, self, window, watch.window, segment)
            return self.course.ends, observed, samples
        if name.startswith(ESTIMATED):
            return self._estimated(watch, name.removeprefix(ESTIMATED), segment)
        if m.layout is None or (self.flow is not None and not len(self.course.outcomes)):
            return None
        if performance.from_scores(name):
            observed, samples = values.scored(name, self.course, window, segment, m)
        else:
            names = m.classes.names
            observed, samples = performance.evaluate(m.layout, self.tallies(watch.window, segment), name, names)
        return self.course.ends, observed, samples

    def _estimated(self, watch: Watch, name: str, segment: int) -> tuple[Floats, Floats, Ints] | None:
        """What calibrated scores say of a metric, at the ticks at which drift is judged."""
        m, key = self.m, (watch.window, segment)
        if m.layout is None or not m.estimator.curves or not len(self._drift_ticks):
            return None
        if key not in self._expected:
            guesses = self.course.guesses(m.windows[watch.window], segment, self._drift_ticks)
            self._expected[key] = [Expected(counts, m.estimator, m.layout) for counts in guesses]
        expected = self._expected[key]
        observed = np.array([each.value(name, m.classes.names) for each in expected], np.float64)
        samples = np.array([each.samples for each in expected], np.int64)
        return self.course.ends[self._drift_ticks], observed, samples

    def cells(self, window: int) -> Ints:
        """Running feature histograms at the ticks at which drift is judged."""
        if window not in self._cells:
            self._cells[window] = self.course.features(self.m.windows[window], self._drift_ticks)
        return self._cells[window]

    def drift(self, watch: Watch) -> tuple[Floats, Floats, Ints] | None:
        """Times, values and samples of a distance to the reference."""
        layout, feature = self.m.normal.layout, watch.subject.feature
        if layout is None or feature is None or not len(self._drift_ticks) or feature not in layout.names:
            return None
        counts, test = self.cells(watch.window), watch.rule.test or "psi"
        key = watch.window, test
        if key not in self._distances:
            self._distances[key] = drift.every(layout, counts, test)
        observed = self._distances[key][:, layout.names.index(feature)]
        return self.course.ends[self._drift_ticks], observed, drift.samples(layout, counts, feature)

    def _quality(self, watch: Watch, name: str) -> tuple[Floats, Floats, Ints] | None:
        layout, feature = self.m.normal.layout, watch.subject.feature
        if layout is None or feature is None or feature not in layout.names or not len(self._drift_ticks):
            return None
        observed, samples = values.quality(name, layout, self.cells(watch.window), feature)
        return self.course.ends[self._drift_ticks], observed, samples

    def evidence(self, watch: Watch, transition: Transition) -> Evidence:
        """What is known beside the value, as of the transition's tick."""
        m = self.m
        note = "" if watch.guard is None else watch.guard.words
        if not m.windows:
            return Evidence(version=self._version_at(transition.time), note=note)
        window, segment = m.windows[watch.window], m.segments.code(watch.subject.segment) or 0
        tally, predictions = self._at(transition.time, watch.window, segment)
        name, bounds = watch.rule.metric, None
        if name is not None and name not in METRICS and m.layout is not None and len(tally):
            bounds = performance.interval(m.layout, tally, name, m.classes.names)
        lower, upper = bounds if bounds is not None else (None, None)
        labelled = int(tally[OUTCOMES]) if len(tally) else 0
        return Evidence(
            lower=lower,
            upper=upper,
            window=Span(max(0.0, window.first * m.spec.pane), transition.time),
            version=self._version_at(transition.time),
            coverage=labelled / predictions if predictions else None,
            explanation=self._explanation(watch, transition),
            note=note,
        )

    def _version_at(self, time: float) -> str | None:
        """The newest version that predictions had named by the end of a tick."""
        if self.flow is not None:
            ends = _ends(self.flow.waiting.tick)
            for event in reversed(self.flow.events[: int(np.searchsorted(ends, time, side="right"))]):
                if event.version is not None:
                    return event.version
        return self.m.version

    def _explanation(self, watch: Watch, transition: Transition) -> Explanation | None:
        """What explains an alert, from the sums at the transition's tick."""
        m, number, rule = self.m, watch.window, watch.rule
        if transition.state != "firing" or kind(rule) not in explain.EXPLAINED:
            return None
        whole = watch.subject.segment == "all"
        at = self._position(transition.time)
        key = at, number, rule.metric if whole else watch.subject.segment
        if key in self._explained:
            return self._explained[key]
        window = m.windows[number]
        segments: list[SegmentShare] = []
        features: list[FeatureShare] = []
        if whole and m.layout is not None and len(m.segments.names) > 1:
            added = [] if at < 0 else self.course.added(at)
            segments = explain.segments(m.layout, m.panes, window, added, m.segments.names, rule.metric)
        if m.normal.layout is not None:
            counts = window.sums.features if at < 0 else self.course.features(window, np.array([at]))[0]
            features = explain.features(m.normal.layout, counts)
        found = self._explained[key] = Explanation(segments, features)
        return found

    def _position(self, time: float) -> int:
        """The chunk's last tick that ends until `time`; -1 when there is none."""
        return -1 if self._course is None else int(np.searchsorted(self._course.ends, time, side="right")) - 1

    def _at(self, time: float, number: int, segment: int) -> tuple[Ints, int]:
        """A segment's tally and predictions in a window at the end of a tick; an empty tally when there is none."""
        window = self.m.windows[number]
        at = self._position(time)
        if at >= 0:
            predictions = int(self.course.traffics(window, segment)[at, PREDICTIONS])
            return self.tallies(number, segment)[at], predictions
        sums = window.sums
        tally = sums.tally[segment] if segment < len(sums.tally) else np.empty(0, np.int64)
        return tally, int(sums.traffic[segment, PREDICTIONS]) if segment < len(sums.traffic) else 0


def _ends(ticks: Ints) -> Floats:
    return ((ticks + 1) * TICK).astype(np.float64)

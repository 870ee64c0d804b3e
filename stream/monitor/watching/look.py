"""What rules see of a chunk of events at its tick ends, and what is known besides when one of them fires.

Invariant: what is seen at a tick is a function of the windows' sums at that tick, whatever chunk it stands in; sums
that several rules need are made once.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
from msgspec import Struct

from stream.config import Rule
from stream.events import Explanation, FeatureShare, Prediction, SegmentShare, Span
from stream.monitor.basis.columns import Floats, Ints, Outcomes
from stream.monitor.basis.intervals import Interval, wilson
from stream.monitor.basis.join_rows import Incoming
from stream.monitor.estimates.estimate import Expected, expected
from stream.monitor.estimates.losses import ExpectedLosses
from stream.monitor.features import drift, quality
from stream.monitor.features.label_drift import Labels, alike, of_classes
from stream.monitor.known import Known
from stream.monitor.metrics import fairness
from stream.monitor.metrics.layout import OUTCOMES
from stream.monitor.panes import values
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import PREDICTIONS
from stream.monitor.rules import change
from stream.monitor.rules.alerts import Evidence
from stream.monitor.rules.change import Bounds, Spread, is_change
from stream.monitor.rules.machine import TICK, RuleState, Transition
from stream.monitor.rules.watch import ESTIMATED, LABEL_METRICS, METRICS, MIN_SAMPLES, minimum
from stream.monitor.watching import apart, explain
from stream.monitor.watching.placed import Watch
from stream.monitor.watching.segment_look import SegmentLook, compared_in

NOTHING: Floats = np.empty(0)
NO_SAMPLES: Ints = np.empty(0, np.int64)
NO_TALLIES: Ints = np.empty((0, 0), np.int64)
"""Where a metric is not read from outcomes."""


class Flow(Struct):
    """What detectors and absence rules need of a chunk, besides its sums."""

    events: list[Prediction]
    waiting: Incoming
    outcomes: Outcomes
    latency: Floats
    """Seconds; NaN where none came."""
    label_ticks: Ints


class Seen(Struct):
    """What a rule with bounds sees: its values at some tick ends, and the samples behind them."""

    times: Floats
    values: Floats
    samples: Ints
    bounds: Bounds | None = None
    """Of a rule by change."""


class Look:
    """What rules see of one chunk; sums that several rules need are made once."""

    def __init__(self, course: Course | None, flow: Flow | None, m: Known, drift_ticks: Ints) -> None:
        self._course, self.flow, self.m, self._drift_ticks = course, flow, m, drift_ticks
        self._judged: Floats = NOTHING if course is None else course.ends[drift_ticks]
        self._tallies: dict[tuple[int, int], Ints] = {}
        self._cells: dict[int, Ints] = {}
        self._flaws: dict[tuple[int, int], Ints] = {}
        self._distances: dict[tuple[int, str], Floats] = {}
        self._expected: dict[tuple[int, int], list[Expected | ExpectedLosses]] = {}
        self._joint: dict[int, Seen] = {}
        self._answered: dict[tuple[int, int], list[Expected | ExpectedLosses]] = {}
        self._explained: dict[tuple[int, int, str | None], Explanation] = {}

    @property
    def course(self) -> Course:
        """The chunk."""
        assert self._course is not None
        return self._course

    def seen(self, what: str, state: RuleState) -> Floats:
        """Tick ends at which predictions or labels came; for labels, the model's beginning first."""
        if self.flow is None:
            return NOTHING
        predictions, labels = np.unique(self.course.traffic.tick), np.unique(self.flow.label_ticks)
        ticks = predictions if what == "predictions" else labels
        if what == "labels" and state.time == -math.inf and len(predictions):
            ticks = np.union1d(predictions[:1], labels)
        return ends_of(ticks)

    def tallies(self, window: int, segment: int) -> Ints:
        """Running tallies, shape (T, width)."""
        key = window, segment
        if key not in self._tallies:
            self._tallies[key] = self.course.tallies(self.m.windows[window], segment)
        return self._tallies[key]

    def metric(self, watch: Watch) -> Seen | None:
        """What a rule sees of its metric; None when nothing that it depends on has changed."""
        m, name = self.m, watch.rule.metric
        segment = m.segments.code(watch.subject.segment)
        if name is None or segment is None:
            return None
        if watch.rule.attribute is not None:
            return self._gap(watch, name, watch.rule.attribute)
        if watch.rule.against is not None:
            return self._apart(watch, name, segment)
        if name.startswith(ESTIMATED):
            return self._estimated(watch, name.removeprefix(ESTIMATED), segment)
        if name not in METRICS:
            quiet = self.flow is not None and not len(self.course.outcomes) and not m.baseline.fresh
            if m.layout is None or quiet:
                return None
        elif watch.subject.feature is not None:
            return self._quality(watch, name)
        elif self.flow is not None and not self.course.served and name not in LABEL_METRICS:
            return None
        window, tallies = m.windows[watch.window], NO_TALLIES
        if name == "coverage" or name not in METRICS:
            tallies = self.tallies(watch.window, segment)
        observed, samples = values.metric(name, self.course, window, segment, self.m.names, tallies)
        return self._compared(watch, name, Seen(self.course.ends, observed, samples), slice(None), tallies)

    def _gap(self, watch: Watch, name: str, attribute: str) -> Seen | None:
        """What a rule sees of the gap between groups, at the ticks at which drift is judged."""
        m, at = self.m, self._drift_ticks
        if m.layout is None or m.layout.task != "binary" or not len(at):
            return None
        codes = fairness.groups(m.segments.names, attribute)
        held = [self.tallies(watch.window, code)[at] for code in codes]
        tallies = np.stack(held, axis=1) if held else np.zeros((len(at), 0, m.layout.width), np.int64)
        return Seen(self.course.ends[at], *fairness.evaluate(m.layout, tallies, name, minimum(watch.rule)))

    def _compared(self, watch: Watch, name: str, seen: Seen, at: Ints | slice, tallies: Ints | None = None) -> Seen:
        """What a rule by change sees: values are undefined where the reference is. `at`: which of the chunk's ticks."""
        rule, baseline = watch.rule, self.m.baseline
        if not is_change(rule):
            return seen
        found = baseline.measured(name, watch.subject.segment, self.m.names)
        reference = np.full(len(seen.times), np.nan)
        if found is not None and baseline.complete:
            enough = min(minimum(rule), MIN_SAMPLES)
            normal = np.where(found.samples >= enough, found.values, np.nan)
            reference = np.broadcast_to(normal, len(self.course.ticks))[at].copy()
            if baseline.given is None:
                reference[self.course.ticks[at] < baseline.tick] = np.nan
            if self._reaches_back(watch):
                reference[:] = np.nan

        def spread(row: int) -> tuple[Interval | None, Interval | None]:
            assert found is not None
            tally = NO_SAMPLES if tallies is None or not len(tallies) else tallies[row]
            same = 0 if len(found.values) == 1 else row
            mine = values.interval(name, self.m.names, tally, float(seen.values[row]), int(seen.samples[row]))
            kept = float(found.values[same]), int(found.samples[same])
            return mine, values.interval(name, found.names, found.tallies[same], *kept)

        return _bounded(rule, seen, reference, spread)

    def _reaches_back(self, watch: Watch) -> bool:
        """Whether the window takes in predictions of the time before the reference was taken anew."""
        return self.m.windows[watch.window].first * self.m.spec.pane < self.m.baseline.since

    def _apart(self, watch: Watch, name: str, segment: int) -> Seen | None:
        """What a rule sees that compares a metric with its estimate, at the ticks at which drift is judged: values are
        undefined where the two are not of the same."""
        m, at = self.m, self._drift_ticks
        if m.layout is None or not m.estimator.ready or not len(at):
            return None
        key, window, tallies = (watch.window, segment), m.windows[watch.window], self.tallies(watch.window, segment)
        if key not in self._answered:
            counted = self.course.answered(window, segment, at)
            self._answered[key] = [expected(counts, m.estimator, m.layout) for counts in counted]
        found, rows = self._answered[key], tallies[at]
        part = Seen(self.course.ends[at], *values.performed(name, self.course, window, segment, self.m.names, rows, at))
        estimates = np.array([each.value(name, m.classes.names) for each in found], np.float64)
        same = [apart.comparable(each, tally) for each, tally in zip(found, rows, strict=True)]

        def pair(row: int) -> apart.Pair:
            value = float(part.values[row])
            mine = values.interval(name, self.m.names, rows[row], value, int(part.samples[row]))
            return apart.Pair(name, value, mine, float(estimates[row]), found[row])

        rule, normal = watch.rule, np.where(same, estimates, np.nan)
        bounded = _bounded(rule, part, normal, lambda row: apart.intervals(pair(row), apart.SURETY))
        if bounded.bounds is not None and rule.recover is None:
            back = change.bounds(rule, part.values, normal, lambda row: apart.intervals(pair(row), apart.RELEASE))
            bounded.bounds.recover_above, bounded.bounds.recover_below = back.above, back.below
        return bounded

    def _estimated(self, watch: Watch, name: str, segment: int) -> Seen | None:
        """What is estimated of a metric without labels, at the ticks at which drift is judged."""
        m, key = self.m, (watch.window, segment)
        if m.layout is None or not m.estimator.ready or not len(self._drift_ticks):
            return None
        if key not in self._expected:
            guesses = self.course.guesses(m.windows[watch.window], segment, self._drift_ticks)
            self._expected[key] = [expected(counts, m.estimator, m.layout) for counts in guesses]
        found = self._expected[key]
        observed = np.array([each.value(name, m.classes.names) for each in found], np.float64)
        samples = np.array([each.samples for each in found], np.int64)
        seen = Seen(self.course.ends[self._drift_ticks], observed, samples)
        return self._compared(watch, name, seen, self._drift_ticks)

    def cells(self, window: int) -> Ints:
        """Running feature histograms at the ticks at which drift is judged."""
        if window not in self._cells:
            self._cells[window] = self.course.features(self.m.windows[window], self._drift_ticks)
        return self._cells[window]

    @property
    def judged(self) -> Floats:
        """Ends of the ticks at which drift is judged."""
        return self._judged

    def distances(self, window: int, test: str) -> Floats:
        """Distances of all features to the reference at those ticks, shape (T, features)."""
        key, layout = (window, test), self.m.normal.layout
        assert layout is not None
        if key not in self._distances:
            self._distances[key] = drift.every(layout, self.cells(window), test)
        return self._distances[key]

    @cached_property
    def segments(self) -> SegmentLook:
        """What rules see of features of segments."""
        return SegmentLook(self.m, self.course, self._drift_ticks)

    def joint(self, watch: Watch) -> Seen | None:
        """How likely all features together are to be so far from the reference's at the ticks at which drift is
        judged; None where the reference does not know."""
        together, at = self.m.normal.together, self._drift_ticks
        if together is None or not len(at):
            return None
        if watch.window not in self._joint:
            window, added = self.m.windows[watch.window], self.course.joint
            held = window.sums.joint[None] if added is None else added.running(window, at)
            observed = np.array([together.drift.p_value(sums) if len(sums) else math.nan for sums in held])
            samples = held[:, 0] if held.shape[1] else np.zeros(len(held), np.int64)
            self._joint[watch.window] = Seen(self.course.ends[at], observed, samples)
        return self._joint[watch.window]

    def labels(self, watch: Watch) -> Seen | None:
        """How far true classes are from the reference's; undefined while it has too few outcomes."""
        m, segment = self.m, self.m.segments.code(watch.subject.segment)
        quiet = self.flow is not None and not len(self.course.outcomes) and not m.baseline.fresh
        if m.layout is None or m.task == "regression" or segment is None or quiet:
            return None
        tallies = self.tallies(watch.window, segment)
        observed = np.full(len(tallies), np.nan)
        found = m.baseline.measured("accuracy", watch.subject.segment, self.m.names)
        if found is not None and found.names.layout is not None and m.baseline.complete:
            test, enough = watch.rule.test or "psi", min(minimum(watch.rule), MIN_SAMPLES)
            counts, normal = of_classes(m.layout, tallies), of_classes(found.names.layout, found.tallies)
            # While labels of the reference still come, it grows from tick to tick.
            for same, rows in alike(normal, len(counts)):
                if same.sum() >= enough:
                    reference = Labels(found.names.classes, same)
                    observed[rows] = reference.distance(test, m.classes.names, counts[rows])
            if m.baseline.given is None:
                observed[self.course.ticks < m.baseline.tick] = np.nan
            if self._reaches_back(watch):
                observed[:] = np.nan
        return Seen(self.course.ends, observed, tallies[:, OUTCOMES])

    def _quality(self, watch: Watch, name: str) -> Seen | None:
        layout, feature = self.m.normal.layout, watch.subject.feature
        if layout is None or feature is None or feature not in layout.names or not len(self._drift_ticks):
            return None
        segment = self.m.segments.code(watch.subject.segment)
        if segment:
            observed, samples = self._in_segment(name, watch, feature, segment)
        else:
            observed, samples = values.quality(name, layout, self.cells(watch.window), feature)
        seen, rule = Seen(self.course.ends[self._drift_ticks], observed, samples), watch.rule
        if not is_change(rule):
            return seen
        share = quality.reference_share(layout, feature, values.cause(name))
        rows = layout.reference.rows

        def spread(row: int) -> tuple[Interval | None, Interval | None]:
            return wilson(float(observed[row]), int(samples[row])), wilson(share, rows)

        return _bounded(rule, seen, np.full(len(observed), share), spread)

    def _in_segment(self, name: str, watch: Watch, feature: str, segment: int) -> tuple[Floats, Ints]:
        """Share of bad values of one feature in a segment, or its rise over the whole reference."""
        flaws, layout, window = self.m.normal.flaws, self.m.normal.layout, self.m.windows[watch.window]
        assert flaws is not None
        assert layout is not None
        key = watch.window, segment
        if key not in self._flaws:
            counted = flaws.of(self.course.features(window, self._drift_ticks, segment))
            known = window.sums.flaws
            self._flaws[key] = counted + known[segment] if segment < len(known) and known.shape[1] else counted
        observed, samples = flaws.share(self._flaws[key], feature, values.cause(name))
        if name.endswith("_rise"):
            observed = observed - quality.reference_share(layout, feature, values.cause(name))
        return observed, samples

    def evidence(self, watch: Watch, transition: Transition) -> Evidence:
        """What is known beside the value, as of the transition's tick."""
        m = self.m
        note = "" if watch.guard is None else watch.guard.words
        if not m.windows:
            return Evidence(version=self._version_at(transition.time), note=note)
        window, segment = m.windows[watch.window], m.segments.code(watch.subject.segment) or 0
        tally, predictions = self._at(transition.time, watch.window, segment)
        name, bounds = watch.rule.metric, None
        if name is not None and watch.rule.attribute is not None:
            bounds = self._gap_interval(watch, name, watch.rule.attribute, transition.time)
        elif name is not None and name not in METRICS and m.layout is not None and len(tally):
            bounds = values.interval(name, self.m.names, tally, transition.value, transition.samples)
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

    def _gap_interval(self, watch: Watch, name: str, attribute: str, time: float) -> Interval | None:
        m = self.m
        if m.layout is None or m.layout.task != "binary":
            return None
        held = [self._at(time, watch.window, code)[0] for code in fairness.groups(m.segments.names, attribute)]
        tallies = np.array([tally for tally in held if len(tally)]).reshape(-1, m.layout.width)
        return fairness.interval(m.layout, tallies, name, minimum(watch.rule))

    def _version_at(self, time: float) -> str | None:
        """The newest version that predictions had named by the end of a tick."""
        if self.flow is not None:
            ends = ends_of(self.flow.waiting.tick)
            for event in reversed(self.flow.events[: int(np.searchsorted(ends, time, side="right"))]):
                if event.version is not None:
                    return event.version
        return self.m.version

    def _explanation(self, watch: Watch, transition: Transition) -> Explanation | None:
        """What explains an alert, from the sums at the transition's tick."""
        m, number, rule = self.m, watch.window, watch.rule
        if transition.state != "firing" or watch.subject.kind not in explain.EXPLAINED:
            return None
        whole = watch.subject.segment == "all"
        at = self._position(transition.time)
        key = at, number, rule.metric if whole else watch.subject.segment
        if key in self._explained:
            return self._explained[key]
        window = m.windows[number]
        segments: list[SegmentShare] = []
        features: list[FeatureShare] = []
        if whole and m.layout is not None:
            groups, new = m.suspects.groups, at >= 0
            tallied = explain.Tallied(m.layout, m.segments.names, self.course.added(at) if new else ())
            grouped = None if groups is None else explain.Grouped(groups, self.course.suspected(at) if new else ())
            segments = explain.segments(tallied, grouped, m.panes, window, rule.metric)
        part = None if whole else compared_in(m, watch.subject.segment)
        if part is not None:
            features = explain.features(part.reference, part.counts(window, None if at < 0 else self.course, at))
        elif m.normal.layout is not None:
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


def _bounded(rule: Rule, seen: Seen, reference: Floats, spread: Spread) -> Seen:
    bounds = change.bounds(rule, seen.values, reference, spread)
    undefined = np.isnan(reference)
    for said, bound in ((rule.drop, bounds.below), (rule.rise, bounds.above)):
        if said is not None:
            undefined |= np.isnan(bound)
    return Seen(seen.times, np.where(undefined, np.nan, seen.values), seen.samples, bounds)


def ends_of(ticks: Ints) -> Floats:
    return ((ticks + 1) * TICK).astype(np.float64)

"""All that is known of one model in one partition, and how events change it.

Events come in whole ticks, in order. They are cut where the watermark enters a new pane: there windows slide, panes
close and old predictions expire; between two such points everything is counted at once.
Invariant: state and emissions after a call are functions of the events and ticks so far, not of how they were sliced.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from stream.config import Limits, Model, Renewal
from stream.events import Alert, Prediction, Refusal, Scalar
from stream.monitor import coding, counted, intake, renewals, snapshots, tasks
from stream.monitor.basis.columns import Floats, picked
from stream.monitor.basis.join_rows import Incoming, Joined, Observed
from stream.monitor.basis.vocabulary import MAX_NAME
from stream.monitor.exchange import Applied, Emission, Guesses, Refused, Truths
from stream.monitor.features.feature_rows import plain
from stream.monitor.features.reference import Reference
from stream.monitor.known import Known
from stream.monitor.panes.course import Course
from stream.monitor.panes.pane import PREDICTIONS, Pane
from stream.monitor.panes.segment_course import SegmentFeatures
from stream.monitor.renewals import Renewals
from stream.monitor.rules.machine import TICK
from stream.monitor.rules.silences import Silences
from stream.monitor.watching.look import Flow
from stream.monitor.watching.watches import Watches

Flags = npt.NDArray[np.bool_]


class ModelMonitor(Known):
    """One model."""

    def __init__(
        self,
        name: str,
        spec: Model,
        limits: Limits,
        reference: Reference | None = None,
        silences: Silences | None = None,
        renewals: Renewals | None = None,
    ) -> None:
        super().__init__(name, spec, limits, reference, silences or Silences())
        self.renewals = renewals or Renewals()
        self.watches = Watches(name, spec)
        self._kept = 0
        """Panes below this one are forgotten."""
        self._emissions: list[Emission] = []
        self._lessons: list[Joined] = []

    # -- events --------------------------------------------------------------------------------------------------

    def apply(self, guesses: Guesses, truths: Truths, limit: int) -> Applied:
        """Takes all events of ticks below `limit`; event time has come to the start of tick `limit`."""
        applied = Applied([], [], [], [])
        self._emissions, self._lessons = applied.emissions, applied.lessons
        self._alert(self.watches.dismiss(self))
        self.revision += 1
        if self.position < 0:
            first = min(int(rows.tick[0]) for rows in (guesses, truths) if len(rows.tick))
            self.start(self.pane_at(first))
        coding.recognise(self, guesses, truths)
        done_p = done_l = 0
        while turn := tasks.turn(self, guesses, truths):
            p, q = (int(np.searchsorted(rows.tick, turn.tick)) for rows in (guesses, truths))
            self._count(guesses.part(0, p), truths.part(0, q), applied, done_p, done_l)
            self._pass(turn.tick)
            guesses, truths, done_p, done_l = guesses.part(p), truths.part(q), done_p + p, done_l + q
            if tasks.become(self, turn, guesses, truths):
                self.watches.restart()
        self._count(guesses, truths, applied, done_p, done_l)
        self._pass(limit)
        return applied

    def advance(self, limit: int) -> list[Emission]:
        """Event time passes without events, up to the start of tick `limit`."""
        emissions: list[Emission] = []
        self._emissions = emissions
        if limit > self.tick:
            self.revision += 1
            self._alert(self.watches.dismiss(self))
            self._pass(limit)
        return emissions

    @property
    def due(self) -> float:
        """Event time at which something may happen though no event comes; infinite when nothing will."""
        waits = self.panes or self.join.early
        pane = (self.position + 1) * self.spec.pane if waits else math.inf
        renewal = self._renewal
        return min(
            *(pane, self.watches.due, self.sent.held.due(self.tick * TICK)),
            math.inf if renewal is None or self.position < 0 else renewals.tick_of(renewal, self.tick) * TICK,
        )

    # -- rows ----------------------------------------------------------------------------------------------------

    def _count(self, guesses: Guesses, truths: Truths, applied: Applied, skip_p: int, skip_l: int) -> None:
        """Counts rows of one task, in parts between which the reference is taken anew."""
        while renewal := self._renewal:
            tick = renewals.tick_of(renewal, self.tick)
            p, q = (int(np.searchsorted(rows.tick, tick)) for rows in (guesses, truths))
            if p == len(guesses.tick) and q == len(truths.tick):
                break
            self._count_part(guesses.part(0, p), truths.part(0, q), applied, skip_p, skip_l)
            self._pass(tick)
            guesses, truths, skip_p, skip_l = guesses.part(p), truths.part(q), skip_p + p, skip_l + q
        self._count_part(guesses, truths, applied, skip_p, skip_l)

    def _count_part(self, guesses: Guesses, truths: Truths, applied: Applied, skip_p: int, skip_l: int) -> None:
        """Counts rows of one task and one reference, pane by pane of the watermark."""
        pane_p, pane_l = (self.panes_at(rows.tick) for rows in (guesses, truths))
        for pane in np.union1d(pane_p, pane_l).tolist():
            self._pass(self.tick_of(pane))
            p, q = (
                slice(int(np.searchsorted(panes, pane)), int(np.searchsorted(panes, pane, side="right")))
                for panes in (pane_p, pane_l)
            )
            part_p, part_l = guesses.part(p.start, p.stop), truths.part(q.start, q.stop)
            self._count_pane(part_p, part_l, applied, skip_p + p.start, skip_l + q.start)

    def _count_pane(self, guesses: Guesses, truths: Truths, applied: Applied, skip_p: int, skip_l: int) -> None:
        """Counts rows within one pane of the watermark, and refuses what means nothing under the task."""
        failed = coding.failed(guesses)
        coding.meet(self, guesses, truths, failed)
        values = [event.prediction for event in guesses.events] if guesses.codes is None else guesses.codes
        if not failed.any():
            predicted, good_p, why = coding.coded(self, values)
        else:
            predicted, good_p = np.zeros(len(values)), failed.copy()
            ok = np.flatnonzero(~failed)
            predicted[ok], good_p[ok], why = coding.coded(self, [values[row] for row in ok])
        observations: list[Scalar] | Floats
        observations = [event.label for event in truths.events] if truths.codes is None else truths.codes
        actual, good_l, why_l = coding.coded(self, observations)
        for good, into, skip in ((good_p, applied.predictions, skip_p), (good_l, applied.labels, skip_l)):
            into += [Refused(int(row) + skip, Refusal.INVALID, why or why_l) for row in np.flatnonzero(~good)]
        if self.layout is not None:
            tasks.grow(self)
        scores = coding.scored(self, guesses.events)
        segments = self.segments.columns(guesses.events)
        p, q = np.flatnonzero(good_p), np.flatnonzero(good_l)
        events, observed = _picked(guesses.events, p), _picked(truths.events, q)
        self._chunk(
            events,
            Incoming(
                [event.id for event in events],
                guesses.tick[p],
                guesses.ts[p],
                predicted[p],
                scores[p],
                segments[p],
                [plain(event.features) for event in events] if self.join.keeps_payload else None,
            ),
            failed[p],
            Observed(
                [event.id for event in observed],
                truths.tick[q],
                truths.ts[q],
                actual[q],
                intake.weights(observed),
            ),
        )

    def _chunk(self, events: list[Prediction], incoming: Incoming, failed: Flags, observed: Observed) -> None:
        """Rows within one pane of the watermark."""
        counters = self.counters
        counters.predictions += len(events)
        counters.labels += len(observed)
        waiting, who = incoming, events
        if failed.any():
            counters.errors += int(np.count_nonzero(failed))
            ok = np.flatnonzero(~failed)
            waiting, who = incoming.take(ok), _picked(events, ok)
        pane = self.panes_of(waiting.ts)
        if len(pane) and int(pane.min()) < self.floor:
            # Their horizon is over: they are known to have come, and that is all.
            late = pane < self.floor
            counters.expired_predictions += int(np.count_nonzero(late))
            kept = np.flatnonzero(~late)
            waiting, who = waiting.take(kept), _picked(who, kept)
        joined, kept = self.join.match(waiting, observed, self.position * self.spec.pane, self.spec.horizon)
        repeats = None
        if len(kept) < len(who):
            again = np.delete(np.arange(len(who)), kept)
            repeats = waiting.tick[again], self.panes_of(waiting.ts[again])
            waiting, who = waiting.take(kept), _picked(who, kept)
        outcomes = counted.outcomes(self, joined)
        counters.outcomes += len(outcomes)
        traffic, values = counted.traffic(self, who, waiting, events, incoming, failed)
        traffic.repeats = repeats
        if self.task == "regression":
            outcomes.scores = self.join.placed(joined.slots)
        course = Course(traffic, outcomes, self.layout, self.normal.width, observed.tick)
        if self.watches.answered:
            course.answers = self.estimator.answered(outcomes, self.layout)
        self.estimator.learn(outcomes, self.layout, course.sums)  # after their predictions, which give places
        course.suspects = self.suspects.meet(outcomes, self.join.marked(joined.slots), self.task)
        flaws = self.normal.flaws if self.spec.segments else None
        if flaws is not None:
            course.segmented = SegmentFeatures(flaws, self.normal.of_segments(self.segments.names))
        if self.normal.together is not None:
            course.embed(self.normal.together.embedding)
        self.baseline.look(course, collecting=self.normal.builder is not None)
        flow = Flow(who, waiting, outcomes, values, observed.tick)
        self._watch(course, flow)
        self._note_version(who)
        for index, segments in course.commit(self.panes, self.windows).items():
            self._touch(index, segments)
        self.baseline.add()
        if self.join.keeps_payload and len(joined.tick):
            self._lessons.append(joined)

    def _note_version(self, events: list[Prediction]) -> None:
        for event in reversed(events):
            if event.version is not None:
                self.version = event.version[:MAX_NAME]
                break

    def _touch(self, index: int, segments: set[int]) -> None:
        """A pane has changed: it is stored again, and its snapshots are sent when they are due."""
        pane = self.panes[index]
        pane.version = self.version if index == self.position else pane.version
        pane.stale = sorted({*pane.stale, *segments})
        self.changed.add(index)
        if index not in self.stale:
            age = self.position - index + 1
            self.stale[index] = index + (1 << (age - 1).bit_length())

    def _watch(self, course: Course, flow: Flow) -> None:
        """Looks at every rule at the chunk's tick ends."""
        self._alert(self.watches.evaluate(course, flow, self))

    def _alert(self, alerts: list[Alert], until: float = -math.inf) -> None:
        """Sends alerts, and those that silences held back up to `until`."""
        self._emissions += self.sent.send(alerts, self.tick * TICK, until)

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def _renewal(self) -> Renewal | None:
        """The next one to be taken."""
        return self.renewals.after(self.name, self.renewed.at)

    def _pass(self, tick: int) -> None:
        """Event time comes to the start of a tick, and the reference is taken anew where that is due."""
        while self.position >= 0 and (renewal := self._renewal):
            begins = renewals.tick_of(renewal, self.tick)
            if begins > tick:
                break
            self._move(begins)
            self._alert(self.watches.renew(self))
            renewals.begin(self, renewal)
        self._move(tick)

    def _move(self, tick: int) -> None:
        """Event time comes to the start of a tick."""
        if self.position < 0 or tick <= self.tick:
            return
        target = self.pane_at(tick)
        while self.position < target:
            step = self.position + 1
            if target - step > 2:
                boundary = self._next_boundary()
                step = target if boundary is None else min(max(boundary, step), target)
            start = self.tick_of(step) * TICK
            self._alert(self.watches.pass_time(start, self), start)
            self._enter(step)
        self._alert(self.watches.pass_time(tick * TICK, self), tick * TICK)
        self.tick = tick

    def _next_boundary(self) -> int | None:
        """The next pane of the watermark at whose start something happens without events; None: nothing would."""
        if self.position < 0:
            return None
        candidates = list(self.stale.values())
        for index in self.panes:
            candidates.append(index + self.horizon_panes + 1)
            candidates += [left for window in self.windows if (left := window.leaves_at(index)) > self.position]
        if self.join.early:
            candidates.append(int(self.join.oldest // self.spec.pane) + self.horizon_panes + 1)
        return max(min(candidates), self.position + 1) if candidates else None

    def _enter(self, pane: int) -> None:
        """The watermark enters a pane."""
        before = self.panes.get(pane - 1)
        self.suspects.enter(0 if before is None else int(before.sums.traffic[0, PREDICTIONS]))
        self.position = pane
        self.join.settled.pass_time(pane * self.spec.pane, self.spec.horizon)
        self.estimator.calibrate(self.layout, self.normal.layout)
        moved = [window.slide(pane, self.panes) for window in self.windows]
        tick = self.tick_of(pane)
        if any(moved):
            still = Course.still(tick - 1, self.layout, self.normal.width, 1 + len(self.spec.segments))
            self._alert(self.watches.evaluate(still, None, self))
        for index in sorted(index for index, due in self.stale.items() if due <= pane):
            self._send(index, tick, final=False)
        self._finish(pane - self.horizon_panes, tick)

    def _finish(self, floor: int, tick: int) -> None:
        """Panes below `floor` are final: what still waits in them has expired."""
        expired, orphans = self.join.expire(floor * self.spec.pane)
        self.counters.expired_predictions += expired
        self.counters.expired_labels += orphans
        for index in _between(self.panes, self.floor, floor):
            traffic = self.panes[index].sums.traffic
            self.panes[index].stale = np.flatnonzero(traffic.any(axis=1)).tolist()
            self._send(index, tick, final=True)
        self.floor = max(floor, self.floor)
        # A window may reach back further than the horizon.
        kept = min(self.floor, *(window.first for window in self.windows)) if self.windows else self.floor
        for index in _between(self.panes, self._kept, kept):
            pane = self.panes.pop(index)
            if self.parted is not None:
                self.parted.append((pane, self.layout))
            self.changed.discard(index)
            self.gone.add(index)
        self._kept = max(kept, self._kept)

    def finish(self) -> list[Emission]:
        """Snapshots of what has changed since they were last sent, at the end of a replay."""
        emissions: list[Emission] = []
        self._emissions = emissions
        for index in sorted(self.stale):
            self._send(index, self.tick, final=False)
        return emissions

    def _send(self, index: int, tick: int, final: bool) -> None:
        pane = self.panes[index]
        for segment in pane.stale:
            self._emissions.append(Emission(tick, snapshots.snapshot(self, pane, segment, final)))
        pane.stale, pane.final = [], final
        self.stale.pop(index, None)
        self.changed.add(index)


def _between(panes: dict[int, Pane], start: int, stop: int) -> list[int]:
    """Indices of known panes from start to before stop, ascending."""
    if stop - start > len(panes):
        return sorted(index for index in panes if start <= index < stop)
    return [index for index in range(start, stop) if index in panes]


T = TypeVar("T")


def _picked(events: list[T], rows: npt.NDArray[np.intp]) -> list[T]:
    if len(rows) == len(events):
        return events
    return picked(events, rows.tolist())

"""What a replay was like, model by model: collects panes and alerts while events run through the shard.

Panes are summed to steps, so few that a timeline can show each; sums are exact, so a step's metrics are those of its
predictions, with every label that came for them. Its estimates are means of what was told when its panes closed: what
labels taught later was not known then. Invariant: a function of the events, whatever the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Struct, field, structs

from stream.effects import Channel, Outgoing
from stream.events import Alert, Estimated, MetricSnapshot
from stream.monitor import snapshots
from stream.monitor.basis.columns import Ints
from stream.monitor.metrics.layout import Layout
from stream.monitor.model import ModelMonitor
from stream.monitor.panes.pane import PREDICTIONS, Pane, Sums
from stream.shard import Shard
from stream.view import ModelView

STEPS = 288
"""Steps of a timeline, at most."""

NICE = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 86400.0, 7 * 86400.0, 28 * 86400.0)
"""Lengths that a step had better have, seconds; each is a multiple of the one before."""

SEGMENTS = 12
"""Segments that are shown beside the whole model: those with most predictions."""

HEAT_SAMPLES = 1000
"""Predictions that a column of the drift map had better have: noise of PSI is then far below what is called drift."""

T = TypeVar("T")

UNIT = 2.0**-40
"""Of a sum of estimates, which is a whole number and so the same in any order."""


class _Told(Struct):
    """What a snapshot says of estimates."""

    model: str
    segment: str
    start: float
    estimates: dict[str, Estimated] = {}


_alert = msgspec.json.Decoder(Alert).decode
_told = msgspec.json.Decoder(_Told).decode


class Step(Struct):
    """One step of a timeline."""

    start: float
    end: float
    whole: MetricSnapshot
    segments: dict[str, MetricSnapshot] = field(default_factory=dict)


class History(Struct):
    """One model."""

    view: ModelView
    pane: float
    step: float
    """Seconds."""
    begin: float
    end: float
    steps: list[Step]
    heat: list[Step]
    """The same time in columns of enough predictions for the drift map."""
    alerts: list[Alert]

    @property
    def model(self) -> str:
        """Its name."""
        return self.view.model


class Timeline:
    """Panes of one model, summed to steps of a number of panes."""

    def __init__(self, pane: float) -> None:
        self.pane = pane
        self.panes = 1
        self.sums: dict[int, Sums] = {}
        self.estimates: dict[int, dict[str, tuple[int, int]]] = {}
        """By step and metric: sum of values times samples, in UNIT, and samples."""
        self._layout: Layout | None = None
        self._closed = -1
        """Panes up to this one have told their estimates."""
        self._renewals = 0

    def compare(self, renewals: int) -> None:
        """Forgets features counted on the bins of a reference that was taken anew since; `renewals`: how often."""
        if renewals != self._renewals:
            self._renewals = renewals
            for sums in self.sums.values():
                sums.forget_features()

    def estimated(self, pane: int, told: dict[str, Estimated]) -> None:
        """Takes what was estimated of a pane, the first time."""
        if pane <= self._closed:
            return
        self._closed = pane
        step = self.estimates.setdefault(pane // self.panes, {})
        for name, each in told.items():
            if each.value is not None and each.samples:
                total, samples = step.get(name, (0, 0))
                step[name] = total + round(each.value * each.samples / UNIT), samples + each.samples

    def add(self, pane: Pane, layout: Layout | None) -> None:
        """Adds a pane whose tallies `layout` explains."""
        part = pane.sums
        # Scores of segments take much room, and only the whole model shows what needs them.
        part = Sums(
            part.traffic, part.tally, part.features, part.latency, _whole(part.scores), _whole(part.guesses),
            joint=part.joint, by_segment=part.by_segment,
        )  # fmt: skip
        if layout is not None and part.tally.shape[1] not in (0, layout.width):
            part.tally = np.zeros((1, 0), np.int64)  # counted before the task was known
        part.tally = self._fitted(part.tally, layout)
        sums = self.sums.setdefault(pane.index // self.panes, Sums())
        if len(sums.features) and len(part.features) not in (0, len(sums.features)):
            part.forget_features()
        sums.add(part)
        while max(self.sums) - min(self.sums) >= STEPS:
            self._coarsen()

    def _fitted(self, tally: Ints, layout: Layout | None) -> Ints:
        """The tally on the widest layout so far; what is here is brought to it, too."""
        known = self._layout
        if layout is None or known is None or layout.task != known.task:
            if layout is not None:
                for sums in self.sums.values():
                    sums.tally, sums.scores, sums.guesses = np.zeros((1, 0), np.int64), {}, {}
                self._layout = layout
            return tally
        if layout.classes > known.classes:
            for sums in self.sums.values():
                if sums.tally.shape[1]:
                    sums.tally = known.grow(sums.tally, layout.classes)
            self._layout = layout
            return tally
        return layout.grow(tally, known.classes) if tally.shape[1] else tally

    def _coarsen(self) -> None:
        now = self.pane * self.panes
        longer = next((each for each in NICE if each > now and each % now == 0), 4 * now)
        self.regroup(round(longer / now))

    def regroup(self, factor: int) -> None:
        """Makes each step as long as `factor` steps."""
        self.panes *= factor
        before, self.sums = self.sums, {}
        for index in sorted(before):
            self.sums.setdefault(index // factor, Sums()).add(before[index])
        told, self.estimates = self.estimates, {}
        for index in sorted(told):
            step = self.estimates.setdefault(index // factor, {})
            for name, (total, samples) in told[index].items():
                held = step.get(name, (0, 0))
                step[name] = held[0] + total, held[1] + samples

    def coarser(self, samples: int) -> Timeline:
        """The same in longer steps, so that most of them have so many predictions."""
        copy = Timeline(self.pane)
        copy.panes, copy.sums, copy.estimates = self.panes, self.sums, self.estimates
        while len(copy.sums) > 1:
            sizes = [int(sums.traffic[0, PREDICTIONS]) for sums in copy.sums.values()]
            if np.median(sizes) >= samples:
                break
            copy.regroup(2)
        return copy

    def told(self, m: ModelMonitor, codes: Sequence[int], end: float) -> list[Step]:
        """The steps, with the metrics of the whole model and of some segments."""
        told = []
        length = self.pane * self.panes
        for index in sorted(self.sums):
            pane = Pane(index, self.sums[index])
            whole, *parts = (snapshots.snapshot(m, pane, code, True) for code in (0, *codes))
            start, stop = index * length, (index + 1) * length
            lasted = min(stop, end) - start  # the last step may be cut short
            whole = structs.replace(
                whole,
                throughput=whole.predictions / lasted if lasted > 0 else UNSET,
                estimates={
                    name: Estimated(total * UNIT / samples, samples)
                    for name, (total, samples) in self.estimates.get(index, {}).items()
                },
            )
            told.append(Step(start, stop, whole, {part.segment: part for part in parts}))
        return told


class Recorder:
    """Watches a replay; `histories` afterwards."""

    def __init__(self) -> None:
        self._timelines: dict[str, Timeline] = {}
        self._alerts: dict[str, list[Alert]] = {}

    def __call__(self, shard: Shard, decided: Sequence[Outgoing]) -> None:
        """Sees the shard after a slice."""
        for name, model in shard.models.items():
            parted = model.parted or []
            if model.renewed.count:
                self._timeline(name, model).compare(model.renewed.count)
            for pane, layout in parted:
                self._timeline(name, model).add(pane, layout)
            parted.clear()
        for effect in decided:
            if effect.channel is Channel.ALERTS:
                alert = _alert(effect.value)
                self._alerts.setdefault(alert.model, []).append(alert)
            elif effect.channel is Channel.SNAPSHOTS:
                told = _told(effect.value)
                if told.segment == "all":
                    timeline = self._timeline(told.model, shard.models[told.model])
                    timeline.estimated(round(told.start / timeline.pane), told.estimates)

    def histories(self, shard: Shard) -> list[History]:
        """All models by name, at the end of the replay."""
        views = {view.model: view for view in shard.view().models}
        # A model that is silent is left where it is; the last events of all say how far time has come.
        end = max((model.watermark or 0.0 for model in shard.models.values()), default=0.0)
        return [self._history(model, views[name], end) for name, model in sorted(shard.models.items())]

    def _timeline(self, name: str, model: ModelMonitor) -> Timeline:
        if name not in self._timelines:
            self._timelines[name] = Timeline(model.spec.pane)
        return self._timelines[name]

    def _history(self, m: ModelMonitor, view: ModelView, end: float) -> History:
        timeline = self._timeline(m.name, m)
        for index in sorted(m.panes):
            timeline.add(m.panes[index], m.layout)
        totals = np.zeros(len(m.segments.names), np.int64)
        for sums in timeline.sums.values():
            totals[: len(sums.traffic)] += sums.traffic[:, PREDICTIONS]
        codes = [int(code) for code in np.argsort(-totals[1:], kind="stable")[:SEGMENTS] + 1 if totals[code]]
        steps = timeline.told(m, codes, end)
        compared = list(m.normal.of_segments(m.segments.names))
        heat = timeline.coarser(HEAT_SAMPLES).told(m, compared, end)
        begin = steps[0].start if steps else 0.0
        alerts = self._alerts.get(m.name, [])
        return History(view, m.spec.pane, timeline.pane * timeline.panes, begin, end, steps, heat, alerts)


def _whole(by_segment: dict[int, T]) -> dict[int, T]:
    return {0: by_segment[0]} if 0 in by_segment else {}

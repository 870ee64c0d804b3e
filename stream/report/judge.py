"""How right a rule was: its alerts against the intervals that are known to be bad.

An interval is found when the rule fires at some moment of it, the grace after its end included; the delay is from its
start to the first such moment. An alert is right when it begins in an interval, false when it begins in none. What is
bad by the truth for another rule, or for another segment of an alert's own rule, says nothing about an alert of `all`.
Beside a rule stands one that always fires, anew at every pane: it misses nothing, and shows what that is worth.
Invariant: right + false + unjudged = alerts, and found + missed = expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from msgspec import Struct

from stream.monitor.basis.columns import Floats

ALL = "all"

PANES = 1_000_000
"""Alerts of the rule that always fires, at most: beyond, several panes are one."""


class Firing(Struct, frozen=True):
    """One alert: from firing to resolved, or to the end of the events. Event time, seconds."""

    start: float
    end: float
    segment: str = ALL


class Incident(Struct, frozen=True):
    """An interval that is known to be bad."""

    model: str
    start: float
    end: float
    segment: str | None = None
    """None: the whole model."""
    rule: str | None = None
    """The rule that it is about: no other is asked to find it, or blamed for firing. None: all."""
    grace: float = 0.0
    """Seconds after the end in which an alert still belongs to it."""
    note: str | None = None

    @property
    def until(self) -> float:
        """The end with the grace."""
        return self.end + self.grace

    def concerns(self, segment: str) -> bool:
        """Whether an alert about a segment can be about this."""
        return self.segment is None or segment in (ALL, self.segment)


class Verdict(Struct, frozen=True):
    """How one rule did. Times in seconds."""

    alerts: int
    right: int
    false: int
    unjudged: int
    """Alerts in intervals that are about another rule."""
    expected: int
    """Intervals that the rule could find."""
    delays: tuple[float, ...]
    """Of each interval that was found."""
    healthy: float
    """Time outside of every interval."""
    firing: float
    """The part of it in which the rule fired."""

    @property
    def found(self) -> int:
        """Intervals in which it fired."""
        return len(self.delays)

    @property
    def missed(self) -> int:
        """Intervals in which it did not."""
        return self.expected - len(self.delays)

    @property
    def precision(self) -> float | None:
        """Share of judged alerts that are right."""
        judged = self.right + self.false
        return self.right / judged if judged else None

    @property
    def median_delay(self) -> float | None:
        """Of the intervals that were found."""
        return float(np.median(self.delays)) if self.delays else None


def judge(
    rule: str,
    watched: Iterable[str],
    alerts: Sequence[Firing],
    incidents: Iterable[Incident],
    life: tuple[float, float],
) -> Verdict:
    """Judges the alerts of one rule of one model. `watched`: segments that the rule looks at; `life`: first and last
    event time of the model. Intervals that lie outside of it are left out."""
    begin, end = life
    inside = [each for each in incidents if each.start <= end and each.until >= begin]
    mine = [each for each in inside if each.rule in (None, rule)]
    others = [each for each in inside if each.rule not in (None, rule)]
    segments = list(watched)
    delays, expected = [], 0
    for incident in mine:
        if not any(incident.concerns(segment) for segment in segments):
            continue
        expected += 1
        met = [
            max(0.0, alert.start - incident.start)
            for alert in alerts
            if incident.concerns(alert.segment) and alert.start <= incident.until and alert.end >= incident.start
        ]
        if met:
            delays.append(min(met))
    right = sum(any(_begins_in(alert, each) for each in mine) for alert in alerts)
    unjudged = sum(
        any(_begins_in(alert, each) for each in others) and not any(_begins_in(alert, each) for each in mine)
        for alert in alerts
    )
    bad = _union([(max(begin, each.start), min(end, each.until)) for each in inside])
    fired = _union([(max(begin, alert.start), min(end, alert.end)) for alert in alerts])
    both = _length(bad) + _length(fired) - _length(_union([*bad, *fired]))
    return Verdict(
        alerts=len(alerts),
        right=right,
        false=len(alerts) - right - unjudged,
        unjudged=unjudged,
        expected=expected,
        delays=tuple(delays),
        healthy=(end - begin) - _length(bad),
        firing=max(0.0, _length(fired) - both),
    )


def always(incidents: Iterable[Incident], life: tuple[float, float], pane: float) -> Verdict:
    """The rule that fires anew at the start of every pane of a model's life, whatever comes."""
    begin, end = life
    step = pane * max(1, -(-int((end - begin) / pane) // PANES))
    starts: Floats = np.arange(np.floor(begin / step), np.floor(end / step) + 1) * step
    starts[0] = begin
    inside = [each for each in incidents if each.start <= end and each.until >= begin]
    right = np.zeros(len(starts), np.bool_)
    for each in inside:
        right |= (starts >= each.start) & (starts <= each.until)
    bad = _union([(max(begin, each.start), min(end, each.until)) for each in inside])
    healthy = (end - begin) - _length(bad)
    return Verdict(
        alerts=len(starts),
        right=int(right.sum()),
        false=int((~right).sum()),
        unjudged=0,
        expected=len(inside),
        delays=(0.0,) * len(inside),
        healthy=healthy,
        firing=healthy,
    )


def _begins_in(alert: Firing, incident: Incident) -> bool:
    return incident.concerns(alert.segment) and incident.start <= alert.start <= incident.until


def _union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans without overlaps, ascending.

    >>> _union([(3.0, 4.0), (0.0, 2.0), (1.0, 2.5), (9.0, 8.0)])
    [(0.0, 2.5), (3.0, 4.0)]
    """
    joined: list[tuple[float, float]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _length(spans: Iterable[tuple[float, float]]) -> float:
    return sum(end - start for start, end in spans)

"""Silences: alerts that nobody is to be woken by for a while, and what becomes of them.

A firing alert that a silence covers is held back: it counts, and the page shows it as silenced, but it is not published
until the silence has ended, and not at all when it has been resolved by then. An alert that was published is resolved
on the topic whatever is silenced meanwhile. Time is event time, so replay holds back the same alerts.
Invariant: of each alert, either firing and resolved are published, in this order, or neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import structs

from stream.config import Silence
from stream.events import Alert
from stream.monitor.rules.machine import tick_end


class Silences:
    """The silences that are in force: those of the configuration, and those given to the running workers."""

    def __init__(self, configured: Iterable[Silence] = ()) -> None:
        self.configured = tuple(configured)
        self._given: tuple[Silence, ...] = ()
        self.revision = 0
        """Grows with every change."""

    @property
    def given(self) -> tuple[Silence, ...]:
        """Those given to the running workers."""
        return self._given

    @given.setter
    def given(self, silences: tuple[Silence, ...]) -> None:
        if silences != self._given:
            self._given = silences
            self.revision += 1

    def until(self, alert: Alert, time: float) -> float | None:
        """When the silence ends that covers an alert at a time; None when none does."""
        ends = [each.until for each in (*self.configured, *self.given) if covers(each, alert)]
        later = [math.inf if end is None else end for end in ends if end is None or end > time]
        return max(later, default=None)


def covers(silence: Silence, alert: Alert) -> bool:
    """Whether an alert is of the model, the rule and the segment that a silence names.

    >>> low = Alert("1", "f", "fraud", "all", "low", "performance", "info", "firing", 0.5, 9, 0.0, 0.0, "low")
    >>> covers(Silence(model="fraud"), low), covers(Silence(rule="low", segment="country=BR"), low)
    (True, False)
    """
    named = ((silence.model, alert.model), (silence.rule, alert.rule), (silence.segment, alert.segment))
    return all(said is None or said == found for said, found in named)


class Held:
    """The firing alerts of one model that are held back."""

    def __init__(self, silences: Silences, alerts: Iterable[Alert] = ()) -> None:
        self._silences = silences
        self._alerts = {alert.fingerprint: alert for alert in alerts}

    @property
    def alerts(self) -> list[Alert]:
        """As they will be published."""
        return list(self._alerts.values())

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._alerts

    def take(self, alert: Alert) -> Alert:
        """An alert of now, marked when it is not to be published."""
        silenced = False
        if alert.state == "firing":
            silenced = self._silences.until(alert, alert.ts) is not None
            if silenced:
                self._alerts[alert.fingerprint] = alert
            else:
                self._alerts.pop(alert.fingerprint, None)
        else:
            silenced = self._alerts.pop(alert.fingerprint, None) is not None
        return structs.replace(alert, silenced=True) if silenced else alert

    def due(self, since: float) -> float:
        """When the first silence ends that holds something back; event time has come to `since`."""
        return min((self._end(alert, since) for alert in self._alerts.values()), default=math.inf)

    def release(self, since: float, until: float) -> list[tuple[float, Alert]]:
        """The alerts whose silence has ended by `until`, and when, in that order; event time was `since` before."""
        ended = [(self._end(alert, since), alert) for alert in self._alerts.values()]
        found = sorted(((end, alert) for end, alert in ended if end <= until), key=lambda each: each[0])
        for _, alert in found:
            del self._alerts[alert.fingerprint]
        return found

    def _end(self, alert: Alert, since: float) -> float:
        """The tick end at which an alert is not covered any more."""
        end = self._silences.until(alert, max(since, alert.ts))
        return max(since, alert.ts) if end is None else math.inf if end == math.inf else tick_end(end)

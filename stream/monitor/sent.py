"""Alerts of one model on their way out: silences hold some back, all are counted, and the newest are remembered.

Invariant: they go out in order of event time, however many are given at once.
"""

from __future__ import annotations

from collections.abc import Iterable

from stream.events import Alert
from stream.monitor.exchange import Emission
from stream.monitor.rules.machine import TICK
from stream.monitor.rules.silences import Held, Silences

REMEMBERED = 50
"""Alerts that the page can show."""


class Sent:
    """What became of the alerts of one model."""

    def __init__(self, silences: Silences) -> None:
        self._silences = silences
        self.held = Held(silences)
        self.recent: list[Alert] = []
        """The newest first."""
        self.total: dict[str, int] = {}
        """Firing alerts by severity and rule."""

    def restore(self, recent: list[Alert], total: dict[str, int], held: Iterable[Alert]) -> None:
        """Goes on from a checkpoint."""
        self.recent, self.total, self.held = recent, total, Held(self._silences, held)

    def send(self, alerts: Iterable[Alert], since: float, until: float) -> list[Emission]:
        """Alerts that go out now, among them those that silences held back up to `until`; event time was `since`."""
        emissions: list[Emission] = []
        for one in sorted(alerts, key=lambda each: each.ts):
            emissions += self._released(since, one.ts)
            alert = self.held.take(one)
            if not alert.silenced:
                emissions.append(Emission(round(alert.ts / TICK), alert))
            if alert.state == "firing":
                key = f"{alert.severity} {alert.rule}"
                self.total[key] = self.total.get(key, 0) + 1
            self.recent = [alert, *self.recent][:REMEMBERED]
        return emissions + self._released(since, until)

    def _released(self, since: float, until: float) -> list[Emission]:
        """Alerts whose silence has ended while they fire."""
        emissions = []
        for end, alert in self.held.release(since, until):
            emissions.append(Emission(round(end / TICK), alert))
            self.recent = [alert if each.id == alert.id else each for each in self.recent]
        return emissions

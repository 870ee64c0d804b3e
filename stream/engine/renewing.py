"""References that running workers are told to take anew: kept in the checkpoint store, for all workers and for good.

A renewal holds from a moment on that is far enough ahead for every worker to hear of it before: then it is taken at the
same tick whatever is killed meanwhile, and again where a shard is rebuilt from Kafka.
"""

from __future__ import annotations

import time

from msgspec import UNSET, Struct, UnsetType

from stream.checkpoint.port import Store
from stream.checkpoint.seal import Seal
from stream.config import DAY, Config, Renewal
from stream.configfile.renewalchecks import problems
from stream.engine import shared
from stream.engine.shared import Shared
from stream.events import instant, seconds
from stream.monitor.renewals import Renewals
from stream.monitor.rules.machine import tick_end

ROW = "references"

AHEAD = 5.0
"""Seconds from a request that names no moment to the one that it gets: workers look every two."""

KEPT = 30 * DAY
"""Seconds that a renewal is kept after its moment; the last one of a model is kept for ever."""

MOST = 1_000


class Given(Struct, frozen=True):
    """A renewal, and when it was asked for."""

    model: str
    at: float
    first: int | None
    reason: str
    created: float | None
    """Wall clock, seconds since 1970; None for those of the configuration."""


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """What a request says; without `at` it is as soon as may be."""

    model: str
    at: float | str | UnsetType = UNSET
    first: int | None = None
    reason: str = ""


class Renewing:
    """The renewals that one worker knows. Methods that reach the store block."""

    def __init__(self, store: Store, seal: Seal, config: Config) -> None:
        self.renewals = Renewals(config.references)
        self.shared = Shared(store, seal, ROW, Given, self._hold)
        self._config = config
        self._configured = [Given(each.model, each.at, each.first, each.reason, None) for each in config.references]

    def listed(self) -> list[Given]:
        """Those of the configuration, then the others."""
        return [*self._configured, *self.shared.known]

    def add(self, body: bytes) -> Given:
        """Adds what a request asks for. Raises ValueError with what is wrong with it, and StoreUnavailable."""
        now = time.time()
        given = self._given(body, now)

        def added(known: list[Given]) -> tuple[list[Given], Given]:
            newest = {each.model: each.at for each in sorted([*self._configured, *known], key=lambda each: each.at)}
            if newest.get(given.model, given.at - 1) >= given.at:
                last = instant(newest[given.model])
                raise ValueError(f"at: found {instant(given.at)}, expected a time after the model's last, {last}")
            kept = [each for each in known if each.at > now - KEPT or each.at == newest[each.model]]
            if len(kept) >= MOST:
                raise ValueError(f"there are {MOST:,} references to be taken anew already")
            return [*kept, given], given

        return self.shared.change(added)

    def _given(self, body: bytes, now: float) -> Given:
        asked = shared.asked(body, Asked)
        at = tick_end(now + AHEAD) if asked.at is UNSET else seconds(asked.at)
        if at < now:
            raise ValueError(f"at: found {instant(at)}, which is over: expected a time to come, or none for now")
        if asked.first is not None and asked.first < 1:
            raise ValueError(f"first: found {asked.first}, expected a number of predictions, at least 1")
        shared.refuse(problems(Renewal(asked.model, at, asked.first), self._config))
        return Given(asked.model, at, asked.first, asked.reason[:1000], now)

    def _hold(self, known: tuple[Given, ...]) -> None:
        self.renewals.given = tuple(Renewal(each.model, each.at, each.first, each.reason) for each in known)

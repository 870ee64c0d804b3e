"""Silences given to running workers: kept in the checkpoint store, so that they hold on all workers and for good."""

from __future__ import annotations

import secrets
import time

from msgspec import UNSET, Struct, UnsetType, field

from stream.checkpoint.port import Store
from stream.checkpoint.seal import Seal
from stream.config import DAY, Config, Silence
from stream.configfile.durations import seconds as duration
from stream.configfile.silencechecks import problems
from stream.engine import shared
from stream.engine.shared import Shared
from stream.events import seconds
from stream.monitor.rules.silences import Silences

ROW = "silences"

KEPT = DAY
"""Seconds that a silence is kept after its end: a backlog may be of that time."""

MOST = 1_000


class Given(Struct, frozen=True):
    """A silence with what tells it apart."""

    id: str
    model: str | None
    rule: str | None
    segment: str | None
    until: float | None
    reason: str
    created: float | None
    """Wall clock, seconds since 1970; None for those of the configuration."""


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """What a request says: `until` a time, or `for` a duration from now."""

    model: str | None = None
    rule: str | None = None
    segment: str | None = None
    until: float | str | UnsetType = UNSET
    last: str | UnsetType = field(default=UNSET, name="for")
    reason: str = ""


class Silencing:
    """The silences of one worker. Methods that reach the store block."""

    def __init__(self, store: Store, seal: Seal, config: Config) -> None:
        self.silences = Silences(config.silences)
        self.shared = Shared(store, seal, ROW, Given, self._hold)
        self._config = config

    def listed(self) -> list[Given]:
        """Those of the configuration, which cannot be taken back here, then the others."""
        configured = [
            Given(f"configuration-{i}", each.model, each.rule, each.segment, each.until, each.reason, None)
            for i, each in enumerate(self._config.silences)
        ]
        return [*configured, *self.shared.known]

    def add(self, body: bytes) -> Given:
        """Adds what a request asks for. Raises ValueError with what is wrong with it, and StoreUnavailable."""
        now = time.time()
        given = self._given(body, now)

        def added(known: list[Given]) -> tuple[list[Given], Given]:
            kept = [each for each in known if each.until is None or each.until > now - KEPT]
            if len(kept) >= MOST:
                raise ValueError(f"there are {MOST:,} silences already: take some back")
            return [*kept, given], given

        return self.shared.change(added)

    def remove(self, identity: str) -> bool:
        """Takes one back; False when there is none with this id. Raises StoreUnavailable."""

        def removed(known: list[Given]) -> tuple[list[Given], bool]:
            kept = [each for each in known if each.id != identity]
            return kept, len(kept) < len(known)

        return self.shared.change(removed)

    def _given(self, body: bytes, now: float) -> Given:
        asked = shared.asked(body, Asked)
        if (asked.until is UNSET) == (asked.last is UNSET):
            raise ValueError("expected until (a time such as 2026-01-31T12:00:00Z) or for (a duration such as 2h)")
        until = now + duration(asked.last) if asked.last is not UNSET else 0.0
        if asked.until is not UNSET:
            until = seconds(asked.until)
        silence = Silence(asked.model, asked.rule, asked.segment, until, asked.reason[:1000])
        shared.refuse(problems(silence, self._config))
        where = silence.model, silence.rule, silence.segment
        return Given(secrets.token_hex(8), *where, until, silence.reason, now)

    def _hold(self, known: tuple[Given, ...]) -> None:
        self.silences.given = tuple(
            Silence(each.model, each.rule, each.segment, each.until, each.reason) for each in known
        )

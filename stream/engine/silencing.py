"""Silences given to running workers: kept in the checkpoint store, so that all workers have them, and after a restart.

They are one row of a shard that is no partition. A change takes that shard, reads, writes and is fenced when another
worker changed it meanwhile: then it is done again. Every worker looks for changes every few seconds.
Invariant: what is in force here was in the store when it was last read or written.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.port import Delta, Fenced, StateRefused, Store, StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.config import DAY, Config, Silence
from stream.configfile.durations import seconds as duration
from stream.configfile.silencechecks import problems
from stream.events import seconds
from stream.monitor.silences import Silences

logger = logging.getLogger(__name__)

SHARD = -1
"""Number of the shard that holds them: no partition has it."""

ROW = "silences"

KEPT = DAY
"""Seconds that a silence is kept after its end: a backlog may be of that time."""

MOST = 1_000
TRIES = 20

T = TypeVar("T")


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
        self._store, self._seal, self._config = store, seal, config
        self._known: tuple[Given, ...] = ()
        self._read = False
        self._lock = threading.Lock()
        self._trouble = ""

    def listed(self) -> list[Given]:
        """Those of the configuration, which cannot be taken back here, then the others."""
        configured = [
            Given(f"configuration-{i}", each.model, each.rule, each.segment, each.until, each.reason, None)
            for i, each in enumerate(self._config.silences)
        ]
        return [*configured, *self._known]

    def ensure(self) -> None:
        """Reads them once, before anything can be published. Raises StoreUnavailable."""
        if not self._read:
            self.read()

    def read(self) -> None:
        """Reads what other workers have changed. Raises StoreUnavailable."""
        with self._lock:
            self._hold(self._stored())

    def add(self, body: bytes) -> Given:
        """Adds what a request asks for. Raises ValueError with what is wrong with it, and StoreUnavailable."""
        now = time.time()
        given = self._given(body, now)

        def added(known: list[Given]) -> tuple[list[Given], Given]:
            kept = [each for each in known if each.until is None or each.until > now - KEPT]
            if len(kept) >= MOST:
                raise ValueError(f"there are {MOST:,} silences already: take some back")
            return [*kept, given], given

        return self._change(added)

    def remove(self, identity: str) -> bool:
        """Takes one back; False when there is none with this id. Raises StoreUnavailable."""

        def removed(known: list[Given]) -> tuple[list[Given], bool]:
            kept = [each for each in known if each.id != identity]
            return kept, len(kept) < len(known)

        return self._change(removed)

    def _given(self, body: bytes, now: float) -> Given:
        try:
            asked = msgspec.json.decode(body, type=Asked)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        if (asked.until is UNSET) == (asked.last is UNSET):
            raise ValueError("expected until (a time such as 2026-01-31T12:00:00Z) or for (a duration such as 2h)")
        until = now + duration(asked.last) if asked.last is not UNSET else 0.0
        if asked.until is not UNSET:
            until = seconds(asked.until)
        silence = Silence(asked.model, asked.rule, asked.segment, until, asked.reason[:1000])
        wrong = problems(silence, self._config)
        if wrong:
            raise ValueError("; ".join(f"{key}: {words}" if key else words for key, words in wrong))
        where = silence.model, silence.rule, silence.segment
        return Given(secrets.token_hex(8), *where, until, silence.reason, now)

    def _change(self, change: Callable[[list[Given]], tuple[list[Given], T]]) -> T:
        with self._lock:
            for _ in range(TRIES):
                epoch = self._store.acquire(SHARD)
                changed, answer = change(self._stored())
                row = self._seal.seal(SHARD, ROW, pack(changed))
                try:
                    self._store.commit(SHARD, epoch, Delta({ROW: row}))
                except Fenced:
                    continue
                self._hold(changed)
                return answer
        raise StoreUnavailable("other workers change silences at the same time: try again")

    def _stored(self) -> list[Given]:
        row = self._store.get(SHARD, [ROW]).get(ROW)
        if row is None:
            return []
        try:
            return unpack(list[Given], self._seal.open(SHARD, ROW, row))
        except StateRefused as error:
            if self._trouble != str(error):
                self._trouble = str(error)
                logger.warning("silences given to earlier workers cannot be read, and do not hold: %s", error)
            return []

    def _hold(self, known: list[Given]) -> None:
        self._known, self._read = tuple(known), True
        self.silences.given = tuple(
            Silence(each.model, each.rule, each.segment, each.until, each.reason) for each in known
        )

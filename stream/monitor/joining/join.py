"""Ties predictions to their labels, whatever the order, the delay and the repeats.

A prediction waits (*pending*) until its label comes or the horizon ends; a label that comes first waits too (*early*).
The first of several equal ids wins, the others are counted.
Invariant: an id is in at most one of pending, early, settled; rows are taken and given whole ticks at a time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import repeat

import numpy as np
from msgspec import Struct

from stream.events import Task
from stream.monitor.basis.columns import Floats, Ints, whole
from stream.monitor.basis.ids import Hashes, hashes
from stream.monitor.basis.join_rows import Early, Incoming, Joined, Observed, Rows, Waiting
from stream.monitor.basis.vocabulary import Vocabulary
from stream.monitor.features.suspects import Bytes, Groups
from stream.monitor.joining.join_slots import Slots
from stream.monitor.joining.settled import Settled


class Met(Struct):
    """New predictions (rows of the call, and their slots) that found their label waiting, in row order."""

    rows: list[int]
    slots: list[int]
    labels: dict[str, Early]


_NONE_MET = Met([], [], {})


class Join:
    """Pending predictions, early labels and settled ids of one model."""

    def __init__(self, scores: int, segments: int, keeps_payload: bool, pane: float) -> None:
        self._pane = pane
        self.waiting: dict[int, int] = {}
        """Predictions that wait, by pane, wherever their rows are."""
        self.total = 0
        """Their number."""
        self.garbage = 0
        """Rows in the store whose prediction has expired: they are deleted when a patrol meets them."""
        self.pending: dict[str, int] = {}
        self.early: dict[str, Early] = {}
        self.settled = Settled()
        self.era = 0
        self.duplicate_predictions = 0
        self.duplicate_labels = 0
        self.oldest = math.inf
        """No waiting event is older than this event time, seconds."""
        self._fresh: dict[str, bool] = {}
        """Ids of rows to store, and whether an older version of the row is in the store."""
        self._gone: list[str] = []
        self._fresh_early: dict[str, bool] = {}
        self._gone_early: list[str] = []
        self._slots = Slots(scores, segments, keeps_payload)
        self._stored: Rows = np.empty(0, np.intp)
        """Slots of the predictions that came in the last call and are no repeats, in their order."""

    @property
    def keeps_payload(self) -> bool:
        """Whether predictions that wait keep their features."""
        return self._slots.keeps_payload

    # -- taking rows ---------------------------------------------------------------------------------------------

    def match(self, incoming: Incoming, observed: Observed, now: float, horizon: float) -> tuple[Joined, Rows]:
        """Joins new predictions and labels; returns the outcomes, and the rows of `incoming` that are no repeats."""
        hashed = hashes(incoming.ids)
        kept = self._first(incoming.ids, hashed)
        rows = incoming if len(kept) == len(incoming) else incoming.take(kept)
        self.duplicate_predictions += len(incoming) - len(kept)
        slots = self._stored = self._store(rows, hashed[kept])
        self._account(rows.ts, 1)
        self.pending.update(zip(rows.ids, slots.tolist(), strict=True))
        met = self._meet_early(rows.ids) if self.early else _NONE_MET
        found = whole(list(map(self.pending.pop, observed.ids, repeat(-1))))
        hit = np.flatnonzero(found >= 0)
        if len(hit) < len(observed):
            self._wait(observed, np.flatnonzero(found < 0), hit, met)
        joined, used = self._outcomes(observed, found[hit], hit, rows.ids, met)
        self._settle(used, now, horizon)
        return joined, kept

    def _first(self, ids: list[str], hashed: Hashes) -> Rows:
        """Rows whose id is neither pending nor settled nor in an earlier row."""
        fresh = set(ids)
        if len(fresh) == len(ids) and self.pending.keys().isdisjoint(fresh):
            settled = self.settled.contains(hashed)
            return np.flatnonzero(~settled) if settled.any() else np.arange(len(ids))
        settled = self.settled.contains(hashed)
        seen: set[str] = set()
        kept = []
        for row, (event_id, done) in enumerate(zip(ids, settled.tolist(), strict=True)):
            if not done and event_id not in self.pending and event_id not in seen:
                seen.add(event_id)
                kept.append(row)
        return np.array(kept, np.intp)

    def _store(self, rows: Incoming, hashed: Hashes) -> Rows:
        """Gives predictions their slots."""
        if len(rows):
            self.oldest = min(self.oldest, float(rows.ts.min()))
        self._fresh.update(dict.fromkeys(rows.ids, False))
        return self._slots.take(rows, hashed)

    def widen(self, scores: int) -> None:
        """Makes room for the scores of more classes."""
        self._slots.widen(scores)

    # -- places of expected losses -----------------------------------------------------------------------------------

    def place(self, places: Ints) -> None:
        """Regression: gives predictions that came in the last call and are no repeats their places (`losses.py`)."""
        self._slots.scores[self._stored, 0] = places

    def placed(self, slots: Rows) -> Floats:
        """Shape (n, 1): the places of predictions that were joined in the last call, NaN where they have none."""
        return self._slots.scores[slots, :1]

    # -- groups of features ------------------------------------------------------------------------------------------

    def group(self, groups: Groups | None) -> None:
        """Predictions take along the groups of another reference from now on; those that wait have none of it."""
        self._slots.group(groups)

    @property
    def came(self) -> Hashes:
        """Hashes of the ids that came in the last call and are no repeats."""
        return self._slots.hash[self._stored]

    def mark(self, groups: Bytes, rows: Ints | None) -> None:
        """What some of these take along; None: all."""
        self._slots.groups[self._stored if rows is None else self._stored[rows]] = groups

    def marked(self, slots: Rows) -> Bytes:
        """What outcomes of the last call had taken along."""
        return self._slots.groups[slots]

    def _meet_early(self, ids: list[str]) -> Met:
        """New predictions whose label is already here: takes both out of waiting."""
        both = self.early.keys() & set(ids)
        if not both:
            return _NONE_MET
        at = [row for row, event_id in enumerate(ids) if event_id in both]
        slots = [self.pending.pop(ids[row]) for row in at]
        return Met(at, slots, {ids[row]: self._take_early(ids[row]) for row in at})

    def _take_early(self, event_id: str) -> Early:
        if self._fresh_early.pop(event_id, True):
            self._gone_early.append(event_id)
        return self.early.pop(event_id)

    def _wait(self, observed: Observed, misses: Rows, hit: Rows, met: Met) -> None:
        """Labels without a pending prediction: repeats are counted, the others wait."""
        ids = [observed.ids[row] for row in misses]
        settled = self.settled.contains(hashes(ids)).tolist()
        done_here = {observed.ids[row] for row in hit} | met.labels.keys()
        for row, event_id, done in zip(misses.tolist(), ids, settled, strict=True):
            if done or event_id in done_here or event_id in self.early:
                self.duplicate_labels += 1
                continue
            self.early[event_id] = Early(
                int(observed.tick[row]), float(observed.ts[row]), float(observed.actual[row]), int(observed.weight[row])
            )
            self._fresh_early[event_id] = False
            self.oldest = min(self.oldest, float(observed.ts[row]))

    def _outcomes(self, observed: Observed, slots: Rows, hit: Rows, ids: list[str], met: Met) -> tuple[Joined, Rows]:
        """Gathers both kinds of meeting and puts them in order."""
        label_tick, label_ts = observed.tick[hit], observed.ts[hit]
        actual, weight = observed.actual[hit], observed.weight[hit]
        came = self._slots.tick[slots]
        tick = np.maximum(came, label_tick)
        # A label of an earlier tick than its prediction waited for it, though both are in this call.
        phase = (came <= label_tick).astype(np.int64)
        arrival = hit
        if not phase.all():
            position = {event_id: row for row, event_id in enumerate(ids)}
            arrival = hit.copy()
            for index in np.flatnonzero(phase == 0):
                arrival[index] = position[self._slots.ids[slots[index]]]
        if met.rows:
            labels = list(met.labels.values())
            early = np.array(met.slots, np.intp)
            slots = np.concatenate([slots, early])
            tick = np.concatenate([tick, self._slots.tick[early]])
            phase = np.concatenate([phase, np.zeros(len(early), np.int64)])
            arrival = np.concatenate([arrival, np.array(met.rows, np.intp)])
            label_ts = np.concatenate([label_ts, np.array([label.ts for label in labels])])
            actual = np.concatenate([actual, np.array([label.actual for label in labels])])
            weight = np.concatenate([weight, np.array([label.weight for label in labels], np.int64)])
        order = np.lexsort((arrival, phase, tick))
        slots = slots[order]
        joined = Joined(
            tick[order],
            self._slots.ts[slots],
            label_ts[order],
            self._slots.predicted[slots],
            self._slots.scores[slots],
            self._slots.segments[slots],
            actual[order],
            weight[order],
            [self._slots.payload[slot] for slot in slots] if self.keeps_payload else None,
            slots,
        )
        return joined, slots

    def _settle(self, slots: Rows, now: float, horizon: float) -> None:
        """Frees the slots of outcomes and remembers their ids."""
        if not len(slots):
            return
        self.settled.add(self._slots.hash[slots], now, horizon)
        self._account(self._slots.ts[slots], -1)
        self._release(slots)

    def _release(self, slots: Rows) -> None:
        stored = self._fresh.pop
        self._gone += [event_id for event_id in self._slots.ids[slots].tolist() if stored(event_id, True)]
        self._slots.clear(slots)

    def _account(self, ts: Floats, change: int) -> None:
        """Keeps `waiting` right for predictions that begin or end to wait."""
        if not len(ts):
            return
        self.total += change * len(ts)
        panes = np.floor_divide(ts, self._pane).astype(np.int64)
        first = int(panes.min())
        counted = [(first, len(ts))] if first == int(panes.max()) else sorted(Counter(panes.tolist()).items())
        for pane, count in counted:
            left = self.waiting.get(pane, 0) + change * count
            if left:
                self.waiting[pane] = left
            else:
                self.waiting.pop(pane, None)

    # -- time ----------------------------------------------------------------------------------------------------

    def expire(self, before: float) -> tuple[int, int]:
        """Gives up on predictions and labels with event time below `before`; returns how many of each."""
        if self.oldest >= before:
            return 0, 0
        floor = math.ceil(before / self._pane)
        expired = sum(self.waiting.pop(pane) for pane in [pane for pane in self.waiting if pane < floor])
        self.total -= expired
        live = np.fromiter(self.pending.values(), np.intp, len(self.pending))
        old = live[self._slots.ts[live] < before]
        ids = self._slots.ids[old].tolist()
        for event_id in ids:
            del self.pending[event_id]
        self._release(old)
        orphans = [event_id for event_id, label in self.early.items() if label.ts < before]
        for event_id in orphans:
            self._take_early(event_id)
        # As exact as can be had: from here on time may pass in one step for as long as nothing expires.
        self.oldest = max(
            before,
            min(
                min(self.waiting, default=math.inf) * self._pane,
                min((label.ts for label in self.early.values()), default=math.inf),
            ),
        )
        self.garbage += expired - len(ids)
        return expired, len(orphans)

    # -- what is too much for memory ---------------------------------------------------------------------------------

    @property
    def stored_only(self) -> int:
        """Predictions that wait and whose row is only in the store."""
        return self.total - len(self.pending)

    def evict(self, count: int, kept: set[str]) -> None:
        """Drops the oldest rows from memory that are in the store and not among `kept`."""
        live = np.fromiter(self.pending.values(), np.intp, len(self.pending))
        slots = live[np.argsort(self._slots.ts[live], kind="stable")]
        ids = [i for i in self._slots.ids[slots].tolist() if i not in self._fresh and i not in kept][:count]
        gone = np.array([self.pending.pop(event_id) for event_id in ids], np.intp)
        self._slots.clear(gone)

    def unknown(self, ids: list[str]) -> list[str]:
        """Those of `ids` whose prediction may wait in the store."""
        if not self.stored_only:
            return []
        away = [event_id for event_id in ids if event_id not in self.pending]
        done = self.settled.contains(hashes(away)).tolist()
        return [event_id for event_id, settled in zip(away, done, strict=True) if not settled]

    def lend(self, rows: dict[str, Waiting], before: float, restate: Callable[[Waiting], Waiting]) -> None:
        """Takes rows from the store back into memory; those of event time below `before` have expired."""
        done = self.settled.contains(hashes(list(rows))).tolist()
        wanted: dict[str, Waiting] = {}
        for (event_id, row), settled in zip(rows.items(), done, strict=True):
            if event_id in self.pending or settled:
                continue
            if row.ts < before:
                self._gone.append(event_id)
                self.garbage -= 1
            else:
                wanted[event_id] = restate(row)
        self.restore_pending(list(wanted), list(wanted.values()))

    def restore_waiting(self, waiting: dict[int, int], garbage: int) -> None:
        """Takes back how many wait; their rows come when they are asked for."""
        self.waiting, self.total, self.garbage = waiting, sum(waiting.values()), garbage
        self.oldest = min(waiting, default=math.inf) * self._pane

    # -- another task ------------------------------------------------------------------------------------------------

    def recode(self, old: Task, new: Task, vocabulary: Vocabulary) -> None:
        """Waiting values under another task: class codes become numbers or numbers class codes, all stored again.

        Rows that are only in the store are restated when they come back.
        """
        self._fresh = dict.fromkeys(self.pending, True)
        self._fresh_early = dict.fromkeys(self.early, True)
        if "regression" not in (old, new):
            return
        convert = as_number if new == "regression" else as_code
        self._slots.scores[:] = np.nan  # probabilities are no places, nor places probabilities
        live = np.fromiter(self.pending.values(), np.intp, len(self.pending))
        self._slots.predicted[live] = [convert(value, vocabulary) for value in self._slots.predicted[live].tolist()]
        for event_id, label in self.early.items():
            self.early[event_id] = Early(label.tick, label.ts, convert(label.actual, vocabulary), label.weight)

    # -- storing -------------------------------------------------------------------------------------------------

    def changes(self) -> tuple[dict[str, Waiting], list[str], dict[str, Early], list[str]]:
        """Pending rows to store and ids to delete, and the same of early labels, since the last call."""
        ids = list(self._fresh)
        slots = np.array([self.pending[event_id] for event_id in ids], np.intp)
        waiting = dict(zip(ids, self._slots.waiting(slots, self.era), strict=True))
        early = {event_id: self.early[event_id] for event_id in self._fresh_early}
        changed = waiting, self._gone, early, self._gone_early
        self._fresh, self._gone, self._fresh_early, self._gone_early = {}, [], {}, []
        return changed

    def restore_pending(self, ids: list[str], rows: list[Waiting]) -> None:
        """Takes stored pending predictions into memory."""
        if not ids:
            return
        slots = self._store(self._slots.incoming(ids, rows), hashes(ids))
        self.pending.update(zip(ids, slots.tolist(), strict=True))
        self._slots.restore_groups(slots, rows)
        for event_id in ids:
            self._fresh.pop(event_id, None)

    def restore_early(self, ids: list[str], labels: list[Early]) -> None:
        """Takes back stored early labels."""
        self.oldest = min([self.oldest, *(label.ts for label in labels)])
        self.early.update(zip(ids, labels, strict=True))


def as_number(code: float, vocabulary: Vocabulary) -> float:
    """The number that a class name says, NaN when it says none."""
    try:
        return float(vocabulary.names[int(code)])
    except ValueError:
        return math.nan


def as_code(number: float, vocabulary: Vocabulary) -> float:
    return float(vocabulary[number])

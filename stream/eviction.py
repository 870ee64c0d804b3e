"""Waiting predictions beyond memory: which are dropped from it, and which stored rows come back.

Invariant: a prediction is dropped only when its row is stored and no event that has arrived can be joined with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

from stream.checkpoint.packing import unpack
from stream.events import Label, Prediction
from stream.monitor.basis.join_rows import Waiting
from stream.monitor.model import ModelMonitor
from stream.rows import ModelKeys, split_key

Models = Mapping[str, ModelMonitor]


def in_memory(models: Models) -> int:
    """Predictions that wait and whose row is in memory."""
    return sum(len(model.join.pending) for model in models.values())


def wanted(models: Models, events: Sequence[Prediction | Label]) -> list[str]:
    """Keys of rows of events whose prediction may wait in the store: to join them, or to know them repeated."""
    names: Set[str] = models.keys()
    if len(events) < len(names):
        names &= {event.model for event in events}
    away = {name: models[name] for name in names if models[name].join.stored_only > 0}
    if not away:
        return []
    ids: dict[str, list[str]] = {}
    for event in events:
        if event.model in away:
            ids.setdefault(event.model, []).append(event.id)
    return [
        ModelKeys(name).pending(event_id)
        for name, asked in ids.items()
        for event_id in dict.fromkeys(away[name].join.unknown(asked))
    ]


def waiting(models: Models, rows: Mapping[str, bytes]) -> dict[str, dict[str, Waiting]]:
    """Stored rows by model and id."""
    found: dict[str, dict[str, Waiting]] = {}
    for key, content in rows.items():
        name, _, event_id = split_key(key)
        if name is not None and name in models:
            found.setdefault(name, {})[event_id] = unpack(Waiting, content)
    return found


def make_room(models: Models, budget: int, coming: Iterable[Prediction | Label]) -> None:
    """Drops the oldest from memory when more than `budget` are in it, but for those that `coming` events are about."""
    excess = in_memory(models) - budget
    if excess <= 0:
        return
    excess += budget // 10
    kept: dict[str, set[str]] = {}
    for event in coming:
        kept.setdefault(event.model, set()).add(event.id)
    for name, model in sorted(models.items(), key=lambda each: -len(each[1].join.pending)):
        count = min(excess, len(model.join.pending))
        model.join.evict(count, kept.get(name, set()))
        excess -= count

"""A WorkerView as JSON for the page and for programs.

Invariant: what is left out to keep an answer small is still counted in `totals`, and models in trouble come first.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stream.events import Alert
from stream.view import ModelView, ShardView, WorkerView


def status(view: WorkerView, now: float, *, search: str = "", limit: int | None = None) -> bytes:
    """The view as JSON, `alerts_total` keyed `rule/severity`.

    `search` keeps models whose name contains it, in any case; `limit` keeps the most urgent of those. `now` is the
    worker's wall clock, seconds since 1970. Undefined numbers are null.
    """
    found = [
        (shard.partition, model)
        for shard in view.shards
        for model in shard.models
        if search.casefold() in model.model.casefold()
    ]
    found.sort(key=lambda item: (*(-n for n in _urgency(item[1])), item[1].model, item[0]))
    kept = {id(model) for _, model in found[:limit]}
    body = {
        "now": now,
        "ready": view.ready,
        "reasons": view.reasons,
        "notes": view.notes,
        "totals": {**_totals(view), "matching": len(found), "shown": len(kept)},
        "checkpoints": view.checkpoints,
        "fenced": view.fenced,
        "checkpoint_interval": view.checkpoint_interval,
        "lag": view.lag,
        "shards": [_shard(shard, kept) for shard in view.shards],
    }
    return msgspec.json.encode(body)


def alerts(view: WorkerView, state: str | None = None) -> bytes:
    """The newest alerts of all models, newest first, as JSON; only those in one state when `state` is given."""
    found: list[Alert] = [
        alert
        for shard in view.shards
        for model in shard.models
        for alert in model.alerts
        if state is None or alert.state == state
    ]
    found.sort(key=lambda alert: (-alert.ts, alert.id))
    return msgspec.json.encode({"alerts": found})


def _shard(shard: ShardView, kept: set[int]) -> dict[str, Any]:
    fields = msgspec.structs.asdict(shard)
    fields["models"] = [_model(model) for model in shard.models if id(model) in kept]
    return fields


def _model(model: ModelView) -> dict[str, Any]:
    fields = msgspec.structs.asdict(model)
    fields["alerts_total"] = {f"{rule}/{severity}": count for (rule, severity), count in model.alerts_total.items()}
    return fields


def _urgency(model: ModelView) -> tuple[int, int]:
    """Firing rules, then pending ones."""
    states = [rule.state for rule in model.rules]
    return states.count("firing"), states.count("pending")


def _totals(view: WorkerView) -> dict[str, int]:
    models = [model for shard in view.shards for model in shard.models]
    return {
        # A model on two partitions is one model, however often its key went astray.
        "models": len({model.model for model in models}),
        "predictions": sum(model.counts.predictions for model in models),
        "labels": sum(model.counts.labels for model in models),
        "outcomes": sum(model.counts.outcomes for model in models),
        "pending": sum(model.counts.pending for model in models),
        "firing": sum(_urgency(model)[0] for model in models),
        "dead_letters": sum(sum(shard.dead_letters.values()) for shard in view.shards),
        "lag": sum(lag.lag or 0 for lag in view.lag),
        "shards": len(view.shards),
    }

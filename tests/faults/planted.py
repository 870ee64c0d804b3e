"""Traffic of known truth: nine models, and incidents planted in it one after the other while `planting`.

Invariant: an incident lasts `LASTING` seconds of event time and crosses its rule's bounds once in each direction, so
whoever watches must report it once as firing and once as resolved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from stream.traffic import Event, Traffic, services

LASTING = 12.0
PERIOD = 8.0
"""Seconds from one incident to the next; the same one comes again after all others."""

FIRST = 25.0
"""Seconds after the start: by then there is something to compare with."""

SETTLED = 40.0
"""Seconds after the beginning of an incident, by which it is over, labels and windows included."""

WATCHED = {"card-fraud": "amount", "house-price": "area_m2", "ticket-routing": "words"}
COPIES = 3


class Incident(Struct, frozen=True):
    """What was planted: `rule` must fire on `model` once."""

    model: str
    rule: str
    start: float


def models() -> dict[str, Any]:
    """The configuration of the models: two rules that find what is planted, segments, a challenger."""
    found: dict[str, Any] = {}
    for kind, feature in WATCHED.items():
        for copy in range(COPIES):
            gone = {"metric": "missing_rate", "feature": feature, "above": 0.5, "recover": 0.2}
            wrong = {"metric": "accuracy", "below": 0.5, "recover": 0.75}
            rules = [{"name": "gone", **gone, "window": "10s", "min_samples": 15}]
            if kind != "house-price":
                rules.append({"name": "wrong", **wrong, "window": "10s", "min_samples": 15})
            found[f"{kind}-{copy}"] = {"rules": rules, "windows": ["10s", "1h"], "pane": "5s"}
    found["card-fraud-0"]["segments"] = ["country"]
    found["card-fraud-0"]["learn"] = {
        "challengers": [
            {"name": "tree", "model": ["river.tree.HoeffdingTreeClassifier"]},
        ],
        "save_every": 200,
    }
    return found


class Planted:
    """Events as `Traffic` draws them, with the incidents in them."""

    def __init__(self, *, start: float, rate: float, seed: int) -> None:
        copies = [
            msgspec.structs.replace(service, name=f"{service.name}-{copy}", labelled=1.0, label_delay=1.0)
            for copy in range(COPIES)
            for service in services()
        ]
        self._traffic = Traffic(tuple(copies), start=start, rate=rate, seed=seed)
        self._order = _cycle()
        self._first = self._next = start + FIRST
        self.planting = True
        self.incidents: list[Incident] = []
        self._wrong: set[str] = set()
        """Predictions whose labels are planted."""

    def until(self, end: float) -> list[Event]:
        """All events before `end` that were not handed out yet."""
        while self.planting and self._next < end:
            model, rule = next(self._order)
            self.incidents.append(Incident(model, rule, self._next))
            self._next += PERIOD
        return [self._plant(event) for event in self._traffic.until(end)]

    @property
    def settled_at(self) -> float:
        """Event time by which everything planted is over."""
        return self.incidents[-1].start + SETTLED if self.incidents else 0.0

    def _plant(self, event: Event) -> Event:
        if event.side == "labels":
            if event.id in self._wrong:
                self._wrong.discard(event.id)
                return msgspec.structs.replace(event, body={**event.body, "label": _other(event.body["label"])})
            return event
        newest = int((event.ts - self._first) // PERIOD)
        for incident in self.incidents[max(newest - 1, 0) : newest + 1]:
            if incident.model != event.model or not incident.start <= event.ts < incident.start + LASTING:
                continue
            if incident.rule == "wrong":
                if "error" not in event.body:
                    self._wrong.add(event.id)
            else:
                feature = WATCHED[event.model.rsplit("-", 1)[0]]
                features = {**event.body["features"], feature: None}
                return msgspec.structs.replace(event, body={**event.body, "features": features})
        return event


def _other(label: Any) -> Any:
    return 1 - label if isinstance(label, int) else {"billing": "sales"}.get(label, "billing")


def _cycle() -> Iterator[tuple[str, str]]:
    every = [(model, rule["name"]) for model, settings in models().items() for rule in settings["rules"]]
    # Those of one model stand side by side: apart, they do not overlap.
    order = [*every[::2], *every[1::2]]
    while True:
        yield from order

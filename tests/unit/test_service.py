"""Service metrics of a shard: what is shown and what rules see, at every tick, is numpy's answer on the raw events."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.config import Config, Model, Reference, Rule
from stream.effects import Channel, Clock, Outgoing, Side, StoredRecord
from stream.monitor.panes import values
from stream.monitor.panes.course import Course
from stream.monitor.rules.watch import METRICS
from stream.shard import Shard
from stream.view import ModelView

START = 1_700_000_000.0
N, WINDOW = 300, 80.0


def events(seed: int = 5) -> dict[Side, list[dict[str, Any]]]:
    """Predictions every half second; labels of class 1 come late; memory leaks; CPU has one peak."""
    rng = random.Random(seed)
    found: dict[Side, list[dict[str, Any]]] = {"predictions": [], "labels": []}
    for n in range(N):
        event: dict[str, Any] = {"model": "m", "id": str(n), "ts": START + n / 2}
        answer = rng.randrange(2)
        sample: dict[str, Any] = {"cpu_percent": 90.0 if n == 99 else 20.0, "memory_bytes": 2.0**30 + n * 2**20}
        guess = {**event, "prediction": answer, "latency_ms": 10.0, "resources": sample if n % 3 == 0 else None}
        if n % 10 == 9:
            guess |= {"prediction": None, "error": "no"}
        found["predictions"].append(guess)
        found["labels"].append({**event, "ts": event["ts"] + (20.0 if answer else 2.0), "label": answer})
    found["labels"].sort(key=lambda each: each["ts"])
    return found


def run(sizes: Iterator[int], *rules: Rule) -> tuple[Shard, list[Outgoing]]:
    shard = Shard(
        0, Config(models={"m": Model(pane=5.0, windows=(WINDOW,), reference=Reference(first=50), rules=rules)})
    )
    records = {
        side: [StoredRecord(i, int(START * 1000), msgspec.json.encode(each), b"m") for i, each in enumerate(rows)]
        for side, rows in events().items()
    }
    effects = []
    while any(records.values()):
        size = next(sizes)
        part = {side: rows[:size] for side, rows in records.items()}
        records = {side: rows[size:] for side, rows in records.items()}
        effects += shard.apply(part, Clock(START + 1e6, frozenset(("predictions", "labels"))))
    return shard, effects + shard.finish()


def view(shard: Shard) -> ModelView:
    return shard.view().models[0]


def alerts(effects: list[Outgoing]) -> list[dict[str, Any]]:
    return [json.loads(effect.value) for effect in effects if effect.channel is Channel.ALERTS]


def test_what_is_shown_is_what_came() -> None:
    shard, _ = run(repeat(70))
    last = max(each["ts"] for each in events()["labels"])
    first = np.floor((np.floor(last * 2) + 1) / 2 / 5.0) * 5.0 + 5.0 - WINDOW
    inside = [each for each in events()["predictions"] if each["ts"] >= first]
    samples = [each["resources"] for each in inside if each["resources"]]
    (window,) = view(shard).segments[0].windows
    found = {name: (each.value, each.samples) for name, each in window.service.items()}
    memory = [each["memory_bytes"] for each in samples]
    assert found["memory_bytes"][0] == pytest.approx(np.mean(memory), abs=4096)
    assert found["memory_bytes_max"][0] == pytest.approx(np.max(memory), abs=4096)
    assert found["cpu_percent"] == (20.0, len(samples))
    assert found["cpu_percent_max"] == (20.0, len(samples)), "the peak has left the window"
    assert "disk_bytes" not in found
    assert found["throughput"][0] == pytest.approx(len(inside) / WINDOW)
    assert 5.0 < (found["latency_p50"][0] or 0) <= 10.0
    assert view(shard).resources == {"cpu_percent": 20.0, "memory_bytes": pytest.approx(2.0**30 + 297 * 2**20)}
    assert (found["label_delay_p50_class_0"][0] or 0) <= 5.0
    assert (found["label_delay_p50_class_1"][0] or 0) > 15.0
    assert found["coverage_class_0"][0] == found["coverage_class_1"][0] == 1.0
    assert (found["label_delay_gap"][0] or 0) > 10.0


@pytest.mark.parametrize("size", [1, 7, 50])
def test_rules_see_it_whatever_the_slicing(size: int) -> None:
    rules = (
        Rule(name="peak", metric="cpu_percent_max", above=50.0, min_samples=1),
        Rule(name="leak", metric="memory_bytes", above=2.0**30 + 150 * 2**20, min_samples=5),
        Rule(name="growth", metric="memory_bytes", rise="5%", min_samples=5),
        Rule(name="late", metric="label_delay_p95", above=10.0, min_samples=5),
        Rule(name="gap", metric="label_delay_gap", above=5.0, min_samples=5),
        Rule(name="missing", metric="coverage_gap", above=0.2, min_samples=5),
    )
    found = alerts(run(repeat(10_000), *rules)[1])
    assert {each["rule"]: each["kind"] for each in found} == dict.fromkeys(("peak", "leak", "growth"), "resource") | (
        dict.fromkeys(("late", "gap", "missing"), "labels")
    )
    assert alerts(run(repeat(size), *rules)[1]) == found


def test_what_is_shown_is_what_rules_see() -> None:
    shard, _ = run(repeat(70))
    m = shard.models["m"]
    shown = view(shard).segments[0].windows[0].service
    for window in m.windows:
        course = Course.still(0, m.layout, 0, 1)
        for name, metric in METRICS.items():
            if metric.per_feature or name == "coverage":
                continue
            value, samples = values.service(name, course, window, 0, course.tallies(window, 0), m.layout)
            if np.isnan(value[0]):
                assert name not in shown
            else:
                assert (shown[name].value, shown[name].samples) == (value[0], samples[0])

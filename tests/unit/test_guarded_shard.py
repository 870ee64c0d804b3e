"""Guards in a shard: the rule of the contract fires once, for the right thing, the same after any restart."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from stream.config import Config, Model, Reference, Rule
from stream.effects import Channel, Clock, Side, StoredRecord
from stream.shard import Shard

START = 1_700_000_000.0
BEHIND: frozenset[Side] = frozenset(("predictions", "labels"))
STEP, CHANGE, COUNT = 0.05, 4_000, 6_000


def config(*rules: Rule) -> Config:
    return Config(models={"m": Model(task="binary", pane=60.0, reference=Reference(first=1000), rules=rules)})


GUARDS = config(
    Rule(name="error-guard", guard="error_rate", false_alarms="1 per 1000000 predictions"),
    Rule(name="feature-guard", guard="feature:*", false_alarms="1 per 1000000 predictions"),
)


def records() -> dict[Side, list[StoredRecord]]:
    """After CHANGE half of the predictions are wrong, and `moving` moves; `still` does not."""
    rng = random.Random(1)
    found: dict[Side, list[StoredRecord]] = {"predictions": [], "labels": []}

    def add(side: Side, ts: float, body: dict[str, object]) -> None:
        value = msgspec.json.encode({"model": "m", "ts": ts, **body})
        found[side].append(StoredRecord(len(found[side]), int(ts * 1000), value, b"m"))

    for number in range(COUNT):
        ts, late = START + number * STEP, number >= CHANGE
        guess = rng.random() < 0.5
        wrong = rng.random() < (0.5 if late else 0.1)
        features = {"moving": rng.gauss(1.0 if late else 0.0, 1), "still": rng.gauss(0, 1)}
        add("predictions", ts, {"id": f"e{number}", "prediction": int(guess), "features": features})
        add("labels", ts, {"id": f"e{number}", "label": int(guess != wrong)})
    return found


def alerts(cut: int, restarts: bool, settings: Config = GUARDS) -> list[dict[str, Any]]:
    traffic, shard = records(), Shard(0, settings)
    rows: dict[str, bytes] = {}
    found: list[dict[str, Any]] = []
    at: dict[Side, int] = dict.fromkeys(traffic, 0)
    while min(at.values()) < COUNT:
        part = {side: held[at[side] : at[side] + cut] for side, held in traffic.items()}
        at = {side: at[side] + len(part[side]) for side in at}
        effects = shard.apply(part, Clock(START + 1e6, BEHIND))
        ended = min(at.values()) >= COUNT
        if ended:
            effects += shard.finish()
        found += [msgspec.json.decode(each.value) for each in effects if each.channel is Channel.ALERTS]
        if restarts and not ended:
            if shard.outbox:
                shard.published(shard.outbox[-1].seq)
            delta = shard.delta()
            rows.update(delta.put)
            for key in delta.delete:
                rows.pop(key, None)
            shard = Shard.restore(0, settings, list(rows.items()))
            # What waited for its tick is read again.
            at = {side: shard.next[side] or 0 for side in at}
    return found


def test_guards_fire_once_for_what_has_changed() -> None:
    fired = [alert for alert in alerts(COUNT, restarts=False) if alert["state"] == "firing"]
    assert {(alert["rule"], alert.get("feature"), alert["kind"]) for alert in fired} == {
        ("error-guard", None, "performance"),
        ("feature-guard", "moving", "data_drift"),
    }
    assert len(fired) == 2
    for alert in fired:
        assert START + CHANGE * STEP < alert["ts"] < START + (CHANGE + 150) * STEP
        assert "rose from" in alert["summary"]
        assert "1 false alarm per 1,000,000 values" in alert["summary"]


def test_alerts_do_not_depend_on_slices_and_restarts() -> None:
    expected = alerts(COUNT, restarts=False)
    assert alerts(777, restarts=True) == expected
    assert alerts(101, restarts=False) == expected


def test_only_the_direction_asked_for_fires() -> None:
    down = config(Rule(name="error-guard", guard="error_rate", direction="down"))
    assert alerts(COUNT, restarts=False, settings=down) == []

"""Whether alerts name what has been planted: one segment of forty that errs more, and two features that shift.

    python -m benchmarks.explanations [--seeds 100] [--drop 0.2] [--json FILE]

Each seed is a stream of its own through a whole shard: 20,000 predictions that are right nine times in ten, each of one
of forty stores, then as many of which one store's are right less often by `--drop`, while two of six features shift by
half a standard deviation. The store is a configured segment, or only a feature among others, of which nobody has said
that it matters. The first alert of drift is judged; by then the store has had about 250 outcomes since. Where nothing
is planted a rule on accuracy fires all the same, and must blame no segment and no feature.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from stream.config import Config, Model, Rule
from stream.effects import SIDES, Channel, Clock, Side, StoredRecord
from stream.shard import Shard

BEGIN, RATE = 1_767_225_600.0, 20.0
STABLE, AFTER, SLICE = 20_000, 20_000, 5_000
STORES, FEATURES, SHIFTED, SHIFT = 40, 6, 2, 0.5
RIGHT = 0.9

WATCHED = Model(
    windows=(600.0,),
    rules=(Rule(name="drift", feature="*", test="psi", above=0.2),),
)
ALWAYS = msgspec.structs.replace(
    WATCHED, rules=(Rule(name="accuracy", metric="accuracy", below=0.99, min_samples=11_000),)
)
_encode = msgspec.json.Encoder().encode


class Found(Struct):
    """The alert of one stream."""

    segment: bool
    """Whether the planted segment is named first."""
    features: bool
    """Whether the planted features are named before all others."""
    blamed: bool
    """Whether any segment or feature is named that was not planted."""
    outcomes: int
    """Of the planted segment since the change."""


def records(seed: int, drop: float, shift: float) -> tuple[dict[Side, list[StoredRecord]], list[int]]:
    """A stream, and the store of each prediction."""
    rng = np.random.default_rng(seed)
    count = STABLE + AFTER
    late = np.arange(count) >= STABLE
    store = rng.integers(0, STORES, count)
    right = rng.random(count) < RIGHT - drop * (late & (store == seed % STORES))
    truth = rng.integers(0, 2, count)
    values = rng.normal(size=(count, FEATURES))
    values[:, :SHIFTED] += shift * late[:, None]
    found: dict[Side, list[StoredRecord]] = {side: [] for side in SIDES}
    for number in range(count):
        ts = BEGIN + number / RATE
        said = int(truth[number] if right[number] else 1 - truth[number])
        features: dict[str, float | str] = {f"f{at}": value for at, value in enumerate(values[number].tolist())}
        shared = {"model": "m", "id": str(number)}
        bodies: dict[Side, dict[str, Any]] = {
            "predictions": {
                **shared,
                "ts": ts,
                "prediction": said,
                "features": {**features, "store": f"s{store[number]}"},
            },
            "labels": {**shared, "ts": ts + 0.5, "label": int(truth[number])},
        }
        for side, body in bodies.items():
            found[side].append(StoredRecord(number, int(ts * 1000), _encode(body), b"m"))
    return found, store.tolist()


def alert(content: dict[Side, list[StoredRecord]], model: Model, since: float) -> dict[str, Any] | None:
    """The first alert that begins after a moment."""
    shard = Shard(0, Config(models={"m": model}))
    clock = Clock(BEGIN + 1e6, frozenset(SIDES))
    for start in range(0, STABLE + AFTER, SLICE):
        for effect in shard.apply({side: rows[start : start + SLICE] for side, rows in content.items()}, clock):
            if effect.channel is Channel.ALERTS:
                said: dict[str, Any] = json.loads(effect.value)
                if said["state"] == "firing" and said["ts"] >= since:
                    return said
        shard.forget_effects()
    return None


def judge(seed: int, model: Model, drop: float, shift: float) -> Found | None:
    """What the first alert of a stream says; None where there is none."""
    content, stores = records(seed, drop, shift)
    said = alert(content, model, BEGIN + (STABLE / RATE if drop else 0.0))
    if said is None:
        return None
    until = int((said["ts"] - BEGIN) * RATE)
    segments = [each["segment"] for each in said["explanation"].get("segments", [])]
    features = [each["feature"] for each in said["explanation"].get("features", [])]
    culprit, shifted = f"store=s{seed % STORES}", {f"f{at}" for at in range(SHIFTED)}
    return Found(
        segments[:1] == [culprit],
        set(features[:SHIFTED]) == shifted,
        bool(set(segments) - ({culprit} if drop else set()) or set(features) - (shifted if shift else set())),
        stores[STABLE:until].count(seed % STORES),
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--drop", type=float, default=0.2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the result goes")
    arguments = parser.parse_args()
    table = Table(title=f"Of {arguments.seeds} streams", title_justify="left")
    columns = ("alerts", "segment first", "features first", "anything else named", "outcomes of the segment")
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    report: dict[str, dict[str, float]] = {}
    for name, segments in (("configured", ("store",)), ("inferred", ())):
        for planted, model, drop, shift in (("planted", WATCHED, arguments.drop, SHIFT), ("nothing", ALWAYS, 0.0, 0.0)):
            watched = msgspec.structs.replace(model, segments=segments)
            found = [each for seed in range(arguments.seeds) if (each := judge(seed, watched, drop, shift)) is not None]
            figures = report[f"{name}, {planted}"] = {
                "alerts": len(found),
                "segment_first": sum(each.segment for each in found),
                "features_first": sum(each.features for each in found),
                "others_named": sum(each.blamed for each in found),
                "median_outcomes": statistics.median([each.outcomes for each in found] or [0]),
            }
            table.add_row(f"{name}, {planted}", *(f"{figure:,.0f}" for figure in figures.values()))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

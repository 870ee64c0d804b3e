"""Memory under attack: a million records of each kind of hostile input into one shard, without Kafka.

    python -m benchmarks.hostile [--records 1000000] [--only "class names"] [--output FILE]

Each attack has a process of its own. Its resident memory is taken before, after a tenth and after all records; what a
worker holds must not grow with the attack, so the growth after the first tenth is bounded. Exits 1 where it is not.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from stream.config import Config, Limits
from stream.effects import Channel
from stream.shard import Shard
from tests.attacks import ATTACKS, Attack, Run, batches

MEGABYTE = 1 << 20

GROWTH = 64 * MEGABYTE
"""What memory may grow by between a tenth of an attack and its end. Events that wait for labels reach their plateau
(600 s of event time, 60,000 events) within the first tenth."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    size: int = psutil.Process().memory_info().rss
    return size


def measure(attack: Attack, records: int) -> dict[str, float | str]:
    """Runs an attack in this process."""
    warm = next(each for each in ATTACKS if each.name == "duplicate keys")
    for part in batches(warm, 2000):
        Run(Shard(0, Config(defaults=warm.spec)), keeps=False).feed(part)
    under = Run(Shard(0, Config(defaults=attack.spec, limits=Limits())), keeps=False)
    before, tenth = resident(), 0
    begun = time.process_time()
    total = 0
    for part in batches(attack, records):
        under.feed(part)
        total += sum(map(len, part.values()))
        if not tenth and total >= records // attack.share * len(part) / 10:
            tenth = resident()
    return {
        "attack": attack.name,
        "records": under.records,
        "before": before,
        "tenth": tenth,
        "after": resident(),
        "seconds": time.process_time() - begun,
        "dead_letters": under.effects.get(Channel.DEAD_LETTERS, 0),
        "largest_effect": under.largest,
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--only", choices=[attack.name for attack in ATTACKS])
    parser.add_argument("--output", type=Path, help="writes the figures as JSON")
    arguments = parser.parse_args()
    if arguments.only:
        (attack,) = [each for each in ATTACKS if each.name == arguments.only]
        print(json.dumps(measure(attack, arguments.records)))
        return
    console = Console(width=130)
    table = Table(title="resident memory, MB", title_justify="left")
    columns = (
        "attack",
        "records",
        "before",
        "after a tenth",
        "after all",
        "refused",
        "largest effect, bytes",
        "seconds",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "attack" else "right")
    figures = []
    for each in ATTACKS:
        command = [sys.executable, "-m", "benchmarks.hostile", "--records", str(arguments.records), "--only", each.name]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        figures.append(found)
        sizes = [f"{found[key] / MEGABYTE:,.0f}" for key in ("before", "tenth", "after")]
        counts = [f"{found[key]:,}" for key in ("dead_letters", "largest_effect")]
        table.add_row(each.name, f"{found['records']:,}", *sizes, *counts, f"{found['seconds']:.1f}")
    console.print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(figures, indent=1) + "\n")
    grown = [found["attack"] for found in figures if found["after"] - found["tenth"] > GROWTH]
    if grown:
        console.print(f"grew by more than {GROWTH // MEGABYTE} MB after the first tenth: {', '.join(grown)}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()

"""`python -m tests.faults --minutes 20 --seed 7 --store redis`: the long run, for a person. Exits 1 on a finding."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.faults import course, kinds


def main() -> int:
    """Runs, and prints what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long faults go on (default 20)")
    parser.add_argument("--faults", type=int, default=100, help="how many there are at least (default 100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("redis", "sqlite"), default="redis")
    parser.add_argument("--rate", type=float, default=400.0, help="predictions a second (default 400)")
    parser.add_argument("--only", nargs="*", help="names of faults; default: all that the store can have")
    parser.add_argument("--keep", type=Path, help="directory for logs and state; default: a temporary one")
    arguments = parser.parse_args()
    # A broker that goes away is what is meant.
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    known = {fault.__name__: fault for fault in (*kinds.ANY, *kinds.OF_STORE[arguments.store])}
    faults = [known[name] for name in arguments.only] if arguments.only else list(known.values())
    length = course.Length(arguments.minutes * 60, arguments.faults, arguments.rate)
    with tempfile.TemporaryDirectory() as scratch:
        directory = arguments.keep or Path(scratch)
        directory.mkdir(parents=True, exist_ok=True)
        report = asyncio.run(course.run(directory, arguments.store, arguments.seed, length, faults))
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())

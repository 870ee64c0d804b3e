"""False alarms and delays of guards, beside river's detectors and a CUSUM that knows both distributions.

    python -m benchmarks.detection [--null 300000] [--runs 20] [--gamma 1000000] [--river] [--json FILE]

Null streams: Bernoulli, normal, log-normal, autoregressive, seasonal; and a dashboard of a hundred normal features that
share one budget, whose alarms are counted together, per million events. Delays: after 10,000 values to learn from
and 10,000 stable ones, to the first alarm behind the change. The oracle's bound is such that its mean time to a false
alarm is gamma (simulated at a lower bound). `--river` adds ADWIN (river's default, 1e-5 as in our default rules, and
the largest delta with no more false alarms than the guard may have), PageHinkley and KSWIN. KSWIN takes 0.4 ms per
value and remembers 100: it is given 20,000 null values, the last 1,000 before a change, and 3 runs. Everything is
seeded. With `--null 1000000 --river`:

    false alarms per million   guard   ADWIN   ADWIN 1e-5   calibrated 3e-3   PageHinkley   KSWIN
    Bernoulli 0.01                  1       0            0                 0             0       0
    Bernoulli 0.1                   0       0            0                 0            29       0
    Bernoulli 0.3                   0       0            0                 0            85     100
    normal                          1       0            0                 0           643    2200
    log-normal                      1      75           21                80          2812    2050
    AR(0.5)                         1     407           42               478          2468    7600
    AR(0.9)                         2    8487         4831              8838         16098   13500
    seasonal                        5    1069         1009              1105          2165    2550
    100 normal features, together   0

    mean delay          oracle   guard   ADWIN   ADWIN 1e-5   calibrated 3e-3   PageHinkley   KSWIN
    error 0.1 to 0.15      678     773     882         1550               859           768   never
    error 0.1 to 0.2       220     259     296          480               277           319   never
    error 0.1 to 0.3        69      84     112          174               109           186   never
    shift by 0.1          1525    1753    1826         3283              1774           406     471
    shift by 0.25          298     331     352          571               341           209     509
    shift by 0.5            87     122     138          189               133            97     303
    shift by 1              24      33      56           69                53            47      22

What alarms for nothing every few hundred values is soon after a change, too. The seasonal stream
has 5 here, and with three other seeds 1, 0 and 1: over means of a whole season a guard would have about a third of
that, and would have to learn from 200,000 values first, so it stays with means of 100.
"""

from __future__ import annotations

import argparse
import json
import time
from bisect import bisect_left
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from stream.monitor.basis.columns import Floats
from stream.monitor.guards.guard import Guard, feed_together
from stream.monitor.guards.guard_state import Scheme
from stream.monitor.rules.detectors import Detector

FIRST = STABLE = 10_000
LONGEST = 20_000
"""Values after the change within which it must be found."""

STEP = 500
"""Values behind a change that are given at a time, until it is found."""

Rng = np.random.Generator


def autoregressive(rng: Rng, size: int, share: float) -> Floats:
    """x_t = share x_(t-1) + e_t."""
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, -share], rng.normal(size=size)))


NULLS: dict[str, Callable[[Rng, int], Floats]] = {
    "Bernoulli 0.01": lambda rng, n: (rng.random(n) < 0.01).astype(float),
    "Bernoulli 0.1": lambda rng, n: (rng.random(n) < 0.1).astype(float),
    "Bernoulli 0.3": lambda rng, n: (rng.random(n) < 0.3).astype(float),
    "normal": lambda rng, n: rng.normal(size=n),
    "log-normal": lambda rng, n: rng.lognormal(size=n),
    "AR(0.5)": lambda rng, n: autoregressive(rng, n, 0.5),
    "AR(0.9)": lambda rng, n: autoregressive(rng, n, 0.9),
    "seasonal": lambda rng, n: rng.normal(size=n) + 0.5 * np.sin(np.arange(n) * (2 * np.pi / 2_000)),
}


def guard(binary: bool, gamma: float, seed: int) -> Callable[[Floats], list[int]]:
    """A guard; alarms as numbers of values."""
    it = Guard(Scheme("flags" if binary else "numbers", gamma, first=FIRST, seed=seed))
    clock = [0.0]

    def find(values: Floats) -> list[int]:
        # A minute between two values: no rest after an alarm.
        times = np.arange(len(values), dtype=np.float64) * 60.0 + clock[0]
        clock[0] += 60.0 * len(values)
        return [found.samples for found in it.feed(values, times)]

    return find


def river(name: str, params: dict[str, Any]) -> Callable[[bool, float, int], Callable[[Floats], list[int]]]:
    """A detector of river."""

    def make(binary: bool, gamma: float, seed: int) -> Callable[[Floats], list[int]]:
        it = Detector(f"river.drift.{name}", params)
        return lambda values: [found.samples for found in it.feed(values, np.zeros(len(values)))]

    return make


DELTAS = (0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-7)
CALIBRATION = 2
"""Mean times to a false alarm over which ADWIN is calibrated."""


@cache
def calibrated(binary: bool, gamma: float) -> float:
    """The largest of DELTAS at which ADWIN has at most one false alarm in `gamma` errors, or normal values."""
    values = NULLS["Bernoulli 0.1" if binary else "normal"](np.random.default_rng(99), int(CALIBRATION * gamma))

    def quiet(place: int) -> bool:
        it = Detector("river.drift.ADWIN", {"delta": DELTAS[place]})
        return len(it.feed(values, np.zeros(len(values)))) <= CALIBRATION

    place = bisect_left(range(len(DELTAS)), True, key=quiet)
    return DELTAS[min(place, len(DELTAS) - 1)]


def adwin(binary: bool, gamma: float, seed: int) -> Callable[[Floats], list[int]]:
    """ADWIN with as few false alarms as the guard."""
    return river("ADWIN", {"delta": calibrated(binary, gamma)})(binary, gamma, seed)


RIVER = {
    "ADWIN": river("ADWIN", {}),
    "ADWIN 1e-5": river("ADWIN", {"delta": 1e-5}),
    "ADWIN calibrated": adwin,
    "PageHinkley": river("PageHinkley", {}),
    "KSWIN": river("KSWIN", {"seed": 1}),
}
NULL_VALUES = {"KSWIN": 20_000}
"""At most so many null values, for what is slow."""
REMEMBERED = {"KSWIN": 1_000}
"""Values before a change that are given, for what is slow and remembers fewer."""

RUNS = {"KSWIN": 3}
"""Runs to a change, at most, for what is slow."""

FEATURES = 100


def dashboard(events: int, gamma: float) -> int:
    """False alarms, all in all, of guards on many healthy features that share a budget."""
    rng = np.random.default_rng(7)
    guards = [Guard(Scheme("numbers", FEATURES * gamma, first=FIRST, seed=number)) for number in range(FEATURES)]
    found, size = 0, 10_000
    for start in range(0, FIRST + events, size):
        times = np.arange(60.0 * start, 60.0 * (start + size), 60.0)
        values = list(rng.normal(size=(FEATURES, size)))
        found += sum(map(len, feed_together(guards, values, [times] * FEATURES)))
    return found


def evidence(values: Floats, old: float, new: float, binary: bool) -> Floats:
    """Log likelihood ratio of each value."""
    if binary:
        ratio: Floats = np.where(values > 0, float(np.log(new / old)), float(np.log((1 - new) / (1 - old))))
        return ratio
    return (new - old) * (values - (new + old) / 2)


def crossing(steps: Floats, bound: float) -> Floats:
    """CUSUM, one row per run: the first column at which it is at least `bound`; NaN: never."""
    level, at = np.zeros(len(steps)), np.full(len(steps), np.nan)
    for column in range(steps.shape[1]):
        level = np.maximum(level + steps[:, column], 0.0)
        at[np.isnan(at) & (level >= bound)] = column + 1
        if not np.isnan(at).any():
            break
    return at


def oracle_bound(rng: Rng, old: float, new: float, binary: bool, gamma: float) -> float:
    """The mean time is simulated at a bound of 5; beyond, its logarithm grows as the bound does (slope 1)."""
    draws = rng.random((400, 20_000)) < old if binary else rng.normal(size=(400, 20_000)) + old
    at = crossing(evidence(draws.astype(float), old, new, binary), 5.0)
    # Runs that did not cross count as time without an alarm.
    mean = np.where(np.isnan(at), 20_000.0, at).sum() / max(1, np.count_nonzero(~np.isnan(at)))
    return 5.0 + float(np.log(gamma / mean))


def delays(find: Callable[[Floats], list[int]], before: Floats, after: Floats) -> float:
    """Values from the change to the first alarm behind it; infinite when there is none."""
    find(before)
    for start in range(0, len(after), STEP):
        late = find(after[start : start + STEP])
        if late:
            return late[0] - len(before)
    return float("inf")


def main() -> None:
    """Runs everything and prints two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--null", type=int, default=300_000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--gamma", type=float, default=1e6)
    parser.add_argument("--river", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console()
    makers: dict[str, Any] = {"guard": guard, **(RIVER if arguments.river else {})}
    results: dict[str, Any] = {"gamma": arguments.gamma, "null_values": arguments.null, "runs": arguments.runs}

    table = Table("stream", *[f"{name}: per million, us/value" for name in makers], title="False alarms")
    for number, (name, draw) in enumerate(NULLS.items()):
        values = draw(np.random.default_rng(number), FIRST + arguments.null)
        row = []
        for maker, make in makers.items():
            find = make(name.startswith("Bernoulli"), arguments.gamma, number)
            null = min(arguments.null, NULL_VALUES.get(maker, arguments.null))
            begun = time.process_time()
            rate = len(find(values[: FIRST + null])) / null * 1e6
            cost = (time.process_time() - begun) / (FIRST + null) * 1e6
            results.setdefault("false_alarms", {}).setdefault(name, {})[maker] = {"per_million": rate, "us": cost}
            row.append(f"{rate:.2f}, {cost:.2f}")
        table.add_row(name, *row)
    alarms = dashboard(arguments.null, arguments.gamma)
    results["dashboard"] = {"features": FEATURES, "per_million": alarms / arguments.null * 1e6}
    table.add_row(f"{FEATURES} normal features", f"{alarms / arguments.null * 1e6:.2f}", *[""] * (len(makers) - 1))
    console.print(table)

    changes = [(True, 0.1, new) for new in (0.15, 0.2, 0.3)] + [(False, 0.0, new) for new in (0.1, 0.25, 0.5, 1.0)]
    table = Table("change", "oracle mean", *[f"{name}: mean/median/p95, ratio" for name in makers], title="Delays")
    for binary, old, new in changes:
        rng = np.random.default_rng(int(new * 100))
        bound = oracle_bound(rng, old, new, binary, arguments.gamma)
        drawn = rng.random((2_000, 8_000)) < new if binary else rng.normal(size=(2_000, 8_000)) + new
        oracle = float(np.nanmean(crossing(evidence(drawn.astype(float), old, new, binary), bound)))
        name = f"{'error' if binary else 'shift'} {old:g} to {new:g}"
        row = []
        for maker, make in makers.items():
            found = []
            for run in range(min(arguments.runs, RUNS.get(maker, arguments.runs))):
                draws = np.random.default_rng((run, int(new * 100)))
                size = FIRST + STABLE + LONGEST
                noise = draws.random(size) if binary else draws.normal(size=size)
                level = np.repeat([old, new], [FIRST + STABLE, LONGEST])
                values = (noise < level).astype(float) if binary else noise + level
                find = make(binary, arguments.gamma, run)
                begin = FIRST + STABLE - REMEMBERED.get(maker, FIRST + STABLE)
                found.append(delays(find, values[begin : FIRST + STABLE], values[FIRST + STABLE :]))
            figures = [float(np.mean(found)), float(np.median(found)), float(np.quantile(found, 0.95, method="higher"))]
            told = dict(zip(("mean", "median", "p95"), [v if np.isfinite(v) else None for v in figures], strict=True))
            results.setdefault("delays", {}).setdefault(name, {"oracle": oracle})[maker] = told
            row.append(f"{figures[0]:.0f}/{figures[1]:.0f}/{figures[2]:.0f}, {figures[0] / oracle:.2f}")
        table.add_row(name, f"{oracle:.0f}", *row)
    console.print(table)
    if arguments.river:
        told = {kind: calibrated(kind == "errors", arguments.gamma) for kind in ("errors", "numbers")}
        results["calibrated"] = told
        console.print("calibrated delta:", told)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

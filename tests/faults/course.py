"""One run: traffic of known truth, faults by chance, and then the judgement.

Judged are: state against an undisturbed group that reads the same topics, alerts against what was planted, and that
group's alerts and snapshots against those of a third one that reads the same backlog and is disturbed, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from stream.deduplicate import Once
from tests.e2e.program import until
from tests.faults import kinds
from tests.faults.cluster import Cluster, Violation
from tests.faults.kinds import Fault
from tests.faults.planted import LASTING, Incident, Planted

logger = logging.getLogger(__name__)

PAUSE = (0.5, 4.0)
"""Seconds between recovery and the next fault."""

LATE = 12.0
"""Seconds after its beginning in which an incident must be found: window, labels, samples."""


class Report(Struct):
    """What happened."""

    seed: int
    store: str
    seconds: float = 0.0
    """From the first fault to the last recovery."""
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    """Seconds from the end of a fault until all workers are ready and have applied everything, by kind."""
    events: int = 0
    outcomes: int = 0
    incidents: int = 0
    repeats: int = 0
    """Alerts that were published more than once."""
    fenced: dict[str, int] = field(default_factory=dict)
    """Commits of former owners that were refused, by the kind of fault that was last."""
    scrapes: int = 0
    backlog_alerts: int = 0
    backlog_snapshots: int = 0
    findings: list[str] = field(default_factory=list)
    """What should not be; empty when all is well."""
    left_out: list[str] = field(default_factory=list)
    """Faults that cannot be had here."""

    def lines(self) -> list[str]:
        """For a person."""
        faults = sum(map(len, self.recoveries.values()))
        found = [
            f"seed {self.seed}, {self.store}: {faults} faults in {self.seconds / 60:.1f} min, {self.events:,} events, "
            f"{self.outcomes:,} outcomes, {self.incidents} incidents, {self.repeats} repeated alerts, "
            f"{sum(self.fenced.values())} fenced commits, {self.scrapes:,} scrapes",
            f"backlog: {self.backlog_alerts} alerts, {self.backlog_snapshots:,} snapshots compared",
        ]
        for kind, seconds in sorted(self.recoveries.items()):
            ordered = sorted(seconds)
            found.append(
                f"{kind:20} {len(ordered):4} × median {ordered[len(ordered) // 2]:5.1f} s, most {ordered[-1]:5.1f} s, "
                f"{self.fenced.get(kind, 0):3} fenced"
            )
        found += [f"{kind:20} cannot be had here" for kind in self.left_out]
        return found + [f"FOUND: {finding}" for finding in self.findings]


class Length(Struct, frozen=True):
    """How long faults go on: until both are reached. Every fault comes once before one comes again."""

    seconds: float
    faults: int
    rate: float
    """Predictions a second."""


async def run(directory: Path, store: str, seed: int, length: Length, faults: Sequence[Fault]) -> Report:
    """Runs and judges."""
    report = Report(seed, store)
    async with Cluster(directory, store, seed) as cluster:
        here = kinds.possible(cluster, faults)
        report.left_out = [fault.__name__ for fault in faults if fault not in here]
        live = await cluster.group("live")
        traffic = Planted(start=time.time(), rate=length.rate, seed=seed)
        stop = asyncio.Event()
        sending = asyncio.create_task(cluster.send(traffic, stop))
        for _ in range(2):
            cluster.start(live)
        try:
            await cluster.recovered()
            await _disturb(cluster, live, report, here, length)
            traffic.planting = False
            await until(lambda: time.time() > traffic.settled_at, 120)
            stop.set()
            await sending
            found = await _state(cluster, live)
        except AssertionError as violation:
            report.findings.append(str(violation))
            return report
        finally:
            sending.cancel()
            report.events, report.scrapes = cluster.sent, cluster.scrapes
            report.incidents = len(traffic.incidents)
        report.outcomes = sum(model["counts"]["outcomes"] for model in found.values())
        report.findings += incidents(traffic.incidents, await cluster.said(live, "alerts"), report)
        await _end_all(cluster, report)
        whole = await cluster.group("whole", proxied=False)
        cluster.start(whole)
        expected = await _state(cluster, whole)
        report.findings += differences(expected, found)
        await _end_all(cluster, report)
        end = max(model["watermark"] for model in expected.values()) - 20.0
        report.findings += await _backlog(cluster, whole, end, report)
        report.findings += cluster.violations
        report.scrapes = cluster.scrapes
    return report


async def _disturb(
    cluster: Cluster, settings: dict[str, Any], report: Report, faults: Sequence[Fault], length: Length
) -> None:
    begun = time.monotonic()
    waiting: list[Fault] = []
    count = 0
    while count < length.faults or report.seconds < length.seconds:
        if not waiting:
            waiting = list(faults)
            cluster.chance.shuffle(waiting)
        fault = waiting.pop()
        await asyncio.sleep(cluster.chance.uniform(*PAUSE))
        refused = sum(cluster.fenced.values())
        logger.info("%d: %s", count, fault.__name__)
        try:
            await fault(cluster, settings)
            took = await cluster.recovered()
        except AssertionError as violation:
            raise Violation(f"{fault.__name__}: {violation}") from violation
        report.recoveries.setdefault(fault.__name__, []).append(took)
        refused = int(sum(cluster.fenced.values()) - refused)
        report.fenced[fault.__name__] = report.fenced.get(fault.__name__, 0) + refused
        count += 1
        report.seconds = time.monotonic() - begun


async def _state(cluster: Cluster, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the workers know when everything is applied, which must be exactly what there is."""
    length = await cluster.length()
    cluster.sent = length
    await cluster.recovered()
    # Labels may wait for the clock; a double count would show then.
    await cluster.published(settings)
    applied = await asyncio.to_thread(cluster.applied)
    if applied != length:
        raise Violation(f"{applied:.0f} events applied of {length}")
    return await asyncio.to_thread(cluster.models)


async def _end_all(cluster: Cluster, report: Report) -> None:
    for worker in list(cluster.workers):
        if code := await asyncio.to_thread(cluster.end, worker, signal.SIGTERM):
            report.findings.append(f"{worker.log.name} ended with {code}")


def differences(expected: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> list[str]:
    """Where two groups that saw the same events know different things."""
    wrong = []
    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found:
            wrong.append(f"{name} is only in one")
            continue
        first, second = _essence(expected[name]), _essence(found[name])
        wrong += [
            f"{name}: {part} is {second[part]}, not {first[part]}" for part in first if first[part] != second[part]
        ]
    return wrong


def _essence(model: dict[str, Any]) -> dict[str, Any]:
    """All that is a function of the events and not of how their two topics interleave at the live edge."""
    return {
        "counts": model["counts"],
        "version": model["version"],
        "watermark": None if model["watermark"] is None else True,
        "latency": model["latency_seconds"],
        "label delay": model["label_delay_seconds"],
        "reference": model["reference"],
        "challengers": [(each["name"], each["version"], each["samples"], each["off"]) for each in model["challengers"]],
        "alerts": sorted(map(json.dumps, model["alerts_total"])),
        **{
            f"{segment['segment']} {window['seconds']:.0f} s": {**window, "estimates": None}
            for segment in model["segments"]
            for window in segment["windows"]
            if window["seconds"] == 3600
        },
    }


def incidents(planted: Sequence[Incident], alerts: Sequence[dict[str, Any]], report: Report) -> list[str]:
    """Every incident once, firing before resolved, nothing else, repeats dropped."""
    once, said = Once(), defaultdict(list)
    for alert in alerts:
        if once.new(alert["id"]):
            said[alert["model"], alert["rule"]].append(alert)
        else:
            report.repeats += 1
    wrong = []
    for (model, rule), found in sorted(said.items()):
        starts = [incident.start for incident in planted if (incident.model, incident.rule) == (model, rule)]
        states = [alert["state"] for alert in found]
        if states != ["firing", "resolved"] * len(starts):
            times = [(alert["state"], round(alert["ts"] - planted[0].start, 1), alert["id"]) for alert in found]
            wrong.append(f"{model} {rule}: {len(starts)} incidents, alerts {times}")
            continue
        for start, alert in zip(starts, found[::2], strict=True):
            if not start <= alert["ts"] <= start + LATE + LASTING:
                wrong.append(f"{model} {rule}: an incident at {start:.1f} was reported at {alert['ts']:.1f}")
    missed = {(incident.model, incident.rule) for incident in planted} - said.keys()
    return wrong + [f"{model} {rule}: nothing was said" for model, rule in sorted(missed)]


async def _backlog(cluster: Cluster, whole: dict[str, Any], end: float, report: Report) -> list[str]:
    """The same topics read by a disturbed group must give the same alerts and snapshots."""
    again = await cluster.group("again")
    length = await cluster.length()
    for _ in range(2):
        cluster.start(again)
    faults: list[Fault] = [kinds.kill, kinds.kill_all, kinds.terminate, kinds.kill]
    if cluster.redis is not None:
        faults += [kinds.redis_restart, kinds.store_cut]
    cluster.chance.shuffle(faults)
    try:
        for fault in faults:
            before = await asyncio.to_thread(cluster.applied)
            await until(lambda: cluster.applied() > before or before >= length)  # noqa: B023
            await asyncio.sleep(cluster.chance.uniform(0.0, 0.5))
            await fault(cluster, again)
        await _state(cluster, again)
    except AssertionError as violation:
        return [f"backlog: {violation}"]
    # What follows the last event is told as the clock moves on: the group that began later comes to it later.
    patience = time.monotonic() + 90
    while await _unlike(cluster, whole, again, end, report) and time.monotonic() < patience:  # noqa: ASYNC110
        await asyncio.sleep(2)
    await _end_all(cluster, report)
    return await _unlike(cluster, whole, again, end, report)


async def _unlike(
    cluster: Cluster, whole: dict[str, Any], again: dict[str, Any], end: float, report: Report
) -> list[str]:
    """Alerts and snapshots up to `end` that only one of two groups has told."""
    wrong = []
    for topic, time_of in (("alerts", "ts"), ("metric-snapshots", "end")):
        first, second = [
            {json.dumps(record, sort_keys=True) for record in records if record[time_of] <= end}
            for records in (await cluster.said(whole, topic), await cluster.said(again, topic))
        ]
        if topic == "alerts":
            report.backlog_alerts = len(first)
        else:
            report.backlog_snapshots = len(first)
        wrong += [f"backlog: only undisturbed: {record[:300]}" for record in sorted(first - second)[:3]]
        wrong += [f"backlog: only disturbed: {record[:300]}" for record in sorted(second - first)[:3]]
    return wrong

"""The rules of a replay with their alerts, and with their verdicts where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from stream.config import Config
from stream.configfile.problems import Path, spell
from stream.events import Alert, Severity
from stream.replay import Summary
from stream.report.history import History
from stream.report.judge import Firing, Incident, Verdict, always, judge


class Run(Struct):
    """One replay of one configuration."""

    label: str
    """What the page calls it: the name of the configuration's file."""
    config: Config
    summary: Summary
    histories: list[History]


class Fired(Struct, frozen=True):
    """An alert from its beginning to its end."""

    alert: Alert
    start: float
    end: float


class Standing(Struct):
    """One rule of one model, or the rule that always fires."""

    model: str
    rule: str
    severity: Severity | None
    """None: the rule that always fires."""
    fired: list[Fired]
    verdict: Verdict
    """Without truth, all time is healthy and all alerts are false: only their number means something then."""


def fired(alerts: Sequence[Alert], end: float) -> list[Fired]:
    """Alerts with their ends; those that still fire end with the events."""
    begun: dict[str, Alert] = {}
    found = []
    for alert in alerts:
        before = begun.pop(alert.fingerprint, None)
        if before is not None:
            found.append(Fired(before, before.ts, alert.ts))
        if alert.state == "firing":
            begun[alert.fingerprint] = alert
    found += [Fired(alert, alert.ts, max(end, alert.ts)) for alert in begun.values()]
    return sorted(found, key=lambda each: (each.start, each.alert.id))


def standings(history: History, incidents: Sequence[Incident]) -> list[Standing]:
    """Every rule of a model in the order of its configuration."""
    watched: dict[str, dict[str, None]] = {}
    severities: dict[str, Severity] = {}
    for view in history.view.rules:
        watched.setdefault(view.rule, {})[view.segment] = None
        severities[view.rule] = view.severity
    by_rule: dict[str, list[Fired]] = {}
    for each in fired(history.alerts, history.end):
        by_rule.setdefault(each.alert.rule, []).append(each)
        severities.setdefault(each.alert.rule, each.alert.severity)
        watched.setdefault(each.alert.rule, {})[each.alert.segment] = None
    mine = [each for each in incidents if each.model == history.model]
    life = history.begin, history.end
    found = []
    for rule, segments in watched.items():
        alerts = by_rule.get(rule, [])
        firings = [Firing(each.start, each.end, each.alert.segment) for each in alerts]
        verdict = judge(rule, segments, firings, mine, life)
        found.append(Standing(history.model, rule, severities[rule], alerts, verdict))
    return found


def baseline(history: History, incidents: Sequence[Incident]) -> Standing:
    """The rule that always fires."""
    mine = [each for each in incidents if each.model == history.model]
    return Standing(history.model, "", None, [], always(mine, (history.begin, history.end), history.pane))


def differences(one: Config, other: Config) -> list[tuple[str, str, str]]:
    """Where two configurations say other things about models: path and both values, in words.

    Only what is measured and judged is compared; connections, and with them secrets, are not.
    """
    parts = ("defaults", "models", "unknown_models", "max_skew", "limits")
    both = [{part: msgspec.to_builtins(getattr(config, part)) for part in parts} for config in (one, other)]
    found: list[tuple[str, str, str]] = []
    _compare(both[0], both[1], (), found)
    return found


ABSENT = object()


def _compare(one: Any, other: Any, path: Path, found: list[tuple[str, str, str]]) -> None:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        named = [_by_name(values) for values in (one, other)]
        if named[0] is not None and named[1] is not None:
            one, other = named
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            _compare(one.get(key, ABSENT), other.get(key, ABSENT), (*path, key), found)
    elif one != other:
        found.append((spell(path), _said(one), _said(other)))


def _by_name(values: Sequence[Any]) -> dict[str, Any] | None:
    """Rules and challengers by their names, so that an inserted one is not a change of all behind it."""
    if not all(isinstance(value, dict) and "name" in value for value in values):
        return None
    return {value["name"]: value for value in values}


def _said(value: Any) -> str:
    if value is ABSENT:
        return "–"
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if item not in (None, {}, [], 0.0, "all", "both")}
    return msgspec.json.encode(value).decode()

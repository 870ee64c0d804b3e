"""Reads the intervals that are known to be bad: a YAML list, or one JSON object a line.

    - {model: card-fraud, start: 2026-01-01T08:00:00Z, end: 2026-01-01T10:00:00Z, segment: country=BR}
    - {model: card-fraud, start: 1767290400, end: 1767294000, rule: feature-drift, grace: 1h, note: new client}

Invariant: what comes out names a model, a rule and a segment that the configuration can have; everything that is wrong
is said at once, with its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from stream.config import Config, Duration
from stream.configfile import ConfigurationError, Problem
from stream.configfile.problems import choice
from stream.configfile.tree import Node, Tree
from stream.configfile.typed import Reader
from stream.events import seconds
from stream.monitor.watching import defaults
from stream.report.judge import ALL, Incident


class Written(Struct, frozen=True, forbid_unknown_fields=True):
    """An interval as it is written: times as in events, `grace` a duration."""

    model: str
    start: float | str
    end: float | str
    segment: str | None = None
    rule: str | None = None
    grace: Duration = 0.0
    note: str | None = None


def read(path: Path, configs: Sequence[Config]) -> list[Incident]:
    """The intervals of a file, in its order, for models of any of the configurations. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(str(path), [Problem((), f"not UTF-8 text: {error.reason}")]) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigurationError(str(path), [Problem((), f"the file cannot be read: {why}")]) from None
    rows, problems = _yaml(text) if path.suffix.lower() in (".yaml", ".yml") else _lines(text)
    reader = Reader()
    incidents = []
    for number, node in rows:
        place = (number,)
        read_row: Written = reader.struct(Written, node, place)
        if not isinstance(node.value, dict) or reader.touched(place):
            continue
        incident, wrong = _checked(read_row, configs)
        problems += [Problem((*place, field), message, _line(node, field)) for field, message in wrong]
        if incident is not None:
            incidents.append(incident)
    problems += reader.problems
    if problems:
        raise ConfigurationError(str(path), problems)
    return incidents


def _yaml(text: str) -> tuple[list[tuple[int, Node]], list[Problem]]:
    tree = Tree(text, {})
    problems = list(tree.problems)
    if problems:
        return [], problems
    if not isinstance(tree.root.value, list):
        if tree.root.value == {} and not text.strip():
            return [], problems
        return [], [Problem((), "expected a list of intervals: `- {model: …, start: …, end: …}`", tree.root.line)]
    return list(enumerate(tree.root.value)), problems


def _lines(text: str) -> tuple[list[tuple[int, Node]], list[Problem]]:
    rows: list[tuple[int, Node]] = []
    problems: list[Problem] = []
    for line, row in enumerate(text.splitlines(), start=1):
        if not row.strip():
            continue
        try:
            rows.append((len(rows), _node(msgspec.json.decode(row), line)))
        except (msgspec.DecodeError, RecursionError) as error:
            problems.append(Problem((), f"not JSON: {error}; a YAML list has the ending .yaml", line))
    return rows, problems


def _node(value: Any, line: int) -> Node:
    if isinstance(value, dict):
        return Node({name: _node(child, line) for name, child in value.items()}, line)
    if isinstance(value, list):
        return Node([_node(child, line) for child in value], line)
    return Node(value, line, str(value))


def _line(node: Node, field: str) -> int:
    child = node.value.get(field) if isinstance(node.value, dict) else None
    return node.line if child is None else child.line


def _checked(row: Written, configs: Sequence[Config]) -> tuple[Incident | None, list[tuple[str, str]]]:
    """The interval, or what is wrong with which of its fields."""
    wrong: list[tuple[str, str]] = []
    times = []
    for field, value in (("start", row.start), ("end", row.end)):
        try:
            times.append(seconds(value))
        except (ValueError, msgspec.MsgspecError):
            wrong.append((field, f'found "{value}", expected seconds since 1970 or such as 2026-01-31T12:00:00Z'))
    if len(times) == 2 and times[1] <= times[0]:
        wrong.append(("end", f"found {row.end}, expected a time after the start, {row.start}"))
    specs = [config.model(row.model) for config in configs if _may_have(config, row.model)]
    if not specs:
        known = [name for config in configs for name in config.models]
        wrong.append(("model", f'found "{row.model}", {choice(row.model, dict.fromkeys(known))}'))
        return None, wrong
    rules = [rule.name for spec in specs for rule in (defaults.rules(spec.task) if spec.rules is None else spec.rules)]
    if row.rule is not None and row.rule not in rules:
        wrong.append(("rule", f'found "{row.rule}", {choice(row.rule, dict.fromkeys(rules))}'))
    attributes = dict.fromkeys(attribute for spec in specs for attribute in spec.segments)
    segment = None if row.segment == ALL else row.segment
    if segment is not None:
        attribute, equals, _ = segment.partition("=")
        if not equals:
            wrong.append(("segment", f'found "{segment}", expected such as country=BR, or all'))
        elif attribute not in attributes:
            wrong.append(("segment", f'found "{segment}", {choice(attribute, attributes)}'))
    if wrong:
        return None, wrong
    return Incident(row.model, times[0], times[1], segment, row.rule, row.grace, row.note), []


def _may_have(config: Config, model: str) -> bool:
    return model in config.models or config.unknown_models == "monitor"

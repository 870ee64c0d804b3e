"""What types cannot say about a configuration: names that must differ, values that must agree, files that must exist.

Invariant: a place that could not be read is not complained about a second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from stream.config import Checkpoint, Config, Kafka, Model, Reference
from stream.configfile.durations import words
from stream.configfile.problems import Path, Problem, choice
from stream.configfile.renewalchecks import check_renewals
from stream.configfile.rulechecks import check_rules
from stream.configfile.silencechecks import check_silences
from stream.configfile.tree import Tree
from stream.configfile.typed import Reader
from stream.events import Task
from stream.monitor.metrics.worth import OUTCOMES

Report: TypeAlias = Callable[[Path, str], None]

STORES = ("sqlite", "redis", "rediss", "memory")
MAX_PANES = 100_000
"""Panes of one window; more would cost memory that no chart can use."""

_topic = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_host = re.compile(r"[^\s:/]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")


def check(config: Config, tree: Tree, reader: Reader, folder: FilePath) -> tuple[Config, list[Problem]]:
    """The configuration with the paths of its files and the list of its brokers resolved, and what is wrong with it."""
    problems: dict[tuple[Path, str], Problem] = {}

    def report(path: Path, message: str) -> None:
        # What a model has from `defaults` is reported there, once.
        if path[:1] == ("models",) and len(path) > 2 and not tree.has(path[:3]) and tree.has(("defaults", path[2])):
            path = ("defaults", *path[2:])
        message = tree.redact(path, message)
        if not reader.touched(path):
            problems[path, message] = Problem(path, message, tree.line(path))

    def resolved(path: Path, name: str | None) -> str | None:
        if name is None:
            return None
        file = folder / name
        if not file.is_file():
            report(path, f'found "{name}", expected a file; there is none at {file}')
        return str(file.absolute())

    _check_kafka(config.kafka, report)
    security = config.kafka.security
    security = msgspec.structs.replace(
        security,
        **{
            name: resolved(("kafka", "security", name), getattr(security, name))
            for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
        },
    )
    _check_checkpoint(config.checkpoint, report)
    if not config.http.host:
        report(("http", "host"), "found nothing, expected an address such as 127.0.0.1")
    if config.http.token is not None and len(config.http.token) < 16:
        report(("http", "token"), "is shorter than 16 characters: too easy to guess")
    if config.unknown_models == "dead-letter" and not config.models:
        report(("unknown_models",), "found dead-letter and no models: every event would be refused")

    check_silences(config, report)
    check_renewals(config, report)
    specs: dict[str, Model] = {}
    for name, model in {"": config.defaults, **config.models}.items():
        path: Path = ("models", name) if name else ("defaults",)
        if name == "" and "" in config.models:
            report(("models", ""), "found an empty name, expected the name of a model")
        if len(name) > 1024:
            report(path, "the name is longer than 1,024 characters")
        _check_model(model, path, reader, report)
        reference = msgspec.structs.replace(
            model.reference,
            **{
                key: resolved((*path, "reference", key), getattr(model.reference, key))
                for key in ("file", "predictions", "labels")
            },
        )
        specs[name] = msgspec.structs.replace(model, reference=reference)
    brokers = tuple(address.strip() for broker in config.kafka.brokers for address in broker.split(","))
    config = msgspec.structs.replace(
        config,
        kafka=msgspec.structs.replace(config.kafka, security=security, brokers=brokers),
        defaults=specs.pop(""),
        models=specs,
    )
    return config, list(problems.values())


def _check_kafka(kafka: Kafka, report: Report) -> None:
    if not kafka.brokers:
        report(("kafka", "brokers"), "found an empty list, expected at least one host:port")
    for i, broker in enumerate(kafka.brokers):
        for address in broker.split(","):
            if not _host.fullmatch(address.strip()):
                place: Path = ("kafka", "brokers", i) if len(kafka.brokers) > 1 else ("kafka", "brokers")
                report(place, f'found "{address.strip()}", expected host:port such as localhost:9092')
    if not kafka.group.strip():
        report(("kafka", "group"), "found nothing, expected the name of the consumer group")
    if kafka.instance is not None and not _topic.fullmatch(kafka.instance):
        report(
            ("kafka", "instance"),
            f'found "{kafka.instance}", expected a name that no other worker of the group has '
            "(letters, digits, dots, dashes), or the key left out",
        )
    if kafka.session_timeout < 1:
        report(("kafka", "session_timeout"), f"found {words(kafka.session_timeout)}, expected at least 1s")
    names: dict[str, str] = {}
    for key, field in zip(kafka.topics.__struct_encode_fields__, kafka.topics.__struct_fields__, strict=True):
        topic = getattr(kafka.topics, field)
        place = ("kafka", "topics", key)
        if not _topic.fullmatch(topic) or topic in (".", ".."):
            report(place, f'found "{topic}", expected a topic name: letters, digits, dots, dashes, at most 249')
        elif topic in names:
            report(place, f'found "{topic}", which is already the topic of {names[topic]}: expected different topics')
        names.setdefault(topic, key)
    security = kafka.security
    for field in ("sasl_username", "sasl_password"):
        if security.protocol.startswith("SASL") and not getattr(security, field):
            report(("kafka", "security", field), f"is missing, and {security.protocol} needs it")
    if security.ssl_certfile and not security.ssl_keyfile:
        report(("kafka", "security", "ssl_keyfile"), "is missing, and ssl_certfile needs it")


def _check_checkpoint(checkpoint: Checkpoint, report: Report) -> None:
    place = ("checkpoint", "store")
    try:
        url = urlsplit(checkpoint.store)
        scheme, host, path = url.scheme, url.hostname, url.path
        _ = url.port
    except ValueError:  # its text would show the password
        report(place, "not a URL: special characters of a password have to be percent-encoded")
        return
    if scheme not in STORES:
        known = ", ".join(f"{name}://" for name in STORES)
        what = f"{scheme}://" if scheme else "no scheme"
        report(place, f"found {what}, expected a URL that begins with one of: {known}")
    elif scheme == "sqlite" and (host or path in ("", "/")):
        report(place, "expected a file: sqlite:///relative.db or sqlite:////absolute/path.db")
    elif scheme in ("redis", "rediss") and not host:
        report(place, f"expected a host: {scheme}://localhost:6379/0")
    if checkpoint.every < 0.01:
        report(("checkpoint", "every"), f"found {words(checkpoint.every)}, expected at least 10ms")
    if checkpoint.key is not None and len(checkpoint.key) < 16:
        report(("checkpoint", "key"), "is shorter than 16 characters: too short to sign with")


def _check_model(model: Model, path: Path, reader: Reader, report: Report) -> None:
    if model.pane < 0.5:
        report((*path, "pane"), f"found {words(model.pane)}, expected at least 500ms")
    elif model.horizon < model.pane:
        report((*path, "horizon"), f"found {words(model.horizon)}, expected at least one pane ({words(model.pane)})")
    if not model.windows:
        report((*path, "windows"), "found an empty list, expected at least one duration")
    for i, window in enumerate(model.windows):
        place = (*path, "windows", i)
        if model.pane >= 0.5 and not (window / model.pane).is_integer():
            report(place, f"found {words(window)}, expected a multiple of the pane ({words(model.pane)})")
        elif model.pane >= 0.5 and not 1 <= window / model.pane <= MAX_PANES:
            report(place, f"found {words(window)}, expected 1 to {MAX_PANES:,} panes of {words(model.pane)}")
        if window in model.windows[:i]:
            report(place, f"found {words(window)} again, expected different windows")
    if model.positive is not None and model.task in ("multiclass", "regression"):
        report((*path, "positive"), f"is for binary models, and the task is {model.task}")
    for i, name in enumerate(model.segments):
        place = (*path, "segments", i)
        if name in model.fairness and name not in model.segments[:i]:
            continue  # what is wrong with it is said there
        if not name or "=" in name or name in ("all", "*"):
            report(place, f'found "{name}", expected the name of an attribute or of a categorical feature')
        elif name in model.segments[:i]:
            report(place, f'found "{name}" again, expected different segments')
        elif model.features is not None and model.features.get(name, "categorical") not in _groupable(model, name):
            kind = {"ignore": "ignored"}.get(model.features[name], model.features[name])
            report(place, f'found "{name}", a feature that is {kind}, expected an attribute or a categorical feature')
    for name, edges in model.bins.items():
        if name not in model.segments:
            report((*path, "bins", name), f'found "{name}", which is no segment, {choice(name, model.segments)}')
        elif not edges or list(edges) != sorted(set(edges)):
            report((*path, "bins", name), "expected at least one edge, and each larger than the one before")
    _check_fairness(model, path, report)
    _check_value(model, (*path, "value"), report)
    _check_reference(model.reference, (*path, "reference"), report)
    check_rules(model, path, reader, report)
    _check_learn(model, (*path, "learn"), report)


def _groupable(model: Model, name: str) -> tuple[str, ...]:
    """Kinds of a feature that can be a segment: numbers only in bins."""
    return ("categorical", "numeric") if name in model.bins else ("categorical",)


def _check_fairness(model: Model, path: Path, report: Report) -> None:
    if model.fairness and model.task in ("multiclass", "regression"):
        report((*path, "fairness"), f"is for binary models, and the task is {model.task}")
    for i, name in enumerate(model.fairness):
        if not name or "=" in name or name in ("all", "*"):
            report((*path, "fairness", i), f'found "{name}", expected the name of an attribute')
        elif name in model.fairness[:i]:
            report((*path, "fairness", i), f'found "{name}" again, expected different attributes')


def _check_value(model: Model, path: Path, report: Report) -> None:
    """What outcomes are worth: numbers for kinds of outcomes, or mappings for classes."""
    if model.value is None:
        return
    if model.task == "regression":
        report(path, "is for classification, and the task is regression")
    by_class = [name for name, value in model.value.items() if isinstance(value, dict)]
    numbers = [name for name in model.value if name not in by_class]
    if by_class and numbers:
        report(path, f"found a number for {numbers[0]} and a mapping for {by_class[0]}, expected all of one kind")
    elif numbers and model.task == "multiclass":
        report(path, "found numbers, expected by class in truth and class predicted: {cat: {cat: 5, dog: -1}}")
    elif not model.value:
        report(path, f"found nothing, expected a number for some of: {', '.join(OUTCOMES)}")
    for name in numbers if not by_class else ():
        if name not in OUTCOMES:
            report((*path, name), f"unknown key, {choice(name, OUTCOMES)}, or classes with a mapping each")


def _check_reference(reference: Reference, path: Path, report: Report) -> None:
    said = [name for name in ("first", "file", "predictions") if getattr(reference, name) is not None]
    if reference.labels is not None and reference.predictions is None:
        report((*path, "labels"), "is given without predictions, and labels alone are no reference")
    elif len(said) != 1:
        what = f"found {' and '.join(said)}" if said else "found nothing"
        report(path, f"{what}, expected exactly one of: first, file, predictions")


def _check_learn(model: Model, path: Path, report: Report) -> None:
    if not model.learn.challengers:
        if model.learn.promote is not None:
            report((*path, "promote"), "is given without challengers: there is nothing to promote")
        return
    from stream.learning.pipeline import check_challenger

    tasks: tuple[Task, ...] = (model.task,) if model.task else ("binary", "multiclass", "regression")
    names: set[str] = set()
    for i, challenger in enumerate(model.learn.challengers):
        place = (*path, "challengers", i)
        if not challenger.name:
            report((*place, "name"), "found nothing, expected a name")
        elif challenger.name in names:
            report((*place, "name"), f'found "{challenger.name}" again, expected a name of its own')
        names.add(challenger.name)
        refusals: list[str] = []
        for task in tasks:
            try:
                check_challenger(challenger, task)
            except ValueError as error:
                refusals.append(str(error))
        # A model whose task is to be inferred may have a challenger that suits only some tasks.
        if len(refusals) == len(tasks):
            report((*place, "model"), refusals[0])
    if model.learn.promote is not None and model.task == "regression":
        report((*path, "promote"), "is for classification, whose losses are bounded, and the task is regression")
    if not model.learn.registry:
        report((*path, "registry"), "found nothing, expected a directory")

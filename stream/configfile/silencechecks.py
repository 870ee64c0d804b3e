"""What a silence must say: whom it is about, in names that exist."""

from __future__ import annotations

from stream.config import Config, Model, Silence
from stream.configfile.boundchecks import Report
from stream.configfile.problems import Path, choice
from stream.monitor.watching.defaults import rules


def check_silences(config: Config, report: Report) -> None:
    """Reports what is wrong with the silences of a configuration."""
    for i, silence in enumerate(config.silences):
        for key, message in problems(silence, config):
            place: Path = ("silences", i, key) if key else ("silences", i)
            report(place, message)


def problems(silence: Silence, config: Config) -> list[tuple[str, str]]:
    """What is wrong with one silence: the key that it is about, and words."""
    if silence.model is None and silence.rule is None and silence.segment is None:
        return [("", "names nothing, expected at least one of: model, rule, segment")]
    found: list[tuple[str, str]] = []
    closed = config.unknown_models == "dead-letter"
    if silence.model is not None and closed and silence.model not in config.models:
        found.append(("model", f'found "{silence.model}", which is no model, {choice(silence.model, config.models)}'))
    models = [config.model(silence.model)] if silence.model is not None else [config.defaults, *config.models.values()]
    known = list(dict.fromkeys(name for model in models for name in _names(model)))
    if silence.rule is not None and silence.rule not in known:
        found.append(("rule", f'found "{silence.rule}", which is no rule, {choice(silence.rule, known)}'))
    if silence.segment is not None and silence.segment != "all":
        attribute, equals, _ = silence.segment.partition("=")
        segments = list(dict.fromkeys(name for model in models for name in model.segments))
        if not equals:
            found.append(("segment", f'found "{silence.segment}", expected all or name=value'))
        elif attribute not in segments:
            found.append(("segment", f'found "{attribute}", which is no segment, {choice(attribute, segments)}'))
    return found


def _names(model: Model) -> list[str]:
    return [rule.name for rule in (rules(model.task) if model.rules is None else model.rules)]

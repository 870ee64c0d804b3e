"""What a reference that is taken anew must say: a model that exists, at a moment of its own."""

from __future__ import annotations

from stream.config import Config, Renewal
from stream.configfile.boundchecks import Report
from stream.configfile.problems import choice

MOST = 100_000
"""Predictions of a reference; they are kept as they are until it is made."""


def check_renewals(config: Config, report: Report) -> None:
    """Reports what is wrong with the references of a configuration."""
    seen: set[tuple[str, float]] = set()
    for i, renewal in enumerate(config.references):
        for key, message in problems(renewal, config):
            report(("references", i, key), message)
        if (renewal.model, renewal.at) in seen:
            report(("references", i, "at"), f'is the moment of another one of "{renewal.model}"')
        seen.add((renewal.model, renewal.at))


def problems(renewal: Renewal, config: Config) -> list[tuple[str, str]]:
    """What is wrong with one: the key that it is about, and words."""
    found: list[tuple[str, str]] = []
    if config.unknown_models == "dead-letter" and renewal.model not in config.models:
        found.append(("model", f'found "{renewal.model}", which is no model, {choice(renewal.model, config.models)}'))
    if renewal.first is not None and renewal.first > MOST:
        found.append(("first", f"found {renewal.first:,}, expected at most {MOST:,} predictions"))
    return found

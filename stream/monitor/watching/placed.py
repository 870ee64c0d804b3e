"""One rule on one segment and feature, and where it stands."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import structs

from stream.config import Rule
from stream.monitor.guards.guard import Guard
from stream.monitor.rules.alerts import Subject
from stream.monitor.rules.detectors import Detector
from stream.monitor.rules.machine import Phase, RuleState

LATER = ("drop", "rise", "all", "any", "attribute", "against")
"""Keys of rules that earlier versions did not know: a rule without them keeps its state when it is read by this one."""


class Watch:
    """One rule on one segment and feature."""

    def __init__(self, subject: Subject, window: int) -> None:
        self.subject = subject
        self.window = window
        self.state = RuleState()
        self.detector = Detector.of(subject.rule) if subject.rule.detector is not None else None
        self.guard: Guard | None = None
        """None until it is known what to guard: the task, or the reference of the feature."""
        self.guarded: bytes | None = None
        """The state of the guard to come."""
        self.made_for = made_for(subject.rule)
        self.reported = False
        """Its detector was switched off, and the page says so."""

    @property
    def rule(self) -> Rule:
        """The rule."""
        return self.subject.rule

    @property
    def fires(self) -> bool:
        """Whether its alert fires."""
        return self.state.phase is Phase.FIRING

    @property
    def key(self) -> tuple[str, str, str | None]:
        """Rule, segment and feature: unique in a model."""
        return self.rule.name, self.subject.segment, self.subject.feature


def made_for(rule: Rule) -> str:
    """A digest of all that decides what a rule's state means."""
    told: dict[str, Any] = msgspec.to_builtins(structs.replace(rule, severity="info"))
    said = {key: value for key, value in told.items() if key not in LATER or value is not None}
    return blake2b(msgspec.json.encode(said, order="sorted"), digest_size=8).hexdigest()

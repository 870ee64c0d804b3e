"""What the rules of a model ask of its reference and its panes beyond what every model has.

Invariant: a model whose rules ask for nothing pays nothing, neither time nor memory.
"""

from __future__ import annotations

from stream.config import Model, Rule

JOINT = "mmd"
"""The test that compares all features together."""

TOGETHER = "*"
"""Under which name they stand."""


def is_joint(rule: Rule) -> bool:
    """Whether the rule watches all features together."""
    return rule.test == JOINT


def asks(rule: Rule) -> bool:
    """Whether the rule asks for anything."""
    return is_joint(rule)


def joint(spec: Model) -> bool:
    """Whether a rule watches all features together."""
    return any(map(is_joint, spec.rules or ()))

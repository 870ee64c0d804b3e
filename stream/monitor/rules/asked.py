"""What the rules of a model ask of its reference and its panes beyond what every model has.

Invariant: a model whose rules ask for nothing pays nothing, neither time nor memory.
"""

from __future__ import annotations

from stream.config import Model, Rule
from stream.monitor.rules.watch import LABEL, PREDICTION

JOINT = "mmd"
"""The test that compares all features together."""

TOGETHER = "*"
"""Under which name they stand."""


def is_joint(rule: Rule) -> bool:
    """Whether the rule watches all features together."""
    return rule.test == JOINT


def is_by_segment(rule: Rule) -> bool:
    """Whether the rule compares single features of segments with the reference, perhaps besides the whole model's."""
    single = rule.feature not in (None, LABEL) and rule.metric is None and not is_joint(rule)
    return single and rule.segment != "all"


def asks(rule: Rule) -> bool:
    """Whether the rule asks for anything."""
    return is_joint(rule) or is_by_segment(rule)


def joint(spec: Model) -> bool:
    """Whether a rule watches all features together."""
    return any(map(is_joint, spec.rules or ()))


def by_segment(spec: Model) -> tuple[Rule, ...]:
    """The rules that compare features of segments."""
    return tuple(filter(is_by_segment, spec.rules or ()))


def compares(rule: Rule, segment: str, feature: str) -> bool:
    """Whether such a rule compares a feature of a segment.

    >>> rule = Rule(name="r", feature="*", test="psi", above=0.2, segment="country=*")
    >>> [compares(rule, *each) for each in (("country=BR", "age"), ("land=BR", "age"), ("country=BR", "prediction"))]
    [True, False, False]
    """
    here = rule.segment in ("*", segment)
    if rule.segment.endswith("=*"):
        here = segment.startswith(rule.segment[:-1])
    return here and (rule.feature == feature or (rule.feature == "*" and feature != PREDICTION))

"""Why rules that compare with the reference say nothing: what they need of it and it does not know.

Invariant: a function of the configuration and the reference, so it ends when they change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from stream.monitor import asked, joint_drift

if TYPE_CHECKING:
    from stream.monitor.model import ModelMonitor


def reasons(m: ModelMonitor) -> list[str]:
    """For a person; empty while there is no reference."""
    if m.normal.reference is None:
        return []
    return _together(m)


def _together(m: ModelMonitor) -> list[str]:
    names = ", ".join(rule.name for rule in m.spec.rules or () if asked.is_joint(rule))
    reference = m.normal.reference
    if not names or reference is None:
        return []
    if m.normal.together is None:
        return [f"{names}: silent, for the reference was made before a rule with test: mmd; `stream profile` makes one"]
    joint = reference.joint
    least = joint_drift.LEAST
    if joint is not UNSET and joint.rows < least:
        return [f"{names}: silent, for the reference has {joint.rows:,} predictions and mmd needs {least:,}"]
    return []

"""Why rules that compare with the reference say nothing: what they need of it and it does not know.

Invariant: a function of the configuration and the reference, so it ends when they change.
"""

from __future__ import annotations

import sys

from msgspec import UNSET

from stream.monitor.features import joint_drift, segment_drift
from stream.monitor.model import ModelMonitor
from stream.monitor.rules import asked
from stream.monitor.rules.watch import minimum


def reasons(m: ModelMonitor) -> list[str]:
    """For a person; empty while there is no reference."""
    if m.normal.reference is None:
        return []
    return [*_together(m), *_by_segment(m)]


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


def _by_segment(m: ModelMonitor) -> list[str]:
    names = ", ".join(rule.name for rule in asked.by_segment(m.spec))
    reference = m.normal.reference
    if not names or reference is None:
        return []
    if reference.by_segment is UNSET:
        return [f"{names}: silent for segments, for the reference was made before a rule on features of segments"]
    known = m.normal.of_segments(m.segments.names)
    few: dict[str, list[str]] = {}
    coarse: dict[str, list[str]] = {}
    for watch in m.watches.all:
        rule, segment = watch.rule, watch.subject.segment
        code = m.segments.code(segment)
        if not asked.is_by_segment(rule) or segment == "all" or code is None or not _seen(m, code):
            continue
        if code not in known:
            few.setdefault(rule.name, []).append(segment)
        elif minimum(rule) == sys.maxsize:
            coarse.setdefault(rule.name, []).append(segment)
    least = f"{segment_drift.LEAST:,} predictions"
    return [
        *(f"{name}: silent for {_told(of)}, of which the reference has less than {least}" for name, of in few.items()),
        *(f"{name}: silent for {_told(of)}: its reference is too small for this bound" for name, of in coarse.items()),
    ]


def _seen(m: ModelMonitor, segment: int) -> bool:
    """Whether a window has predictions of it."""
    return any(segment < len(window.sums.traffic) and window.sums.traffic[segment].any() for window in m.windows)


def _told(segments: list[str]) -> str:
    """At most five of them, each once.

    >>> _told(["a=1", "a=2", "a=1"]), _told([str(number) for number in range(7)])
    ('a=1, a=2', '0, 1, 2, 3, 4 and 2 more')
    """
    each = list(dict.fromkeys(segments))
    return ", ".join(each[:5]) + (f" and {len(each) - 5} more" if len(each) > 5 else "")

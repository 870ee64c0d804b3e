"""Drift on the page: a map of features over time, and how far all of them together are from the reference."""

from __future__ import annotations

from collections.abc import Sequence

from stream.monitor.rules.asked import TOGETHER
from stream.report.charts import Line, Points, Scale, axis, chart, heat
from stream.report.history import History, Step
from stream.report.markup import Child, h
from stream.report.words import duration

FEATURES = 60
"""Rows of the map, at most: those that went furthest."""


def drift_card(history: History) -> Child:
    """None where nothing was compared."""
    columns = history.heat
    furthest: dict[str, float] = {}
    for step in columns:
        for feature, psi in _moved(step).items():
            furthest[feature] = max(furthest.get(feature, 0.0), psi or 0.0)
    if not furthest:
        return None
    shown = sorted(furthest, key=lambda feature: (-furthest[feature], feature))[:FEATURES]
    length = columns[0].end - columns[0].start
    scale = Scale(history.begin, history.end, tuple(step.start for step in columns), length)
    rows: list[tuple[str, Points]] = [(feature, [_moved(step).get(feature) for step in columns]) for feature in shown]
    key = h(
        "p",
        {"class": "legend"},
        [
            h("span", None, h("i", {"class": f"k-heat h{level}"}), said)
            for level, said in enumerate(("below 0.02", "0.02", "0.05", "0.1 some", "0.25 much", "0.5 and more"))
        ],
        h("span", None, f"PSI against the reference, {duration(length)} a column, at the right the largest"),
    )
    left = len(furthest) - len(shown)
    more = h("p", {"class": "muted"}, f"{left} features that moved less are left out.") if left else None
    under = h("div", {"class": "row"}, h("span", {"class": "of"}), axis(scale), h("span", {"class": "num"}))
    return h(
        "div",
        {"class": "card"},
        h("h3", None, "Drift"),
        key,
        heat(rows, scale),
        h("div", {"class": "heat"}, under),
        more,
        _together(columns, scale),
    )


def _moved(step: Step) -> dict[str, float | None]:
    """PSI of each feature, those of segments under both names."""
    found = {feature: scores.psi for feature, scores in step.whole.drift.items() if feature != TOGETHER}
    for segment, told in step.segments.items():
        found |= {f"{feature} · {segment}": scores.psi for feature, scores in told.drift.items()}
    return found


def _together(columns: Sequence[Step], scale: Scale) -> Child:
    """All features together, in the same columns."""
    found = [step.whole.drift.get(TOGETHER) for step in columns]
    distances = [None if each is None else each.mmd_distance for each in found]
    if all(each is None for each in distances):
        return None
    line = Line("all features together: MMD", distances, samples=[step.whole.predictions for step in columns])
    return h("div", {"class": "charts small"}, chart(line, scale, (), small=True))

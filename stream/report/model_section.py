"""One model on the page: its metrics over time, when rules fired, which features moved, what the alerts said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stream.config import Rule
from stream.console.summary import HEADLINES
from stream.console.words import clock, safe
from stream.console.words import number as spoken
from stream.events import Estimated, MetricSnapshot
from stream.monitor.rules.watch import ESTIMATED
from stream.monitor.watching import defaults
from stream.report.charts import Line, Scale, axis, chart, lane
from stream.report.drift_section import drift_card
from stream.report.history import History
from stream.report.judge import Incident
from stream.report.markup import Child, Markup, h, name
from stream.report.scoreboard import Fired, Run, Standing
from stream.report.words import duration

ALERTS = 200
"""Alerts that are spelled out, at most."""

CHARTS = 4
"""Metrics that are open at first."""


def label_of(number: int) -> str:
    """What a link to the section of a model points at."""
    return f"model-{number}"


def section(
    runs: Sequence[Run],
    histories: Sequence[History | None],
    rules: Sequence[list[Standing]],
    board: Markup,
    incidents: Sequence[Incident],
) -> Markup:
    """The section of one model: timelines of the first replay, rules of all of them."""
    history = histories[0]
    assert history is not None
    number = [each.model for each in runs[0].histories].index(history.model)
    bad = [(each.start, each.until) for each in incidents if each.model == history.model]
    scale = Scale(history.begin, history.end, tuple(step.start for step in history.steps), history.step)
    counts = history.view.counts
    facts = (
        f"{counts.predictions:,} predictions · {counts.outcomes:,} outcomes · steps of {duration(history.step)} · "
        f"reference: {history.view.reference}"
    )
    spec = runs[0].config.model(history.model)
    watched = defaults.rules(spec.task) if spec.rules is None else spec.rules
    return h(
        "section",
        {
            "class": "model",
            "id": label_of(number),
            "data-begin": str(history.begin),
            "data-end": str(history.end),
        },
        h("h2", None, name(history.model), " ", h("span", {"class": "chip"}, history.view.task)),
        h("p", {"class": "muted"}, facts),
        [h("p", {"class": "note"}, safe(note)) for note in history.view.notes],
        _charts(history, watched, scale, bad),
        h("div", {"class": "card"}, h("h3", None, "Rules"), board, _lanes(runs, rules, scale, bad)),
        drift_card(history),
        _segments(history, scale, bad),
        _fairness(history, watched, scale, bad),
        _alerts(runs, rules),
    )


def _charts(history: History, rules: Sequence[Rule], scale: Scale, bad: Sequence[tuple[float, float]]) -> Child:
    wholes = [step.whole for step in history.steps]
    names = list(dict.fromkeys(each for whole in wholes for each in (*whole.metrics, *whole.estimates)))
    wanted = [rule.metric.removeprefix(ESTIMATED) for rule in rules if rule.metric is not None]
    first = [each for each in dict.fromkeys((*wanted, *HEADLINES.get(history.view.task, ()))) if each in names]
    others = [each for each in dict.fromkeys(("log_loss", *names)) if each in names and each not in first]
    first += others[: max(0, CHARTS - len(first))]
    more = [each for each in names if each not in first and "_class_" not in each and "_weighted" not in each]
    traffic = [
        Line("predictions per second", [whole.throughput or None for whole in wholes], note=" "),
        Line("coverage", [whole.coverage for whole in wholes], note="share of predictions with a label"),
    ]

    def draw(metric: str) -> Markup:
        bounds = [
            bound
            for rule in rules
            if rule.metric in (metric, ESTIMATED + metric)
            for bound in (rule.above, rule.below)
            if bound is not None
        ]
        return chart(_line(metric, wholes, lambda whole: whole.metrics, bounds), scale, bad)

    legend = h(
        "p",
        {"class": "legend"},
        [
            h("span", None, h("i", {"class": kind}), said)
            for kind, said in (
                ("k-value", "with labels"),
                ("k-band", "95 % interval"),
                ("k-estimate", "estimate without labels"),
                ("k-bound", "bound of a rule"),
                ("k-bad", "known to be bad"),
            )
            if kind != "k-bad" or bad
        ],
    )
    open_ones = h(
        "div", {"class": "charts"}, [draw(each) for each in first], [chart(line, scale, bad) for line in traffic]
    )
    rest = None
    if more:
        rest = h(
            "details",
            None,
            h("summary", None, f"{len(more)} more metrics"),
            h("div", {"class": "charts"}, map(draw, more)),
        )
    return h(
        "div",
        {"class": "card"},
        h("h3", None, "Over time"),
        legend,
        open_ones,
        h("div", {"class": "axes"}, axis(scale), axis(scale)),
        rest,
    )


def _line(
    title: str,
    told: Sequence[MetricSnapshot],
    of: Callable[[MetricSnapshot], Mapping[str, Estimated]],
    bounds: Sequence[float],
) -> Line:
    found = [of(each).get(title) for each in told]
    estimates = [each.estimates.get(title) for each in told]
    return Line(
        title,
        [None if each is None else each.value for each in found],
        [_end(each, "lower") for each in found],
        [_end(each, "upper") for each in found],
        [None if each is None else each.value for each in estimates] if any(estimates) else (),
        [0 if each is None else each.samples for each in found],
        bounds,
    )


def _end(found: Estimated | None, which: str) -> float | None:
    value = None if found is None or found.value is None else getattr(found, which)
    return value if isinstance(value, float) else None


def _lanes(
    runs: Sequence[Run], rules: Sequence[list[Standing]], scale: Scale, bad: Sequence[tuple[float, float]]
) -> Child:
    """A lane for each rule that fired, those of two configurations beside each other."""
    names = list(dict.fromkeys(each.rule for found in rules for each in found))
    rows: list[Child] = []
    for rule in names:
        for run, found in zip(runs, rules, strict=True):
            standing = next((each for each in found if each.rule == rule), None)
            if standing is None or not (standing.fired or len(runs) > 1):
                continue
            of = f" · {run.label}" if len(runs) > 1 else ""
            fired = [(each.start, each.end, each.alert.severity) for each in standing.fired]
            rows.append(
                h(
                    "div",
                    {"class": "row"},
                    h("span", {"class": "of"}, name(rule), h("small", None, name(of))),
                    lane(fired, scale, bad),
                    h("span", {"class": "num"}, f"{len(fired):,}"),
                )
            )
    if not rows:
        return h("p", {"class": "good"}, "No rule fired.")
    under = h("div", {"class": "row"}, h("span", {"class": "of"}), axis(scale), h("span", {"class": "num"}))
    return h("div", {"class": "lanes"}, rows, under)


def _segments(history: History, scale: Scale, bad: Sequence[tuple[float, float]]) -> Child:
    names = list(history.steps[0].segments) if history.steps else []
    headline = next(iter(HEADLINES.get(history.view.task, ())), None)
    if not names or headline is None:
        return None
    drawn = []
    for segment in names:
        line = _line(headline, [step.segments[segment] for step in history.steps], lambda told: told.metrics, ())
        line = Line(segment, line.value, line.lower, line.upper, (), line.samples)
        drawn.append(chart(line, scale, bad, small=True))
    return h(
        "div", {"class": "card"}, h("h3", None, f"Segments: {headline}"), h("div", {"class": "charts small"}, drawn)
    )


def _fairness(
    history: History, rules: Sequence[Rule], scale: Scale, bad: Sequence[tuple[float, float]]
) -> list[Markup]:
    """The gaps between the groups of each attribute."""
    wholes = [step.whole for step in history.steps]
    cards = []

    def gaps_of(attribute: str) -> Callable[[MetricSnapshot], Mapping[str, Estimated]]:
        return lambda told: told.fairness.get(attribute, {})

    for attribute in dict.fromkeys(each for whole in wholes for each in whole.fairness):
        gaps = [gaps_of(attribute)(whole) for whole in wholes]
        drawn = []
        for gap in dict.fromkeys(each for found in gaps for each in found):
            watching = [rule for rule in rules if (rule.metric, rule.attribute) == (gap, attribute)]
            bounds = [bound for rule in watching for bound in (rule.above, rule.below) if bound is not None]
            line = _line(gap, wholes, gaps_of(attribute), bounds)
            drawn.append(chart(line, scale, bad, small=True))
        title = h("h3", None, "Fairness between groups of ", name(attribute))
        cards.append(h("div", {"class": "card"}, title, h("div", {"class": "charts small"}, drawn)))
    return cards


def _alerts(runs: Sequence[Run], rules: Sequence[list[Standing]]) -> Child:
    found: list[Child] = []
    for run, standing in zip(runs, rules, strict=True):
        alerts = sorted(
            (each for rule in standing for each in rule.fired), key=lambda each: (each.start, each.alert.id)
        )
        if not alerts:
            continue
        of = f" · {run.label}" if len(runs) > 1 else ""
        left = len(alerts) - ALERTS
        more = h("p", {"class": "muted"}, f"and {left:,} more: see alerts.jsonl") if left > 0 else None
        items = [_alert(each) for each in alerts[:ALERTS]]
        opened = len(alerts) <= 5 and len(runs) == 1
        found.append(
            h(
                "details",
                {"open": opened},
                h("summary", None, f"{len(alerts):,} alerts", name(of)),
                h("ol", {"class": "alerts"}, items),
                more,
            )
        )
    return h("div", {"class": "card"}, h("h3", None, "Alerts"), found) if found else None


def _alert(each: Fired) -> Markup:
    alert = each.alert
    where = "" if alert.segment == "all" else f" · {alert.segment}"
    explained: list[Child] = []
    if alert.explanation:
        explained += [
            h("span", {"class": "chip"}, name(part.segment), f" {100 * part.share:.0f} % of the rise")
            for part in alert.explanation.segments[:3]
        ]
        explained += [
            h("span", {"class": "chip"}, name(part.feature), f" {part.test} {spoken(part.value)}")
            for part in alert.explanation.features[:5]
        ]
    return h(
        "li",
        {"class": f"alert {alert.severity}"},
        h(
            "p",
            None,
            h("b", None, name(alert.rule)),
            name(where),
            " ",
            h("small", None, f"{clock(each.start)} · fired for {duration(each.end - each.start)}"),
        ),
        h("p", None, safe(alert.summary, 600)),
        h("p", None, explained) if explained else None,
    )

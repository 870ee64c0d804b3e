"""The page: one HTML file with everything in it, for any browser, with or without scripts, for screen and paper.

Invariant: nothing is fetched and nothing can be: the content policy allows the page's own style and script, by their
digests, and no address.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from stream.console.words import clock, share
from stream.report.judge import Incident
from stream.report.markup import Child, Markup, h, join, name
from stream.report.model_section import label_of, section
from stream.report.scoreboard import Run, Standing, baseline, differences, standings
from stream.report.words import duration

DOCTYPE = "<!doctype html>\n"

BRIEF = (0, 1, 3, 4, 7)
"""Columns of a verdict that two configurations beside each other have room for."""


def render(runs: Sequence[Run], incidents: Sequence[Incident] | None) -> str:
    """The page of one replay, or of two that are compared. `incidents`: what is known to be bad; None: nothing is."""
    style, script = _read("style.css"), _read("hover.js")
    policy = f"default-src 'none'; style-src 'sha256-{_digest(style)}'; script-src 'sha256-{_digest(script)}'"
    known = list(incidents or ())
    first = runs[0]
    boards = [{history.model: standings(history, known) for history in run.histories} for run in runs]
    title = f"Replay of {first.label}" + (f" and {runs[1].label}" if len(runs) > 1 else "")
    body: list[Child] = [
        h(
            "header",
            None,
            h("h1", None, title),
            h(
                "p",
                None,
                f"{clock(first.summary.start)} to {clock(first.summary.end)} UTC",
                _length(first),
            ),
        ),
        _tiles(runs, boards, incidents),
        _differences(runs),
        _truth(first, boards, incidents),
        _contents(first),
    ]
    for history in first.histories:
        others = [{each.model: each for each in run.histories}.get(history.model) for run in runs]
        body.append(
            section(
                runs,
                others,
                [board.get(history.model, []) for board in boards],
                _board(runs, history.model, boards, incidents),
                known,
            )
        )
    head = [
        h("meta", {"charset": "utf-8"}),
        h("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        h("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        h("meta", {"name": "color-scheme", "content": "light dark"}),
        h("title", None, title),
        Markup(f"<style>{style}</style>"),
    ]
    tip = h("div", {"id": "tip", "hidden": True})
    document = h(
        "html",
        {"lang": "en"},
        h("head", None, head),
        h("body", None, h("main", None, body), tip, Markup(f"<script>{script}</script>")),
    )
    return DOCTYPE + document + "\n"


def _length(run: Run) -> str:
    if run.summary.start is None or run.summary.end is None:
        return ""
    return f" · {duration(run.summary.end - run.summary.start)} of event time"


def _tiles(runs: Sequence[Run], boards: Sequence[dict[str, list[Standing]]], incidents: object) -> Markup:
    """The figures that matter, largest."""
    first = runs[0]
    tiles = [
        _tile("models", f"{len(first.histories):,}", ""),
        _tile("predictions", f"{first.summary.events['predictions']:,}", ""),
        _tile("labels", f"{first.summary.events['labels']:,}", ""),
    ]
    for run, board in zip(runs, boards, strict=True):
        of = f" · {run.label}" if len(runs) > 1 else ""
        rules = [each for found in board.values() for each in found]
        alerts = sum(each.verdict.alerts for each in rules)
        tiles.append(_tile(f"alerts{of}", f"{alerts:,}", "warn" if alerts and incidents is None else ""))
        if incidents is not None:
            false = sum(each.verdict.false for each in rules)
            tiles.append(_tile(f"false alarms{of}", f"{false:,}", "bad" if false else "good"))
    return h("section", {"class": "tiles"}, tiles)


def _tile(label: str, value: str, level: str) -> Markup:
    return h("div", {"class": f"tile {level}".strip()}, h("small", None, name(label)), h("b", None, value))


def _differences(runs: Sequence[Run]) -> Markup | None:
    if len(runs) < 2:
        return None
    found = differences(runs[0].config, runs[1].config)
    rows = [
        h(
            "tr",
            None,
            h("th", None, h("code", None, path)),
            h("td", None, h("code", None, one)),
            h("td", None, h("code", None, other)),
        )
        for path, one, other in found
    ]
    table: Child = h("p", {"class": "muted"}, "Nothing about models differs between the two.")
    if rows:
        head = h("tr", None, h("th"), [h("th", None, name(run.label)) for run in runs])
        table = h("div", {"class": "scroll"}, h("table", None, h("thead", None, head), h("tbody", None, rows)))
    return h("section", {"class": "card"}, h("h2", None, "What differs"), table)


def _truth(
    first: Run, boards: Sequence[dict[str, list[Standing]]], incidents: Sequence[Incident] | None
) -> Markup | None:
    """The intervals, and what found each, soonest first."""
    if incidents is None:
        return None
    rows = []
    lives = {history.model: (history.begin, history.end) for history in first.histories}
    for incident in sorted(incidents, key=lambda each: (each.start, each.model)):
        begin, end = lives.get(incident.model, (0.0, -1.0))
        outside = incident.start > end or incident.until < begin
        found = [_finders(board.get(incident.model, []), incident) for board in boards]
        rows.append(
            h(
                "tr",
                None,
                h("th", None, name(incident.model), " ", h("small", None, name(incident.segment or ""))),
                h("td", None, clock(incident.start)),
                h("td", None, duration(incident.end - incident.start)),
                h("td", None, name(incident.note or "")),
                [
                    h("td", None, h("span", {"class": "chip"}, "not in the events") if outside else each)
                    for each in found
                ],
            )
        )
    heads = ["found by" if len(boards) == 1 else f"found by {number}" for number in ("A", "B")][: len(boards)]
    head = h("tr", None, [h("th", None, word) for word in ("known to be bad", "from", "for", "", *heads)])
    table = h("div", {"class": "scroll"}, h("table", None, h("thead", None, head), h("tbody", None, rows)))
    if not rows:
        table = h("p", {"class": "muted"}, "No interval: every alert counts as false.")
    return h("section", {"class": "card"}, h("h2", None, "Truth"), table)


def _finders(rules: Sequence[Standing], incident: Incident) -> Markup:
    met = []
    for rule in rules:
        if incident.rule not in (None, rule.rule):
            continue
        delays = [
            max(0.0, each.start - incident.start)
            for each in rule.fired
            if incident.concerns(each.alert.segment) and each.start <= incident.until and each.end >= incident.start
        ]
        if delays:
            met.append((min(delays), rule.rule))
    if not met:
        return h("span", {"class": "chip bad"}, "nothing")
    return join(
        [h("div", None, name(rule), " ", h("small", None, f"after {duration(delay)}")) for delay, rule in sorted(met)]
    )


def _contents(run: Run) -> Markup | None:
    if len(run.histories) < 2:
        return None
    return h(
        "nav",
        None,
        [h("a", {"href": f"#{label_of(number)}"}, name(history.model)) for number, history in enumerate(run.histories)],
    )


def _board(
    runs: Sequence[Run], model: str, boards: Sequence[dict[str, list[Standing]]], incidents: Sequence[Incident] | None
) -> Markup:
    """Rules in rows, what they did in columns, for each configuration."""
    judged = incidents is not None
    words = ["alerts", "time firing"]
    if judged:
        words = ["alerts", "found", "missed", "delay", "false", "false per day", "right", "healthy time firing"]
        words = words if len(runs) == 1 else [words[column] for column in BRIEF]
    heads: list[Child] = [
        h("tr", None, h("th", None, "rule"), [h("th", {"class": "num"}, word) for _ in runs for word in words])
    ]
    if len(runs) > 1:
        spans = [h("th", {"colspan": str(len(words)), "class": "group"}, name(run.label)) for run in runs]
        heads.insert(0, h("tr", None, h("th"), spans))
    rules = list(dict.fromkeys(each.rule for board in boards for each in board.get(model, [])))
    rows = []
    for rule in rules:
        cells: list[Child] = []
        for board in boards:
            standing = next((each for each in board.get(model, []) if each.rule == rule), None)
            cells += _cells(standing, judged, len(runs) > 1)
        rows.append(h("tr", None, h("th", None, name(rule)), cells))
    if judged:
        cells = []
        for run in runs:
            history = next((each for each in run.histories if each.model == model), None)
            cells += _cells(None if history is None else baseline(history, incidents or ()), judged, len(runs) > 1)
        rows.append(h("tr", {"class": "baseline"}, h("th", None, "always firing"), cells))
    return h("div", {"class": "scroll"}, h("table", None, h("thead", None, heads), h("tbody", None, rows)))


def _cells(standing: Standing | None, judged: bool, brief: bool) -> list[Markup]:
    if standing is None:
        return [h("td", {"class": "num muted"}, "–") for _ in range((len(BRIEF) if brief else 8) if judged else 2)]
    verdict = standing.verdict
    firing = share(verdict.firing / verdict.healthy) if verdict.healthy > 0 else "–"
    if not judged:
        return [_number(f"{verdict.alerts:,}", "warn" if verdict.alerts else ""), _number(firing)]
    days = verdict.healthy / 86400.0
    cells = [
        _number(f"{verdict.alerts:,}"),
        _number(f"{verdict.found} of {verdict.expected}"),
        _number(f"{verdict.missed}", "bad" if verdict.missed and standing.severity else ""),
        _number("–" if verdict.median_delay is None else duration(verdict.median_delay)),
        _number(f"{verdict.false:,}", "bad" if verdict.false and standing.severity else ""),
        _number(_rate(verdict.false / days) if days > 0 else "–"),
        _number(share(verdict.precision)),
        _number(firing),
    ]
    return [cells[column] for column in BRIEF] if brief else cells


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def _number(value: str, level: str = "") -> Markup:
    return h("td", {"class": f"num {level}".strip()}, value)


def _read(file: str) -> str:
    return files("stream.report").joinpath(file).read_text(encoding="utf-8")


def _digest(part: str) -> str:
    return base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()

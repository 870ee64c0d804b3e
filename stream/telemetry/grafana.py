"""The Grafana dashboard, as the JSON that Grafana imports or provisions.

Invariant: every query is made of names from `names`; adding up over workers is always explicit, because a partition
moves from one worker (`instance`) to another and must count once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

from stream.telemetry import names
from stream.telemetry.names import Definition

UID = "stream-overview"
SCHEMA_VERSION = 39
"""Of the dashboard model; Grafana upgrades older ones by itself."""

COLUMNS = 24
RATE = "[$__rate_interval]"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
MODEL = 'model=~"$model"'
PART = f'{MODEL},segment=~"$segment",window="$window"'
PSI_BOUNDS = (("green", None), ("orange", 0.1), ("red", 0.25))
"""Siddiqi, Credit Risk Scorecards (2006), ch. 6: below 0.1 no change, above 0.25 a major one."""

Kind = Literal["stat", "timeseries", "state-timeline", "table"]


class Query(Struct, frozen=True):
    """One PromQL expression and how its series are called."""

    expression: str
    legend: str = ""


class Panel(Struct, frozen=True):
    """One panel; `width` in twenty-fourths of a row."""

    title: str
    kind: Kind
    width: int
    queries: tuple[Query, ...]
    unit: str = "short"
    help: str = ""
    bounds: tuple[tuple[str, float | None], ...] = ()
    maximum: float | None = None


def _rate(definition: Definition, by: str, where: str = MODEL) -> str:
    return f"sum by ({by}) (rate({definition.name}{{{where}}}{RATE}))"


def _quantiles(definition: Definition, by: str = "", where: str = "") -> tuple[Query, ...]:
    group = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    return tuple(
        Query(
            f"histogram_quantile({share}, sum by ({group}) (rate({definition.name}_bucket{{{where}}}{RATE})))",
            f"{legend}p{share * 100:g}",
        )
        for share in (0.5, 0.95, 0.99)
    )


def _metric(definition: Definition, legend: str) -> Query:
    return Query(f'max by (model, segment) ({definition.name}{{{PART},metric="$metric"}})', f"{{{{model}}}} {legend}")


NOW: tuple[Panel, ...] = (
    Panel("Alerts firing", "stat", 4, (Query(f"sum({names.FIRING.name}{{{MODEL}}})"),),
          bounds=(("green", None), ("red", 1))),
    Panel("Models", "stat", 4, (Query(f"count(count by (model) ({names.PREDICTIONS.name}))"),)),
    Panel("Workers ready", "stat", 4, (Query(f"sum({names.READY.name})"),), bounds=(("red", None), ("green", 1))),
    Panel("Events per second", "stat", 4,
          (Query(f"sum(rate({names.PREDICTIONS.name}{RATE})) + sum(rate({names.LABELS.name}{RATE}))"),), unit="cps"),
    Panel("Lag", "stat", 4, (Query(f"sum({names.LAG.name})"),), help="Records that Kafka has and no worker applied."),
    Panel("Refused records in an hour", "stat", 4, (Query(f"sum(increase({names.DEAD_LETTERS.name}[1h]))"),),
          bounds=(("green", None), ("orange", 1))),
    Panel("Rules that fire", "state-timeline", 16,
          (Query(f"max by (model, segment, rule, feature) ({names.FIRING.name}{{{MODEL}}})",
                 "{{model}} {{segment}} {{rule}} {{feature}}"),),
          bounds=(("green", None), ("red", 1)), maximum=1),
    Panel("Alerts", "timeseries", 8,
          (Query(f"sum by (model, severity) (increase({names.ALERTS.name}{{{MODEL}}}{RATE}))",
                 "{{model}} {{severity}}"),)),
)  # fmt: skip

PERFORMANCE: tuple[Panel, ...] = (
    Panel("$metric over $window", "timeseries", 12,
          (_metric(names.METRIC, "{{segment}}"), _metric(names.METRIC_LOWER, "{{segment}} lower"),
           _metric(names.METRIC_UPPER, "{{segment}} upper"), _metric(names.ESTIMATE, "{{segment}} estimate")),
          help="With its 95 % interval, and the estimate made without labels where there is one."),
    Panel("Every metric, whole model", "timeseries", 8,
          (Query(f'max by (model, metric) ({names.METRIC.name}{{{MODEL},segment="all",window="$window"}})',
                 "{{model}} {{metric}}"),)),
    Panel("Labelled share", "timeseries", 4,
          (Query(f"max by (model, segment) ({names.COVERAGE.name}{{{PART}}})", "{{model}} {{segment}}"),),
          unit="percentunit", maximum=1),
    Panel("Challengers and incumbent", "timeseries", 12,
          (Query(f'max by (model, challenger, role) ({names.CHALLENGER.name}{{{MODEL},metric="$metric"}})',
                 "{{model}} {{challenger}} {{role}}"),), help="Both on the same outcomes."),
    Panel("Versions", "table", 12, (Query(f"max by (model, version) ({names.VERSION.name}{{{MODEL}}})"),)),
)  # fmt: skip

DRIFT: tuple[Panel, ...] = (
    Panel("Drift by feature: PSI", "timeseries", 12,
          (Query(f'max by (model, feature) ({names.DRIFT.name}{{{PART},test="psi"}})', "{{model}} {{feature}}"),),
          bounds=PSI_BOUNDS, help="Below 0.1: no change. Above 0.25: a major one (Siddiqi 2006)."),
    Panel("Drift by feature: other distances", "timeseries", 6,
          (Query(f'max by (feature, test) ({names.DRIFT.name}{{{PART},test!~"psi|p_value|chi2|mmd"}})',
                 "{{feature}} {{test}}"),)),
    Panel("Missing values", "timeseries", 6,
          (Query(f"max by (model, feature) ({names.MISSING.name}{{{PART}}})", "{{model}} {{feature}}"),),
          unit="percentunit"),
)  # fmt: skip

TRAFFIC: tuple[Panel, ...] = (
    Panel("Predictions, labels, outcomes", "timeseries", 8,
          (Query(_rate(names.PREDICTIONS, "model"), "{{model}} predictions"),
           Query(_rate(names.LABELS, "model"), "{{model}} labels"),
           Query(_rate(names.OUTCOMES, "model"), "{{model}} outcomes")), unit="cps"),
    Panel("Waiting for their counterpart", "timeseries", 8,
          (Query(f"sum by (model, kind) ({names.PENDING.name}{{{MODEL}}})", "{{model}} {{kind}}"),)),
    Panel("Failed, repeated, expired", "timeseries", 8,
          (Query(_rate(names.ERRORS, "model"), "{{model}} failed"),
           Query(_rate(names.DUPLICATES, "model, kind"), "{{model}} repeated {{kind}}"),
           Query(_rate(names.EXPIRED, "model, kind"), "{{model}} expired {{kind}}")), unit="cps"),
    Panel("Prediction latency", "timeseries", 8, _quantiles(names.LATENCY, "model", MODEL), unit="s"),
    Panel("Label delay", "timeseries", 8, _quantiles(names.DELAY, "model", MODEL), unit="s"),
    Panel("Age of the newest event", "timeseries", 8,
          (Query(f"time() - max by (model) ({names.WATERMARK.name}{{{MODEL}}})", "{{model}}"),), unit="s"),
)  # fmt: skip

WORKERS: tuple[Panel, ...] = (
    Panel("Time from event to alert", "timeseries", 8, _quantiles(names.ALERT_DELAY), unit="s"),
    Panel("Applying a slice", "timeseries", 8, _quantiles(names.APPLY), unit="s"),
    Panel("Checkpoint", "timeseries", 8, _quantiles(names.CHECKPOINT), unit="s"),
    Panel("Lag by partition", "timeseries", 8,
          (Query(f"max by (topic, partition) ({names.LAG.name})", "{{topic}} {{partition}}"),)),
    Panel("Checkpoints per second, refused commits", "timeseries", 8,
          (Query(f"sum by (instance) (rate({names.CHECKPOINTS.name}{RATE}))", "{{instance}} checkpoints"),
           Query(f"sum by (instance) (rate({names.FENCED.name}{RATE}))", "{{instance}} refused"),
           Query(names.INTERVAL.name, "{{instance}} interval, s"))),
    Panel("Partitions and buffered records", "timeseries", 8,
          (Query(names.SHARDS.name, "{{instance}} partitions"), Query(names.BUFFERED.name, "{{instance}} buffered"))),
    Panel("Refused records by reason", "timeseries", 8,
          (Query(f"sum by (reason) (rate({names.DEAD_LETTERS.name}{RATE}))", "{{reason}}"),), unit="cps"),
    Panel("Memory", "timeseries", 8, (Query('process_resident_memory_bytes{job="stream"}', "{{instance}}"),),
          unit="bytes"),
    Panel("Processor", "timeseries", 8,
          (Query(f'rate(process_cpu_seconds_total{{job="stream"}}{RATE})', "{{instance}}"),), unit="percentunit"),
)  # fmt: skip

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    ("Now", NOW),
    ("Performance", PERFORMANCE),
    ("Drift and data quality", DRIFT),
    ("Traffic", TRAFFIC),
    ("Workers", WORKERS),
)


def dashboard(window: str, metric: str = "accuracy") -> dict[str, Any]:
    """The dashboard; `window` and `metric` are what its selectors show at first."""
    panels: list[dict[str, Any]] = []
    ids = itertools.count(1)
    top = 0
    for title, row in ROWS:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        panels.append(
            {"id": next(ids), "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}
        )
        top += 1
        left = height = 0
        for panel in row:
            if left + panel.width > COLUMNS:
                top, left, height = top + height, 0, 0
            tall = 4 if panel.kind == "stat" else 8
            panels.append(_panel(next(ids), panel, {"x": left, "y": top, "w": panel.width, "h": tall}))
            left, height = left + panel.width, max(height, tall)
        top += height
    return {
        "uid": UID,
        "title": "stream: models in production",
        "description": "Performance, drift, alerts and traffic of every monitored model, and the workers behind them.",
        "tags": ["stream", "machine learning"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _selectors(window, metric)},
        "annotations": {"list": []},
        "panels": panels,
    }


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": color, "value": value} for color, value in panel.bounds or (("green", None),)]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.bounds:
        defaults["color"] = {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"}
    if panel.maximum is not None:
        defaults |= {"min": 0, "max": panel.maximum}
    if panel.kind == "timeseries":
        drawn = "dashed" if panel.bounds else "off"
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 5, "thresholdsStyle": {"mode": drawn}}
    instant = panel.kind in {"stat", "table"}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
                "instant": instant,
                "range": not instant,
                **({"format": "table"} if panel.kind == "table" else {}),
            }
            for i, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel.kind),
    }


def _options(kind: Kind) -> dict[str, Any]:
    if kind == "stat":
        last = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        return {"reduceOptions": last, "colorMode": "value", "graphMode": "area"}
    if kind == "timeseries":
        legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "state-timeline":
        return {"showValue": "never", "mergeValues": True, "rowHeight": 0.8}
    return {"showHeader": True}


def _selectors(window: str, metric: str) -> Sequence[dict[str, Any]]:
    def choice(name: str, query: str, first: str, *, many: bool) -> dict[str, Any]:
        chosen: dict[str, Any] = {"text": first, "value": first}
        if many and first == "All":
            chosen = {"text": ["All"], "value": ["$__all"]}
        return {
            "name": name, "label": name.capitalize(), "type": "query", "datasource": SOURCE, "refresh": 2, "sort": 1,
            "query": {"query": query, "refId": name}, "definition": query, "current": chosen,
            "multi": many, "includeAll": many, "allValue": ".+" if many else None,
        }  # fmt: skip

    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    return [
        source,
        choice("model", f"label_values({names.PREDICTIONS.name}, model)", "All", many=True),
        choice("segment", f"label_values({names.COVERAGE.name}{{{MODEL}}}, segment)", "all", many=True),
        choice("window", f"label_values({names.COVERAGE.name}{{{MODEL}}}, window)", window, many=False),
        choice("metric", f"label_values({names.METRIC.name}{{{MODEL}}}, metric)", metric, many=False),
    ]

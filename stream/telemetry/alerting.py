"""What Prometheus and Alertmanager make of our metrics: rules and routes.

Invariant: a rule says in its annotations what happened and what to do; the models' own alerts are decided by the
workers and only passed on, so that a dashboard, the alert topic and Alertmanager never disagree.
"""

from __future__ import annotations

from typing import Any

from stream.config import Config
from stream.telemetry import names

JOB = "stream"
"""Name of the scrape job; the rules and the dashboard tell our processes by it."""

LAG_BOUND = 100_000
"""Records behind from which a lag that grows is worth a warning: about a second of one worker's full speed."""


def rules(config: Config) -> dict[str, Any]:
    """A Prometheus rule file for the workers of one configuration."""
    return {
        "groups": [
            {"name": "stream-models", "rules": [_passed_on(), *_silent(config)]},
            {"name": "stream-workers", "rules": _workers()},
        ]
    }


def alertmanager() -> dict[str, Any]:
    """A complete Alertmanager configuration without receivers of its own: alerts are shown, not sent."""
    return {
        "route": {
            "receiver": "shown-only",
            "group_by": ["alertname", "model"],
            "group_wait": "10s",
            "group_interval": "1m",
            "repeat_interval": "4h",
        },
        "receivers": [{"name": "shown-only"}],
        "inhibit_rules": [
            {
                # While a rule is critical for a model and segment, its milder companions add nothing.
                "source_matchers": ['severity="critical"', 'alertname="StreamModelAlert"'],
                "target_matchers": ['severity=~"warning|info"', 'alertname="StreamModelAlert"'],
                "equal": ["model", "segment", "kind"],
            }
        ],
    }


def _rule(name: str, expression: str, wait: str, severity: str, summary: str, description: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": wait,
        "labels": {"severity": severity},
        "annotations": {"summary": summary, "description": description},
    }


def _passed_on() -> dict[str, Any]:
    by = "model, segment, rule, feature, kind, severity"
    return _rule(
        "StreamModelAlert",
        f"max by ({by}) ({names.FIRING.name}) == 1 unless max by ({by}) ({names.SILENCED.name}) == 1",
        "0s",
        "{{ $labels.severity }}",
        "{{ $labels.rule }} fires for model {{ $labels.model }}, segment {{ $labels.segment }}"
        "{{ with $labels.feature }}, feature {{ . }}{{ end }}.",
        "The status page and the alert topic say since when, how sure, and which segments and features explain it.",
    )


def _silent(config: Config) -> list[dict[str, Any]]:
    """Models that are configured but that no worker has ever seen: their own absence rules cannot run."""
    return [
        _rule(
            "StreamModelNeverSeen",
            f"absent({names.PREDICTIONS.name}{{model={_quoted(model)}}})",
            "15m",
            "warning",
            f"No worker knows model {_template_free(model)}, which is configured.",
            "No prediction of it has come. Check the producer's topic and the spelling of the name.",
        )
        for model in config.models
    ]


def _workers() -> list[dict[str, Any]]:
    return [
        _rule(
            "StreamWorkerDown", f'up{{job="{JOB}"}} == 0', "1m", "critical",
            "Worker {{ $labels.instance }} does not answer.",
            "Its partitions move to the other workers after the session timeout. See its log.",
        ),
        _rule(
            "StreamWorkerNotReady", f"{names.READY.name} == 0", "2m", "warning",
            "Worker {{ $labels.instance }} is not ready.",
            "GET /readyz on it says why: no partition, Kafka or the store out of reach, or too far behind.",
        ),
        _rule(
            "StreamNobodyOwnsPartitions", f"sum({names.SHARDS.name}) == 0", "2m", "critical",
            "No worker owns a partition, so nothing is monitored.",
            "Check that Kafka is up and that the topics exist: `stream topics -c FILE --create`.",
        ),
        _rule(
            "StreamFallingBehind",
            f"sum by (topic) ({names.LAG.name}) > {LAG_BOUND} and sum by (topic) (deriv({names.LAG.name}[10m])) > 0",
            "5m", "warning",
            "Workers fall behind on topic {{ $labels.topic }}: {{ $value | humanize }} records.",
            "Start another worker with its own kafka.instance; more than one per partition does not help.",
        ),
        _rule(
            "StreamCheckpointsStopped",
            f"rate({names.CHECKPOINTS.name}[5m]) == 0 and on (instance) "
            f"sum by (instance) (rate({names.PREDICTIONS.name}[5m])) > 0",
            "2m", "critical",
            "Worker {{ $labels.instance }} applies events but saves no checkpoint.",
            "The store is out of reach or full; the numbers stay right, but a restart has to read everything again.",
        ),
        _rule(
            "StreamSlowAlerts",
            f"histogram_quantile(0.99, sum by (le) (rate({names.ALERT_DELAY.name}_bucket[10m]))) > 1",
            "5m", "warning",
            "Alerts take {{ $value | humanizeDuration }} from event to topic (p99).",
            "Look at the time to apply a slice and to save a checkpoint on the dashboard.",
        ),
        _rule(
            "StreamRefusedRecords", f"sum by (reason) (rate({names.DEAD_LETTERS.name}[5m])) > 0", "5m", "warning",
            "Records are refused all the time: {{ $labels.reason }}.",
            "The dead-letter topic has the original bytes, the place they came from, and the detail.",
        ),
        _rule(
            "StreamModelOnSeveralPartitions", f"sum by (model) ({names.PARTITIONS.name}) > 1", "2m", "warning",
            "Model {{ $labels.model }} arrives on {{ $value }} partitions.",
            "Its predictions and labels may not meet. Key both topics by the model's name.",
        ),
        _rule(
            "StreamCountsDoNotAddUp", _laws(), "1m", "critical",
            "Events of model {{ $labels.model }} on {{ $labels.instance }} are counted wrongly by {{ $value }}.",
            "Please report this: every event must be an outcome, waiting, expired, repeated or failed.",
        ),
    ]  # fmt: skip


def _laws() -> str:
    """The conservation laws of the counts, as differences that must be zero."""

    def of(definition: names.Definition, kind: str | None = None) -> str:
        where = f'{{kind="{kind}"}}' if kind else ""
        return f"sum by (instance, model) ({definition.name}{where})"

    predictions = " - ".join(
        (of(names.PREDICTIONS), of(names.OUTCOMES), of(names.PENDING, "prediction"), of(names.EXPIRED, "prediction"),
         of(names.DUPLICATES, "prediction"), of(names.ERRORS))
    )  # fmt: skip
    labels = " - ".join(
        (of(names.LABELS), of(names.OUTCOMES), of(names.PENDING, "label"), of(names.EXPIRED, "label"),
         of(names.DUPLICATES, "label"))
    )  # fmt: skip
    return f"({predictions}) != 0 or ({labels}) != 0"


def _quoted(text: str) -> str:
    r"""A PromQL string literal.

    >>> _quoted('a"b')
    '"a\\"b"'
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _template_free(text: str) -> str:
    """A name inside an annotation, which Prometheus expands as a template."""
    return text.replace("{{", "{ {").replace("}}", "} }")

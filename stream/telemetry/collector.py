"""Prometheus families from a WorkerView, built when Prometheus asks: the hot path only counts.

Invariant: one scrape reads one view, so whatever adds up in the view adds up in the exposition; no series is exposed
twice; a value that is undefined is absent, never NaN or 0. Samples are made when an encoder asks for them: collecting
costs the event loop one view, and a thread does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from prometheus_client import GC_COLLECTOR, CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from stream.events import DriftScores, Estimated
from stream.telemetry import merge, names
from stream.telemetry.names import Definition
from stream.view import Buckets, ChallengerView, ModelView, RuleView, SegmentView, WindowView, WorkerView

DRIFT_TESTS = tuple(name for name in DriftScores.__struct_fields__)

FAST = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what should take milliseconds, seconds."""

DELAYS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Bounds for alert delays, dense around the second in which an alert should be out."""


Add = Callable[..., None]
Samples = dict[str, list[Sample]]


class Timings:
    """Durations that the engine observes, in seconds: `timings.apply.observe(0.004)`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.apply = _histogram(names.APPLY, FAST, registry)
        self.checkpoint = _histogram(names.CHECKPOINT, FAST, registry)
        self.alert_delay = _histogram(names.ALERT_DELAY, DELAYS, registry)


class ViewCollector(Collector):
    """Calls `view` once per scrape, in the thread that collects."""

    def __init__(self, view: Callable[[], WorkerView]) -> None:
        self._view = view

    def collect(self) -> Iterator[Metric]:
        """All families of `names.VIEWED`, those without a sample too."""
        return families(self._view())

    def describe(self) -> Iterator[Metric]:
        """The families without samples, so that registering needs no view."""
        return (_Family(definition, dict) for definition in names.VIEWED)


def new_registry(view: Callable[[], WorkerView]) -> CollectorRegistry:
    """A registry with the worker's view and the client library's process, platform and garbage-collector metrics."""
    # The library's `_created` series double the number of series of a histogram and say nothing that we need.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(GC_COLLECTOR)
    registry.register(ViewCollector(view))
    return registry


def families(view: WorkerView) -> Iterator[Metric]:
    """The families of one view, in the order of `names.VIEWED`. The view must not change until they are encoded."""
    made = cache(lambda: _samples(view))
    return (_Family(definition, made) for definition in names.VIEWED)


class _Family(Metric):
    """A family whose samples are made, together with those of all others, when they are first looked at."""

    def __init__(self, definition: Definition, made: Callable[[], Samples]) -> None:
        # The library appends `_total` and `_info` to the names of counters and info metrics itself.
        name = definition.name.removesuffix("_total").removesuffix("_info")
        unit = "seconds" if name.endswith("_seconds") else ""
        self._made = made
        self._key = definition.name
        super().__init__(name, definition.help, definition.kind, unit)

    @property
    def samples(self) -> list[Sample]:
        return self._made().get(self._key, [])

    @samples.setter
    def samples(self, _none: list[Sample]) -> None:
        """The library's constructor starts with an empty list."""


def _samples(view: WorkerView) -> Samples:
    found: Samples = {definition.name: [] for definition in names.VIEWED}

    def add(definition: Definition, value: float | None, *labels: str) -> None:
        if value is not None:
            pairs = dict(zip(definition.labels, labels, strict=True))
            found[definition.name].append(Sample(definition.name, pairs, value))

    def buckets(definition: Definition, histogram: Buckets, *labels: str) -> None:
        found[definition.name] += _histogram_samples(definition, histogram, labels)

    _worker(view, add)
    for model in merge.models(view):
        _counts(model, add)
        buckets(names.LATENCY, model.latency_seconds, model.model)
        buckets(names.DELAY, model.label_delay_seconds, model.model)
        for segment in model.segments:
            for window in segment.windows:
                _window(model.model, segment, window, add)
        for rule in _once(model.rules):
            where = (model.model, rule.segment, rule.rule, rule.feature or "")
            add(names.FIRING, rule.state == "firing", *where, rule.kind, rule.severity)
            add(names.SILENCED, True if rule.silenced else None, *where, rule.kind, rule.severity)
        for challenger in {challenger.name: challenger for challenger in model.challengers}.values():
            _challenger(model.model, challenger, add)
    return found


def _worker(view: WorkerView, add: Add) -> None:
    add(names.SHARDS, len(view.shards))
    add(names.READY, view.ready)
    add(names.CHECKPOINTS, view.checkpoints)
    add(names.FENCED, view.fenced)
    add(names.INTERVAL, view.checkpoint_interval)
    add(names.BUFFERED, sum(shard.buffered for shard in view.shards))
    for lag in view.lag:
        add(names.LAG, lag.lag, lag.topic, str(lag.partition))
    reasons: dict[str, int] = {}
    partitions: dict[str, int] = {}
    for shard in view.shards:
        for reason, count in shard.dead_letters.items():
            reasons[reason] = reasons.get(reason, 0) + count
        for model in shard.models:
            partitions[model.model] = partitions.get(model.model, 0) + 1
    for reason, count in reasons.items():
        add(names.DEAD_LETTERS, count, reason)
    for name, count in partitions.items():
        add(names.PARTITIONS, count, name)


def _counts(model: ModelView, add: Add) -> None:
    name, counts = model.model, model.counts
    add(names.PREDICTIONS, counts.predictions, name)
    add(names.LABELS, counts.labels, name)
    add(names.OUTCOMES, counts.outcomes, name)
    add(names.ERRORS, counts.errors, name)
    add(names.DUPLICATES, counts.duplicate_predictions, name, "prediction")
    add(names.DUPLICATES, counts.duplicate_labels, name, "label")
    add(names.EXPIRED, counts.expired_predictions, name, "prediction")
    add(names.EXPIRED, counts.expired_labels, name, "label")
    add(names.PENDING, counts.pending, name, "prediction")
    add(names.PENDING, counts.early, name, "label")
    for resource, sample in model.resources.items():
        add(names.RESOURCE, sample, name, resource)
    add(names.WATERMARK, model.watermark, name)
    if model.version is not None:
        add(names.VERSION, 1, name, model.version)
    if model.reference_version is not None:
        add(names.REFERENCE, 1, name, model.reference_version)
    add(names.SINCE, model.reference_since, name)
    add(names.RENEWALS, model.renewals, name)
    for (rule, severity), count in model.alerts_total.items():
        add(names.ALERTS, count, name, rule, severity)


def _window(model: str, segment: SegmentView, window: WindowView, add: Add) -> None:
    where = (model, segment.segment, names.window_name(window.seconds))
    add(names.COVERAGE, window.coverage, *where)
    for metric, found in (*window.metrics.items(), *window.service.items()):
        add(names.METRIC, found.value, *where, metric)
        if found.value is not None:
            add(names.METRIC_LOWER, _end(found, "lower"), *where, metric)
            add(names.METRIC_UPPER, _end(found, "upper"), *where, metric)
    for metric, found in window.estimates.items():
        add(names.ESTIMATE, found.value, *where, metric)
    for attribute, gaps in window.fairness.items():
        for metric, found in gaps.items():
            add(names.FAIRNESS, found.value, *where, attribute, metric)
    for feature, scores in window.drift.items():
        for test in DRIFT_TESTS:
            score = getattr(scores, test)
            add(names.DRIFT, score if isinstance(score, int | float) else None, *where, feature, test)
    for feature, share in window.missing.items():
        add(names.MISSING, share, *where, feature)


def _challenger(model: str, challenger: ChallengerView, add: Add) -> None:
    for role, metrics in (("challenger", challenger.metrics), ("incumbent", challenger.incumbent)):
        for metric, value in metrics.items():
            add(names.CHALLENGER, value, model, challenger.name, role, metric)


def _end(found: Estimated, side: str) -> float | None:
    value = getattr(found, side)
    return value if isinstance(value, int | float) else None


def _once(rules: Iterable[RuleView]) -> Iterable[RuleView]:
    """One view per series; of rules that cannot be told apart, one that fires."""
    most: dict[tuple[str, str, str | None, str, str], RuleView] = {}
    for rule in rules:
        key = (rule.rule, rule.segment, rule.feature, rule.kind, rule.severity)
        if key not in most or rule.state == "firing":
            most[key] = rule
    return most.values()


def _histogram(definition: Definition, bounds: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(definition.name, definition.help, buckets=bounds, registry=registry)


def _histogram_samples(definition: Definition, histogram: Buckets, labels: tuple[str, ...]) -> list[Sample]:
    pairs = dict(zip(definition.labels, labels, strict=True))
    samples, total = [], 0
    for bound, count in zip([*map(str, map(float, histogram.bounds)), "+Inf"], histogram.counts, strict=True):
        total += count
        samples.append(Sample(f"{definition.name}_bucket", {**pairs, "le": bound}, total))
    samples.append(Sample(f"{definition.name}_count", pairs, total))
    samples.append(Sample(f"{definition.name}_sum", pairs, histogram.sum))
    return samples

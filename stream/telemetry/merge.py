"""A model that is in several partitions of one worker, as one model: Prometheus refuses the same series twice.

Invariant: everything counted adds up exactly, so the conservation laws of `Counts` hold for the sum as for the parts.
Metrics are pooled by their samples, which is exact for means and shares and an approximation for the rest (such as
ROC AUC); drift takes the worst partition, so that pooling never hides one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from stream.events import DriftScores, Estimated
from stream.view import Buckets, Counts, ModelView, RuleView, SegmentView, WindowView, WorkerView

URGENCY = {"inactive": 0, "pending": 1, "firing": 2}


def models(view: WorkerView) -> list[ModelView]:
    """Every model of the worker once, in the order in which they are first met."""
    parts: dict[str, list[ModelView]] = {}
    for shard in view.shards:
        for model in shard.models:
            parts.setdefault(model.model, []).append(model)
    return [found[0] if len(found) == 1 else _combined(found) for found in parts.values()]


def _combined(parts: Sequence[ModelView]) -> ModelView:
    newest = max(parts, key=lambda part: part.watermark or 0.0)
    known = [part.watermark for part in parts if part.watermark is not None]
    totals: dict[tuple[str, str], int] = {}
    for part in parts:
        for key, count in part.alerts_total.items():
            totals[key] = totals.get(key, 0) + count
    return msgspec.structs.replace(
        newest,
        # The slowest partition says up to when the whole model is known.
        watermark=min(known, default=None),
        counts=Counts(*(sum(values) for values in zip(*(_fields(part.counts) for part in parts), strict=True))),
        segments=_segments(segment for part in parts for segment in part.segments),
        rules=_rules(rule for part in parts for rule in part.rules),
        alerts_total=totals,
        latency_seconds=_buckets([part.latency_seconds for part in parts]),
        label_delay_seconds=_buckets([part.label_delay_seconds for part in parts]),
    )


def _fields(counts: Counts) -> tuple[int, ...]:
    return msgspec.structs.astuple(counts)


def _buckets(parts: Sequence[Buckets]) -> Buckets:
    """Bounds are the same in every shard: they are constants of the program."""
    counts = [sum(column) for column in zip(*(part.counts for part in parts), strict=True)]
    return Buckets(bounds=parts[0].bounds, counts=counts, sum=sum(part.sum for part in parts))


def _rules(rules: Iterable[RuleView]) -> list[RuleView]:
    most: dict[tuple[str, str, str | None], RuleView] = {}
    for rule in rules:
        key = (rule.rule, rule.segment, rule.feature)
        if key not in most or URGENCY[rule.state] > URGENCY[most[key].state]:
            most[key] = rule
    return list(most.values())


def _segments(segments: Iterable[SegmentView]) -> list[SegmentView]:
    windows: dict[str, dict[float, list[WindowView]]] = {}
    for segment in segments:
        by_length = windows.setdefault(segment.segment, {})
        for window in segment.windows:
            by_length.setdefault(window.seconds, []).append(window)
    return [
        SegmentView(segment=name, windows=[_window(parts) for parts in by_length.values()])
        for name, by_length in windows.items()
    ]


def _window(parts: Sequence[WindowView]) -> WindowView:
    if len(parts) == 1:
        return parts[0]
    predictions, labels = sum(part.predictions for part in parts), sum(part.labels for part in parts)
    shares = [{name: Estimated(v, part.predictions) for name, v in part.missing.items()} for part in parts]
    return WindowView(
        seconds=parts[0].seconds,
        predictions=predictions,
        labels=labels,
        coverage=labels / predictions if predictions else None,
        metrics=_pooled([part.metrics for part in parts]),
        estimates=_pooled([part.estimates for part in parts]),
        drift=_worst([part.drift for part in parts]),
        fairness={
            attribute: _pooled([part.fairness.get(attribute, {}) for part in parts])
            for attribute in dict.fromkeys(name for part in parts for name in part.fairness)
        },
        missing={name: share.value for name, share in _pooled(shares).items() if share.value is not None},
        service=_pooled([part.service for part in parts]),
    )


def _pooled(parts: Sequence[Mapping[str, Estimated]]) -> dict[str, Estimated]:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: _mean([part[name] for part in parts if name in part]) for name in names}


def _mean(parts: Sequence[Estimated]) -> Estimated:
    known = [part for part in parts if part.value is not None and part.samples > 0]
    samples = sum(part.samples for part in known)

    def weighted(values: Sequence[float | None | UnsetType]) -> float | None | UnsetType:
        total = 0.0
        for part, value in zip(known, values, strict=True):
            if value is None or isinstance(value, UnsetType):
                return value
            total += value * part.samples / samples
        return total if known else UNSET

    value = weighted([part.value for part in known])
    return Estimated(
        value=None if isinstance(value, UnsetType) else value,
        samples=samples,
        # Never too narrow: the interval of the pooled sample is shorter than the mean of the parts' intervals.
        lower=weighted([part.lower for part in known]),
        upper=weighted([part.upper for part in known]),
    )


def _worst(parts: Sequence[Mapping[str, DriftScores]]) -> dict[str, DriftScores]:
    worst: dict[str, DriftScores] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        scores = [part[name] for part in parts if name in part]
        p_values = [score.p_value for score in scores if isinstance(score.p_value, float)]
        chances = [score.chi2 for score in scores if score.chi2 is not None]
        joint = [score.mmd for score in scores if score.mmd is not None]
        worst[name] = DriftScores(
            psi=_largest([score.psi for score in scores]),
            js=_largest([score.js for score in scores]),
            ks=_largest([score.ks for score in scores]),
            wasserstein=_largest([score.wasserstein for score in scores]),
            p_value=min(p_values, default=UNSET),
            hellinger=_largest([score.hellinger for score in scores]),
            l_infinity=_largest([score.l_infinity for score in scores]),
            chi2=min(chances, default=None),
            mmd=min(joint, default=None),
            mmd_distance=_largest([score.mmd_distance for score in scores]),
        )
    return worst


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)

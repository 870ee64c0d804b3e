"""What Prometheus gets from a view: the contract's names, lawful counts, one series for each label set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from stream.events import DriftScores, Estimated
from stream.telemetry import merge, names
from stream.telemetry.collector import Timings, ViewCollector, families, new_registry
from stream.view import Buckets, Counts, ModelView, RuleView, SegmentView, WindowView, WorkerView
from tests import worker_views

CONTRACT = """
stream_predictions_total stream_labels_total stream_outcomes_total stream_prediction_errors_total
stream_duplicates_total stream_expired_total stream_dead_letters_total stream_alerts_total stream_checkpoints_total
stream_fenced_total stream_metric stream_metric_lower stream_metric_upper stream_estimate stream_coverage stream_drift
stream_feature_missing stream_alert_firing stream_pending stream_watermark_timestamp_seconds stream_consumer_lag
stream_shards stream_model_version_info stream_prediction_latency_seconds stream_label_delay_seconds
stream_apply_seconds stream_checkpoint_seconds stream_alert_delay_seconds
""".split()

VIEWS = [
    worker_views.healthy, worker_views.troubled, worker_views.empty, worker_views.starting, worker_views.hostile,
    worker_views.split,
]  # fmt: skip

Labels = tuple[tuple[str, str], ...]


def scrape(view: WorkerView) -> dict[tuple[str, Labels], float]:
    """Every sample that Prometheus would store."""
    registry = new_registry(lambda: view)
    Timings(registry)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def total(samples: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    """The sum over all series that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, pairs), value in samples.items() if found == name and wanted <= set(pairs))


def test_the_names_are_those_of_the_contract() -> None:
    assert {definition.name for definition in names.ALL if definition.contract} == set(CONTRACT)
    assert len({definition.name for definition in names.ALL}) == len(names.ALL)


def test_every_definition_says_what_it_is_and_follows_the_naming_practice() -> None:
    for definition in names.ALL:
        assert definition.help.endswith(".")
        assert definition.unit
        assert definition.name.endswith("_total") == (definition.kind == "counter")
        assert definition.name.endswith("_info") == (definition.kind == "info")
        assert ("_seconds" in definition.name) == (definition.unit == "seconds")


@pytest.mark.parametrize("view", VIEWS)
def test_both_exposition_formats_are_read_back_and_no_series_comes_twice(view: Callable[[], WorkerView]) -> None:
    registry = new_registry(view)
    Timings(registry)
    plain = [s for family in parse(generate_latest(registry).decode()) for s in family.samples]
    seen = Counter((sample.name, tuple(sorted(sample.labels.items()))) for sample in plain)
    assert max(seen.values()) == 1
    text = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    families_read = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert {family.name for family in families_read} >= {"stream_metric", "stream_predictions", "stream_model_version"}
    assert not [sample for sample in plain if sample.name.startswith("stream_") and math.isnan(sample.value)]


@pytest.mark.parametrize("view", VIEWS)
def test_every_family_is_announced_even_without_a_sample(view: Callable[[], WorkerView]) -> None:
    found = {family.name for family in families(view())}
    assert found == {definition.name.removesuffix("_total").removesuffix("_info") for definition in names.VIEWED}


def test_registering_does_not_need_a_view() -> None:
    def none_yet() -> WorkerView:
        raise AssertionError("asked for a view before a scrape")

    CollectorRegistry().register(ViewCollector(none_yet))


def test_one_scrape_reads_one_view() -> None:
    calls = []

    def view() -> WorkerView:
        calls.append(1)
        return worker_views.many(5)

    generate_latest(new_registry(view))
    assert len(calls) == 1


def test_collecting_reads_the_view_and_leaves_the_rest_to_the_encoder() -> None:
    view = worker_views.healthy()
    collected = list(new_registry(lambda: view).collect())
    view.shards[0].models[0].counts.predictions = 123
    [predictions] = [family for family in collected if family.name == "stream_predictions"]
    assert 123 in [sample.value for sample in predictions.samples]


@pytest.mark.parametrize("view", VIEWS)
def test_conservation_holds_within_a_scrape(view: Callable[[], WorkerView]) -> None:
    samples = scrape(view())
    for model in {model.model for shard in view().shards for model in shard.models}:

        def of(name: str, model: str = model, **labels: str) -> float:
            return total(samples, name, model=model, **labels)

        assert of("stream_predictions_total") > 0
        assert of("stream_predictions_total") == (
            of("stream_outcomes_total")
            + of("stream_pending", kind="prediction")
            + of("stream_expired_total", kind="prediction")
            + of("stream_duplicates_total", kind="prediction")
            + of("stream_prediction_errors_total")
        )
        assert of("stream_labels_total") == (
            of("stream_outcomes_total")
            + of("stream_pending", kind="label")
            + of("stream_expired_total", kind="label")
            + of("stream_duplicates_total", kind="label")
        )


def test_values_are_those_of_the_view() -> None:
    samples = scrape(worker_views.troubled())
    where = {"model": "card-fraud", "segment": "all", "window": "1h"}
    window = worker_views.drifting().segments[0].windows[0]
    accuracy = window.metrics["accuracy"]
    assert total(samples, "stream_metric", metric="accuracy", **where) == accuracy.value
    assert total(samples, "stream_metric_lower", metric="accuracy", **where) == accuracy.lower
    assert total(samples, "stream_metric_upper", metric="accuracy", **where) == accuracy.upper
    assert total(samples, "stream_estimate", metric="accuracy", **where) == window.estimates["accuracy"].value
    assert total(samples, "stream_coverage", **where) == window.coverage
    assert total(samples, "stream_drift", feature="amount", test="psi", **where) == window.drift["amount"].psi
    assert total(samples, "stream_drift", feature="amount", test="p_value", **where) == 1e-12
    assert total(samples, "stream_feature_missing", feature="age", **where) == 0.031
    assert total(samples, "stream_alert_firing", model="card-fraud", rule="accuracy-drop") == 1
    assert total(samples, "stream_alert_firing", model="card-fraud", rule="auc-drop") == 0
    assert total(samples, "stream_alerts_total", rule="feature-drift", severity="warning") == 2
    assert total(samples, "stream_dead_letters_total", reason="not_json") == 3
    assert total(samples, "stream_model_version_info", model="card-fraud", version="2025.12.3") == 1
    assert total(samples, "stream_consumer_lag", topic="labels", partition="2") == 8
    assert total(samples, "stream_challenger_metric", challenger="logreg", role="incumbent", metric="accuracy") == 0.871
    assert ("stream_shards", ()) in samples
    assert total(samples, "stream_shards") == 3


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    samples = scrape(worker_views.healthy())
    latency = worker_views.healthy().shards[0].models[0].latency_seconds
    name, model = "stream_prediction_latency_seconds", "churn"
    assert total(samples, f"{name}_bucket", model=model, le="0.005") == sum(latency.counts[:3])
    assert total(samples, f"{name}_bucket", model=model, le="+Inf") == sum(latency.counts)
    assert total(samples, f"{name}_count", model=model) == sum(latency.counts)
    assert total(samples, f"{name}_sum", model=model) == latency.sum


def test_what_is_undefined_is_absent() -> None:
    window = WindowView(
        3600.0, 0, 0, None, {"accuracy": Estimated(None, 0), "f1": Estimated(0.5, 9)}, {}, {"x": DriftScores(psi=0.1)}
    )
    model = worker_views.model("m", "binary", segments=[SegmentView("all", [window])], watermark=None, version=None)
    samples = scrape(worker_views.worker([[model]]))
    assert [dict(pairs)["metric"] for name, pairs in samples if name == "stream_metric"] == ["f1"]
    assert not [name for name, _ in samples if name in {"stream_metric_lower", "stream_coverage"}]
    assert [dict(pairs)["test"] for name, pairs in samples if name == "stream_drift"] == ["psi"]
    assert not [name for name, _ in samples if name.startswith(("stream_watermark", "stream_model_version"))]
    unknown = scrape(worker_views.empty())
    assert [dict(pairs)["topic"] for name, pairs in unknown if name == "stream_consumer_lag"] == ["labels"]


def test_a_rule_on_every_feature_is_one_series_for_each() -> None:
    def rule(feature: str, state: str) -> RuleView:
        return RuleView("drift", "all", "data_drift", "warning", state, 0.1, 0.2, None, "", feature)  # type: ignore[arg-type]

    model = worker_views.model("m", "binary", rules=[rule("a", "inactive"), rule("b", "firing")])
    samples = scrape(worker_views.worker([[model]]))
    assert total(samples, "stream_alert_firing", rule="drift", feature="a") == 0
    assert total(samples, "stream_alert_firing", rule="drift", feature="b") == 1


def test_rules_that_cannot_be_told_apart_fire_when_one_of_them_does() -> None:
    def rule(state: str, value: float) -> RuleView:
        return RuleView("drift", "all", "data_drift", "warning", state, value, 0.2, None, "")  # type: ignore[arg-type]

    model = worker_views.model("m", "binary", rules=[rule("inactive", 0.1), rule("firing", 0.4), rule("pending", 0.3)])
    assert total(scrape(worker_views.worker([[model]])), "stream_alert_firing") == 1


def test_timings_are_observed_under_their_names() -> None:
    registry = new_registry(worker_views.empty)
    timings = Timings(registry)
    timings.apply.observe(0.003)
    timings.checkpoint.observe(0.02)
    timings.alert_delay.observe(0.4)
    assert registry.get_sample_value("stream_apply_seconds_bucket", {"le": "0.005"}) == 1
    assert registry.get_sample_value("stream_checkpoint_seconds_sum") == 0.02
    assert registry.get_sample_value("stream_alert_delay_seconds_bucket", {"le": "0.25"}) == 0
    assert "_created" not in generate_latest(registry).decode()


def test_windows_are_named_as_in_a_configuration() -> None:
    assert [names.window_name(s) for s in (3600.0, 86400.0, 172800.0, 300.0, 45.0, 5400.0)] == [
        "1h", "24h", "2d", "5m", "45s", "90m",
    ]  # fmt: skip


def test_a_model_on_two_partitions_is_one_series_whose_counts_add_up() -> None:
    view = worker_views.split()
    parts = [model for shard in view.shards for model in shard.models if model.model == "churn"]
    samples = scrape(view)
    assert total(samples, "stream_model_partitions", model="churn") == 2
    assert total(samples, "stream_predictions_total", model="churn") == sum(part.counts.predictions for part in parts)
    assert total(samples, "stream_label_delay_seconds_count", model="churn") == sum(
        sum(part.label_delay_seconds.counts) for part in parts
    )
    accuracies = [part.segments[0].windows[0].metrics["accuracy"] for part in parts]
    pooled = sum((found.value or 0.0) * found.samples for found in accuracies) / sum(f.samples for f in accuracies)
    seen = total(samples, "stream_metric", model="churn", segment="all", window="1h", metric="accuracy")
    assert seen == pytest.approx(pooled, abs=1e-12)
    drifts = [part.segments[0].windows[0].drift["amount"].psi or 0.0 for part in parts]
    assert total(
        samples, "stream_drift", model="churn", segment="all", window="1h", feature="amount", test="psi"
    ) == max(drifts)


@given(
    st.lists(
        st.builds(
            lambda numbers: worker_views.model("m", "binary", counts=Counts(*numbers)),
            st.lists(st.integers(0, 10**12), min_size=10, max_size=10),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_merging_counts_is_exact_whatever_the_order(parts: list[ModelView]) -> None:
    forward = merge.models(worker_views.worker([[part] for part in parts]))
    backward = merge.models(worker_views.worker([[part] for part in reversed(parts)]))
    assert len(forward) == 1
    assert forward[0].counts == backward[0].counts
    assert msgspec.structs.astuple(forward[0].counts) == tuple(
        sum(column) for column in zip(*(msgspec.structs.astuple(part.counts) for part in parts), strict=True)
    )
    assert forward[0].latency_seconds == Buckets(
        worker_views.LATENCY_BOUNDS,
        [len(parts) * count for count in parts[0].latency_seconds.counts],
        len(parts) * parts[0].latency_seconds.sum,
    )


def test_what_is_silenced_and_what_the_serving_process_uses() -> None:
    view = worker_views.troubled()
    model = view.shards[0].models[0]
    firing = next(rule for rule in model.rules if rule.state == "firing")
    rules = [msgspec.structs.replace(rule, silenced=rule is firing) for rule in model.rules]
    service = {"cpu_percent": Estimated(40.0, 12), "label_delay_p50": Estimated(30.0, 7)}
    window = msgspec.structs.replace(model.segments[0].windows[0], service=service)
    segments = [SegmentView("all", [window])]
    model = msgspec.structs.replace(model, rules=rules, resources={"memory_bytes": 2.0**30}, segments=segments)
    view = msgspec.structs.replace(view, shards=[msgspec.structs.replace(view.shards[0], models=[model])])
    samples = scrape(view)
    assert total(samples, "stream_alert_silenced") == total(samples, "stream_alert_silenced", rule=firing.rule) == 1.0
    assert total(samples, "stream_resource", model=model.model, resource="memory_bytes") == 2.0**30
    assert total(samples, "stream_metric", metric="cpu_percent") == 40.0
    assert total(samples, "stream_metric", metric="label_delay_p50") == 30.0

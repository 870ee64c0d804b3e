"""Workers as the page, the API and Prometheus may meet them: healthy, drifting, hostile, empty. Seeded and lawful.

Every view keeps the conservation laws of `stream.view.Counts`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from stream.events import Alert, DriftScores, Estimated, Explanation, FeatureShare, SegmentShare, Severity, Span
from stream.view import (
    Buckets,
    ChallengerView,
    Counts,
    LagView,
    ModelView,
    RuleView,
    SegmentView,
    ShardView,
    TrialView,
    WindowView,
    WorkerView,
)

NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""

LATENCY_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]
DELAY_BOUNDS = [1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0]
HOUR, DAY = 3600.0, 86400.0

BINARY = {
    "roc_auc": 0.942, "accuracy": 0.914, "f1": 0.871, "precision": 0.889, "recall": 0.853, "balanced_accuracy": 0.899,
    "specificity": 0.945, "matthews_corrcoef": 0.802, "cohen_kappa": 0.801, "average_precision": 0.917,
    "log_loss": 0.231, "brier": 0.066, "calibration_error": 0.012, "positive_rate": 0.312,
}  # fmt: skip
MULTICLASS = {
    "accuracy": 0.883, "f1_macro": 0.861, "f1_weighted": 0.882, "precision_macro": 0.869, "recall_macro": 0.855,
    "roc_auc_macro": 0.971, "log_loss": 0.361, "precision_class_cat": 0.91, "recall_class_cat": 0.88,
    "precision_class_dog": 0.87, "recall_class_dog": 0.84,
}  # fmt: skip
REGRESSION = {"mae": 41.7, "rmse": 63.9, "r2": 0.874, "mape": 0.083, "smape": 0.081, "bias": -1.9}
METRICS = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}


def window(task: str, seconds: float, seed: int, *, drop: float = 0.0, drifted: Sequence[str] = ()) -> WindowView:
    """One window of a model: `drop` is taken off every metric, `drifted` features are far from their reference."""
    rng = random.Random(f"{task}/{seconds}/{seed}")
    predictions = int(420 * seconds / 60 * rng.uniform(0.7, 1.3))
    labels = int(predictions * rng.uniform(0.55, 0.95))
    metrics, estimates = {}, {}
    for name, usual in METRICS[task].items():
        value = usual - drop + rng.gauss(0, 0.004 * abs(usual))
        half = 40 * abs(usual) / max(labels, 1) ** 0.5 / 25
        metrics[name] = Estimated(value, labels, value - half, value + half)
    if task == "binary":
        estimates["accuracy"] = Estimated(metrics["accuracy"].value, predictions)
    features = ["amount", "age", "balance", "tenure_months", "country", "channel"]
    drift = {
        feature: DriftScores(
            psi=rng.uniform(0.38, 0.6) if feature in drifted else rng.expovariate(60),
            js=rng.uniform(0.2, 0.3) if feature in drifted else rng.uniform(0, 0.05),
            ks=rng.uniform(0.2, 0.4) if feature in drifted else rng.uniform(0, 0.03),
            wasserstein=rng.uniform(0.5, 0.9) if feature in drifted else rng.uniform(0, 0.04),
            p_value=1e-12 if feature in drifted else rng.uniform(0.05, 1),
            hellinger=0.25 if feature in drifted else 0.02,
            l_infinity=0.1 if feature in drifted else 0.01,
            chi2=1e-12 if feature in drifted else 0.4,
        )
        for feature in [*features, "prediction"]
    }
    missing = {feature: (0.031 if feature == "age" else 0.0) for feature in features}
    return WindowView(
        seconds, predictions, labels, labels / predictions, metrics, estimates if drop else {}, drift, missing
    )


def counts(outcomes: int, *, errors: int = 0) -> Counts:
    """Lawful counts around a number of outcomes."""
    pending, early, duplicates, expired = outcomes // 9, outcomes // 400, outcomes // 250, outcomes // 700
    return Counts(
        predictions=outcomes + pending + expired + duplicates + errors,
        labels=outcomes + early + expired // 2 + duplicates // 2,
        outcomes=outcomes,
        errors=errors,
        duplicate_predictions=duplicates,
        duplicate_labels=duplicates // 2,
        expired_predictions=expired,
        expired_labels=expired // 2,
        pending=pending,
        early=early,
    )


def alert(model: str, rule: str, summary: str, *, severity: Severity = "warning", **more: object) -> Alert:
    """A firing alert, unless `more` says otherwise."""
    fields: dict[str, object] = {
        "id": f"{model}-{rule}", "fingerprint": f"{model}-{rule}", "model": model, "segment": "all", "rule": rule,
        "kind": "performance", "severity": severity, "state": "firing", "value": 0.842, "samples": 1204,
        "started_at": NOW - 340, "ts": NOW - 340, "summary": summary, "threshold": 0.9,
        "window": Span(NOW - 3940, NOW - 340),
    } | more  # fmt: skip
    return Alert(**fields)  # type: ignore[arg-type]


def model(name: str, task: str, seed: int = 0, **more: object) -> ModelView:
    """A healthy model, unless `more` says otherwise."""
    outcomes = 48_211 + 997 * seed
    spread = [0, 40, 310, 1900, 9200, 21000, 11800, 3300, 520, 110, 24, 7]
    waits = [0, 12, 900, 7300, 16400, 15100, 6200, 2100, 199, 0]
    segments = [SegmentView("all", [window(task, HOUR, seed), window(task, DAY, seed)])]
    segments += [SegmentView(f"country={code}", [window(task, HOUR, seed + i)]) for i, code in enumerate(("BR", "DE"))]
    fields: dict[str, object] = {
        "model": name, "task": task, "version": "2025.12.3", "watermark": NOW - 0.4, "counts": counts(outcomes),
        "segments": segments, "rules": [
            RuleView("concept-drift", "all", "concept_drift", "warning", "inactive", None, None, None, "ADWIN on loss"),
            RuleView("feature-drift", "all", "data_drift", "warning", "inactive", 0.02, 0.25, None, "", "amount"),
            RuleView("silence", "all", "traffic", "critical", "inactive", 0.4, 600.0, None, "no predictions for 10m"),
        ],
        "alerts": [], "alerts_total": {}, "latency_seconds": Buckets(LATENCY_BOUNDS, spread, 812.5),
        "label_delay_seconds": Buckets(DELAY_BOUNDS, waits, 9.1e7), "reference": "first 1000 predictions",
    } | more  # fmt: skip
    return ModelView(**fields)  # type: ignore[arg-type]


def drifting(name: str = "card-fraud", seed: int = 5) -> ModelView:
    """A binary model that has lost nine points of accuracy in one country, with two features shifted."""
    summary = "accuracy of card-fraud fell to 0.842 (95 % 0.821–0.861) over 1h, below 0.9, since 23:54 UTC"
    explained = Explanation(
        [SegmentShare("country=BR", 0.71, 0.713, 512), SegmentShare("country=DE", 0.12, 0.886, 401)],
        [FeatureShare("amount", "psi", 0.47), FeatureShare("channel", "psi", 0.41)],
    )
    fallen = SegmentView(
        "all",
        [window("binary", HOUR, seed, drop=0.08, drifted=("amount", "channel")), window("binary", DAY, seed)],
    )
    brazil = SegmentView("country=BR", [window("binary", HOUR, seed, drop=0.2, drifted=("amount",))])
    germany = SegmentView("country=DE", [window("binary", HOUR, seed, drop=0.01)])
    return model(
        name,
        "binary",
        seed,
        segments=[fallen, brazil, germany],
        rules=[
            RuleView("accuracy-drop", "all", "performance", "critical", "firing", 0.842, 0.9, NOW - 340, summary),
            RuleView("feature-drift", "all", "data_drift", "warning", "firing", 0.47, 0.25, NOW - 290, "far", "amount"),
            RuleView("auc-drop", "all", "performance", "warning", "pending", 0.91, 0.92, NOW - 40, "roc_auc below"),
            RuleView("silence", "all", "traffic", "critical", "inactive", 0.3, 600.0, None, "no predictions for 10m"),
        ],
        alerts=[
            alert(name, "feature-drift", "amount of card-fraud is far from its reference: PSI 0.47, above 0.25",
                  kind="data_drift", feature="amount", value=0.47, threshold=0.25, started_at=NOW - 290, ts=NOW - 290),
            alert(name, "accuracy-drop", summary, severity="critical", metric="accuracy", lower=0.821, upper=0.861,
                  explanation=explained),
            alert(name, "concept-drift", "loss of card-fraud went back to its earlier mean", kind="concept_drift",
                  state="resolved", started_at=NOW - 9000, ts=NOW - 8400, id="old"),
        ],
        alerts_total={("accuracy-drop", "critical"): 1, ("feature-drift", "warning"): 2},
        challengers=[
            ChallengerView("logreg", "4", 41_200, {"accuracy": 0.903, "log_loss": 0.262},
                           {"accuracy": 0.871, "log_loss": 0.344}, promoted="3",
                           trial=TrialView("logreg version 3", "log_loss", 6200, 5000, 0.013, 0.004, 0.01, 0.99)),
            ChallengerView("trees", None, 41_200, {"accuracy": None, "log_loss": None}, {"accuracy": 0.871}),
        ],
        notes=["challenger trees is switched off: ValueError: feature amount is not a number"],
    )  # fmt: skip


def worker(shards: Sequence[Sequence[ModelView]], **more: object) -> WorkerView:
    """A ready worker with one shard for each list of models."""
    fields: dict[str, object] = {
        "shards": [
            ShardView(i, list(models), {"not_json": 3, "future": 1} if i == 0 else {}, 96_000 + i, 12)
            for i, models in enumerate(shards)
        ],
        "lag": [LagView(topic, i, 4 * i) for topic in ("predictions", "labels") for i in range(len(shards))],
        "ready": True, "reasons": [], "checkpoints": 7_211, "fenced": 1,
    } | more  # fmt: skip
    return WorkerView(**fields)  # type: ignore[arg-type]


def healthy() -> WorkerView:
    """Three models, one for each task."""
    three = (model("churn", "binary", 1), model("house-price", "regression", 2), model("pet-photo", "multiclass", 3))
    return worker([three[:1], three[1:], [], []])


def troubled() -> WorkerView:
    """One of three models drifts."""
    return worker([[drifting()], [model("house-price", "regression", 2)], [model("pet-photo", "multiclass", 3)]])


def empty() -> WorkerView:
    """A worker that has just started: partitions but no event."""
    return worker([[], []], lag=[LagView("predictions", 0, None), LagView("labels", 0, 0)], checkpoints=0, fenced=0)


def starting() -> WorkerView:
    """A worker that owns nothing yet."""
    reasons = ["no partition is assigned yet", "Kafka at localhost:9092 does not answer: connection refused"]
    return WorkerView(shards=[], lag=[], ready=False, reasons=reasons)


def many(count: int = 60) -> WorkerView:
    """More models than fit on a screen; every twentieth drifts."""
    tasks = ("binary", "regression", "multiclass")
    all_models = [
        drifting(f"model-{i:03}", i) if i % 20 == 7 else model(f"model-{i:03}", tasks[i % 3], i) for i in range(count)
    ]
    return worker([all_models[i::4] for i in range(4)])


HOSTILE = "<img src=x onerror=alert(1)>\"'&</script><script>alert(2)</script>"
BIDI = "\u202eevil\u202c"


def hostile() -> WorkerView:
    """Names that try to be markup, or are just not ASCII."""
    names = [HOSTILE, "欺诈检测-模型", "مدل-تشخیص", "модель 💳 δοκιμή", "x" * 300, 'a\nb\\c"d', BIDI, "__proto__"]
    models = [model(name, "binary", i) for i, name in enumerate(names)]
    models[0] = drifting(HOSTILE)
    return worker([models], notes=[f"{HOSTILE} arrives on partitions 0 and 3: key the topic by model name"])


def split() -> WorkerView:
    """One model on two partitions of the same worker."""
    return worker([[model("churn", "binary", 1)], [model("churn", "binary", 2), model("house-price", "regression")]])

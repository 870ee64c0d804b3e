"""`stream replay` against scikit-learn on the raw outcomes: per task, pane, window and segment.

20,000 outcomes per task keep it short; `PARITY_OUTCOMES=100000` asks for more.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn import metrics as sk
from typer.testing import CliRunner

from stream.cli import app
from stream.configfile import parse
from stream.effects import Side
from stream.replay import Summary, replay

N = int(os.environ.get("PARITY_OUTCOMES", "20000"))
START = 1_767_225_600.0
HOURS = 4
CLASSES = ["ant", "bee", "cat"]
CONFIGURATION = """
defaults: {pane: 1h, windows: [1h, 4h], segments: [country], rules: [], reference: {first: 100}}
models:
  binary: {task: binary, positive: 1}
  multiclass: {task: multiclass}
  regression: {task: regression}
"""

Table = dict[str, Any]
Metric = Callable[[Table], float]


def drawn(task: str) -> Table:
    """Outcomes as columns: prediction, label, score(s), weight, event time, country."""
    rng = np.random.default_rng([7, len(task)])
    table: Table = {
        "ts": np.sort(np.round(START + rng.uniform(1, HOURS * 3600 - 1, N), 3)),
        "weight": rng.choice([0.5, 1.0, 2.0], N),
        "country": rng.choice(["BR", "US"], N),
        "delay": np.round(rng.exponential(600.0, N), 3),
    }
    if task == "binary":
        score = rng.beta(0.6, 1.4, N)
        table |= {"score": score, "label": (rng.random(N) < score).astype(int), "prediction": (score > 0.5).astype(int)}
    elif task == "multiclass":
        scores = rng.dirichlet([0.5, 0.7, 0.9], N)
        picked = (rng.random((N, 1)) > scores.cumsum(axis=1)).sum(axis=1).clip(0, 2)
        table |= {
            "scores": scores,
            "label": np.array(CLASSES)[picked],
            "prediction": np.array(CLASSES)[scores.argmax(1)],
        }
    else:
        label = rng.normal(1000, 200, N)
        table |= {"label": label, "prediction": label + rng.normal(5, 50, N)}
    return table


def recorded(folder: Path, task: str, table: Table) -> dict[Side, list[Path]]:
    predictions, labels = [], []
    for i in range(N):
        value = table["prediction"][i].item()
        body: dict[str, Any] = {"model": task, "id": str(i), "ts": float(table["ts"][i]), "prediction": value}
        if task == "binary":
            body["score"] = float(table["score"][i])
        elif task == "multiclass":
            body["scores"] = dict(zip(CLASSES, table["scores"][i].tolist(), strict=True))
        body["attributes"] = {"country": str(table["country"][i])}
        predictions.append(body)
        labels.append(
            {
                "model": task,
                "id": str(i),
                "ts": float(table["ts"][i] + table["delay"][i]),
                "label": table["label"][i].item(),
                "weight": float(table["weight"][i]),
            }
        )
    files: dict[Side, list[Path]] = {"predictions": [folder / "p.jsonl"], "labels": [folder / "l.jsonl"]}
    labels.sort(key=lambda body: body["ts"])
    files["predictions"][0].write_bytes(b"\n".join(map(msgspec.json.encode, predictions)))
    files["labels"][0].write_bytes(b"\n".join(map(msgspec.json.encode, labels)))
    return files


def judged(t: Table, function: Callable[..., Any], **more: Any) -> float:
    return float(function(t["label"], t["prediction"], sample_weight=t["weight"], **more))


def scored(t: Table, function: Callable[..., Any], **more: Any) -> float:
    return float(function(t["label"], t.get("score", t.get("scores")), sample_weight=t["weight"], **more))


def forms(suffix: str, **more: Any) -> dict[str, Metric]:
    return {
        f"precision{suffix}": lambda t: judged(t, sk.precision_score, **more),
        f"recall{suffix}": lambda t: judged(t, sk.recall_score, **more),
        f"f1{suffix}": lambda t: judged(t, sk.f1_score, **more),
    }


COUNTED: dict[str, dict[str, Metric]] = {
    "binary": {
        "accuracy": lambda t: judged(t, sk.accuracy_score),
        "balanced_accuracy": lambda t: judged(t, sk.balanced_accuracy_score),
        "matthews_corrcoef": lambda t: judged(t, sk.matthews_corrcoef),
        "cohen_kappa": lambda t: judged(t, sk.cohen_kappa_score),
        "specificity": lambda t: judged(t, sk.recall_score, pos_label=0),
        **forms(""),
    },
    "multiclass": {
        "accuracy": lambda t: judged(t, sk.accuracy_score),
        "balanced_accuracy": lambda t: judged(t, sk.balanced_accuracy_score),
        "matthews_corrcoef": lambda t: judged(t, sk.matthews_corrcoef),
        "cohen_kappa": lambda t: judged(t, sk.cohen_kappa_score),
        **forms("_macro", average="macro"),
        **forms("_weighted", average="weighted"),
        **forms("_class_bee", average="macro", labels=["bee"]),
    },
    "regression": {},
}
SUMMED: dict[str, dict[str, Metric]] = {
    "binary": {
        "log_loss": lambda t: scored(t, sk.log_loss),
        "brier": lambda t: scored(t, sk.brier_score_loss),
    },
    "multiclass": {"log_loss": lambda t: scored(t, sk.log_loss, labels=CLASSES)},
    "regression": {
        "mae": lambda t: judged(t, sk.mean_absolute_error),
        "rmse": lambda t: judged(t, sk.root_mean_squared_error),
        "mape": lambda t: judged(t, sk.mean_absolute_percentage_error),
        "r2": lambda t: judged(t, sk.r2_score),
    },
}
RANKED: dict[str, dict[str, Metric]] = {
    "binary": {
        "roc_auc": lambda t: scored(t, sk.roc_auc_score),
        "average_precision": lambda t: scored(t, sk.average_precision_score),
    },
    "multiclass": {"roc_auc_macro": lambda t: scored(t, sk.roc_auc_score, multi_class="ovr", average="macro")},
    "regression": {},
}


def compare(task: str, found: dict[str, Any], rows: Table) -> int:
    """Asserts all metrics of one set of outcomes; how many were compared."""
    compared = 0
    for table, tolerance in ((COUNTED, 1e-12), (SUMMED, 1e-9), (RANKED, 1e-4)):
        for name, metric in table[task].items():
            value = found[name]["value"]
            assert math.isclose(value, metric(rows), rel_tol=tolerance, abs_tol=tolerance), name
            assert found[name]["samples"] == len(rows["label"])
            compared += 1
    return compared


def where(table: Table, mask: "np.ndarray[Any, np.dtype[np.bool_]]") -> Table:
    return {name: column[mask] for name, column in table.items()}


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def replayed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Table, Summary, Path]:
    task, folder = request.param, tmp_path_factory.mktemp(request.param)
    table = drawn(task)
    summary = replay(parse(CONFIGURATION, "c.yaml", {}), recorded(folder, task, table), folder / "out")
    return task, table, summary, folder / "out"


def test_every_pane_and_segment_equals_scikit_learn(replayed: tuple[str, Table, Summary, Path]) -> None:
    task, table, _, out = replayed
    last: dict[tuple[str, float], dict[str, Any]] = {}
    for line in (out / "metric-snapshots.jsonl").read_bytes().splitlines():
        snapshot = json.loads(line)
        last[snapshot["segment"], snapshot["start"]] = snapshot
    assert {segment for segment, _ in last} == {"all", "country=BR", "country=US"}
    assert len(last) == 3 * HOURS
    for (segment, start), snapshot in last.items():
        mask = (table["ts"] >= start) & (table["ts"] < start + 3600)
        if segment != "all":
            mask &= table["country"] == segment.removeprefix("country=")
        assert compare(task, snapshot["metrics"], where(table, mask)) >= 4
        assert snapshot["predictions"] == snapshot["labels"] == int(mask.sum())


def test_every_window_equals_scikit_learn(replayed: tuple[str, Table, Summary, Path]) -> None:
    task, table, summary, _ = replayed
    (model,) = summary.view.models
    assert model.watermark is not None
    pane = model.watermark // 3600
    for segment in model.segments:
        for window in segment.windows:
            first = (pane - window.seconds / 3600 + 1) * 3600
            mask = (table["ts"] >= first) & (table["ts"] < (pane + 1) * 3600)
            if segment.segment != "all":
                mask &= table["country"] == segment.segment.removeprefix("country=")
            if mask.any():
                compare(task, msgspec.to_builtins(window.metrics), where(table, mask))


def test_the_command_says_the_same(tmp_path: Path) -> None:
    configuration = tmp_path / "c.yaml"
    configuration.write_text(CONFIGURATION)
    files = recorded(tmp_path, "binary", drawn("binary"))
    words = ["replay", "-c", configuration, "--predictions", files["predictions"][0], "--labels", files["labels"][0]]
    result = CliRunner().invoke(
        app, [str(word) for word in [*words, "--out", tmp_path / "out"]], env={"COLUMNS": "160"}
    )
    assert result.exit_code == 0, result.stderr
    assert f"{N:,} predictions and {N:,} labels from 2026-01-01 00:00:0" in result.stdout
    assert "binary" in result.stdout
    assert (tmp_path / "out" / "metric-snapshots.jsonl").stat().st_size > 0

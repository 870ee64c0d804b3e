"""Views of a model with many segments: the report of each window and segment, made anew only where it has changed."""

from __future__ import annotations

import numpy as np
import pytest

from stream.config import Limits, Model
from stream.events import Label, Prediction
from stream.monitor import model_view, snapshots
from stream.monitor.exchange import Guesses, Truths
from stream.monitor.metrics import performance
from stream.monitor.model import ModelMonitor

START = 1_700_000_000.0


def feed(m: ModelMonitor, first: int, countries: list[str], task: str) -> None:
    """Outcomes of a second, one by one."""
    rng = np.random.default_rng(first)
    ts = START + first + np.arange(len(countries)) / len(countries)
    predictions, labels = [], []
    for number, (at, country) in enumerate(zip(ts.tolist(), countries, strict=True)):
        score, key = float(rng.random()), f"{first}-{number}"
        guess: float | bool = score if task == "regression" else score > 0.5
        truth: float | bool = score * 2.0 if task == "regression" else bool(rng.random() < score)
        predictions.append(
            Prediction(model="m", id=key, ts=at, prediction=guess, score=score, attributes={"country": country})
        )
        labels.append(Label(model="m", id=key, ts=at, label=truth))
    ticks = np.floor(ts / 0.5).astype(np.int64)
    m.apply(Guesses(predictions, ticks, ts), Truths(labels, ticks, ts), int(ticks[-1]) + 1)


def monitor() -> ModelMonitor:
    return ModelMonitor("m", Model(pane=10.0, windows=(60.0, 120.0), segments=("country",)), Limits(segments=60))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_only_what_has_changed_is_reported_anew(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    m = monitor()
    countries = [f"c{number}" for number in range(40)]
    feed(m, 0, countries * 3, task)
    made: list[int] = []
    report = performance.report

    def counted(*arguments: object) -> object:
        made.append(1)
        return report(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(performance, "report", counted)
    first = model_view.view(m)
    assert len(made) == 41 * 2
    assert model_view.view(m) == first
    assert len(made) == 41 * 2
    feed(m, 1, ["c7"] * 5, task)
    second = model_view.view(m)
    assert len(made) == 41 * 2 + 2 * 2  # "all" and c7, in two windows
    feed(m, 75, ["c8"], task)
    third = model_view.view(m)
    for shown in (second, third):
        assert [segment.segment for segment in shown.segments][:2] == ["all", "country=c0"]
    for code, segment in enumerate(third.segments):
        for window, seen in zip(m.windows, segment.windows, strict=True):
            want = snapshots.metrics(m, window.sums, m.segments.names.index(segment.segment))
            assert {name: seen.metrics[name] for name in want} == want, code
    assert second.segments[8].windows[0].labels == 8


def test_what_is_shown_can_be_changed_without_harm() -> None:
    m = monitor()
    feed(m, 0, ["BR", "DE"] * 5, "binary")
    first = model_view.view(m)
    want = dict(first.segments[0].windows[0].metrics)
    first.segments[0].windows[0].metrics.clear()
    assert model_view.view(m).segments[0].windows[0].metrics == want

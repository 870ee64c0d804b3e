"""Default rules cry no wolf, and find what the demo plants; `benchmarks/healthy_week.py` does the same at length."""

from __future__ import annotations

import pytest

from benchmarks.healthy_week import Healthy, drifts, run


@pytest.mark.long
def test_a_healthy_day_of_a_model_of_each_task_raises_no_alert() -> None:
    models = [Healthy(number, 3, seed=4, scale=0.25) for number in range(3)]
    assert {model.task for model in models} == {"binary", "multiclass", "regression"}
    alerts, events = run(models, hours=24, pane=3600.0)
    assert [alert.summary for alert in alerts] == []
    assert events > 15_000


def test_the_demos_drifts_are_found_and_its_healthy_model_is_left_alone() -> None:
    found = drifts(seed=0, rate=200.0)
    assert found["concept"] is not None
    assert found["feature"] is not None
    assert 0.0 < found["concept"] < 60.0
    assert 0.0 < found["feature"] < 60.0
    assert found["healthy"] == 0.0

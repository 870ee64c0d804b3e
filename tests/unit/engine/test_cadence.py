"""Checkpoints use a twentieth of the worker's time at most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.engine.cadence import SHARE, Cadence


@given(st.floats(0.1, 5), st.dictionaries(st.integers(0, 50), st.floats(0, 1), min_size=1))
def test_the_share_holds_for_any_cost(every: float, costs: dict[int, float]) -> None:
    cadence = Cadence(every)
    for partition, seconds in costs.items():
        cadence.spent(partition, seconds)
    interval = cadence.interval()
    assert interval >= every
    assert sum(costs.values()) <= SHARE * interval * (1 + 1e-9)
    assert cadence.interval(urgent=True) <= every


@given(st.floats(0.1, 5), st.lists(st.floats(0, 10), min_size=1))
def test_the_time_after_a_checkpoint_pays_for_it(every: float, costs: list[float]) -> None:
    cadence, passed = Cadence(every), 0.0
    for seconds in costs:
        cadence.spent(0, seconds)
        passed += cadence.interval()
    assert sum(costs) <= SHARE * passed * (1 + 1e-9)
    cadence.spent(0, 0.0)
    assert cadence.interval() == every, "a backlog is over"


def test_an_alert_does_not_wait_and_a_storm_of_them_does_not_stop_the_worker() -> None:
    cadence = Cadence(0.5)
    assert cadence.interval(urgent=True) == 0
    cadence.spent(0, 0.1)
    assert cadence.interval(urgent=True) == 0.25


def test_a_partition_that_went_costs_nothing() -> None:
    cadence = Cadence(0.5)
    cadence.spent(0, 1.0)
    cadence.forget(0)
    assert cadence.interval() == 0.5

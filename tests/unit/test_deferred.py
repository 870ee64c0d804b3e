"""What a worker imports before it can join its group, and that what is put off is there when it is wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stream.deferred import deferred

ROOT = Path(__file__).parents[2]

NEEDLESS = (
    *("scipy.stats", "scipy.optimize", "scipy.integrate", "scipy.io", "scipy.sparse"),
    *("sklearn", "pandas", "narwhals", "redis"),
    *("river.datasets", "river.stream", "river.metrics", "stream.learning.learner"),
)
"""Seconds of importing that no event of a worker without challengers needs."""


def run(program: str) -> str:
    """In a process that has not imported anything yet."""
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout


def test_a_worker_starts_without_what_no_event_needs() -> None:
    program = f"import sys, stream.app\nprint([name for name in {NEEDLESS!r} if name in sys.modules])"
    assert run(program).strip() == "[]"


def test_what_was_put_off_works_when_it_is_used() -> None:
    program = """
import stream.app, stream.learning.learner, stream.monitor.metrics.rivermetrics
from river import drift, metrics
from river.drift import datasets
kswin = drift.KSWIN(seed=1)
found = []
for n in range(400):
    kswin.update(n % 7 + (50 if n > 250 else 0))
    found.append(kswin.drift_detected)
auc, mean = metrics.ROCAUC(), metrics.GeometricMean()
for n in range(100):
    auc.update(n % 3 == 0, n % 10 / 10)
    mean.update(n % 3 == 0, n % 2 == 0)
import scipy.stats, narwhals.stable.v2
print(any(found[250:]), 0.4 < auc.get() < 0.6, round(mean.get(), 6), datasets.AirlinePassengers.__name__)
print(scipy.stats.norm.cdf(0.0), narwhals.stable.v2.DataFrame.__name__)
"""
    assert run(program).split() == ["True", "True", "0.5", "AirlinePassengers", "0.5", "DataFrame"]


def test_a_module_that_is_there_already_is_left_alone() -> None:
    before = sys.modules["subprocess"]
    with deferred("subprocess"):
        assert sys.modules["subprocess"] is before
    assert sys.modules["subprocess"] is before


def test_a_module_that_does_not_exist_is_missed_when_it_is_used() -> None:
    with deferred("no_such_module"):
        import no_such_module  # type: ignore[import-not-found]
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        no_such_module.anything  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        import no_such_module as _  # noqa: F401

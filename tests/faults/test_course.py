"""A short run of the faults with each store; the long one is `python -m tests.faults`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import course, kinds
from tests.faults.conftest import SEED

SHORT: dict[str, tuple[kinds.Fault, ...]] = {
    "redis": (kinds.kill, kinds.producer_fails, kinds.redis_rolled_back, kinds.redis_restored, kinds.store_cut),
    "sqlite": (kinds.terminate, kinds.zombie, kinds.broker_restart, kinds.disk_full, kinds.files_small),
}


@pytest.mark.real
@pytest.mark.parametrize("store", SHORT)
async def test_nothing_is_lost_and_nothing_twice(store: str, tmp_path: Path) -> None:
    length = course.Length(seconds=0.0, faults=len(SHORT[store]), rate=200.0)
    report = await course.run(tmp_path, store, SEED, length, SHORT[store])
    assert report.findings == []
    assert {*report.recoveries, *report.left_out} == {fault.__name__ for fault in SHORT[store]}
    assert report.outcomes > 1000
    assert report.incidents > 1
    assert report.backlog_alerts > 1
    assert report.backlog_snapshots > 10

"""A cluster for each test; `STREAM_TEST_SEED` makes it another one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.cluster import Cluster

SEED = int(os.environ.get("STREAM_TEST_SEED", "1"))


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path, "sqlite", SEED) as running:
        yield running

"""Fixtures that start real servers; a conftest imports those it needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.kafka import Kafka


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One Apache Kafka for all tests; each test names topics and groups of its own."""
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Kafka]:
    """An Apache Kafka that the test may stop, crash and start again."""
    broker = Kafka(tmp_path / "kafka")
    broker.start()
    yield broker
    broker.stop()

"""The compose file's own settings in a real Kafka and a real Redis: only hosts, ports and directories are replaced."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import yaml
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from stream.configfile.load import load
from stream.engine import topics
from tests.servers.kafka import Kafka, free_port
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def properties(environment: dict[str, str]) -> dict[str, str]:
    """Broker settings as the official image reads them from its environment: KAFKA_NODE_ID is node.id."""
    return {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in environment.items()
        if name != "KAFKA_HEAP_OPTS"
    }


@pytest.fixture(scope="module")
def composed_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A broker with the settings of the service `kafka`, its listener for this machine on a free port."""
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    settings = properties(SERVICES["kafka"]["environment"])
    settings["log.dirs"] = str(broker.directory / "data")
    text = "\n".join(f"{name}={value}" for name, value in settings.items())
    for port, free in ((":9092", broker.port), (":19092", free_port()), (":29093", free_port())):
        text = text.replace(port, f":{free}")
    text = text.replace("kafka:", "127.0.0.1:").replace("://:", "://127.0.0.1:").replace("//localhost", "//127.0.0.1")
    (broker.directory / "server.properties").write_text(text)
    broker.start()
    yield broker
    broker.stop()


async def test_kafka_starts_with_these_settings_and_takes_the_topics(composed_kafka: Kafka) -> None:
    config = load(ROOT / "deploy/stream.yaml", {"STREAM_INSTANCE": "topics"})
    reached = msgspec.structs.replace(config.kafka, brokers=(composed_kafka.address,))
    states = await topics.inspect(reached, True)
    assert {state.topic for state in states} >= {"predictions", "labels", "alerts", "dead-letters"}
    again = {state.topic: state.partitions for state in await topics.inspect(reached, False)}
    assert again["predictions"] == again["labels"] == config.kafka.partitions
    assert topics.mismatch(reached, again) is None


async def test_a_mistyped_topic_is_an_error(composed_kafka: Kafka) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=composed_kafka.address, request_timeout_ms=3000)
    await producer.start()
    try:
        with pytest.raises(KafkaError):
            await producer.send_and_wait("predictionz", b"{}")
    finally:
        await producer.stop()


def test_redis_keeps_what_it_was_given_when_it_is_killed(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, *SERVICES["redis"]["command"][1:])
    server.start()
    try:
        server.client().set("state", "kept")
        server.restart(kill=True)
        assert server.client().get("state") == b"kept"
        assert server.client().config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    finally:
        server.stop()

"""The topics: that they exist, and that predictions and labels have the same number of partitions.

Invariant: a worker starts only on input topics whose partitions match, since partition p of both is one shard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from msgspec import Struct

from stream.config import Kafka
from stream.engine.security import connection

logger = logging.getLogger(__name__)


class TopicProblem(Exception):  # named as what it is about
    """The topics cannot be used as they are; the message says what to do."""


class BrokerUnreachable(Exception):
    """No broker answers, or none lets us in; the message says which and why."""


class TopicState(Struct, frozen=True):
    """One topic, as it is and as the configuration wants it. `partitions` is None when it does not exist."""

    topic: str
    partitions: int | None
    wanted: int
    created: bool = False


def wanted(kafka: Kafka) -> Mapping[str, int]:
    """Partition count by topic name: inputs and per-model outputs as configured."""
    topics = kafka.topics
    return dict.fromkeys(
        (
            topics.predictions,
            topics.labels,
            topics.alerts,
            topics.metric_snapshots,
            topics.model_updates,
            topics.dead_letters,
        ),
        kafka.partitions,
    )


def mismatch(kafka: Kafka, counts: Mapping[str, int | None]) -> str | None:
    """Why the input topics cannot be used together; None when they can.

    >>> mismatch(Kafka(), {"predictions": 4, "labels": 8})[:58]
    "topic 'predictions' has 4 partitions and 'labels' has 8: a"
    """
    topics = kafka.topics
    predictions, labels = counts.get(topics.predictions), counts.get(topics.labels)
    for topic, count in ((topics.predictions, predictions), (topics.labels, labels)):
        if count is None:
            return f"topic {topic!r} does not exist: create it with `stream topics -c FILE --create`"
    if predictions == labels:
        return None
    return (
        f"topic {topics.predictions!r} has {predictions} partitions and {topics.labels!r} has {labels}: a prediction "
        "and its label must be in the same partition number. Give both the same number (kafka-topics.sh --alter "
        "can only add partitions) and key both by the model's name."
    )


async def inspect(kafka: Kafka, create: bool = False) -> list[TopicState]:
    """All topics of the configuration; with `create`, those that are missing are made.

    Raises BrokerUnreachable, and TopicProblem when the broker refuses to create one.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=list(kafka.brokers), request_timeout_ms=10_000, **connection(kafka.security)
    )
    try:
        await admin.start()
    except (KafkaError, OSError) as error:
        await admin.close()
        raise BrokerUnreachable(f"no broker answers at {', '.join(kafka.brokers)}: {error}") from error
    try:
        names = wanted(kafka)
        counts = await _counts(admin, names)
        made: set[str] = set()
        if create:
            # If one of the inputs exists, the other must match it rather than the configuration.
            inputs = (kafka.topics.predictions, kafka.topics.labels)
            known = next((counts[name] for name in inputs if counts[name] is not None), None)
            missing = {
                name: known if known is not None and name in inputs else n
                for name, n in names.items()
                if counts[name] is None
            }
            await _create(admin, kafka, missing)
            made = set(missing)
            # Somebody else may have made them, otherwise than we asked; and a broker is told of new topics late.
            for _ in range(100):
                counts = await _counts(admin, names)
                if None not in counts.values():
                    break
                await asyncio.sleep(0.1)
        return [TopicState(name, counts[name], n, name in made) for name, n in names.items()]
    except (KafkaError, OSError) as error:
        raise BrokerUnreachable(f"the broker at {', '.join(kafka.brokers)} does not answer: {error!r}") from error
    finally:
        await admin.close()


async def _counts(admin: AIOKafkaAdminClient, names: Mapping[str, int]) -> dict[str, int | None]:
    existing = set(await admin.list_topics())
    described = await admin.describe_topics([name for name in names if name in existing])
    found = {topic["topic"]: len(topic["partitions"]) for topic in described if not topic["error_code"]}
    return {name: found.get(name) for name in names}


async def _create(admin: AIOKafkaAdminClient, kafka: Kafka, missing: Mapping[str, int]) -> None:
    if not missing:
        return
    answer = await admin.create_topics(
        [NewTopic(name, partitions, kafka.replication) for name, partitions in missing.items()]
    )
    for entry in answer.topic_errors:
        name, code = entry[0], entry[1]
        if code and code != TopicAlreadyExistsError.errno:
            reason = entry[2] if len(entry) > 2 and entry[2] else for_code(code).__name__
            raise TopicProblem(f"topic {name!r} cannot be created: {reason}")


async def ready(kafka: Kafka) -> int:
    """Creates what is missing and returns the number of shards. Raises TopicProblem or BrokerUnreachable."""
    states = await inspect(kafka, create=True)
    problem = mismatch(kafka, {state.topic: state.partitions for state in states})
    if problem:
        raise TopicProblem(problem)
    for state in states:
        if state.created:
            logger.info("created topic %s with %s partitions", state.topic, state.partitions)
    return next(state.partitions or 0 for state in states if state.topic == kafka.topics.predictions)

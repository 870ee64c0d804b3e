"""Servers for the integration tests."""

from tests.servers.fixtures import kafka, own_kafka

__all__ = ["kafka", "own_kafka"]

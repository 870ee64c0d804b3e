"""Servers for the end-to-end tests."""

from tests.servers.fixtures import kafka, own_kafka

__all__ = ["kafka", "own_kafka"]

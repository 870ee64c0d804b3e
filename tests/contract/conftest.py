"""Servers for the contract suites."""

from tests.servers.redis_server import redis_server

__all__ = ["redis_server"]

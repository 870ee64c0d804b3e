"""What a store in a real Redis does when Redis is away, full, read-only, protected, or has forgotten something."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from stream.checkpoint import redis as module
from stream.checkpoint.port import Delta, Fenced, StoreUnavailable
from stream.checkpoint.redis import RedisStore
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.real

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
FORGETFUL = ("--save", "", "--appendonly", "no")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts servers with settings, and stops them."""
    servers: list[RedisServer] = []

    def start(*settings: str, tls: bool = False) -> RedisServer:
        server = RedisServer(tmp_path, *settings, tls=tls)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(kill=True)


def test_a_restart_that_forgets_nothing_goes_unnoticed(serve: Callable[..., RedisServer]) -> None:
    server = serve(*DURABLE)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"1"}))
    server.restart(kill=True)
    store.commit(0, epoch, Delta({"b": b"2"}))
    assert dict(store.load(0)) == {"a": b"1", "b": b"2"}


def test_down_is_unavailable_and_passes(serve: Callable[..., RedisServer]) -> None:
    server = serve(*DURABLE)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    server.stop()
    for attempt in (store.ping, lambda: store.commit(0, epoch, Delta({"a": b"1"})), lambda: store.get(0, ["a"])):
        with pytest.raises(StoreUnavailable, match=rf"127.0.0.1:{server.port}"):
            attempt()
    server.start()
    store.commit(0, epoch, Delta({"a": b"1"}))
    assert store.get(0, ["a"]) == {"a": b"1"}


def test_an_owner_ahead_of_a_restored_snapshot_is_fenced(serve: Callable[..., RedisServer]) -> None:
    server = serve(*FORGETFUL)
    store, zombie = RedisStore(server.url, "team"), RedisStore(server.url, "team")
    old = zombie.acquire(0)
    zombie.commit(0, old, Delta({"a": b"1"}))
    with server.client() as client:
        client.save()
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"2", "b": b"2"}))
    server.restart(kill=True)
    with pytest.raises(Fenced):
        store.commit(0, epoch, Delta({"b": b"3"}))
    assert dict(store.load(0)) == {"a": b"1"}
    again = store.acquire(0)
    assert again > epoch > old
    store.commit(0, again, Delta({"a": b"3"}))
    with pytest.raises(Fenced):
        zombie.commit(0, old, Delta({"a": b"zombie"}))


def test_an_owner_whose_last_commits_were_lost_is_fenced(serve: Callable[..., RedisServer]) -> None:
    """The epoch is still right; only the number of commits tells."""
    server = serve(*FORGETFUL)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"sum": b"1", "offset": b"1"}))
    with server.client() as client:
        client.save()
    store.commit(0, epoch, Delta({"sum": b"2"}))
    server.restart(kill=True)
    with pytest.raises(Fenced, match="earlier state"):
        store.commit(0, epoch, Delta({"offset": b"3"}))
    assert dict(store.load(0)) == {"sum": b"1", "offset": b"1"}


def test_an_answer_that_was_given_up_does_not_hide_lost_commits(
    serve: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance can end an acquire whose thread goes on: its answer may come after that to the next one."""
    server = serve(*FORGETFUL)
    store = RedisStore(server.url, "team")
    given_up = store.acquire(0)
    epoch = store.acquire(0)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_acquire", lambda keys: [given_up, 0])
        assert store.acquire(0) == given_up
    with server.client() as client:
        client.save()
    store.commit(0, epoch, Delta({"sum": b"1"}))
    server.restart(kill=True)
    with pytest.raises(Fenced, match="earlier state"):
        store.commit(0, epoch, Delta({"offset": b"2"}))


def test_a_wiped_redis_never_hands_out_an_old_epoch(serve: Callable[..., RedisServer]) -> None:
    server = serve(*FORGETFUL)
    zombie, store = RedisStore(server.url, "team"), RedisStore(server.url, "team")
    old = zombie.acquire(0)
    server.flush()
    store.commit(0, store.acquire(0), Delta({"a": b"1"}))
    with pytest.raises(Fenced):
        zombie.commit(0, old, Delta({"a": b"zombie"}))


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_lost_answer_is_neither_fenced_nor_doubled(
    serve: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    server = serve(*FORGETFUL)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    script, left = store._commit, [lost]

    def unheard(**call: Any) -> Any:
        answer = script(**call)
        if left[0]:
            left[0] -= 1
            raise redis.ConnectionError("connection lost after the server had done it")
        return answer

    monkeypatch.setattr(store, "_commit", unheard)
    for _ in range(3):
        try:
            store.commit(0, epoch, Delta({"a": b"1"}))
            break
        except StoreUnavailable:
            continue
    store.commit(0, epoch, Delta({"b": b"2"}))
    assert dict(store.load(0)) == {"a": b"1", "b": b"2"}


def test_an_answer_that_does_not_come_in_time(
    serve: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    server = serve(*FORGETFUL)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.commit(0, epoch, Delta({"a": b"1"}))
    finally:
        os.kill(server.pid, signal.SIGCONT)
    store.commit(0, epoch, Delta({"a": b"1"}))
    assert dict(store.load(0)) == {"a": b"1"}


def test_full_memory_changes_nothing_and_passes(serve: Callable[..., RedisServer]) -> None:
    server = serve(*FORGETFUL)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    store.commit(0, epoch, Delta({"a": b"1", "b": b"1"}))
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        with pytest.raises(StoreUnavailable, match=r"OOM|maxmemory"):
            store.commit(0, epoch, Delta({"a": b"2"}, ["b"]))
        assert dict(store.load(0)) == {"a": b"1", "b": b"1"}
        client.config_set("maxmemory", "0")
    store.commit(0, epoch, Delta({"a": b"2"}, ["b"]))
    assert dict(store.load(0)) == {"a": b"2"}


def test_a_redis_that_may_evict_rows_is_refused(serve: Callable[..., RedisServer]) -> None:
    server = serve(*FORGETFUL, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(StoreUnavailable, match="noeviction"):
        RedisStore(server.url, "team").acquire(0)


def test_a_replica_is_unavailable(serve: Callable[..., RedisServer]) -> None:
    server = serve(*FORGETFUL)
    store = RedisStore(server.url, "team")
    epoch = store.acquire(0)
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match="read only replica"):
        store.commit(0, epoch, Delta({"a": b"1"}))


def test_a_redis_without_persistence_is_named_once(
    serve: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore(serve(*FORGETFUL).url, "team")
    with caplog.at_level(logging.WARNING):
        store.ping()
        store.ping()
    assert [record.message for record in caplog.records if "append-only" in record.message] != []
    assert len(caplog.records) == 1


def test_password_and_permissions(serve: Callable[..., RedisServer]) -> None:
    server = serve(*FORGETFUL, "--requirepass", "admin-secret")
    with server.client(password="admin-secret") as client:
        client.execute_command(
            "ACL", "SETUSER", "worker", "on", ">s3cret", "~stream:*", "+@all", "-@dangerous", "+info"
        )
        client.execute_command("ACL", "SETUSER", "half", "on", ">s3cret", "~stream:*", "+@all", "-hdel")
        client.execute_command("ACL", "SETUSER", "quiet", "on", ">s3cret", "~stream:*", "+@all", "-@dangerous")
    for user in ("worker", "quiet"):
        store = RedisStore(f"redis://{user}:s3cret@127.0.0.1:{server.port}/0", "team")
        store.commit(0, store.acquire(0), Delta({"a": b"1"}))
        assert (dict(store.load(0)), store.shards()) == ({"a": b"1"}, [0])
    half = RedisStore(f"redis://half:s3cret@127.0.0.1:{server.port}/0", "team")
    with pytest.raises(StoreUnavailable, match="needs HSET, HDEL"):
        half.acquire(0)
    for url in (server.url, f"redis://worker:wr0ng@127.0.0.1:{server.port}/0"):
        with pytest.raises(StoreUnavailable, match=r"(?i)auth|password") as caught:
            RedisStore(url, "team").acquire(0)
        assert "wr0ng" not in str(caught.value)


def test_tls(serve: Callable[..., RedisServer], tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
        "-keyout key.pem -out cert.pem".split(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    files = ("--tls-cert-file", f"{tmp_path}/cert.pem", "--tls-key-file", f"{tmp_path}/key.pem")
    server = serve(*FORGETFUL, "--tls-auth-clients", "no", *files, tls=True)
    url = f"rediss://127.0.0.1:{server.port}/0"
    store = RedisStore(f"{url}?ssl_ca_certs={tmp_path}/cert.pem", "team")
    store.commit(0, store.acquire(0), Delta({"a": b"1"}))
    assert dict(store.load(0)) == {"a": b"1"}
    with pytest.raises(StoreUnavailable, match=r"(?i)certificate"):
        RedisStore(url, "team").acquire(0)

"""A real Redis (the `redis-server` on the path) on a free loopback port, stopped by its process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis


class RedisServer:
    """One server with a directory of its own. What it keeps on disk survives `restart`."""

    def __init__(self, directory: Path, *settings: str, tls: bool = False) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("redis-server is not installed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        ports = ["--port", "0", "--tls-port", str(self.port)] if tls else ["--port", str(self.port)]
        self._command = [binary, *ports, "--bind", "127.0.0.1", "--dir", str(directory), *settings]
        self._log = (directory / "redis.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For `checkpoint.store`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process else None

    def client(self, **options: object) -> redis.Redis:
        """A plain client, to look and to break things."""
        return redis.Redis(port=self.port, **options)  # type: ignore[arg-type]

    def flush(self) -> None:
        """Forgets everything."""
        with self.client() as client:
            client.flushall()

    def start(self) -> None:
        """Returns when the port answers."""
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"redis-server did not start: {Path(self._log.name).read_text()[-2000:]}")

    def stop(self, kill: bool = False) -> None:
        """Ends the server: orderly, or at once."""
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(20)
            self._process = None

    def restart(self, kill: bool = False) -> None:
        """Stops and starts it on the same port."""
        self.stop(kill)
        self.start()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for the whole session, without persistence; tests flush it first."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--save", "", "--appendonly", "no")
    server.start()
    yield server
    server.stop()

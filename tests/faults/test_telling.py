"""A worker that is stuck says where."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.e2e.program import Program, configuration, until
from tests.faults.telling import END
from tests.servers.kafka import free_port


async def test_a_worker_that_waits_says_where_its_threads_and_tasks_are(tmp_path: Path) -> None:
    settings = configuration(f"127.0.0.1:{free_port()}", "stuck", "in", f"sqlite:///{tmp_path / 'state.db'}")
    worker = Program(settings, tmp_path, "worker", "tests.faults.telling")
    try:
        await until(lambda: "trying again" in worker.log.read_text())
        assert worker.readiness() == "no page yet"
        worker.process.send_signal(signal.SIGUSR1)
        await until(lambda: END in worker.log.read_text())
        told = worker.log.read_text()
        assert "most recent call first" in told, "threads"
        assert "in start" in told, "tasks"
    finally:
        worker.stop(signal.SIGKILL)

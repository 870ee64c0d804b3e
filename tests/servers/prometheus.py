"""A real Prometheus (the `prometheus` on the path) on a free loopback port, with a configuration of the repository."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers.kafka import free_port

START_SECONDS = 30.0


class Prometheus:
    """A running server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an API answer."""
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refused:
            raise AssertionError(f"Prometheus refuses {parameters}: {refused.read().decode()}") from refused

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an instant query gives now."""
        result: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return result


@contextmanager
def prometheus(
    directory: Path, settings: Path, targets: list[str], *, interval: str | None = None
) -> Iterator[Prometheus]:
    """Prometheus with the settings file of the repository and the rule files beside it.

    Only what belongs to the machine is replaced: the targets of the job `stream`, and the interval when one is given;
    jobs and alertmanagers that the test does not have are left out.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed")
    config = yaml.safe_load(settings.read_text())
    config["scrape_configs"] = [job for job in config["scrape_configs"] if job["job_name"] == "stream"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    config.pop("alerting", None)
    if interval:
        config["global"] |= {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    for name in config["rule_files"]:
        shutil.copy(settings.with_name(name), directory / name)
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait(process, port, directory / "log")
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"prometheus did not start: {log.read_text()[-2000:]}")

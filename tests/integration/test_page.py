"""The page in a real browser: the script runs under its own policy, shows everything, and keeps itself current."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest

from stream.view import WorkerView
from tests import worker_views
from tests.servers.page import Growing, Serving

pytestmark = pytest.mark.real

QUIET = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


def rendered(view: Callable[[], WorkerView], profile: Path) -> str:
    """The document after eight seconds of the page's own time, without its scripts."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed")
    with Serving(view) as served:
        done = subprocess.run(
            [
                browser, *QUIET, f"--user-data-dir={profile}", "--virtual-time-budget=8000", "--dump-dom",
                f"http://127.0.0.1:{served.port}/",
            ],
            capture_output=True, text=True, timeout=90, check=True,
        )  # fmt: skip
    return re.sub(r"<(script|style|noscript)\b.*?</\1>", "", done.stdout, flags=re.DOTALL)


def test_models_alerts_and_rates_are_shown(tmp_path: Path) -> None:
    text = rendered(Growing(worker_views.troubled()), tmp_path)
    assert re.findall(r'class="card model (\w+)"', text) == ["bad", "good", "good"]
    assert len(re.findall(r'class="card alert (?:bad|warn)"', text)) == 2
    for words in ("accuracy of card-fraud fell to 0.842", "ROC AUC", "country=BR", "logreg", "switched off", ">live<"):
        assert words in text, words
    [speed] = re.findall(r"Events per second</small><b>([^<]+)</b>", text)
    assert float(speed.replace(",", "")) > 0
    assert 'class="spark"' in text


def test_hostile_names_are_shown_as_text(tmp_path: Path) -> None:
    text = rendered(worker_views.hostile, tmp_path)
    assert "<img" not in text
    assert worker_views.HOSTILE in unescape(text)
    assert len(re.findall(r'class="card model (?:good|bad)"', text)) == 8


def test_an_empty_worker_says_what_to_do(tmp_path: Path) -> None:
    text = unescape(rendered(worker_views.empty, tmp_path))
    assert "No prediction has come yet" in text
    assert '"model":"fraud"' in text

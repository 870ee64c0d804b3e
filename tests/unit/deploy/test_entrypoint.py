"""The image's entrypoint: a key for stored state, given or made once, and clear words when neither can be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ENTRYPOINT = Path(__file__).parents[3] / "deploy/entrypoint.sh"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One in which `stream` prints its key and arguments."""
    program = tmp_path / "bin/stream"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$STREAM_STATE_KEY" "$@"\n')
    program.chmod(0o755)
    (tmp_path / "state").mkdir()
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "STREAM_STATE_DIR": str(tmp_path / "state")}


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", str(ENTRYPOINT), "run", "-c", "a b"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_given_key_is_passed_on(environment: dict[str, str], tmp_path: Path) -> None:
    out, _ = start(environment | {"STREAM_STATE_KEY": "mine"}).communicate(timeout=10)
    assert out == "mine run -c a b\n"
    assert not list((tmp_path / "state").iterdir())


def test_workers_that_start_together_share_one_key_that_stays(environment: dict[str, str], tmp_path: Path) -> None:
    together = [start(environment | {"STREAM_STATE_KEY": ""}) for _ in range(8)]
    keys = {process.communicate(timeout=20)[0].split()[0] for process in together}
    assert len(keys) == 1
    [key] = keys
    assert len(key) == 64
    assert start(environment).communicate(timeout=10)[0] == f"{key} run -c a b\n"
    [kept] = list((tmp_path / "state").iterdir())
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_directory_that_is_not_there_is_explained(environment: dict[str, str], tmp_path: Path) -> None:
    process = start(environment | {"STREAM_STATE_DIR": str(tmp_path / "gone")})
    out, error = process.communicate(timeout=10)
    assert (process.returncode, out) == (2, "")
    assert "STREAM_STATE_KEY" in error
    assert str(tmp_path / "gone") in error

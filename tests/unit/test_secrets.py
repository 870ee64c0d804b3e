"""Secrets of a configuration appear in no output, message or log line."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.app import CannotStart, Worker
from stream.checkpoint.open import open_store
from stream.checkpoint.port import StoreUnavailable
from stream.cli import app
from stream.configfile import load

SECRETS = {
    "SASL": "s3cr3t-of-sasl-1234",
    "TLS": "s3cr3t-of-tls-12345",
    "KEY": "s3cr3t-of-state-123",
    "TOKEN": "s3cr3t-of-http-1234",
    "STORE": "s3cr3t-of-redis-123",
}
TEXT = """
kafka:
  brokers: ["127.0.0.1:1"]
  security:
    protocol: SASL_PLAINTEXT
    sasl_username: worker
    sasl_password: ${SASL}
    ssl_password: ${TLS}
checkpoint:
  store: redis://worker:${STORE}@127.0.0.1:1/0
  key: ${KEY}
http: {token: "${TOKEN}", port: %s}
"""


def clean(text: str) -> bool:
    return "s3cr3t" not in text


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setitem(os.environ, name, value)
    file = tmp_path / "stream.yaml"
    file.write_text(TEXT % 0)
    return file


def test_commands_show_none(path: Path) -> None:
    path.write_text(TEXT % 1)
    for words in (["check"], ["status"], ["reset", "--yes"], ["topics"]):
        result = CliRunner().invoke(app, [*words, "-c", str(path)])
        assert clean(result.output + result.stderr + repr(result.exception)), words
        assert result.exit_code in (0, 1)


def test_a_broken_configuration_shows_none(path: Path) -> None:
    for wrong in ("port: zzz}", "port: 1, tokens: ${TOKEN}}", "port: 1, host: 5}\nsecrets: ${KEY}"):
        path.write_text(TEXT.replace("port: %s}", wrong))
        result = CliRunner().invoke(app, ["check", "-c", str(path)])
        assert result.exit_code == 2
        assert clean(result.output + result.stderr)


def test_a_store_that_is_away_shows_none(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = load(path)
    store = open_store(config.checkpoint.store, "team")
    with pytest.raises(StoreUnavailable) as caught:
        store.acquire(0)
    assert clean(str(caught.value) + repr(caught.value) + caplog.text)


def test_a_worker_that_cannot_start_shows_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text((TEXT % 0).replace("s3cr3t", "x").replace("redis://worker", "redis://wor ker"))
    monkeypatch.setitem(os.environ, "TOKEN", "s3cr3t with spaces in it")
    with pytest.raises(CannotStart) as caught:
        Worker(load(path))
    assert clean(str(caught.value))
    assert "http.token" in str(caught.value)

"""References taken anew over HTTP, asked by a real client over loopback; and by the command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from typer.testing import CliRunner

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.port import StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.cli import app
from stream.config import Config, Renewal
from stream.engine.renewing import Renewing
from stream.telemetry.collector import new_registry
from stream.web.server import make_server
from tests import worker_views

TOKEN = "0123456789abcdef-secret"
SEAL = Seal(b"0123456789abcdef0123456789abcdef")
PATH = "/api/references"


class Away(MemoryStore):
    """A store that does not answer."""

    def acquire(self, shard: int) -> int:
        raise StoreUnavailable("the store is away")


def client(store: MemoryStore | None = None, token: str | None = None) -> TestClient[Any, Any]:
    renewing = Renewing(store or MemoryStore(), SEAL, Config(references=(Renewal("old", 60.0),)))
    server = make_server(worker_views.healthy, new_registry(worker_views.healthy), token, None, renewing)
    return TestClient(TestServer(server))


async def test_one_is_given_and_listed() -> None:
    async with client() as http:
        made = await http.post(PATH, json={"model": "card-fraud", "first": 2000, "reason": "new prices"})
        given = await made.json()
        assert (made.status, given["model"], given["first"], given["reason"]) == (201, "card-fraud", 2000, "new prices")
        listed = await (await http.get(PATH)).json()
        assert [(each["model"], each["at"]) for each in listed["references"]] == [
            ("old", 60.0),
            ("card-fraud", given["at"]),
        ]


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b'{"first": 5}', 400),
        ("application/json", b"{", 400),
        ("text/plain", b'{"model": "m"}', 415),
        ("application/x-www-form-urlencoded", b'{"model": "m"}', 415),
    ],
)
async def test_what_is_none_changes_nothing(content_type: str, body: bytes, code: int) -> None:
    async with client() as http:
        answer = await http.post(PATH, data=body, headers={"Content-Type": content_type})
        assert answer.status == code
        assert (await answer.json())["error"]
        assert len((await (await http.get(PATH)).json())["references"]) == 1


async def test_only_who_knows_the_token_may() -> None:
    async with client(token=TOKEN) as http:
        assert (await http.post(PATH, json={"model": "m"})).status == 401
        assert (await http.get(PATH)).status == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.post(PATH, json={"model": "m"}, headers=headers)).status == 201


async def test_a_store_that_is_away_is_said() -> None:
    async with client(Away()) as http:
        answer = await http.post(PATH, json={"model": "m"})
        assert (answer.status, await answer.json()) == (503, {"error": "the store is away"})


async def test_the_command_tells_a_worker_and_repeats_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_HTTP_TOKEN", TOKEN)
    file = tmp_path / "monitor.yaml"
    file.write_text("models: {}\n", encoding="utf-8")

    async def command(*words: str) -> tuple[int, str]:
        said = ["reference", "-c", str(file), "--url", url, "--model", "fraud", *words]
        ended = await asyncio.to_thread(CliRunner().invoke, app, said)
        return ended.exit_code, ended.output

    async with client(token=TOKEN) as http:
        url = str(http.make_url("/"))
        code, words = await command("--first", "2000", "--at", "2100-01-01T00:00:00Z", "--reason", "new prices")
        assert (code, words) == (
            0,
            "the reference of fraud is taken anew from predictions since 2100-01-01T00:00:00.000Z\n",
        )
        listed = await (await http.get(PATH, headers={"Authorization": f"Bearer {TOKEN}"})).json()
        assert json.dumps(listed["references"][-1]["first"]) == "2000"
        code, words = await command("--at", "2000-01-01T00:00:00Z")
        assert code == 1
        assert "which is over" in words

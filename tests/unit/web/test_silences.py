"""Silences over HTTP, asked by a real client over loopback."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.port import StoreUnavailable
from stream.checkpoint.seal import Seal
from stream.config import Config, Silence
from stream.engine.silencing import Silencing
from stream.telemetry.collector import new_registry
from stream.web.server import make_server
from tests import worker_views

TOKEN = "0123456789abcdef-secret"
SEAL = Seal(b"0123456789abcdef0123456789abcdef")


class Away(MemoryStore):
    """A store that does not answer."""

    def acquire(self, shard: int) -> int:
        raise StoreUnavailable("the store is away")


def client(store: MemoryStore | None = None, token: str | None = None) -> TestClient[Any, Any]:
    config = Config(silences=(Silence(model="old"),))
    silencing = Silencing(store or MemoryStore(), SEAL, config)
    server = make_server(worker_views.healthy, new_registry(worker_views.healthy), token, silencing)
    return TestClient(TestServer(server))


async def test_one_is_given_listed_and_taken_back() -> None:
    async with client() as http:
        made = await http.post("/api/silences", json={"model": "card-fraud", "for": "2h", "reason": "we know"})
        given = await made.json()
        assert (made.status, given["model"], given["reason"]) == (201, "card-fraud", "we know")
        listed = await (await http.get("/api/silences")).json()
        assert [each["id"] for each in listed["silences"]] == ["configuration-0", given["id"]]
        gone = await http.delete(f"/api/silences/{given['id']}")
        assert gone.status == 200
        again = await http.delete(f"/api/silences/{given['id']}")
        assert again.status == 404
        fixed = await http.delete("/api/silences/configuration-0")
        assert fixed.status == 409


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b'{"model": "m"}', 400),
        ("application/json", b"{", 400),
        ("text/plain", b'{"model": "m", "for": "2h"}', 415),
        ("application/x-www-form-urlencoded", b'{"model": "m", "for": "2h"}', 415),
    ],
)
async def test_what_is_no_silence_changes_nothing(content_type: str, body: bytes, code: int) -> None:
    async with client() as http:
        answer = await http.post("/api/silences", data=body, headers={"Content-Type": content_type})
        assert answer.status == code
        assert (await answer.json())["error"]
        assert len((await (await http.get("/api/silences")).json())["silences"]) == 1


async def test_only_who_knows_the_token_may() -> None:
    async with client(token=TOKEN) as http:
        for send in (http.post("/api/silences", json={"model": "m", "for": "2h"}), http.delete("/api/silences/x")):
            assert (await send).status == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert (await http.post("/api/silences", json={"model": "m", "for": "2h"}, headers=headers)).status == 201


async def test_a_store_that_is_away_is_said() -> None:
    async with client(Away()) as http:
        answer = await http.post("/api/silences", json={"model": "m", "for": "2h"})
        assert (answer.status, await answer.json()) == (503, {"error": "the store is away"})

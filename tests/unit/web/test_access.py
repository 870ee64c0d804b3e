"""A token, where one is set, is asked of everyone but health checks."""

from __future__ import annotations

import base64

import pytest
from aiohttp.test_utils import TestClient, TestServer

from stream.config import Http
from stream.telemetry.collector import new_registry
from stream.web.access import token_of
from stream.web.server import PATHS, make_server
from tests import worker_views

TOKEN = "0123456789abcdef-token"
PROTECTED = ("/", "/metrics", "/api/status", "/api/alerts", "/nope")


async def status(path: str, token: str | None = TOKEN, **headers: str) -> tuple[int, str, list[str]]:
    server = make_server(worker_views.troubled, new_registry(worker_views.troubled), token)
    async with TestClient(TestServer(server)) as client:
        response = await client.get(path, headers=headers)
        return response.status, await response.text(), response.headers.getall("WWW-Authenticate", [])


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN.upper()}", TOKEN),
        *("Basic", "Basic =", "Basic ÿ", basic("me", "wrong"), basic(TOKEN, ""), f"Digest {TOKEN}"),
    ],
)
async def test_without_the_token_nothing_is_told(path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    code, text, challenges = await status(path, **headers)
    assert code == 401
    assert [challenge.split()[0] for challenge in challenges] == ["Basic", "Bearer"]
    assert "card-fraud" not in text
    assert TOKEN not in text


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic("", TOKEN), basic("anyone", TOKEN)])
async def test_with_it_everything_is(header: str) -> None:
    for path in PATHS:
        code, text, _ = await status(path, Authorization=header)
        assert code == 200
        assert TOKEN not in text


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_open(path: str) -> None:
    assert (await status(path))[0] == 200


async def test_no_token_asks_for_none() -> None:
    assert (await status("/api/status", token=None))[0] == 200


def test_the_configuration_goes_before_the_environment() -> None:
    other = "fedcba9876543210-other"
    assert token_of(Http(token=TOKEN), {"STREAM_HTTP_TOKEN": other}) == TOKEN
    assert token_of(Http(), {"STREAM_HTTP_TOKEN": other}) == other
    assert token_of(Http(), {}) is None
    assert token_of(Http(), {"STREAM_HTTP_TOKEN": ""}) is None


@pytest.mark.parametrize("weak", ["short-one", "with a space in the middle", "ümlauts-are-not-sent-in-headers"])
def test_a_weak_token_is_refused_without_being_shown(weak: str) -> None:
    with pytest.raises(ValueError, match="STREAM_HTTP_TOKEN") as caught:
        token_of(Http(), {"STREAM_HTTP_TOKEN": weak})
    assert weak not in str(caught.value)

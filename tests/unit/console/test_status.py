"""`stream status` prints what the API answers."""

import asyncio
import io
import json

import pytest
from aiohttp.test_utils import TestServer
from rich.console import Console

from stream.config import Http
from stream.console.status import NoAnswer, fetch, show, url_of
from stream.telemetry.collector import new_registry
from stream.web.server import make_server
from stream.web.status import status
from tests.worker_views import troubled


def test_where_a_worker_is_looked_for() -> None:
    assert url_of(Http()) == "http://127.0.0.1:6066"
    assert url_of(Http(host="0.0.0.0", port=80)) == "http://127.0.0.1:80"
    assert url_of(Http(host="::", port=80)) == "http://[::1]:80"
    assert url_of(Http(host="monitor", port=80)) == "http://monitor:80"


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(NoAnswer, match="expected a URL"):
        fetch("file:///etc/passwd")


def test_everything_that_needs_attention_is_printed() -> None:
    out = io.StringIO()
    view = troubled()
    show(Console(file=out, width=200, color_system=None), json.loads(status(view, now=0.0)))
    text = out.getvalue()
    for shard in view.shards:
        for model in shard.models:
            assert model.model in text
    for reason in view.reasons:
        assert reason in text


async def test_the_token_is_sent_and_missing_it_is_told() -> None:
    token = "0123456789abcdef"
    async with TestServer(make_server(troubled, new_registry(troubled), token)) as server:
        url = str(server.make_url(""))
        assert (await asyncio.to_thread(fetch, url, token))["ready"] is True
        with pytest.raises(NoAnswer, match="STREAM_HTTP_TOKEN"):
            await asyncio.to_thread(fetch, url)

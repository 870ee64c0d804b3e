"""The HTTP surface, asked by a real HTTP client over loopback."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families as parse

from stream.telemetry.collector import Timings, new_registry
from stream.view import WorkerView
from stream.web.server import make_server
from tests import worker_views


async def ask(view: Callable[[], WorkerView], path: str, **headers: str) -> tuple[ClientResponse, bytes]:
    registry = new_registry(view)
    Timings(registry)
    async with TestClient(TestServer(make_server(view, registry)), auto_decompress=False) as client:
        response = await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return response, await response.read()


async def test_healthz_is_yes_while_the_process_lives() -> None:
    response, body = await ask(worker_views.starting, "/healthz")
    assert (response.status, json.loads(body)) == (200, {"status": "alive"})


async def test_readyz_says_why_not() -> None:
    response, body = await ask(worker_views.starting, "/readyz")
    assert response.status == 503
    assert json.loads(body) == {"ready": False, "reasons": worker_views.starting().reasons}
    response, body = await ask(worker_views.healthy, "/readyz")
    assert (response.status, json.loads(body)) == (200, {"ready": True, "reasons": []})


async def test_metrics_as_prometheus_text() -> None:
    response, body = await ask(worker_views.troubled, "/metrics", Accept_Encoding="identity")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "Content-Encoding" not in response.headers
    names = {family.name for family in parse(body.decode())}
    assert {"stream_predictions", "stream_metric", "stream_apply_seconds", "process_cpu_seconds"} <= names


async def test_metrics_as_openmetrics_when_asked() -> None:
    response, body = await ask(
        worker_views.troubled, "/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    )
    assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    text = gzip.decompress(body) if response.headers.get("Content-Encoding") == "gzip" else body
    assert text.endswith(b"# EOF\n")


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/status", "/api/alerts"])
async def test_what_is_long_is_compressed_only_for_those_who_can_read_it(path: str) -> None:
    response, body = await ask(worker_views.troubled, path, Accept_Encoding="gzip, deflate")
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(gzip.decompress(body)) > len(body)
    assert "Accept-Encoding" in response.headers["Vary"]
    response, _ = await ask(worker_views.troubled, path, Accept_Encoding="gzip;q=0, identity")
    assert "Content-Encoding" not in response.headers


async def fetch(view: Callable[[], WorkerView], path: str) -> Any:
    response, body = await ask(view, path, Accept_Encoding="identity")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("application/json")
    return json.loads(body)


async def test_status_is_the_view_with_string_keys() -> None:
    state = await fetch(worker_views.troubled, "/api/status")
    models = {model["model"]: model for shard in state["shards"] for model in shard["models"]}
    assert set(models) == {"card-fraud", "house-price", "pet-photo"}
    assert models["card-fraud"]["alerts_total"] == {"accuracy-drop/critical": 1, "feature-drift/warning": 2}
    assert models["card-fraud"]["segments"][0]["windows"][0]["drift"]["amount"]["psi"] > 0.3
    assert state["totals"]["firing"] == 2
    assert state["totals"]["models"] == 3
    assert state["shards"][0]["dead_letters"] == {"not_json": 3, "future": 1}
    assert state["lag"][0] == {"topic": "predictions", "partition": 0, "lag": 0}
    assert state["ready"] is True


async def test_a_limited_status_keeps_the_most_urgent_models_and_counts_them_all() -> None:
    state = await fetch(worker_views.many, "/api/status?limit=3")
    shown = [model["model"] for shard in state["shards"] for model in shard["models"]]
    assert sorted(shown) == ["model-007", "model-027", "model-047"]
    assert state["totals"]["models"] == 60
    assert (state["totals"]["shown"], state["totals"]["matching"]) == (3, 60)
    found = await fetch(worker_views.many, "/api/status?search=MODEL-01")
    assert found["totals"]["matching"] == 10


async def test_a_model_on_two_partitions_counts_once() -> None:
    state = await fetch(worker_views.split, "/api/status")
    assert state["totals"]["models"] == 2


async def test_alerts_come_newest_first_and_by_state() -> None:
    every = (await fetch(worker_views.troubled, "/api/alerts"))["alerts"]
    assert [alert["rule"] for alert in every] == ["feature-drift", "accuracy-drop", "concept-drift"]
    assert every[1]["explanation"]["segments"][0]["segment"] == "country=BR"
    resolved = (await fetch(worker_views.troubled, "/api/alerts?state=resolved"))["alerts"]
    assert [alert["rule"] for alert in resolved] == ["concept-drift"]


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/api/status?limit=-1", 400, "expected a whole number"),
        ("/api/status?limit=²", 400, "expected a whole number"),
        ("/api/alerts?state=open", 400, "expected firing or resolved"),
        ("/nope", 404, "there is no /nope"),
    ],
)
async def test_a_bad_request_is_told_what_was_expected(path: str, code: int, words: str) -> None:
    response, body = await ask(worker_views.healthy, path)
    assert response.status == code
    assert words in json.loads(body)["error"]


async def test_nothing_can_be_written() -> None:
    async with TestClient(TestServer(make_server(worker_views.healthy, new_registry(worker_views.healthy)))) as client:
        response = await client.post("/api/status")
        assert response.status == 405
        assert response.headers["Allow"] == "GET, HEAD"
        assert (await client.head("/")).status == 200


class Document(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in self.raw:
            self._inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[self._inside][-1] += data


async def page(view: Callable[[], WorkerView]) -> tuple[ClientResponse, str]:
    response, body = await ask(view, "/", Accept_Encoding="identity")
    assert response.status == 200
    return response, body.decode()


@pytest.mark.parametrize(
    "view", [worker_views.healthy, worker_views.empty, worker_views.starting, worker_views.many, worker_views.hostile]
)
async def test_the_page_names_the_models_and_loads_nothing_from_elsewhere(view: Callable[[], WorkerView]) -> None:
    _, text = await page(view)
    for model in (model.model for shard in view().shards for model in shard.models):
        assert html.escape(model) in text
    document = Document(text)
    loaded = [
        value
        for tag, attributes in document.tags
        for name, value in attributes.items()
        if name in {"src", "srcset", "action", "data", "poster"} or (tag == "link" and name == "href")
    ]
    assert all((value or "").startswith("data:") for value in loaded)
    assert not [
        name for _, attributes in document.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert not re.search(r"@import|url\(", document.raw["style"][0])


async def test_the_policy_lets_exactly_the_pages_own_script_and_style_run() -> None:
    response, text = await page(worker_views.hostile)
    policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    document = Document(text)

    def allowed(part: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"

    state, script = document.raw["script"]
    assert policy["script-src"] == allowed(script)
    assert policy["style-src"] == allowed(document.raw["style"][0])
    assert json.loads(state)["totals"]["models"] == 8


async def test_hostile_names_stay_text() -> None:
    _, text = await page(worker_views.hostile)
    document = Document(text)
    assert not [tag for tag, _ in document.tags if tag == "img"]
    assert len(document.raw["script"]) == 2
    first = json.loads(document.raw["script"][0])
    assert first["shards"][0]["models"][0]["model"] == worker_views.HOSTILE
    assert html.escape(worker_views.HOSTILE) in text


async def test_every_answer_forbids_framing_sniffing_and_caching() -> None:
    for path in ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/alerts", "/nope"):
        response, _ = await ask(worker_views.healthy, path)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"

"""HTTP: the status page, the JSON API, health, and the metrics for Prometheus. It decides nothing, and changes nothing
but silences and references.

Invariant: one answer shows one view, taken in the event loop between two slices; encoding and compressing a large one
happens in a thread, so that a scrape does not delay events.
"""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stream.view import WorkerView
from stream.web import access, page, status
from stream.web.silences import Route, SilencingLike
from stream.web.telling import added


class RenewingLike(Protocol):
    """What keeps references to be taken anew; `add` blocks, and raises StoreUnavailable."""

    def listed(self) -> Sequence[Struct]:
        """All of them."""

    def add(self, body: bytes) -> Struct:
        """Adds one; raises ValueError for what is none."""


class _Sources:
    """What the answers are made of."""

    def __init__(
        self,
        view: Callable[[], WorkerView],
        registry: CollectorRegistry,
        token: str | None,
        silences: Route,
        renewing: RenewingLike | None,
    ) -> None:
        self.view = view
        self.registry = registry
        self.token = token
        self.silences = silences
        self.renewing = renewing


SOURCES = web.AppKey("sources", _Sources)

JSON = "application/json"
COMPRESS_FROM = 1024
"""Bytes from which compression is worth its time."""

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/alerts", "/api/silences", "/api/references")
LOCKED = "default-src 'none'; frame-ancestors 'none'"
"""Policy of everything that is not the page."""


def make_server(
    view: Callable[[], WorkerView],
    registry: CollectorRegistry,
    token: str | None = None,
    silencing: SilencingLike | None = None,
    renewing: RenewingLike | None = None,
) -> web.Application:
    """The web application of one worker; the caller binds it to an address.

    `view` is called in the event loop, once for each request that needs it; what it returns must not change later,
    because a thread encodes it. `registry` is what /metrics exposes; it is collected in the event loop too. `token`:
    who does not send it is told nothing but health, see `access.py`. `silencing` takes silences, `renewing` references
    to be taken anew; None: nobody does.
    """
    application = web.Application(middlewares=[_guard])
    application[SOURCES] = _Sources(view, registry, token, Route(silencing), renewing)
    application.add_routes(
        [
            web.get("/", _page),
            web.get("/metrics", _metrics),
            web.get("/healthz", _alive),
            web.get("/readyz", _ready),
            web.get("/api/status", _status),
            web.get("/api/alerts", _alerts),
            web.get("/api/silences", _silences),
            web.post("/api/silences", _silence),
            web.delete("/api/silences/{id}", _unsilence),
            web.get("/api/references", _references),
            web.post("/api/references", _renew),
        ]
    )
    return application


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Adds what keeps a browser from doing more with an answer than show it; words for what is not there."""
    token = request.app[SOURCES].token
    try:
        if token is None or request.path in access.OPEN or access.allowed(request.headers.get("Authorization"), token):
            response = await handler(request)
        else:
            response = _json({"error": "send the token as `Authorization: Bearer TOKEN`"}, 401)
            for challenge in access.CHALLENGES:
                response.headers.add("WWW-Authenticate", challenge)
    except web.HTTPNotFound:
        response = _json({"error": f"there is no {request.path}", "paths": PATHS}, 404)
    except web.HTTPMethodNotAllowed as refused:
        allowed = ", ".join(sorted(refused.allowed_methods))
        response = _json({"error": f"{request.path} takes only: {allowed}"}, 405)
        response.headers["Allow"] = allowed
    response.headers.setdefault("Content-Security-Policy", LOCKED)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    return response


async def _page(request: web.Request) -> web.Response:
    view = request.app[SOURCES].view()
    now = time.time()

    def build() -> bytes:
        return page.document(view, status.status(view, now, limit=page.MODELS_SHOWN))

    response = await _large(request, build, "text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = page.policy()
    return response


async def _metrics(request: web.Request) -> web.Response:
    families = _Collected(list(request.app[SOURCES].registry.collect()))
    encode, content_type = choose_encoder(",".join(request.headers.getall("Accept", [])))
    response = await _large(request, lambda: encode(families), content_type)
    response.headers["Vary"] = "Accept, Accept-Encoding"
    return response


async def _alive(_request: web.Request) -> web.Response:
    return _json({"status": "alive"})


async def _ready(request: web.Request) -> web.Response:
    view = request.app[SOURCES].view()
    return _json({"ready": view.ready, "reasons": view.reasons}, 200 if view.ready else 503)


async def _status(request: web.Request) -> web.Response:
    limit = request.query.get("limit", "")
    if limit and not (limit.isascii() and limit.isdigit()):
        return _json({"error": f"limit={limit!r}: expected a whole number such as 100"}, 400)
    view, now, search = request.app[SOURCES].view(), time.time(), request.query.get("search", "")
    return await _large(
        request, lambda: status.status(view, now, search=search, limit=int(limit) if limit else None), JSON
    )


async def _alerts(request: web.Request) -> web.Response:
    state = request.query.get("state")
    if state not in {None, "firing", "resolved"}:
        return _json({"error": f"state={state!r}: expected firing or resolved"}, 400)
    view = request.app[SOURCES].view()
    return await _large(request, lambda: status.alerts(view, state), JSON)


async def _silences(request: web.Request) -> web.Response:
    return _json(*request.app[SOURCES].silences.listed())


async def _silence(request: web.Request) -> web.Response:
    return _json(*await request.app[SOURCES].silences.add(request.content_type, await request.read()))


async def _unsilence(request: web.Request) -> web.Response:
    return _json(*await request.app[SOURCES].silences.remove(request.match_info["id"]))


async def _references(request: web.Request) -> web.Response:
    renewing = request.app[SOURCES].renewing
    return _json({"references": [] if renewing is None else renewing.listed()})


async def _renew(request: web.Request) -> web.Response:
    renewing = request.app[SOURCES].renewing
    add = None if renewing is None else renewing.add
    return _json(*await added(add, request.content_type, await request.read()))


class _Collected(Collector):
    """Families that are already collected, in the form in which the encoders of the client library take them."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


async def _large(request: web.Request, build: Callable[[], bytes], content_type: str) -> web.Response:
    """An answer built in a thread, compressed where the client can read that."""
    compress = _takes_gzip(request)

    def body() -> tuple[bytes, bool]:
        built = build()
        if compress and len(built) >= COMPRESS_FROM:
            return gzip.compress(built, compresslevel=3, mtime=0), True
        return built, False

    content, compressed = await asyncio.to_thread(body)
    headers = {"Content-Type": content_type, "Vary": "Accept-Encoding"}
    if compressed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(body=content, headers=headers)


def _takes_gzip(request: web.Request) -> bool:
    for entry in request.headers.get("Accept-Encoding", "").lower().split(","):
        coding, _, parameters = entry.strip().partition(";")
        if coding.strip() in {"gzip", "*"}:
            return parameters.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _json(body: object, code: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=code, content_type=JSON)

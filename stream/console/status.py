"""A worker's HTTP API for commands: asks what it knows and prints it (`stream status`), or tells it something."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from rich.console import Console
from rich.text import Text

from stream.config import Http
from stream.console.summary import models_table, print_alerts
from stream.console.words import safe
from stream.web.access import TOKEN_VARIABLE

PATIENCE = 10.0
"""Seconds to wait for the worker's answer."""


class NoAnswer(Exception):
    """The worker does not answer; the message says where it was looked for and why not."""


def url_of(http: Http) -> str:
    """Where a worker with this configuration is reached from its own machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{http.port}" if ":" in host else f"http://{host}:{http.port}"


def fetch(url: str, token: str | None = None) -> dict[str, Any]:
    """What the worker at a URL knows. Raises NoAnswer. The token, if any, goes there and nowhere else."""
    return _ask(url, "/api/status", None, token)


def tell(url: str, path: str, said: object, token: str | None = None) -> dict[str, Any]:
    """Tells the worker at a URL something. Raises NoAnswer, also when it refuses, with its words."""
    return _ask(url, path, json.dumps(said).encode(), token)


def _ask(url: str, path: str, body: bytes | None, token: str | None) -> dict[str, Any]:
    where = f"{url.rstrip('/')}{path}"
    if not where.startswith(("http://", "https://")):
        raise NoAnswer(f"found {url}, expected a URL that begins with http:// or https://")
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(where, body, headers)  # noqa: S310 - only http, see above
    if token:
        # Not sent on to where a redirect points.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310 - only http, see above
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNAUTHORIZED:
            raise NoAnswer(f"the worker at {where} wants its token: set http.token or {TOKEN_VARIABLE}") from None
        raise NoAnswer(f"the worker at {where} answers {error.code} {error.reason}{_words(error)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise NoAnswer(f"no worker answers at {where}: {reason}") from None


def _words(error: urllib.error.HTTPError) -> str:
    """What the worker says of a request that it refuses."""
    try:
        return f": {safe(str(json.load(error)['error']))}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def show(console: Console, status: dict[str, Any]) -> None:
    """Prints the answer of a worker for a person."""
    totals = status["totals"]
    ready = Text("ready", "green") if status["ready"] else Text("not ready", "bold red")
    counts = (
        f"{totals['shards']} partitions, {totals['models']} models, {totals['predictions']:,} predictions, "
        f"{totals['outcomes']:,} outcomes, {totals['pending']:,} pending, {totals['dead_letters']:,} dead letters, "
        f"lag {totals['lag']:,}"
    )
    console.print(Text.assemble("worker ", ready, f": {counts}"), highlight=False)
    for line in (*status["reasons"], *status["notes"]):
        console.print(Text(f"  {safe(line)}", "yellow"), highlight=False)
    models = [model for shard in status["shards"] for model in shard["models"]]
    if models:
        console.print(models_table(models))
    for model in models:
        if model["renewals"]:
            console.print(Text(f"  {safe(model['model'], 60)}: reference: {safe(model['reference'])}"), highlight=False)
        for note in model["notes"]:
            console.print(Text(f"  {safe(model['model'], 60)}: {safe(note)}", "yellow"), highlight=False)
    firing = [alert for model in models for alert in model["alerts"] if alert["state"] == "firing"]
    print_alerts(console, sorted(firing, key=lambda alert: -alert["ts"]))

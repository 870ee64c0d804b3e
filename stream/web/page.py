"""The status page: one document with everything inline, and the policy that lets a browser run nothing else.

Invariant: the script and the style never change, so the policy names their hashes; whatever comes from outside (model
names, summaries) reaches the browser as JSON in which no markup can start, and the script writes it as text only.
"""

from __future__ import annotations

import base64
import hashlib
import html
from functools import cache
from importlib.resources import files

from stream.view import WorkerView

MODELS_SHOWN = 100
"""Models that the page asks for at once; the search field finds the others."""

SCRIPTS = ("dom.js", "format.js", "charts.js", "models.js", "page.js")
"""In the order in which they build on each other; together they are one script."""

_UNSAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def document(view: WorkerView, status: bytes) -> bytes:
    """The page with a first state in it, so that it needs no second request before it shows something."""
    before, after = _shell()
    state = status.decode().translate(_UNSAFE)
    without_script = _plain(view)
    return f"{before[0]}{without_script}{before[1]}{state}{after}".encode()


@cache
def policy() -> str:
    """The Content-Security-Policy of the page."""
    style, script = (f"'sha256-{_digest(part)}'" for part in (_style(), _script()))
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _plain(view: WorkerView) -> str:
    """What a reader without scripts sees."""
    rows = []
    for shard in view.shards:
        for model in shard.models[:MODELS_SHOWN]:
            firing = sum(rule.state == "firing" for rule in model.rules)
            cells = (model.model, model.task, f"{model.counts.predictions:,}", f"{model.counts.labels:,}", str(firing))
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    reasons = "".join(f"<p>{html.escape(reason)}</p>" for reason in view.reasons)
    head = "".join(f"<th>{name}</th>" for name in ("Model", "Task", "Predictions", "Labels", "Alerts firing"))
    return f"{reasons}<table><tr>{head}</tr>{''.join(rows)}</table>"


@cache
def _shell() -> tuple[tuple[str, str], str]:
    text = _read("page.html").replace("/*style*/", _style())
    head, rest = text.split("<!--plain-->")
    middle, end = rest.split("/*state*/")
    return (head, middle), end.replace("/*script*/", _script())


@cache
def _style() -> str:
    return _read("style.css")


@cache
def _script() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(_read(name) for name in SCRIPTS) + "})();\n"


def _read(name: str) -> str:
    return files("stream.web").joinpath(name).read_text(encoding="utf-8")


def _digest(part: str) -> str:
    return base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()

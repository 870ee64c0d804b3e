"""The page of a replay: what it tells, that it needs nothing from anywhere, and that text from events stays text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from sklearn.metrics import accuracy_score

from stream.config import Config
from stream.configfile import parse
from stream.effects import Side
from stream.report.markup import h
from stream.report.write import COMPARED, FILE, Asked, backtest
from stream.traffic import Event, span

NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\x00"
ATTRIBUTE = NASTY.replace("=", "")
RULES = """
models:
  card-fraud:
    pane: 20s
    windows: [1m]
    reference: {first: 200}
    segments: [version, country]
    fairness: [channel]
    value: {tp: 9.5, fn: -100}
    rules:
      - {name: low, metric: accuracy, below: 0.87, min_samples: 100, severity: critical}
      - {name: never, metric: accuracy, below: 0.01}
"""
TRUTH = "- {model: card-fraud, start: 2026-01-01T00:01:00Z, end: 2026-01-01T00:02:00Z, note: planted}\n"


def write(folder: Path, events: list[Event]) -> dict[Side, list[Path]]:
    folder.mkdir(exist_ok=True)
    sides: tuple[Side, Side] = ("predictions", "labels")
    for side in sides:
        (folder / side).write_bytes(b"".join(event.value + b"\n" for event in events if event.side == side))
    return {side: [folder / side] for side in sides}


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return span(120.0, rate=40.0, seed=3, concept_at=60.0)


@pytest.fixture(scope="module")
def recorded(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> dict[Side, list[Path]]:
    return write(tmp_path_factory.mktemp("events"), events)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.yaml"
    path.write_text(TRUTH)
    return path


def config(text: str = RULES) -> Config:
    return parse(text, "c.yaml", {})


def page(
    out: Path, files: dict[Side, list[Path]], *configs: Config, truth: Path | None = None, slice_size: int = 5000
) -> str:
    asked = [
        Asked(f"{number}.yaml", each, out if number == 0 else out / COMPARED) for number, each in enumerate(configs)
    ]
    out.mkdir(exist_ok=True)
    backtest(asked, files, truth, out / FILE, slice_size=slice_size)
    return (out / FILE).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Elements with their attributes, and the text of everything but style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.text += data + "\n"


def self_contained(html: str) -> Elements:
    """Asserts that nothing is fetched and only the page's own script can run."""
    elements = Elements(html)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use", "foreignobject"}
    assert [tag for tag, _ in elements.found].count("script") == 1
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")], tag
        assert str(attributes.get("href", "#")).startswith("#")
    style, script = (re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL) for tag in ("style", "script"))
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    policy = next(each["content"] for _, each in elements.found if each.get("http-equiv"))
    digests = [base64.b64encode(hashlib.sha256(part[0].encode()).digest()).decode() for part in (style, script)]
    assert policy == f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'"
    return elements


@pytest.fixture(scope="module")
def judged(recorded: dict[Side, list[Path]], truth: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of one replay, with truth."""
    return page(tmp_path_factory.mktemp("judged"), recorded, config(), truth=truth)


def test_it_tells_what_happened(judged: str) -> None:
    html = judged
    elements = self_contained(html)
    for word in (
        "card-fraud",
        "house-price",
        "ticket-routing",
        "accuracy",
        "country=BR",
        "low",
        "planted",
        "fell to",
        "business_value",
        "demographic_parity_ratio",
        "version=2.4.0",
    ):
        assert word in elements.text, word
    board = [re.findall(r">([^<]*)</t[dh]>", row) for row in re.findall("<tr.*?</tr>", html) if "always firing" in row]
    assert len(board) == 3
    rules = re.search(r"<bdi>low</bdi></th>(.*?)</tr>", html)
    assert rules is not None
    cells = re.findall(r">([^<]*)</td>", rules[1])
    assert cells[1:3] == ["1 of 1", "0"]
    assert cells[4] == "0"
    never = re.search(r"<bdi>never</bdi></th>(.*?)</tr>", html)
    assert never is not None
    assert re.findall(r">([^<]*)</td>", never[1])[:3] == ["0", "0 of 1", "1"]


def test_points_are_those_of_the_raw_outcomes(events: list[Event], judged: str) -> None:
    drawn = next(
        json.loads(attributes["data-points"] or "")
        for tag, attributes in Elements(judged).found
        if tag == "figure" and "data-points" in attributes
    )
    assert drawn["d"] == 20.0
    labels = {event.id: event.body["label"] for event in events if event.side == "labels"}
    for start, value, samples in zip(drawn["t"], drawn["v"], drawn["n"], strict=True):
        made = [
            event.body
            for event in events
            if event.model == "card-fraud"
            and event.side == "predictions"
            and start <= event.ts < start + 20
            and event.id in labels
            and event.body["prediction"] is not None
        ]
        assert len(made) == samples
        exact = accuracy_score([labels[body["id"]] for body in made], [body["prediction"] for body in made])
        assert value == pytest.approx(exact, rel=1e-3)


def test_slices_do_not_change_the_page(
    recorded: dict[Side, list[Path]], judged: str, truth: Path, tmp_path: Path
) -> None:
    assert page(tmp_path / "out", recorded, config(), truth=truth, slice_size=97) == judged


@pytest.mark.long
def test_a_long_time_is_told_in_few_steps(tmp_path: Path) -> None:
    sparse = span(60.0, rate=4.0, seed=1)
    for event in sparse:
        moved = event.body["ts"] + 40_000.0 * (event.body["ts"] % 60.0)
        event.body["ts"] = moved
    sparse.sort(key=lambda event: event.body["ts"])
    files = write(tmp_path / "events", sparse)
    short = config("defaults: {pane: 10s, windows: [10s], horizon: 1m, reference: {first: 20}}")
    html = page(tmp_path / "a", files, short)
    points = [json.loads(each["data-points"] or "") for _, each in Elements(html).found if "data-points" in each]
    assert points
    assert max(len(each["t"]) for each in points) <= 288
    assert html == page(tmp_path / "b", files, short, slice_size=7)


def test_text_from_events_stays_text(events: list[Event], tmp_path: Path) -> None:
    hostile = []
    for event in events:
        if event.model != "card-fraud":
            continue
        body = {**event.body, "model": NASTY}
        if event.side == "predictions":
            body["version"] = NASTY
            body["features"] = {NASTY: 0.5, **body["features"]}
            body["attributes"] = {ATTRIBUTE: NASTY}
            if body["prediction"] is not None:
                body["prediction"] = NASTY if body["prediction"] else "no"
        else:
            body["label"] = NASTY if body["label"] else "no"
        hostile.append(Event(event.side, event.ts, event.model, event.id, body))
    spec = {"pane": "10s", "windows": ["1m"], "reference": {"first": 200}, "segments": [ATTRIBUTE]}
    html = page(tmp_path / "out", write(tmp_path / "events", hostile), config(json.dumps({"defaults": spec})))
    elements = self_contained(html)
    assert "<script>alert" not in html
    assert "\x00" not in html
    assert "<img src=x onerror=alert(2)>" in elements.text
    assert all("alert" not in name for _, attributes in elements.found for name in attributes)


def test_two_configurations_stand_beside_each_other(
    recorded: dict[Side, list[Path]], truth: Path, tmp_path: Path
) -> None:
    other = RULES.replace("0.87", "0.2").replace("name: never", "name: fresh")
    html = page(tmp_path / "out", recorded, config(), config(other), truth=truth)
    elements = self_contained(html)
    assert "models.card-fraud.rules.low.below" in elements.text
    assert "models.card-fraud.rules.fresh" in elements.text
    low = re.search(r"<bdi>low</bdi></th>(.*?)</tr>", html)
    assert low is not None
    cells = re.findall(r">([^<]*)</td>", low[1])
    assert (cells[1], cells[6]) == ("1 of 1", "0 of 1")
    assert (tmp_path / "out" / COMPARED / "alerts.jsonl").is_file()


def test_no_event_gives_a_page_all_the_same(tmp_path: Path, truth: Path) -> None:
    html = page(tmp_path / "out", write(tmp_path / "events", []), config(), truth=truth)
    assert "not in the events" in self_contained(html).text


def _first(path: Path, folder: Path) -> Path:
    """The first rows of a file."""
    few = folder / path.name
    few.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:200]))
    return few


def test_secrets_are_not_on_the_page(recorded: dict[Side, list[Path]], tmp_path: Path) -> None:
    said = "http: {token: tttttttttttttttttttt}\nkafka: {security: {sasl_password: ssss}}\n"
    few = {side: [_first(path, tmp_path)] for side, (path,) in recorded.items()}
    html = page(tmp_path / "out", few, config(said), config("defaults: {pane: 30s}"))
    assert "tttttt" not in html
    assert "ssss" not in html


def test_attributes_cannot_be_left() -> None:
    assert h("p", {"title": '"><b>'}) == '<p title="&quot;&gt;&lt;b&gt;"></p>'
    assert msgspec.json.encode({"a": "<"}) == b'{"a":"<"}'
    assert h("i", {"data-points": '{"a":"\'<"}'}) == '<i data-points="{&quot;a&quot;:&quot;&#x27;&lt;&quot;}"></i>'

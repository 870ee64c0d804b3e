"""Replay: the same events give the same bytes, nothing is lost at the end, and bad rows do no harm."""

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.config import Config
from stream.configfile import parse
from stream.effects import SIDES, Side
from stream.recorded import UnreadableFile
from stream.replay import FILES, replay
from stream.traffic import span

RULES = """
defaults: {pane: 10s, windows: [1m], reference: {first: 200}, segments: [country]}
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def one_model(rules: str) -> Config:
    return parse(f"models: {{m: {{task: binary, pane: 10s, windows: [1m], rules: [{rules}]}}}}", "c.yaml", {})


def write(folder: Path, predictions: list[dict[str, Any]], labels: list[dict[str, Any]]) -> dict[Side, list[Path]]:
    files: dict[Side, list[Path]] = {}
    for side, events in zip(SIDES, (predictions, labels), strict=True):
        path = folder / f"{side}.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
        files[side] = [path]
    return files


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[Side, list[Path]]:
    """A minute of seeded traffic of three models."""
    folder = tmp_path_factory.mktemp("recorded")
    events = span(60.0, rate=30.0, seed=3)
    return write(
        folder,
        [event.body for event in events if event.side == "predictions"],
        [event.body for event in events if event.side == "labels"],
    )


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 57, 100_000])
def test_slices_do_not_change_a_byte(recorded: dict[Side, list[Path]], tmp_path: Path, size: int) -> None:
    config = parse(RULES, "c.yaml", {})
    replay(config, recorded, tmp_path / "a", slice_size=500)
    replay(config, recorded, tmp_path / "b", slice_size=size)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert lines(tmp_path / "a" / "metric-snapshots.jsonl")


def test_files_may_be_split_compressed_and_out_of_order(recorded: dict[Side, list[Path]], tmp_path: Path) -> None:
    config = parse(RULES, "c.yaml", {})
    replay(config, recorded, tmp_path / "a")
    rows = recorded["predictions"][0].read_bytes().splitlines()
    times = [msgspec.json.decode(row)["ts"] for row in rows]
    assert times == sorted(times)
    # Rows of equal time come in the order of the files: keep them in one.
    odd = [row for row, ts in zip(rows, times, strict=True) if int(ts * 1000) % 2]
    even = [row for row, ts in zip(rows, times, strict=True) if not int(ts * 1000) % 2]
    (tmp_path / "odd.jsonl").write_bytes(b"\n".join(sorted(odd, key=lambda row: -msgspec.json.decode(row)["ts"])))
    (tmp_path / "even.gz").write_bytes(gzip.compress(b"\n".join(even)))
    split: dict[Side, list[Path]] = {
        "predictions": [tmp_path / "odd.jsonl", tmp_path / "even.gz"],
        "labels": recorded["labels"],
    }
    replay(config, split, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_summary_says_what_there_was(recorded: dict[Side, list[Path]], tmp_path: Path) -> None:
    summary = replay(parse(RULES, "c.yaml", {}), recorded, tmp_path)
    rows = [len(recorded[side][0].read_bytes().splitlines()) for side in ("predictions", "labels")]
    assert list(summary.events.values()) == rows
    assert sum(model.counts.predictions for model in summary.view.models) == rows[0]
    assert sum(model.counts.labels for model in summary.view.models) == rows[1]
    for channel, name in FILES.items():
        assert len(lines(tmp_path / name)) == summary.effects.get(channel, 0)


def test_an_alert_of_the_last_tick_is_not_lost(tmp_path: Path) -> None:
    n = 20
    predictions = [{"model": "m", "id": str(i), "ts": 1000 + i / 100, "prediction": 1, "score": 0.9} for i in range(n)]
    labels = [{"model": "m", "id": str(i), "ts": 1000 + i / 100, "label": 0} for i in range(n)]
    config = one_model("{name: acc, metric: accuracy, below: 0.5, min_samples: 20}")
    replay(config, write(tmp_path, predictions, labels), tmp_path / "out")
    (alert,) = lines(tmp_path / "out" / "alerts.jsonl")
    assert (alert["rule"], alert["state"], alert["value"], alert["samples"]) == ("acc", "firing", 0.0, 20)


def test_bad_rows_become_dead_letters_with_their_bytes(tmp_path: Path) -> None:
    files = write(tmp_path, [{"model": "m", "id": "1", "ts": 5, "prediction": 1, "score": 0.9}], [])
    with files["predictions"][0].open("ab") as file:
        file.write(b'{"model": "m"}\n\xff\xfe\nnot json\n')
    summary = replay(one_model(""), files, tmp_path / "out")
    letters = lines(tmp_path / "out" / "dead-letters.jsonl")
    assert [(letter["offset"], letter["topic"]) for letter in letters] == [(str(i), "predictions") for i in (1, 2, 3)]
    assert [letter.get("value") or letter["value_base64"] for letter in letters] == [
        '{"model": "m"}',
        "//4=",
        "not json",
    ]
    assert summary.view.models[0].counts.predictions == 1


def test_a_replay_that_fails_leaves_the_earlier_one(recorded: dict[Side, list[Path]], tmp_path: Path) -> None:
    config = parse(RULES, "c.yaml", {})
    replay(config, recorded, tmp_path / "out")
    before = contents(tmp_path / "out")
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(gzip.compress(recorded["predictions"][0].read_bytes())[:-10])
    with pytest.raises(UnreadableFile, match="damaged"):
        replay(config, {"predictions": [damaged]}, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    summary = replay(Config(), {"predictions": [tmp_path / "empty.jsonl"]}, tmp_path / "out")
    assert (summary.start, summary.end, summary.view.models) == (None, None, [])
    assert contents(tmp_path / "out") == dict.fromkeys(FILES.values(), b"")


def test_a_bound_that_depends_on_the_reference_does_not_depend_on_when_it_was_first_looked_at(tmp_path: Path) -> None:
    # In short slices the rule is there before its reference, in one long slice it is not.
    n = 1500
    scores = [(i * 7919 % 1000) / 1000 for i in range(n)]
    predictions = [
        {"model": "m", "id": str(i), "ts": 1000 + i / 10, "prediction": 1, "score": score if i < 100 else score**1.5}
        for i, score in enumerate(scores)
    ]
    config = parse(
        "models: {m: {task: binary, pane: 1h, windows: [1h], reference: {first: 100}, "
        "rules: [{name: drift, feature: prediction, test: psi, above: 0.05}]}}",
        "c.yaml",
        {},
    )
    files = write(tmp_path, predictions, [])
    for size in (50, 10_000):
        replay(config, files, tmp_path / str(size), slice_size=size)
        # PSI comes to 0.1, which says nothing against a reference of 100 rows: no number of samples is enough.
        assert lines(tmp_path / str(size) / "alerts.jsonl") == []


def test_an_alert_has_the_version_of_its_tick(tmp_path: Path) -> None:
    predictions: list[dict[str, Any]] = [
        {"model": "m", "id": str(i), "ts": 1000 + i / 10, "prediction": 1, "version": "old" if i < 60 else "new"}
        for i in range(100)
    ]
    for event in predictions[30:50]:
        event |= {"prediction": None, "error": "timeout"}
    config = one_model("{name: failures, metric: prediction_error_rate, above: 0.2, min_samples: 1}")
    found = []
    for size in (1, 7, 100):
        replay(config, write(tmp_path, predictions, []), tmp_path / str(size), slice_size=size)
        found.append(lines(tmp_path / str(size) / "alerts.jsonl"))
    assert found[0] == found[1] == found[2]
    assert [(alert["state"], alert["version"]) for alert in found[0]] == [("firing", "old"), ("resolved", "new")]

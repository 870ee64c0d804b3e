"""References from files are those that the worker would have made of the same events."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from typer.testing import CliRunner

from stream.cli import app, spread
from stream.config import Config, Model, Reference
from stream.configfile import parse
from stream.effects import Clock, StoredRecord
from stream.monitor.features.reference import from_bytes, to_bytes
from stream.monitor.panes.baseline import Baseline
from stream.profile import NoReference, build, references
from stream.shard import Shard

N = 500
START = 1_767_225_600.0


def events() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = np.random.default_rng(4)
    amount, kind = rng.lognormal(3, 1, N).tolist(), rng.choice(["a", "b", "c"], N).tolist()
    predicted, actual = rng.choice(["ant", "bee", "cat", "dog", "elk"], (2, N)).tolist()
    predictions = [
        {
            "model": "m",
            "id": str(i),
            "ts": START + 1000 * i,
            "prediction": predicted[i],
            "features": {"amount": amount[i], "kind": kind[i]},
        }
        for i in range(N)
    ]
    labels = [{"model": "m", "id": str(i), "ts": START + 1000 * i + 9e6, "label": actual[i]} for i in range(N)]
    return predictions, labels


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "p.jsonl", tmp_path / "l.jsonl"
    for path, rows in zip(paths, events(), strict=True):
        path.write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    return paths


def test_it_is_what_a_worker_makes_of_its_first_events(files: tuple[Path, Path]) -> None:
    made = build(Config(models={"m": Model()}), "m", [files[0]], [])
    shard = Shard(0, Config(models={"m": Model(reference=Reference(first=N))}))
    rows = [StoredRecord(i, int(e["ts"] * 1000), msgspec.json.encode(e)) for i, e in enumerate(events()[0])]
    shard.apply({"predictions": rows}, Clock(START + 1e7))
    shard.finish()
    live = shard.models["m"].normal.reference
    assert live is not None
    assert made.rows == N
    assert (made.features, made.output, made.ignored) == (live.features, live.output, live.ignored)


def test_outcomes_of_the_reference_are_kept_however_late_they_came(files: tuple[Path, Path]) -> None:
    made = build(Config(), "m", [files[0]], [files[1]])
    predictions, labels = events()
    baseline = Baseline()
    assert isinstance(made.measured, bytes)
    baseline.give(made.measured)
    assert baseline.given is not None
    found = baseline.measured("accuracy", "all", baseline.given)
    assert found is not None
    value, samples = found.values[0], found.samples[0]
    assert samples == N
    expected = accuracy_score([e["label"] for e in labels], [e["prediction"] for e in predictions])
    assert value == pytest.approx(expected, abs=1e-12)


def test_the_configuration_names_references_by_file_or_by_events(files: tuple[Path, Path], tmp_path: Path) -> None:
    made = build(Config(), "m", [files[0]], [files[1]])
    (tmp_path / "ref").write_bytes(to_bytes(made))
    config = parse(
        "models: {a: {reference: {file: ref}}, m: {reference: {predictions: p.jsonl, labels: l.jsonl}}, n: {}}",
        "c.yaml",
        {},
        tmp_path,
    )
    assert references(config) == {"a": made, "m": made}


def test_the_command_writes_what_can_be_read(files: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("models: {m: {}}")
    words = ["profile", "-c", tmp_path / "c.yaml", "--model", "m", "--predictions", files[0], "-o", tmp_path / "ref"]
    result = CliRunner().invoke(app, spread([str(word) for word in words]))
    assert result.exit_code == 0, result.stderr
    made = from_bytes((tmp_path / "ref").read_bytes())
    assert f"reference {made.version} of m: 500 predictions of p.jsonl, 2 features" in result.stdout
    assert not (tmp_path / "ref.part").exists()


@pytest.mark.parametrize("content", [b"", b"not a reference", b"stream-reference 99\nx"])
def test_files_that_are_no_reference_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ref").write_bytes(content)
    config = parse("models: {m: {reference: {file: ref}}}", "c.yaml", {}, tmp_path)
    with pytest.raises(NoReference, match=r"reference of m: .*ref: .*stream profile"):
        references(config)


def test_a_model_that_is_not_in_the_files(files: tuple[Path, Path]) -> None:
    with pytest.raises(NoReference, match=r"p\.jsonl: found no usable prediction of 'x'"):
        build(Config(), "x", [files[0]], [])

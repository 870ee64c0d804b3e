"""Versions go to the registry of their model."""

from __future__ import annotations

from pathlib import Path

from stream.config import Config, Learn, Model
from stream.engine.artifacts import Artifacts
from stream.learning.registry import artifact_path


async def test_each_model_has_its_registry(tmp_path: Path) -> None:
    config = Config(
        defaults=Model(learn=Learn(registry=str(tmp_path / "all"))),
        models={"a/b": Model(learn=Learn(registry=str(tmp_path / "own")))},
    )
    artifacts = Artifacts(config)
    await artifacts.keep(artifact_path("a/b", "c", "1"), b"one")
    await artifacts.keep(artifact_path("other", "c", "1"), b"two")
    assert [file.read_bytes() for file in (tmp_path / "own").rglob("*.river")] == [b"one"]
    assert [file.read_bytes() for file in (tmp_path / "all").rglob("*.river")] == [b"two"]

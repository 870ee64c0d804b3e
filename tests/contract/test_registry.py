"""The contract of the model registry port."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stream.learning.registry import ArtifactRefused, DirectoryRegistry, Registry, artifact_path


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return DirectoryRegistry(tmp_path / "models")


def test_what_was_saved_is_loaded(registry: Registry) -> None:
    path = artifact_path("fraud", "logreg", "1")
    digest = registry.save(path, b"one")
    assert registry.load(path) == b"one"
    assert registry.save(path, b"two") != digest
    assert registry.load(path) == b"two"


def test_versions_are_listed_by_model_and_number(registry: Registry) -> None:
    assert registry.paths() == []
    for model, version in [("b", "10"), ("b", "9"), ("a", "1"), ("b/c", "1")]:
        registry.save(artifact_path(model, "x", version), b"")
    assert registry.paths("b") == ["b/x/9.river", "b/x/10.river"]
    assert registry.paths() == ["a/x/1.river", "b/x/9.river", "b/x/10.river", "b%2Fc/x/1.river"]


@pytest.mark.parametrize(
    "name", ["..", ".", "", "/", "../../etc/passwd", "a\x00b", "%", "ü*?[", "x" * 1024, "~a", ".hidden"]
)
def test_any_name_has_a_path_inside(registry: Registry, name: str, tmp_path: Path) -> None:
    path = artifact_path(name, name, "1")
    registry.save(path, b"1")
    assert registry.load(path) == b"1"
    assert registry.paths(name) == [path]
    assert {file.name for file in tmp_path.iterdir()} == {"models"}


def test_long_names_stay_apart(registry: Registry) -> None:
    assert artifact_path("x" * 500, "c", "1") != artifact_path("x" * 501, "c", "1")


@pytest.mark.parametrize(
    "path", ["../x/1.river", "a/../1.river", "/a/b/1.river", "a/b/c", "a/b/c/1.river", "a/.b/1.river", ""]
)
def test_other_paths_are_refused(registry: Registry, path: str) -> None:
    with pytest.raises(ArtifactRefused, match="no path of this registry"):
        registry.save(path, b"")
    with pytest.raises(ArtifactRefused):
        registry.load(path)


def test_a_damaged_or_missing_version_is_refused(tmp_path: Path) -> None:
    registry = DirectoryRegistry(tmp_path)
    path = artifact_path("m", "c", "1")
    with pytest.raises(ArtifactRefused, match="not in the registry"):
        registry.load(path)
    registry.save(path, b"artifact")
    (tmp_path / path).write_bytes(b"artifakt")
    with pytest.raises(ArtifactRefused, match="checksum"):
        registry.load(path)
    registry.save(path, b"artifact")
    (tmp_path / f"{path}.sha256").unlink()
    with pytest.raises(ArtifactRefused, match="not in the registry"):
        registry.load(path)


def test_the_checksum_is_what_sha256sum_writes(tmp_path: Path) -> None:
    DirectoryRegistry(tmp_path).save(artifact_path("m", "c", "1"), b"artifact")
    folder = tmp_path / "m" / "c"
    assert {file.name for file in folder.iterdir()} == {"1.river", "1.river.sha256"}
    subprocess.run(["sha256sum", "--check", "1.river.sha256"], cwd=folder, check=True, capture_output=True)


def test_a_failed_save_leaves_no_litter(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where a directory should be")
    with pytest.raises(OSError, match="m"):
        DirectoryRegistry(tmp_path).save(artifact_path("m", "c", "1"), b"")
    assert [file.name for file in tmp_path.iterdir()] == ["m"]

"""Where model versions are kept: a port, and a directory that implements it.

Invariant: a version is there whole with its checksum, or `load` refuses it; saving the same path again replaces it.
Paths are made of names that anybody may choose, so they are escaped here and checked again before they are used.
"""

from __future__ import annotations

import os
import secrets
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import quote

SUFFIX = ".river"

_LONGEST = 120
"""Characters of an escaped name, well below what file systems allow; a longer one ends in a hash of itself."""


class ArtifactRefused(Exception):
    """A version that is missing, damaged or not where it says. The message names it."""


class Registry(Protocol):
    """Keeps versions by path. Methods block, and raise OSError while the registry is away."""

    def save(self, path: str, artifact: bytes) -> str:
        """Keeps a version, atomically. Returns its SHA-256 in hex."""

    def load(self, path: str) -> bytes:
        """A version, after its checksum was compared. Raises ArtifactRefused."""

    def paths(self, model: str | None = None) -> list[str]:
        """Paths of all versions, or of one model's, in alphabetical order; versions of a challenger by number."""


def artifact_path(model: str, challenger: str, version: str) -> str:
    """The path of a version inside a registry.

    >>> artifact_path("fraud/eu", "log reg", "3")
    'fraud%2Feu/log%20reg/3.river'
    """
    return f"{_escaped(model)}/{_escaped(challenger)}/{_escaped(version)}{SUFFIX}"


class DirectoryRegistry:
    """Versions as files below a directory, each with its checksum beside it as `sha256sum` writes it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def save(self, path: str, artifact: bytes) -> str:
        """See the port."""
        file = self._file(path)
        digest = sha256(artifact).hexdigest()
        file.parent.mkdir(parents=True, exist_ok=True)
        # The checksum last: a crash in between leaves a version that `load` refuses until it is saved again.
        _replace(file, artifact)
        _replace(_sidecar(file), f"{digest}  {file.name}\n".encode())
        return digest

    def load(self, path: str) -> bytes:
        """See the port."""
        file = self._file(path)
        try:
            artifact = file.read_bytes()
            written = _sidecar(file).read_text().split()
        except FileNotFoundError as error:
            raise ArtifactRefused(f"{error.filename} is not in the registry {self._root}") from error
        if not written or written[0] != sha256(artifact).hexdigest():
            raise ArtifactRefused(f"{file} does not match its checksum in {_sidecar(file).name}: it is damaged")
        return artifact

    def paths(self, model: str | None = None) -> list[str]:
        """See the port."""
        pattern = f"{_escaped(model) if model is not None else '*'}/*/*{SUFFIX}"
        found = [file.relative_to(self._root) for file in self._root.glob(pattern)]
        return [path.as_posix() for path in sorted(found, key=lambda path: (path.parent, len(path.name), path.name))]

    def _file(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if len(parts) != 3 or not path.endswith(SUFFIX) or any(part != _escaped(part, "%~") for part in parts):
            raise ArtifactRefused(f"{path!r} is no path of this registry, expected MODEL/CHALLENGER/VERSION{SUFFIX}")
        return self._root / Path(*parts)


def _escaped(name: str, also: str = "") -> str:
    """The name as one file name: reserved characters as %XX, never empty, never starting with a dot."""
    escaped = quote(name, safe=also) or "%00"
    if escaped.startswith("."):
        escaped = "%2E" + escaped[1:]
    if len(escaped) <= _LONGEST:
        return escaped
    return f"{escaped[: _LONGEST - 20]}~{sha256(name.encode()).hexdigest()[:16]}"


def _sidecar(file: Path) -> Path:
    return file.with_name(file.name + ".sha256")


def _replace(file: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a power cut, finds the old content or the new."""
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise

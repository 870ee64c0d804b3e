"""Writes model versions into the registry directory that the configuration names for their model.

Invariant: a version is where its `model-updates` record says before that record is published.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from stream.config import Config
from stream.learning.registry import DirectoryRegistry, artifact_path


class Artifacts:
    """The registries of one configuration; most have one."""

    def __init__(self, config: Config) -> None:
        self._default = DirectoryRegistry(Path(config.defaults.learn.registry))
        self._own = {
            _first_part(artifact_path(name, "-", "-")): DirectoryRegistry(Path(model.learn.registry))
            for name, model in config.models.items()
        }

    async def keep(self, path: str, artifact: bytes) -> None:
        """Keeps a version under its path. Raises OSError while the registry cannot be written."""
        registry = self._own.get(_first_part(path), self._default)
        await asyncio.to_thread(registry.save, path, artifact)


def _first_part(path: str) -> str:
    return path.partition("/")[0]

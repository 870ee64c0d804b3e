"""Silences over HTTP: what there are, a new one, one less."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from stream.checkpoint.port import StoreUnavailable
from stream.web.telling import Answer, added, nobody


class SilencingLike(Protocol):
    """What keeps silences; `add` and `remove` block, and raise StoreUnavailable."""

    def listed(self) -> Sequence[Struct]:
        """All of them."""

    def add(self, body: bytes) -> Struct:
        """Adds one; raises ValueError for what is none."""

    def remove(self, identity: str) -> bool:
        """Takes one back, if there is such."""


class Route:
    """Answers to requests about silences."""

    def __init__(self, silencing: SilencingLike | None) -> None:
        self._silencing = silencing

    def listed(self) -> Answer:
        """All silences."""
        return {"silences": [] if self._silencing is None else self._silencing.listed()}, 200

    async def add(self, content_type: str, body: bytes) -> Answer:
        """A new silence."""
        return await added(None if self._silencing is None else self._silencing.add, content_type, body)

    async def remove(self, identity: str) -> Answer:
        """One silence less."""
        if self._silencing is None:
            return nobody()
        if identity.startswith("configuration-"):
            return {"error": "it stands in the configuration: take it out there"}, 409
        try:
            if await asyncio.to_thread(self._silencing.remove, identity):
                return {"removed": identity}, 200
        except StoreUnavailable as error:
            return {"error": str(error)}, 503
        return {"error": f"there is no silence {identity!r}"}, 404

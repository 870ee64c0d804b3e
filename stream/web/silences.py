"""Silences over HTTP: what there are, a new one, one less.

Invariant: a change is answered after it is stored. A request that a browser could be made to send from another site
(a form, whose content is not JSON) changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct

from stream.checkpoint.port import StoreUnavailable

Answer: TypeAlias = tuple[object, int]
"""Body and status code."""


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
        if content_type != "application/json":
            return {"error": f"found content type {content_type}, expected application/json"}, 415
        if self._silencing is None:
            return _nobody()
        try:
            return await asyncio.to_thread(self._silencing.add, body), 201
        except ValueError as error:
            return {"error": str(error)}, 400
        except StoreUnavailable as error:
            return {"error": str(error)}, 503

    async def remove(self, identity: str) -> Answer:
        """One silence less."""
        if self._silencing is None:
            return _nobody()
        if identity.startswith("configuration-"):
            return {"error": "it stands in the configuration: take it out there"}, 409
        try:
            if await asyncio.to_thread(self._silencing.remove, identity):
                return {"removed": identity}, 200
        except StoreUnavailable as error:
            return {"error": str(error)}, 503
        return {"error": f"there is no silence {identity!r}"}, 404


def _nobody() -> Answer:
    return {"error": "nothing here takes silences"}, 503

"""What is told to running workers over HTTP: the answer to a request that adds something.

Invariant: a change is answered after it is stored. A request that a browser could be made to send from another site
(a form, whose content is not JSON) changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from stream.checkpoint.port import StoreUnavailable

Answer: TypeAlias = tuple[object, int]
"""Body and status code."""


async def added(add: Callable[[bytes], Struct] | None, content_type: str, body: bytes) -> Answer:
    """What `add` makes of a body; it blocks, and raises ValueError and StoreUnavailable. None: there is nobody to."""
    if content_type != "application/json":
        return {"error": f"found content type {content_type}, expected application/json"}, 415
    if add is None:
        return nobody()
    try:
        return await asyncio.to_thread(add, body), 201
    except ValueError as error:
        return {"error": str(error)}, 400
    except StoreUnavailable as error:
        return {"error": str(error)}, 503


def nobody() -> Answer:
    """There is no worker behind the server."""
    return {"error": "nothing here can be told anything"}, 503

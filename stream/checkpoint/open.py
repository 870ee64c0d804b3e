"""From the URL in the configuration to a store."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from urllib.parse import urlsplit

from stream.checkpoint.memory import MemoryStore
from stream.checkpoint.port import Store
from stream.checkpoint.sqlite import SqliteStore, database_path


def _redis(url: str, group: str) -> Store:
    from stream.checkpoint.redis import RedisStore  # its client takes a while to import

    return RedisStore(url, group)


SCHEMES: dict[str, Callable[[str, str], Store]] = {
    "memory": lambda url, group: MemoryStore(),
    "sqlite": lambda url, group: SqliteStore(database_path(url), group),
    "redis": _redis,
    "rediss": _redis,
}
"""What a store URL may start with."""


def open_store(url: str, group: str) -> Store:
    """The store at `url` for the workers of a consumer group. Connects when it is first used.

    Raises ValueError for a URL that is none.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        near = get_close_matches(scheme, SCHEMES, 1)
        raise ValueError(
            f"{url.partition('@')[0] if '@' not in url else scheme + '://…'!r} is no store: expected sqlite:///FILE, "
            f"redis://HOST:PORT/DB, rediss://HOST:PORT/DB or memory://" + (f"; nearest is {near[0]}://" if near else "")
        )
    return SCHEMES[scheme](url, group)

"""Every stored row is sealed: signed with a key that only workers have, and bound to its place.

Invariant: `Seal.open` returns exactly what `Seal.seal` was given for the same shard and row under the same key, or
raises StateRefused. A row cannot be changed, or moved to another shard or key, without that being seen. Going back to
an older sealed row of the same place is not seen here; whoever can write to the store can do that.

A sealed row is `SM`, format version, flags, 4 bytes that tell keys apart, 16 bytes of keyed BLAKE2b (RFC 7693), body.
"""

from __future__ import annotations

import hmac
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlsplit

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.pickles import dumps, loads
from stream.checkpoint.port import StateRefused, StoreUnavailable
from stream.checkpoint.sqlite import database_path

__all__ = ["KEY_VARIABLE", "Seal", "StateRefused", "dumps", "loads", "pack", "secret_for", "unpack"]

KEY_VARIABLE = "STREAM_STATE_KEY"
"""Environment variable that holds the key of stored state."""

MIN_KEY = 16
"""A shorter key (in characters) is refused: it could be guessed from one stored row."""

_MAGIC, _VERSION = b"SM", 1
_DEFLATED = 1
_HEAD = 24
_SQUEEZE_OVER = 1024
"""Payloads above this are deflated: below it the gain is less than its cost."""


class Seal:
    """Signs rows and checks signatures. Safe to use from any thread."""

    def __init__(self, secret: bytes) -> None:
        self._mac = blake2b(key=blake2b(secret, digest_size=64, person=b"stream-state-key").digest(), digest_size=16)
        self._key_id = blake2b(secret, digest_size=4, person=b"stream-state-id").digest()
        self._plain = _MAGIC + bytes((_VERSION, 0)) + self._key_id
        self._deflated = _MAGIC + bytes((_VERSION, _DEFLATED)) + self._key_id

    def seal(self, shard: int, key: str, payload: bytes) -> bytes:
        """The payload as a row that only this place accepts."""
        if len(payload) > _SQUEEZE_OVER:
            body = zlib.compress(payload, 1)
            if len(body) < len(payload):
                return self._deflated + self._sign(self._deflated, shard, key, body) + body
        return self._plain + self._sign(self._plain, shard, key, payload) + payload

    def open(self, shard: int, key: str, sealed: bytes) -> bytes:
        """The payload of a row. Raises StateRefused, saying why and what to do."""
        head, body = sealed[:8], sealed[_HEAD:]
        if head not in (self._plain, self._deflated):
            raise StateRefused(f"row {key!r} of shard {shard} {self._mismatch(head)}")
        if not hmac.compare_digest(sealed[8:_HEAD], self._sign(head, shard, key, body)):
            raise StateRefused(
                f"row {key!r} of shard {shard} was changed after it was written (its signature does not match): "
                f"find out who else writes to the store, then rebuild with `stream reset --shard {shard}`"
            )
        return zlib.decompress(body) if head == self._deflated else body

    def seal_all(self, shard: int, rows: Mapping[str, bytes]) -> dict[str, bytes]:
        """`seal` of each row of a delta."""
        return {key: self.seal(shard, key, payload) for key, payload in rows.items()}

    def open_all(self, shard: int, rows: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        """`open` of each row that a store loads."""
        for key, sealed in rows:
            yield key, self.open(shard, key, sealed)

    def _sign(self, head: bytes, shard: int, key: str, body: bytes) -> bytes:
        mac = self._mac.copy()
        place = key.encode()
        mac.update(b"%b%d:%d:%b:" % (head, shard, len(place), place))
        mac.update(body)
        return mac.digest()

    def _mismatch(self, head: bytes) -> str:
        if len(head) < 8 or not head.startswith(_MAGIC):
            return "was not written by this program: point checkpoint.store somewhere else, or clear it"
        if head[2] > _VERSION:
            return (
                f"has format {head[2]}, this version reads up to {_VERSION}: run the version that wrote it, "
                "or rebuild from Kafka with `stream reset`"
            )
        if head[4:] != self._key_id:
            return (
                f"was sealed with another key: give {KEY_VARIABLE} (or checkpoint.key) the value it had, the same on "
                "every worker, or rebuild from Kafka with `stream reset`"
            )
        return "has flags that this version does not know: rebuild from Kafka with `stream reset`"


def secret_for(url: str, key: str | None, environ: Mapping[str, str]) -> bytes:
    """The secret of a store: the configured key, else that of the environment, else one kept in a file for itself.

    The file is beside a SQLite database, and for a Redis on this machine in the user's state directory; it is made
    once, readable by its owner only. A Redis elsewhere is shared by machines that have no file in common: there a
    missing key is a ValueError that says how to make one. State in memory gets a key of its own.
    """
    given = key or environ.get(KEY_VARIABLE)
    if given:
        if len(given) < MIN_KEY:
            raise ValueError(
                f"checkpoint key has {len(given)} characters, expected at least {MIN_KEY}; "
                "`openssl rand -hex 32` makes a good one"
            )
        return given.encode()
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return secrets.token_bytes(32)
    if parts.scheme == "sqlite":
        database = database_path(url)
        return _kept(database.with_name(database.name + ".key"))
    if parts.hostname in ("localhost", "127.0.0.1", "::1"):
        home = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return _kept(home / "stream" / "state.key")
    raise ValueError(
        f"checkpoint.store {parts.scheme}://{parts.hostname} is shared, so every worker needs the same key: set "
        f"{KEY_VARIABLE} (or checkpoint.key), for example to the output of `openssl rand -hex 32`"
    )


def _kept(path: Path) -> bytes:
    """The secret in a file that is made when it is not there; workers that start together agree on one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Written whole under another name first: a reader never sees half a key, and the first link wins.
            draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(secrets.token_hex(32).encode())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StoreUnavailable(f"key file {path}: {error.strerror or error}") from error
    if len(secret) < MIN_KEY:
        raise ValueError(f"key file {path} holds {len(secret)} bytes, expected at least {MIN_KEY}: restore it")
    return secret

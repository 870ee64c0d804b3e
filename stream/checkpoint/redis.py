"""State in Redis, for workers on many machines.

Invariant: a commit is one script in one round trip that looks at the epoch and at the number of commits before it
writes anything. All keys of a shard carry one hash tag, so that they live together.

`stream:{group:shard}:head` holds epoch, number of commits and the families of rows; `stream:{group:shard}:rows:FAMILY`
is a hash of row key to value. The family is the word a row key starts with, so that loading one kind of row does not
touch the others, however many they are.

Redis may forget: a crash loses the last second of an append-only file, a restored snapshot much more. An owner that is
ahead of the store would then save changes to a state it does not belong to. The number of commits gives that away
(`Fenced`), and since epochs follow Redis's clock, no epoch is handed out twice even then.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as Unanswered
from redis.retry import Retry

from stream.checkpoint.port import Delta, Fenced, StoreUnavailable
from stream.checkpoint.redis_scripts import ACQUIRE, COMMIT

T = TypeVar("T")

logger = logging.getLogger(__name__)

_TIMEOUT = 5.0
"""Seconds until an answer that does not come counts as none."""

_SCAN = 2000
"""Rows per round trip of a load."""

_SETTLED = 5
"""How often a load starts again when somebody commits meanwhile."""

_UNKNOWN = 1 << 53
"""Larger than any number of commits."""

_NEEDED = "HSET, HDEL, HGET, HMGET, HGETALL, HSCAN, HINCRBY, UNLINK, EXISTS, SCAN, EVALSHA, SCRIPT LOAD, MULTI, TIME"

_FAMILY = re.compile(r"[a-z_-]{0,16}")
_GLOB = re.compile(rb"([*?\[\]\\])")


class RedisStore:
    """A store in Redis. Safe to use from any thread; connects when it is first used, and again by itself."""

    def __init__(self, url: str, group: str) -> None:
        parts = urlsplit(url)
        self._name = f"{parts.scheme}://{parts.hostname}:{parts.port or 6379}"
        self._group = quote(group, safe="")
        # Repeating a commit must be visible to `_commits`, so the client never repeats by itself.
        self._client: redis.Redis = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=Retry(NoBackoff(), 0)
        )
        self._acquire = self._client.register_script(ACQUIRE)
        self._commit = self._client.register_script(COMMIT)
        self._lock = Lock()
        self._commits: dict[int, tuple[int, int, int]] = {}
        """Per shard: epoch, least and most commits that its owner here may have made; apart when an answer was lost."""
        self._warned: set[str] = set()

    def acquire(self, shard: int) -> int:
        """See the port. Raises StoreUnavailable for a Redis that may evict rows, too."""
        self.ping()
        epoch, commits = (int(part) for part in self._call(lambda: self._acquire(keys=[self._head(shard)])))
        with self._lock:
            # The answer to an earlier call, which was given up meanwhile, may come last.
            if epoch > self._commits.get(shard, (0, 0, 0))[0]:
                self._commits[shard] = (epoch, commits, commits)
        return epoch

    def load(self, shard: int, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """See the port."""
        for _ in range(_SETTLED):
            before = self._call(lambda: self._client.hgetall(self._head(shard)))
            rows = {}
            for family in _families(before, prefix):
                rows.update(self._call(partial(self._scan, shard, family, prefix)))
            after = self._call(lambda: self._client.hgetall(self._head(shard)))
            if (before.get(b"commits"), before.get(b"epoch")) == (after.get(b"commits"), after.get(b"epoch")):
                for key in sorted(rows):
                    yield key.decode(), rows[key]
                return
        raise StoreUnavailable(f"{self._name}: shard {shard} is written to faster than it can be read")

    def get(self, shard: int, keys: Iterable[str]) -> dict[str, bytes]:
        """See the port."""
        wanted: dict[str, list[str]] = defaultdict(list)
        for key in keys:
            wanted[_family(key)].append(key)
        if not wanted:
            return {}

        def read() -> list[list[bytes | None]]:
            with self._client.pipeline(transaction=True) as pipe:
                for family, members in wanted.items():
                    pipe.hmget(self._rows(shard, family), members)
                answers: list[list[bytes | None]] = pipe.execute()
                return answers

        return {
            key: value
            for members, values in zip(wanted.values(), self._call(read), strict=True)
            for key, value in zip(members, values, strict=True)
            if value is not None
        }

    def commit(self, shard: int, epoch: int, delta: Delta) -> None:
        """See the port."""
        put: dict[str, list[str | bytes]] = defaultdict(list)
        gone: dict[str, list[str]] = defaultdict(list)
        for row in delta.put.items():
            put[_family(row[0])].extend(row)
        for key in delta.delete:
            if key not in delta.put:
                gone[_family(key)].append(key)
        families = sorted(put.keys() | gone.keys())
        keys = [self._head(shard), *(self._rows(shard, family) for family in families)]
        changes: list[str | bytes | int] = []
        for family in families:
            changes += [f"rows:{family}", len(put[family]), len(gone[family]), *put[family], *gone[family]]

        def write() -> list[bytes]:
            least, most = self._range(shard, epoch)
            try:
                answer: list[bytes] = self._commit(keys=keys, args=[epoch, least, most, *changes])
            except (Disconnected, Unanswered):
                with self._lock:  # it may have been applied all the same
                    self._commits[shard] = (epoch, least, most + 1)
                raise
            return answer

        outcome, count = self._call(write)
        if outcome == b"fenced":
            raise Fenced(f"shard {shard}: epoch {epoch} has been succeeded by {count.decode()}")
        if outcome == b"lost":
            raise Fenced(f"shard {shard}: {self._name} has gone back to an earlier state, of {int(count)} commits")
        with self._lock:
            self._commits[shard] = (epoch, int(count), int(count))

    def reset(self, shard: int) -> None:
        """See the port."""
        self.acquire(shard)
        head = self._call(lambda: self._client.hgetall(self._head(shard)))
        keys = [self._rows(shard, family) for family in _families(head, "")]

        def forget() -> None:
            with self._client.pipeline(transaction=True) as pipe:
                if keys:
                    pipe.unlink(*keys)
                pipe.hincrby(self._head(shard), "commits", 1)
                pipe.execute()

        self._call(forget)

    def shards(self) -> list[int]:
        """See the port."""
        heads = f"stream:{{{self._group}:*}}:head"
        found = self._call(lambda: list(self._client.scan_iter(heads)))
        numbers = {int(head.partition(b"}")[0].rpartition(b":")[2]) for head in found}
        return [shard for shard in sorted(numbers) if self._call(partial(self._has_rows, shard))]

    def ping(self) -> None:
        """See the port. Warns once when Redis keeps nothing on disk; a Redis that may evict rows is unavailable."""
        self._call(self._client.ping)
        try:
            facts = self._call(self._client.info)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NoPermissionError):
                return  # INFO is often withheld; then the settings are the operator's word
            raise
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory") and policy.startswith("allkeys"):
            raise StoreUnavailable(
                f"{self._name} may drop rows when its memory is full (maxmemory-policy {policy}), and numbers would be "
                "wrong without a trace: set `maxmemory-policy noeviction`"
            )
        if not facts.get("aof_enabled"):
            self._warn("keeps no append-only file: after its restart checkpoints are missing; set `appendonly yes`")

    def close(self) -> None:
        """See the port."""
        self._client.close()

    def _warn(self, text: str) -> None:
        with self._lock:
            new = text not in self._warned
            self._warned.add(text)
        if new:
            logger.warning("%s %s", self._name, text)

    def _range(self, shard: int, epoch: int) -> tuple[int, int]:
        """Least and most commits that the store may have; any for an epoch that was not acquired here."""
        with self._lock:
            owner, least, most = self._commits.get(shard, (epoch, 0, _UNKNOWN))
        return (least, most) if owner == epoch else (0, _UNKNOWN)

    def _head(self, shard: int) -> str:
        return f"stream:{{{self._group}:{shard}}}:head"

    def _rows(self, shard: int, family: str) -> str:
        return f"stream:{{{self._group}:{shard}}}:rows:{family}"

    def _scan(self, shard: int, family: str, prefix: str) -> dict[bytes, bytes]:
        pattern = _GLOB.sub(rb"\\\1", prefix.encode()) + b"*"
        return dict(self._client.hscan_iter(self._rows(shard, family), match=pattern, count=_SCAN))

    def _has_rows(self, shard: int) -> bool:
        head: Any = self._client.hgetall(self._head(shard))
        keys = [self._rows(shard, family) for family in _families(head, "")]
        return bool(keys and self._client.exists(*keys))

    def _call(self, action: Callable[[], Any]) -> Any:
        """The action's result; once more when a connection turns out to be dead, as all are after a restart."""
        try:
            try:
                return action()
            except Disconnected:
                return action()
        except RedisError as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, NoPermissionError) or "can't run this command" in reason:
                reason += f" (the user needs {_NEEDED} on the keys stream:*)"
            raise StoreUnavailable(f"{self._name}: {reason}") from error


def _family(key: str) -> str:
    match = _FAMILY.match(key)
    return match.group() if match else ""


def _families(head: dict[bytes, bytes], prefix: str) -> list[str]:
    """The families in a head in which keys with this prefix can be."""
    known = [field[5:].decode() for field in head if field.startswith(b"rows:")]
    family = _family(prefix)
    # A prefix that ends within the word may go on in several families.
    return [name for name in known if name == family or (family == prefix and name.startswith(family))]

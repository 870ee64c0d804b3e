"""The rows that a shard is restored from, as the store has them or, after an upgrade, as this version wants them.

Invariant: an upgrade is committed, fenced and whole, before anything is built from it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain

from stream import upgrades
from stream.checkpoint.port import Delta, Store
from stream.checkpoint.seal import Seal
from stream.rows import FORMAT, PENDING
from stream.upgrades import STEPS, Step

logger = logging.getLogger(__name__)


def resident_rows(
    store: Store, seal: Seal, shard: int, epoch: int, prefixes: Sequence[str], known: Mapping[int, Step] = STEPS
) -> dict[str, bytes]:
    """Rows whose keys have one of the prefixes, opened and in the present format; those of an upgrade come along.

    Raises StateRefused, StoreUnavailable, Fenced.
    """
    rows = _opened(store, seal, shard, prefixes)
    steps = upgrades.due(shard, rows, known)
    if not steps:
        return rows
    if any(step.waiting for step in steps):
        rows |= _opened(store, seal, shard, [f"{PENDING}/"])
    delta = upgrades.change(rows, steps)
    store.commit(shard, epoch, Delta(seal.seal_all(shard, delta.put), delta.delete))
    logger.info("partition %d: %d stored rows brought to format %d", shard, len(delta.put), FORMAT)
    gone = set(delta.delete)
    return {key: content for key, content in rows.items() if key not in gone} | delta.put


def _opened(store: Store, seal: Seal, shard: int, prefixes: Sequence[str]) -> dict[str, bytes]:
    stored = chain.from_iterable(store.load(shard, prefix) for prefix in prefixes)
    return dict(seal.open_all(shard, stored))

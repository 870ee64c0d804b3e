"""64-bit hashes of event ids, the same on every machine and in every process.

They stand for an id only where the id itself would cost too much memory: the set of ids that have had their outcome.
Two of N ids share a hash with probability about N²/2⁶⁵: for a million ids, 3 in 10⁸.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_FINAL = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)
_LONG = 64
"""Ids longer than this many bytes are hashed apart, so that one long id does not widen the matrix of all."""


def hashes(ids: list[str]) -> Hashes:
    """One hash per id, never 0.

    >>> a, b = hashes(["order-1", "order-2"])
    >>> bool(a != b), bool(hashes(["order-1"])[0] == a)
    (True, True)
    """
    encoded = [i.encode("utf-8", "surrogatepass") for i in ids]
    lengths = np.fromiter(map(len, encoded), np.uint64, len(encoded))
    if encoded and int(lengths.max()) > _LONG:
        result = np.empty(len(encoded), np.uint64)
        long = lengths > _LONG
        for row in np.flatnonzero(long):
            result[row] = _fold([encoded[row]], lengths[row : row + 1])[0]
        short = np.flatnonzero(~long)
        if len(short):
            result[short] = _fold([encoded[row] for row in short], lengths[short])
        return result
    return _fold(encoded, lengths)


def _fold(encoded: list[bytes], lengths: Hashes) -> Hashes:
    """Folds the ids eight bytes at a time, all ids at once."""
    if not encoded:
        return np.empty(0, np.uint64)
    width = max(8, -(-int(lengths.max()) // 8) * 8)
    words = np.array(encoded, dtype=f"S{width}").view(np.uint64).reshape(len(encoded), -1)
    state = (lengths + np.uint64(1)) * _MULTIPLIER
    for column in words.T:
        state = (state ^ column) * _MULTIPLIER
        state ^= state >> _SHIFT
    state *= _FINAL
    state ^= state >> _SHIFT
    state[state == 0] = 1
    return state

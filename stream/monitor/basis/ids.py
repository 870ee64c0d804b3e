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
    if not ids:
        return np.empty(0, np.uint64)
    text = "".join(ids)
    if text.isascii():
        data, lengths = text.encode(), np.fromiter(map(len, ids), np.int64, len(ids))
    else:
        encoded = [event_id.encode("utf-8", "surrogatepass") for event_id in ids]
        data, lengths = b"".join(encoded), np.fromiter(map(len, encoded), np.int64, len(ids))
    if int(lengths.max()) <= _LONG:
        return _fold(np.frombuffer(data, np.uint8), lengths)
    stops = np.cumsum(lengths)
    parts = np.split(np.frombuffer(data, np.uint8), stops[:-1])
    result = np.empty(len(ids), np.uint64)
    long = lengths > _LONG
    for row in np.flatnonzero(long):
        result[row] = _fold(parts[row], lengths[row : row + 1])[0]
    short = np.flatnonzero(~long)
    if len(short):
        result[short] = _fold(np.concatenate([parts[row] for row in short]), lengths[short])
    return result


def _fold(data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> Hashes:
    """Folds ids, whose bytes follow each other in `data`, eight bytes at a time, all ids at once."""
    widest = int(lengths.max())
    padded = np.zeros((len(lengths), max(8, -(-widest // 8) * 8)), np.uint8)
    if int(lengths.min()) == widest:
        padded[:, :widest] = data.reshape(len(lengths), widest)
    else:
        padded[np.arange(padded.shape[1]) < lengths[:, None]] = data
    state = (lengths.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER
    shortest = int(lengths.min())
    for number, column in enumerate(padded.view(np.uint64).T):
        mixed = (state ^ column) * _MULTIPLIER
        mixed ^= mixed >> _SHIFT
        # An id ends where it ends, however long the others are.
        state = mixed if 8 * number < shortest else np.where(8 * number < lengths, mixed, state)
    state *= _FINAL
    state ^= state >> _SHIFT
    state[state == 0] = 1
    return state

"""Smoothed conformal p-values: where a value stands among all healthy ones before it, ties broken by a seeded draw.

With counts of n values, a value in bin b gets `(below + v (same + 1)) / (n + 1)`, v uniform: uniform itself, and
independent of those before, as long as values are exchangeable (Vovk, Gammerman, Shafer: "Algorithmic learning in a
random world", §2.3 and §8). A fixed estimate of the distribution would not do: its error looks like a change.
Invariant: counts take values in at numbers of values that do not depend on how the stream is cut into calls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.monitor.columns import Floats, Ints

_FEWEST, _MOST, _SHARE = 16, 512, 64
"""Values are taken in at once when they are a 64th of those that were counted, within these bounds."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class History:
    """How many healthy values each bin holds."""

    def __init__(self, counts: Ints, fresh: Ints | None = None) -> None:
        self.counts = counts
        self.fresh: Ints = np.zeros(len(counts), np.int64) if fresh is None else fresh
        """Values that are not taken in yet."""

    def ranks(self, codes: Ints, draws: Floats, *, frozen: bool = False) -> Floats:
        """The ranks of values by their bins, each against those before; takes them in unless `frozen`."""
        found = np.empty(len(codes))
        start = 0
        while start < len(codes):
            total = int(self.counts.sum())
            room = len(codes) - start
            waiting = int(self.fresh.sum())
            limit = min(_MOST, max(_FEWEST, total // _SHARE))
            stop = start + (room if frozen else min(room, limit - waiting))
            part = codes[start:stop]
            below = np.cumsum(self.counts) - self.counts
            found[start:stop] = (below[part] + draws[start:stop] * (self.counts[part] + 1)) / (total + 1)
            if not frozen:
                self.fresh += np.bincount(part, minlength=len(self.counts))
                if waiting + stop - start == limit:
                    self.counts = self.counts + self.fresh
                    self.fresh = np.zeros(len(self.counts), np.int64)
            start = stop
        return found

    def copy(self) -> History:
        """An independent one."""
        return History(self.counts.copy(), self.fresh.copy())


def draws(first: int, count: int, seed: int) -> Floats:
    """Uniform numbers in (0, 1) number `first` and on: a function of number and seed (SplitMix64, Steele et al. 2014).

    >>> bool((draws(5, 3, 1) == draws(3, 5, 1)[2:]).all())
    True
    """
    mixed: npt.NDArray[np.uint64] = np.arange(first + 1, first + count + 1).astype(np.uint64) * _STEP + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[0]
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    mixed ^= mixed >> np.uint64(31)
    return ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

"""Smoothed conformal p-values: where a value stands among all healthy ones before it, ties broken by a seeded draw.

With counts of n values, a value in bin b gets `(below + v (same + 1)) / (n + 1)`, v uniform: uniform itself, and
independent of those before, as long as values are exchangeable (Vovk, Gammerman, Shafer: "Algorithmic learning in a
random world", §2.3 and §8). A fixed estimate of the distribution would not do: its error looks like a change.
Invariant: counts take values in at numbers of values that do not depend on how the stream is cut into calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from stream.monitor.basis.columns import Floats, Ints

_FEWEST, _MOST, _SHARE = 16, 2_048, 32
"""Values are taken in at once when they are a 32nd of those that were counted, within these bounds: with a 64th as many
of 180 guards gave a false alarm within 40,000 healthy values (0.76 per mean time that they promise), with a 16th 0.81.
"""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class History:
    """How many healthy values each bin holds."""

    __slots__ = ("counts", "fresh", "room", "total", "up_to")

    def __init__(self, counts: Ints, fresh: Ints | None = None) -> None:
        self.counts = counts
        self.up_to: Ints = counts.cumsum()
        self.total = int(counts.sum())
        self.fresh = np.zeros(len(counts), np.int64) if fresh is None else fresh
        """By bin, values that are not taken in yet."""
        self.room = _room(self.total) - int(self.fresh.sum())
        """How many values come before it takes them in."""

    def ranks(self, codes: Ints, draws: Floats, *, frozen: bool = False) -> Floats:
        """The ranks of values by their bins, each against those before; takes them in unless `frozen`."""
        return ranks([self], [codes], draws, [frozen])

    def copy(self) -> History:
        """An independent one."""
        copied = History.__new__(History)
        copied.counts, copied.up_to, copied.total = self.counts, self.up_to, self.total
        copied.fresh, copied.room = self.fresh, self.room
        return copied

    def rounds(self, count: int) -> list[int]:
        """How many of `count` values, which fill its room, come before it takes them in, then before it does so again,
        and so on."""
        sizes, total = [self.room], self.total + _room(self.total)
        while (count := count - sizes[-1]) > 0:
            room = _room(total)
            sizes.append(min(count, room))
            total += room
        return sizes

    def take(self, sizes: list[int], came: Ints) -> tuple[Ints, Ints, list[int]]:
        """Takes in what came in each round, shape (rounds, bins); returns what was counted before each round by bin,
        up to each bin and in all."""
        came[0] += self.fresh
        held = np.concatenate((self.counts[None], came))
        held.cumsum(axis=0, out=held)
        below = held.cumsum(axis=1)
        totals: list[int] = below[:, -1].tolist()
        full = len(sizes) == 1 or sizes[-1] == _room(totals[-2])
        after = -1 if full else -2
        self.counts, self.up_to, self.total = held[after].copy(), below[after].copy(), totals[after]
        self.fresh = np.zeros(len(self.counts), np.int64) if full else came[-1].copy()
        self.room = _room(self.total) - (0 if full else sizes[-1])
        return held[:-1].reshape(-1), below[:-1].reshape(-1), totals[:-1]


def _room(total: int) -> int:
    """How many values are taken in at once, with so many counted."""
    return min(_MOST, max(_FEWEST, total // _SHARE))


def ranks(histories: Sequence[History], codes: Sequence[Ints], draws: Floats, frozen: Sequence[bool]) -> Floats:
    """`History.ranks` of several histories, each with its own values; `draws` and the result one behind the other.

    What each history holds in each of its rounds stands one behind the other, and a value looks at that of its round.
    """
    if not len(draws):
        return np.empty(0)
    # One round of a history, unless its values fill its room.
    calm = [fixed or len(each) < it.room for it, each, fixed in zip(histories, codes, frozen, strict=True)]
    rounds = [
        [len(each)] if one else it.rounds(len(each)) for it, each, one in zip(histories, codes, calm, strict=True)
    ]
    sizes = list(chain.from_iterable(rounds))
    widths = [len(it.counts) for it, each in zip(histories, rounds, strict=True) for _ in each]
    begins = list(accumulate(widths, initial=0))
    bins = np.concatenate(codes)
    bins += np.repeat(begins[:-1], sizes)
    came = np.bincount(bins, minlength=begins[-1])
    counts, up_to, totals = list[Ints](), list[Ints](), list[int]()
    end = 0
    for it, each, one, fixed in zip(histories, rounds, calm, frozen, strict=True):
        begin, end = end, end + len(it.counts) * len(each)
        if one:
            counts.append(it.counts)
            up_to.append(it.up_to)
            totals.append(it.total)
            if not fixed:
                it.fresh, it.room = it.fresh + came[begin:end], it.room - each[0]
        else:
            below = it.take(each, came[begin:end].reshape(len(each), -1))
            counts.append(below[0])
            up_to.append(below[1])
            totals += below[2]
    same = np.concatenate(counts).take(bins)
    found = draws * (same + 1)
    found += np.concatenate(up_to).take(bins)
    found -= same
    found /= np.repeat(np.array(totals) + 1, sizes)
    return found


def draws(numbers: Ints, seeds: Ints | int) -> Floats:
    """Uniform numbers in (0, 1): each a function of a number and a seed (SplitMix64, Steele et al. 2014).

    >>> bool((draws(np.arange(5, 8), 1) == draws(np.arange(3, 8), 1)[2:]).all())
    True
    """
    mixed = (numbers + 1).view(np.uint64) * _STEP
    mixed += np.asarray(seeds, np.uint64)
    for shift, factor in zip((30, 27), _MIX, strict=True):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= factor
    mixed ^= mixed >> np.uint64(31)
    mixed >>= np.uint64(11)
    found = mixed.astype(np.float64)
    found += 0.5
    found *= 2.0**-53
    return found

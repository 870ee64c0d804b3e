"""Smoothed conformal p-values: where a value stands among all healthy ones before it, ties broken by a seeded draw.

With counts of n values, a value in bin b gets `(below + v (same + 1)) / (n + 1)`, v uniform: uniform itself, and
independent of those before, as long as values are exchangeable (Vovk, Gammerman, Shafer: "Algorithmic learning in a
random world", §2.3 and §8). A fixed estimate of the distribution would not do: its error looks like a change.
Invariant: counts take values in at numbers of values that do not depend on how the stream is cut into calls.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stream.monitor.columns import Floats, Ints

_FEWEST, _MOST, _SHARE = 16, 2_048, 32
"""Values are taken in at once when they are a 32nd of those that were counted, within these bounds: with a 64th as many
of 180 guards gave a false alarm within 40,000 healthy values (0.76 per mean time that they promise), with a 16th 0.81.
"""

_NEVER = 1 << 62

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class History:
    """How many healthy values each bin holds."""

    __slots__ = ("counts", "fresh", "total", "up_to", "waiting")

    def __init__(self, counts: Ints, fresh: Ints | None = None) -> None:
        self.counts = counts
        self.up_to: Ints = counts.cumsum()
        self.total = int(counts.sum())
        self.fresh = np.zeros(len(counts), np.int64) if fresh is None else fresh
        """By bin, values that are not taken in yet."""
        self.waiting = int(self.fresh.sum())

    @property
    def room(self) -> int:
        """How many values come before it takes them in."""
        return min(_MOST, max(_FEWEST, self.total // _SHARE)) - self.waiting

    def ranks(self, codes: Ints, draws: Floats, *, frozen: bool = False) -> Floats:
        """The ranks of values by their bins, each against those before; takes them in unless `frozen`."""
        return ranks([self], [codes], draws, [frozen])

    def copy(self) -> History:
        """An independent one."""
        copied = History.__new__(History)
        copied.counts, copied.up_to, copied.total = self.counts, self.up_to, self.total
        copied.fresh, copied.waiting = self.fresh, self.waiting
        return copied


def ranks(histories: Sequence[History], codes: Sequence[Ints], draws: Floats, frozen: Sequence[bool]) -> Floats:
    """`History.ranks` of several histories, each with its own values; `draws` and the result one behind the other."""
    stops = np.cumsum([len(each) for each in codes]).tolist()
    at = [stop - len(each) for stop, each in zip(stops, codes, strict=True)]
    found = np.empty(len(draws))
    busy = [number for number, each in enumerate(codes) if len(each)]
    while busy:
        # Each goes on up to where it takes values in.
        left = [stops[number] - at[number] for number in busy]
        until = [_NEVER if frozen[number] else histories[number].room for number in busy]
        rooms = [min(each) for each in zip(left, until, strict=True)]
        held = [histories[number] for number in busy]
        counts, up_to = (np.concatenate(each) for each in ([it.counts for it in held], [it.up_to for it in held]))
        ends = np.cumsum([len(it.counts) for it in held]).tolist()
        starts = [end - len(it.counts) for end, it in zip(ends, held, strict=True)]
        firsts = [at[number] - stops[number] + len(codes[number]) for number in busy]
        bins = np.concatenate(
            [codes[number][first : first + room] for number, first, room in zip(busy, firsts, rooms, strict=True)]
        )
        if len(busy) > 1:
            bins += np.repeat(starts, rooms)
        picked = [slice(at[number], at[number] + room) for number, room in zip(busy, rooms, strict=True)]
        whole = len(bins) == len(draws)
        same = counts.take(bins)
        part = (draws if whole else np.concatenate([draws[rows] for rows in picked])) * (same + 1)
        part += up_to.take(bins)
        part -= same
        part /= np.repeat([it.total + 1 for it in held], rooms) if len(busy) > 1 else held[0].total + 1
        if whole:
            found = part
        fresh = np.concatenate([it.fresh for it in held])
        fresh += np.bincount(bins, minlength=len(counts))
        if any(room == most for room, most in zip(rooms, until, strict=True)):
            counts += fresh
            up_to = counts.cumsum()
            up_to -= np.repeat(up_to[starts] - counts[starts], [len(it.counts) for it in held])
        done = 0
        for number, it, room, most, start, end, rows in zip(
            busy, held, rooms, until, starts, ends, picked, strict=True
        ):
            if not whole:
                found[rows] = part[done : done + room]
                done += room
            at[number] += room
            if room == most:
                it.counts, it.up_to, it.total = counts[start:end], up_to[start:end], it.total + it.waiting + room
                it.fresh, it.waiting = np.zeros(end - start, np.int64), 0
            elif not frozen[number]:
                it.fresh, it.waiting = fresh[start:end], it.waiting + room
        busy = [number for number in busy if at[number] < stops[number]]
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

"""Chooses the bins of a feature from its reference values.

Invariant: bins depend on the values as a multiset alone, and counts are left at zero for the layout that reads events
to fill, so that reference and live events are counted by the same code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from stream.events import Scalar
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.reference import Categorical, Numeric, spoken

INNER_BINS = 50
"""Bins within the reference's range: quantiles of it, or one per distinct value when there are no more."""

OUTSIDE = np.array([0.5, 1.0, 2.0, 4.0])
"""Edges of the bins outside the reference's range, in scales beyond it."""

GROUPS = 10
"""Coarse bins for PSI, Jensen-Shannon and Hellinger: deciles."""

MAX_CATEGORY_LENGTH = 256
"""Longer categories are not remembered."""

OTHERS = 1000
"""Rare categories that are remembered to be told from unseen ones."""


def numeric(name: str, values: Floats) -> Numeric:
    """Bins for finite reference values; a feature that has none gets a single bin."""
    if len(values) == 0:
        return Numeric(name, (), (0,), (0.0,), 1.0, 0.0, 0.0, 0.0, (0,) * (1 + Numeric.EXTRA))
    with np.errstate(over="ignore"):
        return _numeric(name, np.sort(values + 0.0))


def _numeric(name: str, points: Floats) -> Numeric:
    low, high = points[0], points[-1]
    mean, deviation = _moments(points)
    scale = deviation or max(abs(mean), 1.0)
    distinct = np.unique(points)
    lattice = len(distinct) <= INNER_BINS
    inner = _between(distinct) if lattice else _quantiles(points)
    first, last = low, np.nextafter(high, np.inf)
    if lattice and len(distinct) > 1:
        first, last = low - (distinct[1] - low) / 2, high + (high - distinct[-2]) / 2
    edges = np.unique(np.concatenate([first - OUTSIDE * scale, [first], inner, [last], last + OUTSIDE * scale]))
    edges = edges[np.isfinite(edges)]
    counts = np.bincount(np.searchsorted(edges, points, side="right"), minlength=len(edges) + 1)
    groups = _groups(counts, own_outside=lattice)
    positions = _positions(points, edges, counts, scale)
    return Numeric(
        name,
        tuple(edges.tolist()),
        tuple(groups.tolist()),
        tuple(positions.tolist()),
        scale,
        mean,
        float(low),
        float(high),
        (0,) * (len(counts) + Numeric.EXTRA),
    )


def categorical(name: str, values: Sequence[Scalar], limit: int) -> Categorical:
    """The `limit` most frequent categories among values; None does not count."""
    seen: Counter[str] = Counter()
    for (_, value), count in Counter(zip(map(type, values), values, strict=True)).items():  # True is not 1.0
        if value is not None:
            seen[spoken(value)] += count
    short = {text: count for text, count in seen.items() if len(text) <= MAX_CATEGORY_LENGTH}
    ranked = sorted(short, key=lambda text: (-short[text], text))
    others = ranked[limit : limit + OTHERS]
    complete = len(seen) == min(limit, len(ranked)) + len(others)
    width = min(limit, len(ranked)) + 2 + Categorical.EXTRA
    return Categorical(name, tuple(ranked[:limit]), tuple(others), not complete, (0,) * width)


def _moments(points: Floats) -> tuple[float, float]:
    """Mean and standard deviation, also of numbers whose squares are too large for a float."""
    _, exponent = math.frexp(float(np.abs(points).max()))
    small = np.ldexp(points, -exponent)
    deviation = 0.0 if points[0] == points[-1] else float(np.std(small))
    return math.ldexp(float(np.mean(small)), exponent), math.ldexp(deviation, exponent)


def _between(distinct: Floats) -> Floats:
    """The middle between neighbours, or the larger of the two when no float lies between."""
    middle = distinct[:-1] / 2 + distinct[1:] / 2
    return np.where(middle > distinct[:-1], middle, distinct[1:])


def _quantiles(points: Floats) -> Floats:
    """Edges at equal shares of sorted points. A value with a larger share of its own gets a bin of its own."""
    at = np.arange(1, INNER_BINS) * len(points) // INNER_BINS
    edges, times = np.unique(points[at], return_counts=True)
    return np.concatenate([edges, np.nextafter(edges[times > 1], np.inf)])


def _groups(counts: Ints, own_outside: bool) -> Ints:
    """Coarse bins of near equal counts. Empty bins join the nearest one before them, or their side's own."""
    middle = np.cumsum(counts) - counts / 2
    rough = np.minimum(middle * GROUPS // counts.sum(), GROUPS - 1)
    filled = np.flatnonzero(counts)
    nearest = filled[np.maximum(np.searchsorted(filled, np.arange(len(counts)), side="right") - 1, 0)]
    rough = rough[nearest]
    if own_outside:
        rough[: filled[0]] = -1
        rough[filled[-1] + 1 :] = GROUPS
    return np.unique(rough, return_inverse=True)[1]


def _positions(points: Floats, edges: Floats, counts: Ints, scale: float) -> Floats:
    """For each bin the mean of its points, or its middle; ascending."""
    largest = np.finfo(np.float64).max
    lower = np.clip(np.concatenate([[edges[0] - 4 * scale], edges]), -largest, largest)
    upper = np.clip(np.concatenate([edges, [edges[-1] + 4 * scale]]), -largest, largest)
    positions = lower / 2 + upper / 2
    filled = counts > 0
    ends = np.cumsum(counts)[filled]
    starts = ends - counts[filled]
    shares = points / np.repeat(counts, counts)
    positions[filled] = np.clip(np.add.reduceat(shares, starts), points[starts], points[ends - 1])
    return np.maximum.accumulate(positions)

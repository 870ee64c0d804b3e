"""How far a histogram of features is from the reference's, by several distances at once.

All take counts of any leading shape (ticks, panes, segments) and answer for each; a distance is NaN where the reference
or the histogram holds no valid value, and where it is not defined for the kind of feature. Missing and invalid values
do not take part: `quality.py` watches those. Judge: scipy on the raw data, equal where values lie on bins.

On groups (about deciles of the reference; every category by itself):

- `psi`: population stability index Σ (q - p) ln(q / p) (Siddiqi, "Credit Risk Scorecards", 2006), both p and q mixed
  with the same small share λ of even shares, λ = ½G / (½G + min(N, n)): half an event per group of the smaller side.
  So an empty group has no infinite weight, equal shares stay equal, and few events weigh little.
- `js`: Jensen-Shannon distance, base 2, the root of the divergence (Endres and Schindelin, 2003), 0 to 1.
- `hellinger`: sqrt(½ Σ (√p - √q)²), 0 to 1.
- `l_infinity`: the largest difference of two shares of a group, 0 to 1.
- `chi2`: p-value of Pearson's test of homogeneity of reference and window.

On bins, numbers only:

- `ks`: largest difference of the distribution functions at bin edges; at most one bin's share below the exact one.
- `wasserstein`: area between the distribution functions, values standing at their bin's reference mean, in standard
  deviations of the reference (for a constant reference c in units of max(|c|, 1)). What lies further out than about 6
  of them counts as if it were there.
- `ks_p_value`: of the asymptotic two-sample test, with the correction of Stephens (J. R. Stat. Soc. B 32, 1970).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from scipy import special

from stream.events import DriftScores
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.blocks import Shape
from stream.monitor.features.feature_layout import FeatureLayout


def one(layout: FeatureLayout, counts: Ints, feature: str, test: str) -> Floats:
    """The distance `test` of one feature for histograms of shape (..., width): shape (...)."""
    shape = layout.shape_of(feature)
    found: Floats = DISTANCES[test](shape, counts[..., shape.columns])[..., 0]
    return found


class Compared(Protocol):
    """Features of a reference, of the whole model or of a segment."""

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the reference."""

    @property
    def shape(self) -> Shape | None:
        """None where there is none."""


def every(layout: Compared, counts: Ints, test: str) -> Floats:
    """The same of all features at once, in the order of `layout.names`, shape (..., F): less work than one by one."""
    shape = layout.shape
    if shape is None:
        return np.empty((*counts.shape[:-1], 0))
    return DISTANCES[test](shape, counts[..., shape.columns])


def samples(layout: FeatureLayout, counts: Ints, feature: str) -> Ints:
    """Valid values of one feature in histograms of shape (..., width): shape (...)."""
    block = layout.block(feature)
    valid: Ints = counts[..., block.start : block.missing].sum(axis=-1)
    return valid


def samples_of_all(layout: Compared, counts: Ints) -> Ints:
    """The same of all features, in the order of `layout.names`, shape (..., F)."""
    shape = layout.shape
    if shape is None:
        return np.empty((*counts.shape[:-1], 0), np.int64)
    valid: Ints = np.add.reduceat(counts[..., shape.columns], shape.starts, axis=-1)
    return valid


def scores(layout: Compared, counts: Ints) -> dict[str, DriftScores]:
    """All that is on the wire about drift, by feature, for one histogram of shape (width)."""
    table = np.array([every(layout, counts, test) for test in ON_THE_WIRE]).T
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in table]
    return {
        name: DriftScores(**dict(zip(ON_THE_WIRE, row, strict=True)))
        for name, row in zip(layout.names, rows, strict=True)
    }


def psi(shape: Shape, counts: Ints) -> Floats:
    """Shape (..., F) from bins of shape (..., B); so do all below."""
    p, q, totals = _shares(shape, counts)
    half = shape.groups_each / 2
    even = half / (half + np.minimum(shape.totals, totals))
    kept, added = shape.over_groups(1 - even), shape.over_groups(even / shape.groups_each)
    p, q = kept * p + added, kept * q + added
    return _known(shape, totals, np.add.reduceat((q - p) * np.log(q / p), shape.group_starts, axis=-1))


def js(shape: Shape, counts: Ints) -> Floats:
    """Jensen-Shannon distance, base 2."""
    p, q, totals = _shares(shape, counts)
    middle = (p + q) / 2
    terms = special.rel_entr(p, middle) + special.rel_entr(q, middle)
    divergence = np.add.reduceat(terms, shape.group_starts, axis=-1) / (2 * np.log(2))
    return _known(shape, totals, np.sqrt(np.maximum(divergence, 0.0)))


def hellinger(shape: Shape, counts: Ints) -> Floats:
    """Hellinger distance."""
    p, q, totals = _shares(shape, counts)
    squares = np.add.reduceat((np.sqrt(p) - np.sqrt(q)) ** 2, shape.group_starts, axis=-1)
    return _known(shape, totals, np.sqrt(squares / 2))


def l_infinity(shape: Shape, counts: Ints) -> Floats:
    """Largest difference of shares."""
    p, q, totals = _shares(shape, counts)
    return _known(shape, totals, np.maximum.reduceat(np.abs(p - q), shape.group_starts, axis=-1))


def chi2(shape: Shape, counts: Ints) -> Floats:
    """p-value of Pearson's test on the two-row table of reference and window; 1 when they share their only group."""
    totals = np.add.reduceat(counts, shape.starts, axis=-1)
    window = _grouped(shape, counts)
    both = shape.groups + window
    used = np.add.reduceat((both > 0).astype(np.int64), shape.group_starts, axis=-1)
    # For two rows with totals R and n the statistic is Σ (R w - n r)² / (R n (r + w)).
    spread = shape.over_groups(shape.totals) * window - shape.over_groups(totals) * shape.groups.astype(np.float64)
    terms = np.add.reduceat(spread**2 / np.maximum(both, 1), shape.group_starts, axis=-1)
    statistic = terms / np.maximum(shape.totals * 1.0 * totals, 1.0)
    return _known(shape, totals, np.where(used > 1, special.chdtrc(np.maximum(used - 1, 1), statistic), 1.0))


def ks(shape: Shape, counts: Ints) -> Floats:
    """Kolmogorov-Smirnov distance."""
    difference, totals = _difference(shape, counts)
    return _numbers_only(shape, _known(shape, totals, np.maximum.reduceat(difference, shape.starts, axis=-1)))


def ks_p_value(shape: Shape, counts: Ints) -> Floats:
    """Probability of a Kolmogorov-Smirnov distance as large when nothing has changed."""
    totals = np.add.reduceat(counts, shape.starts, axis=-1)
    events = shape.totals * 1.0 * totals / np.maximum(shape.totals + totals, 1)
    root = np.sqrt(np.maximum(events, 1e-300))
    p_value: Floats = special.kolmogorov((root + 0.12 + 0.11 / root) * ks(shape, counts))
    return p_value


def wasserstein(shape: Shape, counts: Ints) -> Floats:
    """Wasserstein-1 distance in the reference's standard deviations."""
    difference, totals = _difference(shape, counts)
    areas = np.add.reduceat(difference * shape.gaps, shape.starts, axis=-1)
    return _numbers_only(shape, _known(shape, totals, areas))


def p_value(shape: Shape, counts: Ints) -> Floats:
    """Of Kolmogorov-Smirnov for numbers, of chi² for categories."""
    return np.where(shape.numeric, ks_p_value(shape, counts), chi2(shape, counts))


DISTANCES: Mapping[str, Callable[[Shape, Ints], Floats]] = {
    "psi": psi,
    "js": js,
    "hellinger": hellinger,
    "ks": ks,
    "wasserstein": wasserstein,
    "l_infinity": l_infinity,
    "chi2": chi2,
    "p_value": p_value,
}
"""By the name that a rule gives."""

ON_THE_WIRE = tuple(test for test in DriftScores.__struct_fields__ if test in DISTANCES)
"""Those of one feature that snapshots tell."""


def _grouped(shape: Shape, counts: Ints) -> Floats:
    return np.add.reduceat(counts, shape.bins_of_groups, axis=-1).astype(np.float64)


def _shares(shape: Shape, counts: Ints) -> tuple[Floats, Floats, Ints]:
    """Shares of the groups in the reference and in the window, and the window's totals."""
    totals = np.add.reduceat(counts, shape.starts, axis=-1)
    p = shape.shares
    q = _grouped(shape, counts) / shape.over_groups(np.maximum(totals, 1))
    return p, q, totals


def _difference(shape: Shape, counts: Ints) -> tuple[Floats, Ints]:
    """Absolute difference of the distribution functions at the end of each bin, and the window's totals."""
    totals = np.add.reduceat(counts, shape.starts, axis=-1)
    return np.abs(shape.cumulative(counts, np.maximum(totals, 1)) - shape.normal), totals


def _known(shape: Shape, totals: Ints, distance: Floats) -> Floats:
    return np.where((totals > 0) & (shape.totals > 0), distance, np.nan)


def _numbers_only(shape: Shape, distance: Floats) -> Floats:
    return np.where(shape.numeric, distance, np.nan)

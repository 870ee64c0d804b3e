"""Bad values of features, read from histograms.

`missing`: null or absent. `invalid`: wrong type or not finite. `unseen`: a category that the reference does not know.
`outside`: a number outside the reference's range (by more than half a step where it took few values); healthy traffic
has about 2 in N of these with a reference of N. `constant`: the share of valid values in the bin that holds most, near
1 when a feature is stuck, be it at a value or within a bin of the reference.
Invariant: shares of bad values are of all predictions, so the causes add up.
"""

from __future__ import annotations

import numpy as np

from stream.events import Quality
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.features.blocks import Block
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference import Categorical

CAUSES = ("missing", "invalid", "unseen", "outside")
"""What can be wrong with a value."""


def missing(layout: FeatureLayout, histogram: Ints) -> dict[str, float]:
    """Share of predictions without a usable value (missing or invalid), by feature, where there are predictions."""
    shares: dict[str, float] = {}
    for block in layout.blocks:
        events = int(histogram[block.start : block.stop].sum())
        if events:
            shares[block.feature.name] = int(histogram[block.missing : block.stop].sum()) / events
    return shares


def share(layout: FeatureLayout, histogram: Ints, feature: str, cause: str) -> Floats:
    """Share of bad values of one feature in histograms of shape (..., width): shape (...); NaN without predictions."""
    block = layout.block(feature)
    if cause == "constant":
        valid = histogram[..., block.start : block.missing]
        return np.where(valid.any(axis=-1), valid.max(axis=-1) / np.maximum(valid.sum(axis=-1), 1), np.nan)
    events = total(layout, histogram, feature)
    return np.where(events > 0, bad(block, histogram, cause) / np.maximum(events, 1), np.nan)


def shares(layout: FeatureLayout, histogram: Ints, cause: str) -> tuple[Floats, Ints]:
    """`share` and `total` of all features at once, in the order of `layout.names`, shape (..., F)."""
    if not layout.blocks:
        return np.empty((*histogram.shape[:-1], 0)), np.empty((*histogram.shape[:-1], 0), np.int64)
    events: Ints = np.add.reduceat(histogram, [block.start for block in layout.blocks], axis=-1)
    if cause == "constant":
        return np.stack([share(layout, histogram, name, cause) for name in layout.names], axis=-1), events
    if cause in ("missing", "invalid"):
        counted = histogram[..., [getattr(block, cause) for block in layout.blocks]]
    else:
        counted = np.stack([bad(block, histogram, cause) for block in layout.blocks], axis=-1)
    return np.where(events > 0, counted / np.maximum(events, 1), np.nan), events


def reference_share(layout: FeatureLayout, feature: str, cause: str) -> float:
    """The same share in the reference; 0 when it is empty."""
    known = layout.reference_shares.get((feature, cause))
    if known is None:
        block = layout.block(feature)
        histogram = np.zeros(layout.width, dtype=np.int64)
        histogram[block.start : block.stop] = block.feature.counts
        found = float(share(layout, histogram, feature, cause))
        known = layout.reference_shares[feature, cause] = 0.0 if np.isnan(found) else found
    return known


def total(layout: FeatureLayout, histogram: Ints, feature: str) -> Ints:
    """Predictions behind one feature of histograms of shape (..., width): shape (...)."""
    block = layout.block(feature)
    events: Ints = histogram[..., block.start : block.stop].sum(axis=-1)
    return events


def bad(block: Block, histogram: Ints, cause: str) -> Ints:
    """Bad values of one feature in histograms of shape (..., width): shape (...)."""
    feature = block.feature
    found: Ints
    if cause == "missing":
        found = histogram[..., block.missing]
    elif cause == "invalid":
        found = histogram[..., block.invalid]
    elif isinstance(feature, Categorical):
        found = histogram[..., block.missing - 1] if cause == "unseen" else np.zeros_like(histogram[..., 0])
    elif cause == "outside":
        first, last = np.searchsorted(feature.edges, [feature.low, feature.high], side="right") + block.start
        found = histogram[..., block.start : first].sum(axis=-1) + histogram[..., last + 1 : block.missing].sum(axis=-1)
    else:
        found = np.zeros_like(histogram[..., 0])
    return found


class Flaws:
    """Bad values by feature and cause, few enough numbers to keep for each segment.

    Column 0 counts predictions; feature f has its `CAUSES` from column 1 + 4 f on.
    """

    def __init__(self, layout: FeatureLayout) -> None:
        self._names = layout.names
        columns = np.eye(layout.width, dtype=np.int64)
        parts = [columns[:, layout.blocks[0].start : layout.blocks[0].stop].sum(axis=1)] if layout.blocks else []
        parts += [bad(block, columns, cause) for block in layout.blocks for cause in CAUSES]
        self._matrix = np.stack(parts, axis=1) if parts else np.zeros((layout.width, 0), np.int64)

    def of(self, histogram: Ints) -> Ints:
        """Shape (..., columns) of histograms (..., width)."""
        counted: Ints = histogram @ self._matrix
        return counted

    def counts(self, histogram: Ints) -> dict[str, Quality]:
        """What goes on the wire, by feature, for one histogram of shape (width)."""
        by_feature = self.of(histogram)[1:].reshape(-1, len(CAUSES)).tolist()
        return {name: Quality(*row) for name, row in zip(self._names, by_feature, strict=True)}

    def share(self, counted: Ints, feature: str, cause: str) -> tuple[Floats, Ints]:
        """Share of bad values of one feature, NaN without predictions, and how many predictions there are."""
        events = counted[..., 0]
        column = 1 + len(CAUSES) * self._names.index(feature) + CAUSES.index(cause)
        return np.where(events > 0, counted[..., column] / np.maximum(events, 1), np.nan), events

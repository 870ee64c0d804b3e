"""Bad values of features, read from histograms.

`missing`: null or absent. `invalid`: wrong type or not finite. `unseen`: a category that the reference does not know.
`outside`: a number outside the reference's range (by more than half a step where it took few values); healthy traffic
has about 2 in N of these with a reference of N. Invariant: shares are of all predictions, so the causes add up.
"""

from __future__ import annotations

import numpy as np

from stream.events import Quality
from stream.monitor.blocks import Block
from stream.monitor.columns import Floats, Ints
from stream.monitor.features import FeatureLayout
from stream.monitor.reference import Categorical

CAUSES = ("missing", "invalid", "unseen", "outside")
"""What can be wrong with a value."""


def counts(layout: FeatureLayout, histogram: Ints) -> dict[str, Quality]:
    """What goes on the wire, by feature, for one histogram of shape (width)."""
    return {
        block.feature.name: Quality(
            missing=int(histogram[block.missing]),
            invalid=int(histogram[block.invalid]),
            unseen=int(bad(block, histogram, "unseen")),
        )
        for block in layout.blocks
    }


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
    events = total(layout, histogram, feature)
    return np.where(events > 0, bad(block, histogram, cause) / np.maximum(events, 1), np.nan)


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

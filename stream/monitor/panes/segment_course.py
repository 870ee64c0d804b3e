"""What a chunk adds to the features of a segment: bad values, and the histograms that rules compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from stream.monitor.basis.columns import Ints
from stream.monitor.features.quality import Flaws
from stream.monitor.features.segment_drift import SegmentReference
from stream.monitor.panes.pane import Sums, widened


class SegmentFeatures(Struct, frozen=True):
    """What is kept of the features of segments."""

    flaws: Flaws
    references: Mapping[int, SegmentReference]
    """By segment code, where rules compare its features."""

    def add(self, held: Sequence[Sums], segment: int, cells: Ints, width: int) -> None:
        """Adds the histogram columns (n, F) of a segment's events to each of the sums."""
        histogram = np.bincount(cells[cells >= 0], minlength=width)
        added, compared = self.flaws.of(histogram), self.references.get(segment)
        for sums in held:
            sums.flaws = widened(sums.flaws, segment + 1, len(added))
            sums.flaws[segment] += added
            if compared is not None:
                compared.add(sums.by_segment, segment, histogram)

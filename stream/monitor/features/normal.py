"""What counts as normal for one model: its reference, or the first predictions that will become one.

Invariant: the reference is a function of the first N predictions in order; the feature histogram of panes counts just
the predictions behind them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set

import numpy as np
from msgspec import UNSET, Struct

from stream.config import FeatureKind, Limits, Model
from stream.config import Reference as References
from stream.events import Prediction, Scalar, Task, instant
from stream.monitor.basis.columns import Floats, Ints
from stream.monitor.basis.join_rows import Incoming
from stream.monitor.basis.vocabulary import MAX_NAME
from stream.monitor.features import reference as references
from stream.monitor.features.blocks import blocks
from stream.monitor.features.embedding import SUMS, Embedding
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.joint_drift import JointDrift
from stream.monitor.features.quality import Flaws
from stream.monitor.features.reference import Reference
from stream.monitor.features.reference_builder import ReferenceBuilder
from stream.monitor.features.segment_drift import SegmentReference
from stream.monitor.features.segment_drift import references as references_of_segments
from stream.monitor.rules import asked


class Stored(Struct):
    """What a checkpoint keeps."""

    reference: bytes | None
    builder: bytes | None
    by_class: bool | None
    new: dict[str, int]
    made_by: tuple[References, dict[str, FeatureKind] | None]
    """What the configuration said about the reference and the features."""
    first: int | None = None
    """Predictions that a reference taken anew is made of."""
    since: float = -math.inf


class Together(Struct, frozen=True):
    """How all features together are summed up and compared."""

    embedding: Embedding
    drift: JointDrift

    @classmethod
    def of(cls, reference: Reference) -> Together | None:
        """What the reference knows of it; None where it was made without."""
        if reference.joint is UNSET or len(reference.joint.sums) != SUMS:
            return None
        return cls(Embedding(blocks(reference.features)), JointDrift(reference.joint))


class Normal:
    """The reference of one model."""

    def __init__(self, spec: Model, limits: Limits, given: Reference | None) -> None:
        self._spec, self._limits = spec, limits
        self._by_segment = asked.by_segment(spec)
        self.reference = given
        self.layout = None if given is None else FeatureLayout(given)
        self.first = spec.reference.first
        """Predictions that it is made of, or is to be; None: as many as a file has."""
        self.since = -math.inf
        """Event time since which it is taken anew; -inf: it is what the configuration says."""
        new = given is None and self.first is not None
        self.builder = self._new_builder() if new else None
        self.by_class: bool | None = None if given is None else _is_by_class(given)
        """The output watched is the predicted class, for want of a score."""
        self.new: dict[str, int] = {}
        """Predictions by feature that the reference does not know."""
        self.strange: Ints | None = None
        """Which of the rows just read have such a feature; None: no row."""
        self.collected: Ints | None = None
        """Columns of the predictions of a regression that the reference is made of, when it has just been completed."""
        self._flaws: tuple[FeatureLayout, Flaws] | None = None
        self._together: tuple[FeatureLayout, Together | None] | None = None
        self._segments: tuple[FeatureLayout, int, dict[int, SegmentReference]] | None = None
        self.changed = True
        self.rebinned = False
        """What was stored was counted on the bins of another reference."""

    @property
    def width(self) -> int:
        """Cells of the feature histogram; 0 while there is no reference."""
        return 0 if self.layout is None else self.layout.width

    @property
    def flaws(self) -> Flaws | None:
        """Counts bad values; None while there is no reference."""
        if self.layout is None:
            return None
        if self._flaws is None or self._flaws[0] is not self.layout:
            self._flaws = self.layout, Flaws(self.layout)
        return self._flaws[1]

    @property
    def known(self) -> Set[str]:
        """Features that events are expected to have; none while there is nothing to go by."""
        if self.layout is not None:
            return self.layout.known
        return frozenset() if self.builder is None else self.builder.known

    @property
    def together(self) -> Together | None:
        """Compares all features together; None where no rule asks for it, or the reference does not know."""
        if self.layout is None or not asked.joint(self._spec):
            return None
        if self._together is None or self._together[0] is not self.layout:
            self._together = self.layout, Together.of(self.layout.reference)
        return self._together[1]

    def of_segments(self, names: Sequence[str]) -> Mapping[int, SegmentReference]:
        """By the code of a segment what rules compare there; `names` are those of all segments, which only grow."""
        if self.layout is None or not self._by_segment:
            return {}
        known = self._segments
        if known is None or known[0] is not self.layout or known[1] != len(names):
            found = references_of_segments(self.layout, self._by_segment, names)
            known = self._segments = self.layout, len(names), found
        return known[2]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of what is watched, the output ("prediction") last."""
        return () if self.layout is None else self.layout.names

    @property
    def rows(self) -> int:
        """Predictions that the reference is made of so far."""
        return self.builder.rows if self.builder is not None else 0 if self.reference is None else self.reference.rows

    @property
    def words(self) -> str:
        """What the reference is, for a person."""
        if self.reference is not None:
            return f"{self.reference.source}, version {self.reference.version}"
        if self.builder is not None:
            return f"{self._source(self.builder.first)} ({self.builder.rows} seen)"
        return "none"

    def renew(self, first: int, since: float) -> None:
        """The next predictions are the reference; there is none until they have come."""
        self.reference = self.layout = self.by_class = self.strange = self._flaws = None
        self._together = self._segments = None
        self.new = {}
        self.first, self.since, self.changed = first, since, True
        self.builder = self._new_builder()

    def _new_builder(self) -> ReferenceBuilder:
        assert self.first is not None
        spec = self._spec
        joint, by_segment = asked.joint(spec), self._by_segment
        return ReferenceBuilder(self.first, spec.features, self._limits, joint=joint, by_segment=by_segment)

    def _source(self, first: int) -> str:
        if self.since == -math.inf:
            return f"first {first} predictions"
        return f"first {first} predictions since {instant(self.since)}"

    def read(
        self, events: list[Prediction], rows: Incoming, task: Task | None, classes: list[str], segments: list[str]
    ) -> Ints:
        """Shape (n, F): histogram cells of n predictions; rows that went into the reference are -1.

        `classes` and `segments` are the names of their codes.
        """
        features = [event.features for event in events]
        taken, self.strange, self.collected = 0, None, None
        if self.builder is not None and events:
            taken = self.builder.add(features, self._outputs(rows, task, classes))
            self.builder.add_segments(rows.segments[:taken], segments)
            self.changed = True
            if self.builder.full:
                self.reference = self.builder.finish(self._source(self.builder.first))
                self.layout = FeatureLayout(self.reference)
                self.collected = self.builder.columns(self.layout) if task == "regression" else None
                self.builder = None
        if self.layout is None:
            return np.empty((len(events), 0), np.int64)
        outputs = self._outputs(rows, task, classes)
        read = self.layout.read(features[taken:], outputs[taken:])
        if read.new:
            known = self.layout.known
            odd = [row > taken - 1 and not known.issuperset(each or ()) for row, each in enumerate(features)]
            self.strange = np.flatnonzero(odd)
        for full, count in read.new.items():
            name = full[:MAX_NAME]
            if name in self.new or len(self.new) < self._limits.features:
                self.new[name] = self.new.get(name, 0) + count
        if not taken:
            return read.columns
        cells = np.full((len(events), read.columns.shape[1]), -1, np.int64)
        cells[taken:] = read.columns
        return cells

    def _outputs(self, rows: Incoming, task: Task | None, classes: list[str]) -> list[Scalar] | Floats:
        if task == "regression" or not len(rows):
            return rows.predicted
        if self.by_class is None:
            self.by_class = task != "binary" or bool(np.isnan(rows.scores[0, 0]))
        if not self.by_class:
            return rows.scores[:, 0]
        return [classes[code] for code in rows.predicted.astype(np.int64).tolist()]

    # -- storing -------------------------------------------------------------------------------------------------

    def state(self) -> Stored:
        """For a checkpoint."""
        reference = None if self.reference is None else references.to_bytes(self.reference)
        builder = None if self.builder is None else self.builder.state()
        made_by, taken = (self._spec.reference, self._spec.features), (self.first, self.since)
        return Stored(reference, builder, self.by_class, self.new, made_by, *taken)

    def restore(self, stored: Stored) -> bool:
        """Goes on from a checkpoint, unless the configuration says otherwise now: then the reference begins anew."""
        before = stored.reference
        if stored.made_by != (self._spec.reference, self._spec.features):
            self.rebinned = before is not None
            return False
        if stored.since > -math.inf and stored.first is not None:
            self.renew(stored.first, stored.since)
        self.by_class, self.new = stored.by_class, stored.new
        if self.reference is not None:
            self.rebinned = before is not None and before != references.to_bytes(self.reference)
        elif before is not None:
            self.reference = references.from_bytes(before)
            self.layout, self.builder = FeatureLayout(self.reference), None
        elif stored.builder is not None and self.builder is not None:
            self.builder.restore(stored.builder)
        self.changed = self.rebinned
        return True


def _is_by_class(reference: Reference) -> bool:
    return isinstance(reference.output, references.Categorical)

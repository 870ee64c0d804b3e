"""The distribution that counts as normal: per feature its bins and how many reference events fell into each.

Invariant: a `Reference` that exists is consistent (edges ascend, counts fit the bins) and its `version` is a digest
of everything in it, so equal versions mean equal bins and equal counts, and no drift score mixes two references.
"""

from __future__ import annotations

import hashlib
import math
from typing import ClassVar, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

OUTPUT = "prediction"
"""Name under which the model's own output is a feature; an input feature of that name is not monitored."""

OTHER = "__other__"
"""The category that rare reference categories share."""

FORMAT = 1
_HEADER = b"stream-reference "


class ReferenceRefused(ValueError):
    """Bytes that are not a reference this version can use. The message says what they are and what to do."""


class Numeric(Struct, frozen=True, tag=True):
    """A number. Bin b holds `edges[b-1] <= x < edges[b]`; then follow the columns "missing" and "invalid".

    The first and the last few bins lie outside the reference's range, so that a shift beyond it has a size.
    """

    EXTRA: ClassVar[int] = 2
    """Columns behind the bins: missing, invalid."""

    name: str
    edges: tuple[float, ...]
    groups: tuple[int, ...]
    """For each bin the coarse bin it belongs to: about ten, of near equal reference share."""
    positions: tuple[float, ...]
    """For each bin the mean of its reference values, or its middle when it has none. Ascending."""
    scale: float
    """What a distance is measured in: the reference's standard deviation, or for a constant c max(|c|, 1)."""
    mean: float
    low: float
    high: float
    """Smallest and largest reference value."""
    counts: tuple[int, ...]

    @property
    def bins(self) -> int:
        """Bins of valid values."""
        return len(self.edges) + 1


class Categorical(Struct, frozen=True, tag=True):
    """A category. One bin per category, `__other__`, "unseen"; then follow the columns "missing" and "invalid".

    A category is text, and a JSON true or number stands for its text ("true", "2", "0.5").
    """

    EXTRA: ClassVar[int] = 2
    """Columns behind the bins: missing, invalid."""

    name: str
    categories: tuple[str, ...]
    """Most frequent first, then by text."""
    others: tuple[str, ...]
    """Categories that were seen and count as `__other__`."""
    open: bool
    """More were seen than are remembered: an unknown category counts as `__other__`, for it may be one of them."""
    counts: tuple[int, ...]

    @property
    def bins(self) -> int:
        """Bins of valid values: the categories, `__other__`, unseen."""
        return len(self.categories) + 2


Feature: TypeAlias = Numeric | Categorical


class Joint(Struct, frozen=True):
    """Where the features stand together: sums over reference events, as `embedding.py` makes them."""

    rows: int
    sums: tuple[int, ...]
    products: bytes
    """Sums of the products of each two: the lower triangle, row by row, as little-endian int64."""


class Reference(Struct, frozen=True):
    """What is normal for one model."""

    rows: int
    """Events it was made from."""
    source: str
    """Where they came from, in words."""
    features: tuple[Feature, ...]
    output: Feature | None
    """The model's output: its score, its number or its class."""
    ignored: tuple[str, ...] = ()
    """Features that were seen and are not monitored: identifiers, clocks, those over the limit."""
    classes: tuple[str, ...] = ()
    tally: tuple[int, ...] = ()
    """Written by versions before `measured`, and part of their digests."""
    version: str = ""
    measured: bytes | UnsetType = UNSET
    """How the model did on its events, as `baseline.py` stores it."""
    losses: bytes | UnsetType = UNSET
    """Of a regression, what was learned of its losses on them, as `losses.py` stores it."""
    joint: Joint | UnsetType = UNSET
    """Of the features together, where a rule asks for it."""
    by_segment: dict[str, dict[str, tuple[int, ...]]] | UnsetType = UNSET
    """By segment and feature its counts, where a rule asks for it; bins are those of the whole."""

    @property
    def monitored(self) -> tuple[Feature, ...]:
        """The features, then the output when there is one: the order of the columns."""
        return self.features if self.output is None else (*self.features, self.output)


def spoken(value: str | float | bool) -> str:
    """The category that a value stands for.

    >>> [spoken(value) for value in ("BR", True, 2.0, 2, 0.5)]
    ['BR', 'true', '2', '2', '0.5']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 64 else hex(value)
    return str(int(value)) if value.is_integer() and abs(value) < 2.0**63 else repr(value)


def sealed(reference: Reference) -> Reference:
    """The reference with the version that its content has. Raises ReferenceRefused when it is inconsistent."""
    for feature in reference.monitored:
        _check(feature)
    if reference.joint is not UNSET:
        _check_joint(reference.joint)
    if reference.by_segment is not UNSET:
        _check_segments(reference.by_segment, reference.monitored)
    body = msgspec.msgpack.encode(msgspec.structs.replace(reference, version=""))
    return msgspec.structs.replace(reference, version=hashlib.sha256(body).hexdigest()[:16])


def with_performance(reference: Reference, measured: bytes, losses: bytes | UnsetType = UNSET) -> Reference:
    """The reference with the performance it had, which makes it another version."""
    return sealed(msgspec.structs.replace(reference, measured=measured, losses=losses))


def to_bytes(reference: Reference) -> bytes:
    """The reference as a file: a header line with the format, then MessagePack."""
    return b"%s%d\n" % (_HEADER, FORMAT) + msgspec.msgpack.encode(reference)


def from_bytes(content: bytes) -> Reference:
    """Reads what `to_bytes` wrote. Raises ReferenceRefused for anything else."""
    header, _, body = content.partition(b"\n")
    if not header.startswith(_HEADER):
        raise ReferenceRefused(f"not a reference: it begins with {content[:16]!r}; `stream profile` writes one")
    found = header.removeprefix(_HEADER)
    if found != b"%d" % FORMAT:
        raise ReferenceRefused(
            f"reference in format {found.decode(errors='replace')[:20]!r}, expected {FORMAT}: "
            "write it again with `stream profile` of this version"
        )
    try:
        reference = msgspec.msgpack.decode(body, type=Reference)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReferenceRefused(f"damaged reference: {error}; write it again with `stream profile`") from None
    if sealed(reference) != reference or msgspec.msgpack.encode(reference) != body:
        raise ReferenceRefused("damaged reference: content and version differ; write it again with `stream profile`")
    return reference


def _check(feature: Feature) -> None:
    """Raises ReferenceRefused unless the parts of a feature fit each other."""
    problem: str | None = None
    if len(feature.counts) != feature.bins + feature.EXTRA:
        problem = f"{len(feature.counts)} counts for {feature.bins} bins and {feature.EXTRA} more columns"
    elif min(feature.counts) < 0:
        problem = "a count below zero"
    elif isinstance(feature, Numeric):
        problem = _check_numeric(feature)
    elif len({*feature.categories, *feature.others}) != len(feature.categories) + len(feature.others):
        problem = "a category twice"
    if problem:
        raise ReferenceRefused(f"damaged reference: feature {feature.name!r} has {problem}")


def _check_segments(by_segment: dict[str, dict[str, tuple[int, ...]]], features: tuple[Feature, ...]) -> None:
    widths = {feature.name: len(feature.counts) for feature in features}
    for segment, counts in by_segment.items():
        for name, counted in counts.items():
            if len(counted) != widths.get(name) or min(counted) < 0:
                raise ReferenceRefused(f"damaged reference: feature {name!r} of {segment!r} has other counts than bins")


def _check_joint(joint: Joint) -> None:
    width = len(joint.sums)
    if joint.rows < 0 or len(joint.products) != (4 * width * (width + 1) if joint.rows else 0):
        raise ReferenceRefused(
            f"damaged reference: {len(joint.products)} bytes of products for {width} sums of {joint.rows} events"
        )


def _check_numeric(feature: Numeric) -> str | None:
    numbers = (*feature.edges, *feature.positions, feature.scale, feature.mean, feature.low, feature.high)
    if not all(map(math.isfinite, numbers)) or feature.scale <= 0:
        return "a number that is not finite, or a scale that is not above zero"
    if any(left >= right for left, right in zip(feature.edges, feature.edges[1:], strict=False)):
        return "edges that do not ascend"
    if any(left > right for left, right in zip(feature.positions, feature.positions[1:], strict=False)):
        return "positions that do not ascend"
    if len(feature.positions) != feature.bins or len(feature.groups) != feature.bins:
        return f"{len(feature.positions)} positions and {len(feature.groups)} groups for {feature.bins} bins"
    steps = [right - left for left, right in zip((0, *feature.groups), feature.groups, strict=False)]
    return None if all(step in (0, 1) for step in steps) else "groups that do not count up from 0"

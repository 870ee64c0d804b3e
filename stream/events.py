"""Records on the wire: what services send, what we publish, and how both are read and written.

Invariant: a decoded record is valid in every field that the monitor relies on; whatever is not is refused
with a reason from `Refusal`, so that nothing downstream checks again. `schemas/` is generated from here.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

Scalar: TypeAlias = float | str | bool | None
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024)]
Timestamp: TypeAlias = Annotated[
    float | str, Meta(description="Event time: seconds since 1970-01-01T00:00:00Z, or RFC 3339 text.")
]
Task: TypeAlias = Literal["binary", "multiclass", "regression"]
Severity: TypeAlias = Literal["info", "warning", "critical"]
AlertState: TypeAlias = Literal["firing", "resolved"]
AlertKind: TypeAlias = Literal[
    "performance",
    "estimated_performance",
    "concept_drift",
    "data_drift",
    "prediction_drift",
    "data_quality",
    "service",
    "resource",
    "traffic",
    "labels",
    "internal",
]

MAX_RECORD_BYTES = 1024 * 1024
"""A longer record is refused before it is parsed."""

MAX_MAGNITUDE = 1e18
"""Largest absolute value of a number that is predicted or observed; sums of squares stay exact below it."""


MAX_WEIGHT = 1000
"""Largest weight of a label: then sums of weights stay exact for as many outcomes as a window can count, see
`monitor/layout.py`. Only ratios of weights matter, so larger ones can all be divided by the same number."""


class Refusal(StrEnum):
    """Why a record went to the dead-letter topic."""

    NOT_JSON = "not_json"
    INVALID = "invalid"
    BAD_TIME = "bad_time"
    FUTURE = "future"
    TOO_LARGE = "too_large"
    EMPTY = "empty"
    UNKNOWN_MODEL = "unknown_model"
    TOO_MANY_MODELS = "too_many_models"


class Resources(Struct, frozen=True, gc=False):
    """A sample of the serving process."""

    cpu_percent: float | None = None
    memory_bytes: float | None = None
    disk_bytes: float | None = None


class Prediction(Struct, gc=False):
    """One answer of a model, or one failed attempt (`error` set, `prediction` null)."""

    model: Text
    id: Text
    ts: Timestamp
    prediction: Scalar
    score: Annotated[float | None, Meta(description="Probability of the positive class.")] = None
    scores: Annotated[dict[str, float] | None, Meta(description="Probability of each class.")] = None
    version: str | None = None
    features: dict[str, Scalar] | None = None
    attributes: dict[str, str | float | bool] | None = None
    latency_ms: float | None = None
    error: str | None = None
    resources: Resources | None = None


class Label(Struct, gc=False):
    """The truth about one prediction, tied to it by `(model, id)`."""

    model: Text
    id: Text
    ts: Timestamp
    label: float | str | bool
    weight: Annotated[float, Meta(ge=0, le=MAX_WEIGHT)] = 1.0


class Span(Struct, frozen=True):
    """A span of event time, seconds since 1970, end excluded."""

    start: float
    end: float


class SegmentShare(Struct, frozen=True, omit_defaults=True):
    """A segment that explains part of an alert: `share` (95 %: `lower` to `upper`) of the rise of the mean loss.

    `value` is its mean loss since the change and `before` the one until then: the log loss, Brier score or absolute
    error where the alert is about that, else the share of errors.
    """

    segment: str
    share: float
    value: float
    samples: int
    before: float | UnsetType = UNSET
    lower: float | UnsetType = UNSET
    upper: float | UnsetType = UNSET
    inferred: bool = False
    """A group of a feature that is no configured segment. Its loss is the share of bad outcomes: of errors, or for
    regression of errors larger than four in five of the first 1,000."""


class FeatureShare(Struct, frozen=True):
    """A feature that explains part of an alert."""

    feature: str
    test: str
    value: float


class Explanation(Struct, frozen=True):
    """What explains an alert, strongest first."""

    segments: list[SegmentShare] = []
    features: list[FeatureShare] = []


class Alert(Struct, frozen=True, omit_defaults=True):
    """One transition of one rule. `id` is a function of the events alone, so a consumer can drop repeats."""

    id: str
    fingerprint: str
    model: str
    segment: str
    rule: str
    kind: AlertKind
    severity: Severity
    state: AlertState
    value: float | None
    samples: int
    started_at: float
    ts: float
    summary: str
    version: str | UnsetType = UNSET
    metric: str | UnsetType = UNSET
    feature: str | UnsetType = UNSET
    lower: float | UnsetType = UNSET
    upper: float | UnsetType = UNSET
    threshold: float | UnsetType = UNSET
    reference: float | UnsetType = UNSET
    coverage: float | UnsetType = UNSET
    window: Span | UnsetType = UNSET
    explanation: Explanation | UnsetType = UNSET
    silenced: bool = False
    """Held back by a silence: so it is on the page and in the API, never on the topic."""


class Estimated(Struct, frozen=True, omit_defaults=True):
    """A number with its confidence interval (95 %) and the samples behind it. Null where it is undefined."""

    value: float | None
    samples: int
    lower: float | None | UnsetType = UNSET
    upper: float | None | UnsetType = UNSET


class DriftScores(Struct, frozen=True, omit_defaults=True):
    """Distances of one distribution to its reference."""

    psi: float | None = None
    js: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    p_value: float | None | UnsetType = UNSET
    hellinger: float | None = None
    l_infinity: float | None = None
    chi2: float | None = None
    """p-value."""
    mmd: float | None = None
    """p-value; of all features together, which stand under the name `*`."""
    mmd_distance: float | None = None


class Quality(Struct, frozen=True):
    """Counts of bad values of one feature."""

    missing: int = 0
    invalid: int = 0
    unseen: int = 0
    outside: int = 0
    """Numbers outside the reference's range."""


class Quantiles(Struct, frozen=True):
    """Quantiles in milliseconds."""

    p50: float
    p95: float
    p99: float


class MetricSnapshot(Struct, frozen=True, omit_defaults=True):
    """All that is known of one pane of one segment; sent when it closes and again when late labels change it."""

    model: str
    segment: str
    start: float
    end: float
    final: bool
    predictions: int
    labels: int
    coverage: float | None
    metrics: dict[str, Estimated]
    version: str | UnsetType = UNSET
    estimates: dict[str, Estimated] = field(default_factory=dict)
    drift: dict[str, DriftScores] = field(default_factory=dict)
    quality: dict[str, Quality] = field(default_factory=dict)
    latency_ms: Quantiles | UnsetType = UNSET
    throughput: float | UnsetType = UNSET
    fairness: dict[str, dict[str, Estimated]] = field(default_factory=dict)
    """Gaps between the groups of an attribute; of the whole model."""


class ModelUpdate(Struct, frozen=True, omit_defaults=True):
    """A model version that was saved to the registry."""

    id: str
    model: str
    version: str
    reason: str
    uri: str
    sha256: str
    metrics: dict[str, float | None]
    samples: int
    ts: float
    parent: str | UnsetType = UNSET
    challenger: str | UnsetType = UNSET
    """Which challenger this is a version of: each counts its versions by itself."""
    action: Literal["promoted", "rolled_back"] | UnsetType = UNSET
    """What is decided about the version; left out when it was only saved."""


R = TypeVar("R", bound=Struct)


def without(record: type[R], *fields: str) -> type[R]:
    """The record type without some optional fields: for a decoder that skips what nobody reads, which is faster.

    >>> decode = msgspec.json.Decoder(without(Prediction, "attributes")).decode
    >>> decode(b'{"model": "m", "id": "1", "ts": 1, "prediction": 0, "attributes": {"a": "b"}}').prediction
    0.0
    """
    kept = [
        (each.name, each.type) if each.required else (each.name, each.type, each.default)
        for each in msgspec.structs.fields(record)
        if each.name not in fields
    ]
    return cast(type[R], msgspec.defstruct(record.__name__, kept, gc=False))


RECORDS: dict[str, type[Struct]] = {
    "prediction": Prediction,
    "label": Label,
    "alert": Alert,
    "metric-snapshot": MetricSnapshot,
    "model-update": ModelUpdate,
}
"""Name of each record's schema file and its type."""

_encoder = msgspec.json.Encoder()


def encode(record: Struct) -> bytes:
    """The record as UTF-8 JSON. Non-finite numbers become null."""
    return _encoder.encode(record)


def seconds(ts: float | str) -> float:
    """Event time in seconds since 1970 of a wire timestamp.

    >>> seconds("1970-01-01T00:01:00Z")
    60.0
    >>> seconds(12)
    12.0

    Raises ValueError for text that is not RFC 3339 with an offset, and for a time that is not finite or not in
    the years 1970 to 9999.
    """
    if isinstance(ts, str):
        parsed = msgspec.convert(ts, datetime)
        if parsed.tzinfo is None:
            raise ValueError(f"{ts!r} has no offset: expected RFC 3339 such as 2026-01-31T12:00:00Z")
        value = parsed.timestamp()
    else:
        value = float(ts)
    if not math.isfinite(value) or not 0 <= value < 253402300800:
        raise ValueError(f"{ts!r} is not a time between 1970 and 9999")
    return value


def instant(seconds: float) -> str:
    """Event time as RFC 3339 text.

    >>> instant(60.5)
    '1970-01-01T00:01:00.500Z'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def schema(record: type[Struct], name: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of one record."""
    body = msgspec.json.schema(record)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{name}.schema.json", **body}

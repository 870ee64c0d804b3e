"""What a worker knows, as plain values: the one thing that the page, the API and the Prometheus collector read."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from stream.events import Alert, AlertKind, DriftScores, Estimated, Severity


class Counts(Struct):
    """Events of one model since its beginning. `predictions = outcomes + pending + expired_predictions +
    duplicate_predictions + errors` and `labels = outcomes + early + expired_labels + duplicate_labels`."""

    predictions: int = 0
    labels: int = 0
    outcomes: int = 0
    errors: int = 0
    duplicate_predictions: int = 0
    duplicate_labels: int = 0
    expired_predictions: int = 0
    expired_labels: int = 0
    pending: int = 0
    early: int = 0


class Buckets(Struct):
    """A histogram: `counts[i]` observations at most `bounds[i]` and above the bound before; the last has no bound."""

    bounds: list[float]
    counts: list[int]
    sum: float


class WindowView(Struct):
    """The last `seconds` of predictions of one segment, up to the watermark."""

    seconds: float
    predictions: int
    labels: int
    coverage: float | None
    metrics: dict[str, Estimated] = field(default_factory=dict)
    estimates: dict[str, Estimated] = field(default_factory=dict)
    drift: dict[str, DriftScores] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    """Share of predictions without a usable value, by feature."""
    service: dict[str, Estimated] = field(default_factory=dict)
    """Latency, throughput, resources, label delays and coverage by predicted class; of the whole model."""
    fairness: dict[str, dict[str, Estimated]] = field(default_factory=dict)
    """By attribute the gaps between its groups; of the whole model."""


class SegmentView(Struct):
    """One segment; "all" is the whole model."""

    segment: str
    windows: list[WindowView]


class RuleView(Struct):
    """One rule on one segment and, where it watches one, one feature; and where its state machine stands."""

    rule: str
    segment: str
    kind: AlertKind
    severity: Severity
    state: Literal["inactive", "pending", "firing"]
    value: float | None
    threshold: float | None
    since: float | None
    summary: str
    feature: str | None = None
    silenced: bool = False
    """It fires, and a silence holds its alert back."""


class TrialView(Struct):
    """The test that decides on a promotion, as it stands: losses on the same outcomes."""

    rival: str
    """What the challenger has to beat: `incumbent`, or the version that is promoted now."""
    metric: str
    samples: int
    min_samples: int
    difference: float | None
    """By how much the challenger's mean loss is lower."""
    lower: float | None
    """What the true difference is above, at the confidence."""
    margin: float
    confidence: float


class ChallengerView(Struct):
    """A model in training beside the incumbent: both scored on the same outcomes."""

    name: str
    version: str | None
    samples: int
    metrics: dict[str, float | None]
    incumbent: dict[str, float | None]
    off: str | None = None
    """Why it is switched off; None while it learns."""
    promoted: str | None = None
    """Its version that is promoted now."""
    trial: TrialView | None = None
    """None where nothing is promoted."""


class ModelView(Struct):
    """One model in one partition."""

    model: str
    task: str
    version: str | None
    watermark: float | None
    counts: Counts
    segments: list[SegmentView]
    rules: list[RuleView]
    alerts: list[Alert]
    """The newest alert of each rule that fires, then the latest resolved ones; newest first, at most 50."""
    alerts_total: dict[tuple[str, Severity], int]
    """Alerts fired by (rule, severity)."""
    latency_seconds: Buckets
    label_delay_seconds: Buckets
    reference: str
    """What the reference is, in words: `first 1000 predictions (640 seen)`."""
    reference_version: str | None = None
    """None while there is none."""
    reference_since: float | None = None
    """Event time of the first prediction that it is made of; None while that is not known."""
    renewals: int = 0
    """How often it was taken anew on command."""
    challengers: list[ChallengerView] = field(default_factory=list)
    resources: dict[str, float] = field(default_factory=dict)
    """The newest sample of the serving process."""
    notes: list[str] = field(default_factory=list)
    """What a person should know: a part that is switched off, limits reached."""


class ShardView(Struct):
    """One partition."""

    partition: int
    models: list[ModelView]
    dead_letters: dict[str, int]
    """By reason."""
    events: int
    buffered: int


class LagView(Struct):
    """How far behind the end of a topic's partition the applied state is, in records; None while unknown."""

    topic: str
    partition: int
    lag: int | None


class WorkerView(Struct):
    """One worker process."""

    shards: list[ShardView]
    lag: list[LagView]
    ready: bool
    reasons: list[str]
    """Why it is not ready, for a person; empty when it is."""
    checkpoints: int = 0
    fenced: int = 0
    checkpoint_interval: float = 0.5
    notes: list[str] = field(default_factory=list)
    """Findings across models, such as one whose plain key arrives on two partitions."""

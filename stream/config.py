"""Configuration as typed values: what a YAML file says, with every default filled in.

Invariant: a `Config` that exists is valid; nothing downstream checks it again. Durations are seconds here.
Reading the file, `${NAME}` and the errors are in `configfile`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct, field
from msgspec.structs import force_setattr

from stream.events import Severity, Task

FeatureKind: TypeAlias = Literal["numeric", "categorical", "ignore"]
Test: TypeAlias = Literal["psi", "js", "ks", "wasserstein", "hellinger", "l_infinity", "chi2", "mmd"]
UnknownModels: TypeAlias = Literal["monitor", "dead-letter"]

Duration: TypeAlias = Annotated[float, Meta(ge=0, extra={"duration": True})]
"""Seconds; in the file `250ms`, `5s`, `10m`, `1h`, `7d`."""
Moment: TypeAlias = Annotated[float, Meta(ge=0, extra={"moment": True})]
"""Seconds since 1970; in the file also RFC 3339 text such as `2026-01-31T12:00:00Z`."""
Positive: TypeAlias = Annotated[int, Meta(ge=1)]
Secret: TypeAlias = Annotated[str, Meta(extra={"secret": True})]
"""Never shown in a message."""

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


class Security(Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach a protected Kafka. Secrets are usually `${NAME}`."""

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str | None = None
    sasl_password: Secret | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: Secret | None = None


class Topics(Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """Names of the topics."""

    predictions: str = "predictions"
    labels: str = "labels"
    alerts: str = "alerts"
    metric_snapshots: str = "metric-snapshots"
    model_updates: str = "model-updates"
    dead_letters: str = "dead-letters"


class Kafka(Struct, frozen=True, forbid_unknown_fields=True):
    """Where events come from."""

    brokers: tuple[str, ...] = ("localhost:9092",)
    group: str = "stream"
    instance: str | None = None
    topics: Topics = field(default_factory=Topics)
    partitions: Positive = 8
    replication: Positive = 1
    session_timeout: Duration = 10.0
    security: Security = field(default_factory=Security)
    idempotent: bool = True
    """Idempotent producer; off only for brokers that cannot do it."""


class Checkpoint(Struct, frozen=True, forbid_unknown_fields=True):
    """Where state is kept and how often. `every` is a floor: see `share` in the README."""

    store: str = "sqlite:///stream.db"
    every: Duration = 0.5
    key: Secret | None = None
    """Signs stored state; from the environment variable STREAM_STATE_KEY when left out."""


class Http(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the page, the API and /metrics listen. Port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 6066
    token: Secret | None = None
    """Asked of everyone but health checks; from the environment variable STREAM_HTTP_TOKEN when left out."""


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """What counts as normal: exactly one of `first`, `file`, `predictions` (with or without `labels`)."""

    first: Positive | None = None
    file: str | None = None
    predictions: str | None = None
    labels: str | None = None


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """When an alert fires. Exactly one of `metric`, `feature`, `detector`, `guard`, `absent`, `all`, `any` says what is
    watched; a metric that is counted per feature, such as `missing_rate`, has a `feature` beside it.

    `above` / `below` bound a metric or a drift test, `drop` / `rise` bound how far a metric may be from what it was at
    reference; `recover` is the value, drop or rise at which a firing alert resolves (default: the bound itself).
    `hold` (YAML: `for`) and `cooldown` are seconds of event time.
    """

    name: str
    metric: str | None = None
    feature: str | None = None
    """A feature's name, `prediction` for the model's own output, `*` for every feature; with the test `mmd` for all of
    them together."""
    test: Test | None = None
    detector: str | None = None
    signal: str | None = None
    """For detectors: loss, scaled_loss, capped_loss, error, score, prediction, latency, or `feature:NAME`."""
    direction: Literal["up", "down", "both"] = "both"
    """For detectors and guards: which change of the mean is an incident."""
    guard: str | None = None
    """error_rate, loss, score, prediction, `feature:NAME` or `feature:*`: watched within a budget of false alarms."""
    false_alarms: float | str | None = None
    """For guards: `1 per 1000000 predictions`, or the number of values to a false alarm."""
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    """For guards: a change too small to matter; of shares absolute, of numbers in the reference's deviations."""
    params: dict[str, Any] = field(default_factory=dict)
    absent: Literal["predictions", "labels"] | None = None
    every: tuple[str, ...] | None = field(default=None, name="all")
    """Names of other rules of the model: it is an incident while all of them fire."""
    some: tuple[str, ...] | None = field(default=None, name="any")
    """The same while any of them fires."""
    window: Duration | None = None
    """Seconds; one of the model's windows. Default: the shortest."""
    segment: str = "all"
    """`all`, `country=BR`, `country=*` for every country, or `*` for every segment."""
    against: Literal["estimate"] | None = None
    """`estimate`: a metric is compared with what was estimated of the same predictions without their labels, instead of
    the reference; without `drop` and `rise`, an incident is that they part by more than sampling explains."""
    attribute: str | None = None
    """Of a gap between groups, such as `demographic_parity_difference`: what the groups differ in."""
    above: float | None = None
    below: float | None = None
    drop: float | str | None = None
    """How far below the reference is an incident: `0.05`, `10%` of the reference, or `interval`: the 95 % intervals
    part."""
    rise: float | str | None = None
    """The same above the reference."""
    recover: float | str | None = None
    min_samples: Annotated[int, Meta(ge=0)] | None = None
    hold: Duration = field(default=0.0, name="for")
    cooldown: Duration = 0.0
    severity: Severity = "warning"


class Challenger(Struct, frozen=True, forbid_unknown_fields=True):
    """A river pipeline that learns beside the incumbent: a list of dotted names, each alone or with parameters."""

    name: str
    model: tuple[str | dict[str, dict[str, Any]], ...]
    seed: int = 0


class Promote(Struct, frozen=True, forbid_unknown_fields=True):
    """When a challenger is promoted: its mean loss is lower by more than `margin`, by a sequential test."""

    metric: Literal["log_loss", "brier", "accuracy"] = "log_loss"
    confidence: Annotated[float, Meta(ge=0.5, le=0.999999)] = 0.99
    min_samples: Positive = 5000
    """Outcomes that must have been compared."""
    margin: Annotated[float, Meta(ge=0)] = 0.0


class Learn(Struct, frozen=True, forbid_unknown_fields=True):
    """Challengers, and how often (in outcomes) their versions are saved."""

    challengers: tuple[Challenger, ...] = ()
    save_every: Positive = 10_000
    registry: str = "models"
    """Directory that versions are saved to."""
    promote: Promote | None = None
    """None: challengers are only compared."""


class Silence(Struct, frozen=True, forbid_unknown_fields=True):
    """Alerts that are not published for a while: those of the model, the rule and the segment that it names."""

    model: str | None = None
    rule: str | None = None
    segment: str | None = None
    until: Moment | None = None
    """Event time at which it ends. None: never."""
    reason: str = ""


class Renewal(Struct, frozen=True, forbid_unknown_fields=True):
    """The present as the new normal: a model's predictions from a moment on are its reference."""

    model: str
    at: Moment
    """Event time."""
    first: Positive | None = None
    """How many predictions. None: as many as the model's `reference` says, or 1,000."""
    reason: str = ""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds on what input can make us remember. What exceeds one is counted and folded into `__other__`."""

    models: Positive = 10_000
    classes: Positive = 64
    features: Positive = 200
    categories: Positive = 50
    segments: Positive = 200
    pending: Positive = 1_000_000
    """Waiting predictions kept in memory per partition; the oldest beyond it are only in the checkpoint store."""


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """One monitored model. `None` means: infer from the first events."""

    task: Task | None = None
    positive: float | str | bool | None = None
    horizon: Duration = 7 * DAY
    pane: Duration = MINUTE
    windows: tuple[Duration, ...] = (HOUR, DAY)
    features: dict[str, FeatureKind] | None = None
    segments: tuple[str, ...] = ()
    """Attributes or categorical features; `version` is the prediction's version where no attribute is called so."""
    bins: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """Of segments that are numbers: the edges between which values are one segment, ascending."""
    fairness: tuple[str, ...] = ()
    """Attributes between whose values gaps are measured; each is a segment attribute, too."""
    value: dict[str, float | dict[str, float]] | None = None
    """What outcomes are worth: `tp`, `fp`, `fn`, `tn`, or by class in truth and class predicted."""
    explain: Annotated[int, Meta(ge=0, le=200)] = 50
    """Features, in the order of the reference, whose groups may explain a rise of the loss. 0: none."""
    reference: Reference = field(default_factory=lambda: Reference(first=1000))
    rules: tuple[Rule, ...] | None = None
    """None: the default rules of the task. Empty: no rules."""
    learn: Learn = field(default_factory=Learn)

    def __post_init__(self) -> None:
        missing = dict.fromkeys(name for name in self.fairness if name not in self.segments)
        if missing:
            force_setattr(self, "segments", (*self.segments, *missing))


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything one worker needs to know."""

    kafka: Kafka = field(default_factory=Kafka)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    http: Http = field(default_factory=Http)
    defaults: Model = field(default_factory=Model)
    """What a model has that is not named, or that says nothing of its own."""
    models: dict[str, Model] = field(default_factory=dict)
    unknown_models: UnknownModels = "monitor"
    silences: tuple[Silence, ...] = ()
    references: tuple[Renewal, ...] = ()
    """References that are taken anew while the model runs."""
    max_skew: Duration = HOUR
    """Seconds that an event time may be ahead of the broker's append time; further ahead is refused."""
    limits: Limits = field(default_factory=Limits)

    def model(self, name: str) -> Model:
        """The specification of a model, known or not."""
        return self.models.get(name, self.defaults)

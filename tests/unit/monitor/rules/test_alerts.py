"""Alerts: an identity that only depends on events, and a sentence that a person understands alone."""

from __future__ import annotations

import json
import math

import msgspec
import pytest

from stream.config import Rule
from stream.events import Alert, Span, encode
from stream.monitor.rules.alerts import Evidence, Subject, build, duration, identity, number
from stream.monitor.rules.machine import Reason, Transition
from stream.monitor.rules.watch import METRICS, SIGNALS, kind, minimum

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def fired(value: float, samples: int = 1204, threshold: float | None = None, **more: object) -> Transition:
    fields: dict[str, object] = {"state": "firing", "time": NOON + 600, "started_at": NOON, "reason": Reason.CROSSED}
    fields |= {"value": value, "samples": samples, "threshold": threshold} | more
    return msgspec.convert(fields, Transition)


def sentence(
    rule: Rule,
    transition: Transition,
    evidence: Evidence | None = None,
    segment: str = "all",
    feature: str | None = None,
) -> str:
    return build(Subject("fraud", rule, segment, feature), transition, evidence).summary


def test_ids_do_not_change_between_versions() -> None:
    subject = Subject("fraud", Rule(name="low", metric="accuracy"))
    assert subject.fingerprint == "7ced77a716609778"
    assert identity(subject.fingerprint, NOON, "firing") == "90ffc2f96271817f"


def test_every_part_counts_in_the_identity() -> None:
    rule = Rule(name="low")
    subjects = [Subject("m", rule), Subject("n", rule), Subject("m", Rule(name="l")), Subject("m", rule, "a=b")]
    subjects += [Subject("m", rule, feature="f"), Subject("m", rule, "all", "all"), Subject('m", "low', rule)]
    assert len({s.fingerprint for s in subjects}) == len(subjects)
    assert Subject("m", Rule(name="low", above=3.0)).fingerprint == Subject("m", rule).fingerprint
    ids = {identity("f", NOON, state, n) for state in ("firing", "resolved") for n in (0, 1)}
    assert len(ids | {identity("f", NOON + 0.5, "firing")}) == 5
    assert Subject("\ud800", rule).fingerprint, "a name that is no valid text has a fingerprint too"


def test_record_has_what_is_known_and_nothing_else() -> None:
    rule = Rule(name="low", metric="accuracy", below=0.9, window=3600.0, severity="critical")
    evidence = Evidence(lower=0.85, upper=0.89, coverage=0.5, window=Span(NOON - 3600, NOON), version="3")
    alert = build(Subject("fraud", rule, "country=BR"), fired(0.871, threshold=0.9), evidence)
    record = json.loads(encode(alert))
    assert msgspec.json.decode(encode(alert), type=Alert) == alert
    assert (record["kind"], record["severity"], record["metric"], record["threshold"]) == (
        "performance",
        "critical",
        "accuracy",
        0.9,
    )
    assert (record["ts"], record["started_at"], record["version"], record["coverage"]) == (NOON + 600, NOON, "3", 0.5)
    assert not {"feature", "reference", "explanation"} & set(record)
    assert build(Subject("m", rule), fired(math.inf)).value is None


@pytest.mark.parametrize(
    ("rule", "transition", "expected"),
    [
        (
            Rule(name="r", metric="accuracy", below=0.9, window=3600.0),
            fired(0.871, threshold=0.9),
            "accuracy of fraud fell to 0.871 (95 % 0.85–0.89) over 1 h, below 0.9, since 12:00 UTC (1,204 outcomes)",
        ),
        (
            Rule(name="r", metric="accuracy", below=0.9),
            fired(0.91, threshold=0.9, state="resolved"),
            "accuracy of fraud is back at 0.91 (95 % 0.85–0.89) after 10 min below 0.9 (1,204 outcomes)",
        ),
        (
            Rule(name="r", metric="prediction_error_rate", above=0.05),
            fired(0.05001, threshold=0.05, started_at=NOON - 86400),
            "prediction_error_rate of fraud rose to 0.05001 (95 % 0.85–0.89), above 0.05, since 2025-12-31 12:00 UTC "
            "(1,204 predictions)",
        ),
        (
            Rule(name="r", feature="prediction", test="psi", above=0.2, window=86400.0),
            fired(0.31, threshold=0.2),
            "psi of the predictions of fraud against the reference rose to 0.31 (95 % 0.85–0.89) over 24 h, above 0.2, "
            "since 12:00 UTC (1,204 predictions)",
        ),
        (
            Rule(name="r", detector="river.drift.ADWIN"),
            fired(0.3, 10_000, reference=0.1),
            "loss of fraud rose from 0.1 to 0.3 at 12:00 UTC (ADWIN, value 10,000)",
        ),
        (
            Rule(name="r", detector="river.drift.ADWIN", signal="feature:age", cooldown=90.0),
            fired(0.3, state="resolved"),
            "ADWIN found no further change of age of fraud for 1 min 30 s",
        ),
        (
            Rule(name="r", absent="labels", hold=600.0),
            fired(600.0, threshold=600.0),
            "no labels of fraud for 10 min, since 12:00 UTC",
        ),
        (
            Rule(name="r", absent="predictions", hold=600.0),
            fired(7200.0, state="resolved"),
            "predictions of fraud came again after 2 h without any",
        ),
    ],
)
def test_sentences(rule: Rule, transition: Transition, expected: str) -> None:
    assert sentence(rule, transition, Evidence(lower=0.85, upper=0.89)) == expected


def test_sentences_name_segment_and_feature() -> None:
    rule = Rule(name="r", metric="missing_rate", feature="*", above=0.2)
    text = sentence(rule, fired(0.5, threshold=0.2), segment="country=BR", feature="amount")
    assert text.startswith("missing_rate of amount in fraud in country=BR rose to 0.5, above 0.2")


def test_kinds_and_minima() -> None:
    assert kind(Rule(name="r", metric="roc_auc")) == "performance"
    assert kind(Rule(name="r", feature="a", test="ks")) == "data_drift"
    assert kind(Rule(name="r", feature="prediction", test="ks")) == "prediction_drift"
    assert kind(Rule(name="r", detector="river.drift.ADWIN")) == "concept_drift"
    assert kind(Rule(name="r", detector="river.drift.ADWIN", signal="feature:a")) == "data_drift"
    assert {kind(Rule(name="r", detector="d", signal=s)) for s in SIGNALS} <= {
        "concept_drift",
        "prediction_drift",
        "service",
    }
    assert [kind(Rule(name="r", absent=what)) for what in ("predictions", "labels")] == ["traffic", "labels"]
    assert all(kind(Rule(name="r", metric=m)) == w.kind for m, w in METRICS.items())
    rules = [Rule(name="r", metric="f1"), Rule(name="r", feature="a", test="psi"), Rule(name="r", detector="d")]
    assert [minimum(rule) for rule in rules] == [100, 500, 0]
    assert minimum(Rule(name="r", metric="f1", min_samples=0)) == 0


def test_numbers_and_durations() -> None:
    assert [number(x) for x in (0.0, -0.5, 1234567.0, 1e12, math.nan)] == [
        "0",
        "-0.5",
        "1,234,567",
        "1e+12",
        "undefined",
    ]
    assert number(999.99996) == "1000"
    assert number(1000.4, apart_from=1000.0) == "1,000.4"
    assert [duration(x) for x in (0.0, 59.5, 86400.0, 90000.0, 604800.0)] == ["0 s", "59.5 s", "24 h", "1 d 1 h", "7 d"]

"""Detectors fire where river alone fires, in any slicing and across a restore; what raises is switched off."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from river import drift

from stream.checkpoint.pickles import loads
from stream.config import Rule
from stream.monitor.basis.columns import Floats
from stream.monitor.rules.detectors import DETECTORS, SCALE_SAMPLES, Detector, check_detector, is_binary
from stream.monitor.rules.occurrences import Detection

PARAMS: dict[str, list[dict[str, Any]]] = {
    "river.drift.ADWIN": [{}, {"delta": 0.5, "clock": 1}],
    "river.drift.DummyDriftDetector": [{}, {"trigger_method": "random", "t_0": 50, "w": 20, "seed": 3}],
    "river.drift.KSWIN": [{"seed": 1, "window_size": 60, "alpha": 0.01}],
    "river.drift.PageHinkley": [{}, {"threshold": 5, "mode": "up"}, {"threshold": 5, "mode": "down"}],
    "river.drift.binary.FHDDM": [{}, {"short_window_size": 20}],
    "river.drift.binary.HDDMA": [{}, {"two_sided_test": True}],
    "river.drift.binary.HDDMW": [{}, {"two_sided_test": True}],
}
CASES = [(name, params) for name in DETECTORS for params in PARAMS.get(name, [{}])]


def signal(name: str, n: int = 900) -> Floats:
    """Three stretches of a third each: low, high, low."""
    rng = np.random.default_rng(7)
    level = np.where((np.arange(n) // (n // 3)) == 1, 0.6, 0.1)
    return (rng.random(n) < level).astype(float) if is_binary(name) else rng.normal(level, 0.1)


def alone(name: str, params: dict[str, Any], values: Floats) -> list[int]:
    detector = DETECTORS[name](**params)
    fired = []
    for index, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            fired.append(index)
    return fired


def feed(detector: Detector, values: Floats, start: int = 0) -> list[Detection]:
    ticks = (start + np.arange(len(values))) // 10
    return detector.feed(values, ticks.astype(float) * 0.5)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_fires_where_river_alone_fires(name: str, params: dict[str, Any]) -> None:
    values = signal(name, 300 if name.endswith("KSWIN") else 900)
    found = feed(Detector(name, params), values)
    assert [d.index for d in found] == alone(name, params, values)
    assert [d.samples for d in found] == [d.index + 1 for d in found]
    assert [d.time for d in found] == [d.index // 10 * 0.5 for d in found]
    if name not in ("river.drift.NoDrift", "river.drift.binary.FHDDM"):
        assert found, "the signal is chosen so that the detector fires"


def test_every_detector_of_river_is_known() -> None:
    names = set(drift.__all__) | set(drift.binary.__all__)
    known = {name.rpartition(".")[2] for name in DETECTORS}
    assert names - known == {"binary", "datasets", "DriftRetrainingClassifier", "PeriodicTrigger"}


@pytest.mark.parametrize(("name", "params"), CASES)
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_slicing_and_restoring_change_nothing(name: str, params: dict[str, Any], data: st.DataObject) -> None:
    values = signal(name, 450)
    values[data.draw(st.integers(0, 449))] = np.nan
    whole = Detector(name, params, scaled=True) if name.endswith("ADWIN") else Detector(name, params)
    expected = [(d.time, d.samples, d.before, d.after) for d in feed(whole, values)]
    cuts = sorted(data.draw(st.lists(st.integers(0, 450), min_size=1, max_size=4)))
    part = Detector(name, params, scaled=name.endswith("ADWIN"))
    found = []
    for start, end in zip([0, *cuts], [*cuts, 450], strict=True):
        found += [(d.time, d.samples, d.before, d.after) for d in feed(part, values[start:end], start)]
        snapshot = part.snapshot()
        part = Detector(name, params, scaled=name.endswith("ADWIN"))
        part.restore(snapshot, loads)
    assert found == expected
    assert (part.samples, part.skipped) == (whole.samples, 1)


def test_values_that_are_not_finite_are_left_out() -> None:
    values = signal("river.drift.ADWIN")
    holes = values.copy()
    holes[::7] = np.nan
    holes[1::7] = np.inf
    kept = np.flatnonzero(np.isfinite(holes))
    detector = Detector("river.drift.ADWIN", {"delta": 0.1})
    assert [d.index for d in feed(detector, holes)] == [
        int(kept[i]) for i in alone("river.drift.ADWIN", {"delta": 0.1}, values[kept])
    ]
    assert detector.skipped == len(values) - len(kept)


def test_says_from_what_to_what_the_mean_changed() -> None:
    values = np.repeat([0.2, 0.8, 0.2], 500)
    up, down = feed(Detector("river.drift.ADWIN"), values)
    assert (up.before, up.after) == pytest.approx((0.2, 0.8))
    assert (down.before, down.after) == pytest.approx((0.8, 0.2))


def test_scaled_signal_is_fed_in_units_of_its_first_values() -> None:
    values = np.abs(signal("river.drift.ADWIN")) * 1e6
    unit = float(np.mean(values[:SCALE_SAMPLES]))
    found = feed(Detector.of(Rule(name="r", detector="river.drift.ADWIN", signal="scaled_loss")), values)
    assert [d.index - SCALE_SAMPLES for d in found] == alone("river.drift.ADWIN", {}, values[SCALE_SAMPLES:] / unit)
    assert found[0].after > found[0].before > 1000, "means are told in the signal's own unit"


def test_capped_signal_is_fed_as_a_share_of_ten_times_its_first_values() -> None:
    values = np.abs(signal("river.drift.ADWIN")) * 1e6
    values[700] = 1e12
    full = 10.0 * float(np.mean(values[:SCALE_SAMPLES]))
    found = feed(Detector.of(Rule(name="r", detector="river.drift.ADWIN", signal="capped_loss")), values)
    fed = np.minimum(values[SCALE_SAMPLES:] / full, 1.0)
    assert [d.index - SCALE_SAMPLES for d in found] == alone("river.drift.ADWIN", {}, fed)
    assert found[0].after > found[0].before > 1000, "means are told in the signal's own unit"


def test_rare_huge_losses_are_no_change() -> None:
    values = np.abs(np.random.default_rng(3).standard_t(2, 200_000))
    rule = Rule(name="r", detector="river.drift.ADWIN", params={"delta": 1e-5})
    fires = {
        name: [d for d in feed(Detector.of(structs.replace(rule, signal=name)), values) if d.after > d.before]
        for name in ("scaled_loss", "capped_loss")
    }
    assert len(fires["scaled_loss"]) > 5
    assert not fires["capped_loss"]


@pytest.mark.parametrize("cut", [0, 20, 50, 100])
def test_a_detector_that_raises_is_switched_off_and_keeps_what_it_had_found(cut: int) -> None:
    values = np.concatenate((signal("river.drift.binary.DDM"), [0.5], np.ones(500)))
    expected = alone("river.drift.binary.DDM", {}, values[:900])
    detector = Detector("river.drift.binary.DDM")
    found = [d.time for d in feed(detector, values[:cut])] + [d.time for d in feed(detector, values[cut:], cut)]
    assert found == [i // 10 * 0.5 for i in expected]
    assert detector.failure == (
        "river.drift.binary.DDM is switched off: ValueError: found 0.5, and this detector reads only 0 and 1"
    )
    again = Detector("river.drift.binary.DDM")
    again.restore(detector.snapshot(), loads)
    assert again.failure == detector.failure
    assert again.feed(np.ones(5), np.zeros(5)) == []
    assert again.samples == detector.samples == 0


def test_a_panic_in_compiled_code_switches_off_too() -> None:
    detector = Detector("river.drift.ADWIN", {"clock": 0})
    assert feed(detector, np.ones(50)) == []
    assert "divisor of zero" in (detector.failure or "")


def test_unseeded_detectors_are_seeded() -> None:
    values = signal("river.drift.KSWIN", 300)
    params = {"window_size": 60, "alpha": 0.05}
    assert [d.index for d in feed(Detector("river.drift.KSWIN", params), values)] == alone(
        "river.drift.KSWIN", {**params, "seed": 0}, values
    )


@pytest.mark.parametrize(
    ("name", "params", "signal_name", "message"),
    [
        ("river.drift.ADVIN", {}, None, "did you mean river.drift.ADWIN?"),
        ("os.system", {}, None, "expected one of river's detectors"),
        ("river.drift.DriftRetrainingClassifier", {}, None, "expected one of river's detectors"),
        ("river.drift.ADWIN", {"dleta": 0.1}, None, "did you mean delta?"),
        ("river.drift.NoDrift", {"delta": 0.1}, None, "expected: none"),
        ("river.drift.ADWIN", {"clock": 0}, None, "found 0 for clock, expected a whole number of at least 1"),
        ("river.drift.ADWIN", {"delta": "low"}, None, "found 'low' for delta, expected a number"),
        ("river.drift.PageHinkley", {"mode": "sideways"}, None, "Invalid 'mode'"),
        ("river.drift.KSWIN", {"window_size": 10, "stat_size": 30}, None, "stat_size must be smaller"),
        ("river.drift.binary.DDM", {}, "score", "reads only 0 and 1, found the signal score, expected error"),
    ],
)
def test_bad_configuration(name: str, params: dict[str, Any], signal_name: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        check_detector(name, params, signal_name)
    assert message in str(error.value)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_good_configuration(name: str, params: dict[str, Any]) -> None:
    check_detector(name, params)


def test_snapshot_names_no_bound_method() -> None:
    assert b"getattr" not in Detector("river.drift.PageHinkley").snapshot()
    assert isinstance(pickle.loads(Detector("river.drift.ADWIN").snapshot()), tuple)

"""River's drift detectors, named in the configuration, fed value by value in the order of events.

Invariant: a detector fires at exactly the values at which river alone fires on the same finite values, however they are
cut into calls. Values that are not finite are left out. A detector that raises is switched off, with the reason, and
what it had found before stays found.
"""

from __future__ import annotations

import math
import operator
import pickle
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from inspect import Parameter, signature
from types import MethodType
from typing import Any, cast

import numpy as np
from msgspec import Struct, field

from stream.config import Rule
from stream.deferred import SELDOM, deferred
from stream.monitor.basis.columns import Floats
from stream.monitor.rules.occurrences import Detection
from stream.monitor.rules.watch import signal_of

with deferred(*SELDOM):
    from river import drift
    from river.base import BinaryDriftDetector, DriftDetector

RECENT = 128
"""Newest values kept to find where a change began: no detector tells, ADWIN's window keeps most of what was before."""

SCALE_SAMPLES = 100
"""First values whose mean size is the unit of a scaled signal; the detector is not fed these."""

CAP = 10.0
"""A capped signal is at most so many times its scale, and fed as a share of that: from 0 to 1, for which ADWIN's bound
holds. One huge error among thousands is then no change of the mean."""


def _detectors() -> dict[str, type[Any]]:
    found: dict[str, type[Any]] = {}
    for module in (drift, drift.binary):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, (DriftDetector, BinaryDriftDetector)):
                found[f"{module.__name__}.{name}"] = kind
    return found


DETECTORS = _detectors()
"""Every detector that river has, by dotted name."""


def is_binary(name: str) -> bool:
    """Whether a detector reads only 0 and 1."""
    return issubclass(DETECTORS[name], BinaryDriftDetector)


def check_detector(name: str, params: dict[str, Any] | None = None, signal: str | None = None) -> None:
    """Raises ValueError unless river has the detector, it takes these parameters, and it can read the signal."""
    kind = DETECTORS.get(name)
    if kind is None:
        raise ValueError(f'found "{name}", expected one of river\'s detectors{_near(name, DETECTORS)}')
    known = signature(kind).parameters
    for key, value in (params or {}).items():
        if key not in known:
            options = ", ".join(known) if known else "none"
            raise ValueError(f'{name} has no parameter "{key}", expected: {options}{_near(key, known)}')
        expected = _mismatch(known[key], value)
        if expected is not None:
            raise ValueError(f"{name}: found {value!r} for {key}, expected {expected}")
    if is_binary(name) and signal in ("scaled_loss", "capped_loss", "score", "prediction", "latency"):
        raise ValueError(f"{name} reads only 0 and 1, found the signal {signal}, expected error")
    trial = Detector(name, params)
    trial.feed(np.tile([0.0, 1.0, 1.0], 50), np.zeros(150))
    if trial.failure is not None:
        raise ValueError(trial.failure)


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _mismatch(parameter: Parameter, value: object) -> str | None:
    """What was expected, when a value is not of the type of the parameter's default or makes river panic."""
    default = parameter.default
    if isinstance(default, bool):
        return None if isinstance(value, bool) else "true or false"
    if isinstance(default, int):
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= (0 if default == 0 else 1)
        return None if whole else f"a whole number of at least {0 if default == 0 else 1}"
    if isinstance(default, float):
        return None if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if isinstance(default, str):
        return None if isinstance(value, str) else "text"
    return None


class _State(Struct):
    """What a detector knows beside river's object."""

    samples: int = 0
    skipped: int = 0
    failure: str | None = None
    count: int = 0
    """Values since the last detection that are no longer among `recent`, and their sum in order."""
    total: float = 0.0
    recent: Floats = field(default_factory=lambda: np.empty(0))
    scale: float | None = None
    """Values are divided by this; None: not known yet, and `recent` holds the values that it is found from."""


class Detector:
    """One river detector on one signal.

    >>> found = Detector("river.drift.ADWIN").feed(np.repeat([0.0, 1.0], 500), np.arange(1000) * 0.5)
    >>> [(d.index, d.before, d.after) for d in found]
    [(511, 0.0, 1.0)]
    """

    def __init__(
        self, name: str, params: dict[str, Any] | None = None, *, scaled: bool = False, capped: bool = False
    ) -> None:
        """`scaled`: values are fed in units of their first ones; `capped`: as shares of CAP times that, too."""
        self.name, self._capped = name, capped
        scaled = scaled or capped
        self._state = _State(scale=None if scaled else 1.0)
        self._river: Any = None
        try:
            self._river = _build(name, params or {})
        except Exception as error:  # noqa: BLE001 — whatever river refuses is a reason, never a crash
            self._fail(error)

    @classmethod
    def of(cls, rule: Rule) -> Detector:
        """The detector that a rule names, ready for its signal."""
        assert rule.detector is not None
        signal = signal_of(rule)
        return cls(rule.detector, rule.params, scaled=signal == "scaled_loss", capped=signal == "capped_loss")

    @property
    def samples(self) -> int:
        """Finite values fed so far."""
        return self._state.samples

    @property
    def skipped(self) -> int:
        """Values left out because they were not finite."""
        return self._state.skipped

    @property
    def failure(self) -> str | None:
        """Why the detector is switched off; None while it works."""
        return self._state.failure

    def feed(self, values: Floats, times: Floats) -> list[Detection]:
        """Feeds values in order; `times` are the tick ends of each. Returns the detections, in order."""
        state = self._state
        found: list[Detection] = []
        if state.failure is not None:
            return found
        rows = np.flatnonzero(np.isfinite(values))
        state.skipped += len(values) - len(rows)
        if state.scale is None:
            rows = rows[self._learn_scale(values[rows]) :]
        unit = (state.scale or 1.0) * (CAP if self._capped else 1.0)
        fed = values[rows] / unit
        if self._capped:
            fed = np.clip(fed, -1.0, 1.0)
        start = 0
        try:
            for position in self._fire(fed):
                before, after = self._means(fed[start : position + 1])
                start = position + 1
                row = int(rows[position])
                found.append(Detection(float(times[row]), row, state.samples + start, before * unit, after * unit))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 — a panic in river's compiled part is no Exception
            self._fail(error)
            return found
        self._keep(fed[start:])
        state.samples += len(fed)
        return found

    def snapshot(self) -> bytes:
        """The state as a pickle of river's and Python's plain objects."""
        kept = {}
        # Bound methods among the attributes are set by the constructor; pickling them would need `getattr`.
        if self._river is not None:
            kept = {key: value for key, value in vars(self._river).items() if not isinstance(value, MethodType)}
        ours = self._state
        own = {key: getattr(ours, key) for key in ours.__struct_fields__}
        return pickle.dumps((own, kept), protocol=5)

    def restore(self, snapshot: bytes, loads: Callable[[bytes], Any]) -> None:
        """Takes over a snapshot of a detector of the same name and parameters; `loads` unpickles safely."""
        own, kept = loads(snapshot)
        self._state = _State(**own)
        if self.failure is not None:
            self._river = None
        else:
            vars(self._river).update(kept)

    def _fail(self, error: BaseException) -> None:
        self._state = _State(failure=f"{self.name} is switched off: {type(error).__name__}: {error}")
        self._river = None

    def _learn_scale(self, values: Floats) -> int:
        """Takes the first values as the unit of the rest; returns how many it took."""
        state = self._state
        taken = values[: SCALE_SAMPLES - len(state.recent)]
        state.recent = np.concatenate((state.recent, taken))
        state.samples += len(taken)
        if len(state.recent) == SCALE_SAMPLES:
            state.scale = math.fsum(np.abs(state.recent).tolist()) / SCALE_SAMPLES or 1.0
            state.recent = np.empty(0)
        return len(taken)

    def _fire(self, values: Floats) -> Iterator[int]:
        """Positions at which river's detector fires."""
        detector = self._river
        if is_binary(self.name):
            bad = np.flatnonzero((values != 0.0) & (values != 1.0))
            if len(bad):
                yield from self._fire(values[: bad[0]])
                raise ValueError(f"found {values[bad[0]]:g}, and this detector reads only 0 and 1")
        listed = values.tolist()
        if isinstance(detector, drift.ADWIN):
            # The same as ADWIN.update, with the loop over quiet values in C: five times faster.
            rest, reset = iter(listed), cast(Callable[[], None], detector._reset)
            while True:
                if detector.drift_detected:
                    reset()
                if not any(map(detector._helper.update, rest)):
                    return
                detector._drift_detected = True
                yield len(listed) - operator.length_hint(rest) - 1
        update = detector.update
        for index, value in enumerate(listed):
            update(value)
            if detector.drift_detected:
                yield index

    def _means(self, since: Floats) -> tuple[float, float]:
        """Mean before and after the change just found; `since` are the values since the last one in this call.

        Where it began is taken to be where the sum is farthest from that of a constant mean (CUSUM estimate).
        """
        self._keep(since)
        state = self._state
        sums = np.add.accumulate(np.concatenate(([state.total], state.recent)))
        counts = state.count + np.arange(len(sums))
        state.count, state.total, state.recent = 0, 0.0, np.empty(0)
        last = counts[-1]
        split = int(np.argmax(np.abs(sums - counts / last * sums[-1])[:-1]))
        before = sums[split] / counts[split] if counts[split] else sums[-1] / last
        return float(before), float((sums[-1] - sums[split]) / (last - counts[split]))

    def _keep(self, values: Floats) -> None:
        """Remembers values since the last detection: sums in order, so that they do not depend on the slicing."""
        state = self._state
        held = np.concatenate((state.recent, values))
        old = max(0, len(held) - RECENT)
        if old:
            state.count += old
            state.total = float(np.add.accumulate(np.concatenate(([state.total], held[:old])))[-1])
        state.recent = held[old:].copy()


def _build(name: str, params: dict[str, Any]) -> Any:
    """River's object. Detectors that draw random numbers are seeded, so that replay gives the same."""
    kind = DETECTORS[name]
    if "seed" in signature(kind).parameters and params.get("seed") is None:
        params = {**params, "seed": 0}
    return kind(**params)

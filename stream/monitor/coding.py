"""What predictions and labels mean under the task of their model: class codes or numbers, and scores.

Invariant: a value gets the same code wherever events are cut: new classes are met in order of their ticks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream.events import Prediction, Scalar
from stream.monitor import intake, tasks
from stream.monitor.basis.columns import Floats, floats
from stream.monitor.basis.vocabulary import name_of
from stream.monitor.exchange import Guesses, Truths
from stream.monitor.known import Known

Flags = npt.NDArray[np.bool_]


def recognise(m: Known, guesses: Guesses, truths: Truths) -> None:
    """Looks up all classes at once, in the usual case that none is new."""
    known = m.classes.vocabulary
    if not m.firm or m.task == "regression" or None in known:
        return
    if [event.error for event in guesses.events].count(None) < len(guesses.events):
        return
    code = known.get
    predicted = floats([code(event.prediction, -1) for event in guesses.events])
    actual = floats([code(event.label, -1) for event in truths.events])
    if predicted.min(initial=0.0) >= 0.0 and actual.min(initial=0.0) >= 0.0:
        guesses.codes, truths.codes = predicted, actual


def failed(guesses: Guesses) -> Flags:
    """Which predictions did not come about."""
    if guesses.codes is not None:
        return np.zeros(len(guesses.events), np.bool_)
    return np.array([event.prediction is None or event.error is not None for event in guesses.events], np.bool_)


def meet(m: Known, guesses: Guesses, truths: Truths, failed: Flags) -> None:
    """Gives codes to classes that are new in order of their ticks, predictions first, however events are sliced."""
    if m.task is None or m.task == "regression":
        return
    vocabulary = m.classes.vocabulary
    new: set[Scalar] = set()
    if guesses.codes is None:
        new = {event.prediction for event in guesses.events}
        new = new.union([event.label for event in truths.events]) - vocabulary.keys()
    scored: set[str] = set()
    if m.task == "multiclass":
        scored = {name for event in guesses.events for name in event.scores or ()} - vocabulary.codes.keys()
    if not new and not scored:
        return
    met: list[tuple[int, int, float | str | bool]] = []
    for event, tick, bad in zip(guesses.events, guesses.tick.tolist(), failed.tolist(), strict=True):
        if event.prediction is not None and event.prediction in new and not bad:
            met.append((tick, 0, event.prediction))
        met += [(tick, 0, name) for name in event.scores or () if name in scored]
    met += [
        (tick, 1, event.label)
        for event, tick in zip(truths.events, truths.tick.tolist(), strict=True)
        if event.label in new
    ]
    for _, _, value in sorted(met, key=lambda each: each[:2]):
        vocabulary.code(name_of(value))


def coded(m: Known, values: list[Scalar] | Floats) -> tuple[Floats, Flags, str]:
    """Values as the numbers that are joined and summed, which of them mean something, and why the others do not.

    An array holds class codes already.
    """
    if m.task is None:
        return np.zeros(len(values)), np.ones(len(values), np.bool_), ""
    if m.task == "regression":
        assert isinstance(values, list)
        return *intake.numbers(values), "expected a number of magnitude up to 1e18: the model is a regression"
    codes = m.classes.vocabulary
    coded = values if isinstance(values, np.ndarray) else np.array([codes[value] for value in values], np.float64)
    if m.task == "multiclass" or len(codes.names) <= 2:
        return coded, np.ones(len(values), np.bool_), ""
    allowed = m.classes.pair
    names = " and ".join(repr(codes.names[code]) for code in allowed)
    return coded, np.isin(coded, allowed), f"a third class: the model is binary, with {names}"


def scored(m: Known, events: list[Prediction]) -> Floats:
    """Shape (n, C): the probability of each class, or of the positive one (C = 1); NaN where none came."""
    if m.task == "binary":
        return intake.binary_scores(events, m.classes.positive_name)
    if m.task == "multiclass":
        scores = intake.class_scores(events, m.classes.vocabulary)
        tasks.grow(m)
        m.join.widen(scores.shape[1])
        return scores
    return np.full((len(events), 1), np.nan)

"""Events of a slice by model: which rows are whose, and what each model is given.

Invariant: a model's rows keep their order, and models come in the order of their first row.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stream.events import Label, Prediction, Refusal
from stream.monitor.basis.columns import picked, whole
from stream.monitor.exchange import Guesses, Refused, Truths
from stream.taking import Bad, Ready

Rows: TypeAlias = npt.NDArray[np.intp]

NO_ROWS: Rows = np.empty(0, np.intp)


def by_model(predictions: Ready[Prediction], labels: Ready[Label]) -> dict[str, tuple[Rows, Rows]]:
    """Rows of both sides by model."""
    guessed, observed = _rows(predictions), _rows(labels)
    return {name: (guessed.get(name, NO_ROWS), observed.get(name, NO_ROWS)) for name in {**guessed, **observed}}


class _Numbers(dict[str, int]):
    """Numbers names in order of first appearance."""

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self)
        return number


def _rows(ready: Ready[Prediction] | Ready[Label]) -> dict[str, Rows]:
    """Rows by model, ascending."""
    if not ready.events:
        return {}
    numbers = _Numbers()
    of_row = whole([numbers[event.model] for event in ready.events])
    if len(numbers) == 1:
        return {name: np.arange(len(of_row)) for name in numbers}
    # Sixteen bits are sorted by radix.
    order = np.argsort(of_row.astype(np.int16) if len(numbers) < 2**15 else of_row, kind="stable")
    stops = np.cumsum(np.bincount(of_row))
    return dict(zip(numbers, np.split(order, stops[:-1]), strict=True))


def guesses(ready: Ready[Prediction], rows: Rows) -> Guesses:
    """Some of the predictions, as a model takes them."""
    if len(rows) == len(ready.events):
        return Guesses(ready.events, ready.tick, ready.ts)
    return Guesses(picked(ready.events, rows.tolist()), ready.tick[rows], ready.ts[rows])


def truths(ready: Ready[Label], rows: Rows) -> Truths:
    """Some of the labels, as a model takes them."""
    if len(rows) == len(ready.events):
        return Truths(ready.events, ready.tick, ready.ts)
    return Truths(picked(ready.events, rows.tolist()), ready.tick[rows], ready.ts[rows])


def refused(ready: Ready[Prediction] | Ready[Label], row: int, reason: Refusal, detail: str) -> Bad:
    """A row that no model takes."""
    return Bad(ready.side, ready.records[row], reason, detail, int(ready.tick[row]))


def refusals(ready: Ready[Prediction] | Ready[Label], rows: Rows, found: list[Refused]) -> list[Bad]:
    """What a model has refused of its `rows`."""
    return [refused(ready, int(rows[one.row]), one.reason, one.detail) for one in found]

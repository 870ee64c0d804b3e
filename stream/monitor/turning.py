"""When an inferred task is settled, and when it turns out to be another one.

A model without a configured task is taken for what its first tick with usable predictions says (with labels only, for
what the first tick of labels says, until predictions come). A classifier that shows a number with a fraction becomes a
regression, a binary model that shows a third class becomes multiclass, from the tick at which it does.
Invariant: a turn is found at a tick, and depends on the events up to that tick alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from stream.events import Label, Prediction, Scalar, Task
from stream.monitor.basis.columns import Ints
from stream.monitor.basis.vocabulary import name_of
from stream.monitor.intake import Classes, infer_task


class Turn(Struct, frozen=True):
    """From `tick` on, the model's task is `task`; `firm` when predictions have spoken."""

    tick: int
    task: Task
    firm: bool


def usable(event: Prediction) -> bool:
    """Whether a prediction came about and has a value."""
    return event.error is None and event.prediction is not None


def settle(
    predictions: Sequence[Prediction], p_tick: Ints, labels: Sequence[Label], l_tick: Ints, configured: Task | None
) -> Turn | None:
    """The first turn of a model whose predictions have not spoken yet. `labels` is empty when they have."""
    first = next((int(tick) for event, tick in zip(predictions, p_tick, strict=True) if usable(event)), None)
    if len(l_tick) and (first is None or l_tick[0] < first):
        truths = [event for event, tick in zip(labels, l_tick, strict=True) if tick == l_tick[0]]
        task = configured or infer_task([], truths)
        return None if task is None else Turn(int(l_tick[0]), task, False)
    if first is None:
        return None
    guesses = [event for event, tick in zip(predictions, p_tick, strict=True) if tick == first and usable(event)]
    truths = [event for event, tick in zip(labels, l_tick, strict=True) if tick == first]
    task = configured or infer_task(guesses, truths)
    return None if task is None else Turn(first, task, True)


def contradict(
    task: Task,
    classes: Classes,
    predictions: Sequence[Prediction],
    p_tick: Ints,
    labels: Sequence[Label],
    l_tick: Ints,
) -> Turn | None:
    """The first tick at which a classifier's values say that it is something else."""
    truths: list[Scalar] = [event.label for event in labels]
    met: set[Scalar] = {event.prediction for event in predictions}
    met.update(truths)
    unknown = met - classes.vocabulary.keys() - {None}
    if not unknown:
        return None
    values = [event.prediction if usable(event) else None for event in predictions]
    names = {value: name_of(value) for value in unknown}
    fractions = {value for value in unknown if isinstance(value, float) and not value.is_integer()}
    room = 2 if task == "binary" else len(names) + len(classes.names)
    found: list[Turn] = []
    seen = set(classes.names)
    events = [*zip(p_tick.tolist(), values, strict=True), *zip(l_tick.tolist(), truths, strict=True)]
    for tick, value in sorted((e for e in events if e[1] in unknown), key=lambda event: event[0]):
        if value in fractions:
            found.append(Turn(tick, "regression", True))
        elif len(seen | {names[value]}) > room:
            found.append(Turn(tick, "multiclass", True))
        seen.add(names[value])
    return min(found, key=lambda turn: (turn.tick, turn.task != "regression"), default=None)

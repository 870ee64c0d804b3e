"""A sequential paired test: is one of two models better on the same outcomes? It may be looked at after every outcome.

What is tested is the mean difference of two bounded losses, as it was while they ran side by side: neither has to stay
the same. For differences of a range c, any predictable guess g and any rate 0 < r < 1/c,

    exp(r Σ(d - μ) - ψ(r) Σ(d - g)²),   ψ(r) = (-log(1 - c r) - c r) / c²

is a supermartingale (X. Fan, I. Grama and Q. Liu, Electron. J. Probab. 20, 2015), so a mean of several exceeds 1/α with
probability at most α at any time (Ville): an empirical-Bernstein e-process for comparing forecasters, as in Y. J. Choe
and A. Ramdas, "Comparing Sequential Forecasters", Oper. Res. 2024, section 4. A test goes in rounds, so that what was
long ago does not hide the present; round k has α / (k (k + 1)), which sums to α over all rounds.
Invariant: a function of the losses in their order.
"""

from __future__ import annotations

import math

from msgspec import Struct

from stream.config import Promote
from stream.events import Task
from stream.learning.trained import Answer, Judged

FLOOR = 0.01
"""Probabilities are kept this far from 0 in the log loss that is compared, which bounds it."""

ROUND = 10
"""A round ends after this many times `min_samples` outcomes."""

_FRACTIONS = (0.95, 0.75, *(0.5**power for power in range(1, 11)))
"""Rates that are mixed, in units of the largest one allowed."""


class Trial(Struct):
    """One model (`ours`) against another (`theirs`)."""

    round: int = 1
    samples: int = 0
    """Outcomes compared in this round."""
    ours: float = 0.0
    theirs: float = 0.0
    """Sums of losses."""
    spread: float = 0.0
    """Σ(d - g)², where g is the mean of the differences before."""

    def add(self, ours: float, theirs: float, promote: Promote) -> None:
        """Counts one outcome; begins a new round when this one is over."""
        if self.samples >= ROUND * promote.min_samples:
            self.restart()
        guess = self.difference if self.samples else 0.0
        self.spread += (theirs - ours - guess) ** 2
        self.samples += 1
        self.ours += ours
        self.theirs += theirs

    def restart(self) -> None:
        """The next round: what was compared does not count any more, that it was looked at does."""
        self.round, self.samples, self.ours, self.theirs, self.spread = self.round + 1, 0, 0.0, 0.0, 0.0

    @property
    def difference(self) -> float:
        """By how much our mean loss is lower."""
        return (self.theirs - self.ours) / self.samples

    def wins(self, promote: Promote) -> bool:
        """Whether ours is better by more than the margin, at the confidence, after enough outcomes."""
        enough = self.samples >= promote.min_samples and self.difference > promote.margin
        return enough and self._evidence(promote, promote.margin) >= self._needed(promote)

    def lower(self, promote: Promote) -> float | None:
        """The bound that the true mean difference is above, at the confidence; None before the first outcome."""
        if not self.samples:
            return None
        needed = self._needed(promote)
        low, high = -bound(promote), self.difference
        for _ in range(40):
            middle = (low + high) / 2
            if self._evidence(promote, middle) >= needed:
                low = middle
            else:
                high = middle
        return low

    def _needed(self, promote: Promote) -> float:
        """Logarithm of what the process must reach."""
        return math.log(self.round * (self.round + 1) / (1.0 - promote.confidence))

    def _evidence(self, promote: Promote, mean: float) -> float:
        """Logarithm of the process against a true difference of at most `mean`."""
        width = 2.0 * bound(promote)
        excess = (self.theirs - self.ours - self.samples * mean) / width
        spread = self.spread / (width * width)
        logs = [rate * excess + (math.log1p(-rate) + rate) * spread for rate in _FRACTIONS]
        top = max(logs)
        return top + math.log(sum(math.exp(each - top) for each in logs) / len(logs))


def bound(promote: Promote) -> float:
    """The largest loss."""
    return -math.log(FLOOR) if promote.metric == "log_loss" else 1.0


def loss(promote: Promote, task: Task, actual: Answer, judged: Judged) -> float | None:
    """The loss of one answer, from 0 to `bound`; None where a probability is asked for and none came.

    >>> loss(Promote(metric="brier"), "binary", True, Judged(False, {True: 0.4, False: 0.6}))
    0.36
    """
    if task == "regression":
        return None
    if promote.metric == "accuracy":
        return 0.0 if judged.answer == actual else 1.0
    scores = judged.probabilities
    if scores is None:
        return None
    if promote.metric == "log_loss":
        return -math.log(min(max(scores.get(actual, 0.0), FLOOR), 1.0))
    others = sum(score * score for answer, score in scores.items() if answer != actual)
    return min(((1.0 - scores.get(actual, 0.0)) ** 2 + others) / 2.0, 1.0)

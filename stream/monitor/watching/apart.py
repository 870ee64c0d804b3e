"""When a metric and its estimate without labels part by more than sampling explains.

Both are of the same predictions: those in the window whose labels have come. The interval of their difference is that
of the metric at SURETY standard errors instead of two, widened by what the estimate itself is unsure of: it was learned
from outcomes that weigh as much as `support` outcomes of the window's mix (the effective number of a stratified mean,
W. Cochran, "Sampling Techniques", ch. 5), so its variance is that of the metric times n / support. The spread of losses
is taken to be no smaller than it was when the estimate was learned: of few losses with heavy tails the largest are
missing, and with them most of the spread.
Invariant: a function of sums at a tick and of the estimate in force.
"""

from __future__ import annotations

import math

from msgspec import Struct

from stream.monitor.basis.columns import Ints
from stream.monitor.basis.intervals import Interval, Z
from stream.monitor.estimates.estimate import Expected
from stream.monitor.estimates.losses import ExpectedLosses
from stream.monitor.metrics import layout as columns
from stream.monitor.metrics.layout import OUTCOMES

SURETY = 5.0
"""Standard errors between a metric and its estimate that sampling does not explain: of two million looks that have
nothing in common one would be so; looks at overlapping windows have much."""

RELEASE = 2.5
"""Standard errors between the two below which an alert resolves: at SURETY it would come and go."""

SUPPORT = 500.0
"""Outcomes that an estimate must be worth: from few, its own error is not known well."""

COMPLETE = 0.99
"""Share of outcomes that something must be known of from before their labels."""


def comparable(expected: Expected | ExpectedLosses, tally: Ints) -> bool:
    """Whether an estimate is of the outcomes in a tally, which have equal weights, and is learned from enough."""
    outcomes = int(tally[OUTCOMES])
    if not outcomes or expected.samples < COMPLETE * outcomes or not expected.support >= SUPPORT:
        return False
    weight, squares = columns.weights(tally)
    return bool(weight * weight >= (1.0 - 1e-9) * outcomes * squares > 0.0)


class Pair(Struct, frozen=True):
    """A metric of some outcomes, and its estimate."""

    name: str
    value: float
    interval: Interval | None
    """Of the metric, at 95 %; None where it is not known."""
    estimate: float
    expected: Expected | ExpectedLosses


def intervals(pair: Pair, surety: float) -> tuple[Interval | None, Interval | None]:
    """Intervals around a metric and its estimate that part where sampling does not explain the difference."""
    value, estimate, expected = pair.value, pair.estimate, pair.expected
    usual = expected.spread(pair.name) / math.sqrt(max(expected.samples, 1))
    if pair.interval is None or math.isnan(usual):
        return None, None
    sides = value - pair.interval[0], pair.interval[1] - value
    below, above = (max(side, usual) * surety / Z for side in sides)
    wider = math.sqrt(1.0 + expected.samples / expected.support) - 1.0
    mine = value - below, value + above
    # The side of the estimate that looks to the metric is as unsure as the metric's that looks to it.
    return mine, (estimate - wider * above, estimate + wider * below)

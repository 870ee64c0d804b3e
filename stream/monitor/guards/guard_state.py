"""What a guard is told, what it keeps, and what it stakes.

Invariant: `State` is all that a guard goes on from, and what an earlier version has stored is read by this one.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from msgspec import Struct

from stream.monitor.basis.columns import Ints
from stream.monitor.features.reference import Feature
from stream.monitor.guards.esr import Esr
from stream.monitor.guards.ranks import History

Kind: TypeAlias = Literal["flags", "numbers", "bins", "categories"]

FIRST = 1_000
"""Values that a guard learns from before it bets, unless the reference says how many."""


class Scheme(Struct, frozen=True):
    """What a guard watches and how."""

    kind: Kind
    gamma: float
    """Mean number of values to a false alarm, the guard's share of the budget counted in."""
    direction: str = "both"
    tolerance: float = 0.0
    first: int = FIRST
    seed: int = 0
    feature: Feature | None = None
    """Of bins and categories: where the reference's values fell."""
    reference: str = ""
    """The reference's version."""


class State(Struct):
    """What a guard has learned and staked; arrays as bytes."""

    reference: str = ""
    samples: int = 0
    ready: bool = False
    means: bool = False
    """Bets on means of values."""
    frozen: bool = False
    """An alarm was raised: values since may not be healthy and are not learned."""
    rest: float = -math.inf
    """Values of ticks that end until then are left out."""
    held: bytes = b""
    """Values to learn from; later those of an unfinished mean."""
    edges: bytes = b""
    worth: bytes = b""
    """What a value in each bin counts as in a mean."""
    origin: bytes = b""
    """Counts when the guard was ready, which decide its bets."""
    counts: bytes = b""
    fresh: bytes = b""
    recent: bytes = b""
    level: bytes = b""
    tail: bytes = b""


class Stake(Struct):
    """A piece of values that is bet on."""

    codes: Ints
    number: int
    """How many came before, which the draws go by."""
    seed: int
    history: History
    before: History | None
    """The history without the piece; None: it takes in nothing any more."""
    esr: Esr
    bound: float

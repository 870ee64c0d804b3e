"""Values of the events that a reference is made of, column by column.

Invariant: a column holds what came, in order; while that is nothing but floats, it is packed, for a hundred thousand
Python objects take long to look through, and longer to store.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import pack
from typing import TypeAlias

import numpy as np

from stream.events import Scalar
from stream.monitor.basis.columns import Floats

State: TypeAlias = list[Scalar] | bytes
"""A column as it is stored: packed ones as little-endian doubles."""

_FLOATS = frozenset({float})


class Column:
    """One feature, or the output.

    >>> column = Column()
    >>> column.extend([1.5, 2.0]); column.extend(["x"]); column.pad(4)
    >>> len(column), column.whole(5), Column(column.state()).whole(4)
    (4, [1.5, 2.0, 'x', None, None], [1.5, 2.0, 'x', None])
    """

    __slots__ = ("_floats", "_values")

    def __init__(self, state: State = b"") -> None:
        """Goes on from where `state` was taken. Raises ValueError when the bytes are no doubles."""
        packed = isinstance(state, bytes)
        self._floats = array("d", np.frombuffer(state, "<f8").tolist()) if isinstance(state, bytes) else array("d")
        self._values: list[Scalar] | None = None if packed else list(state)

    def __len__(self) -> int:
        return len(self._floats if self._values is None else self._values)

    def extend(self, values: Sequence[Scalar], types: frozenset[type] | set[type] | None = None) -> None:
        """Adds values; `types` are theirs, if they are known."""
        if self._values is None and (set(map(type, values)) if types is None else types) <= _FLOATS:
            self._floats.frombytes(pack(f"{len(values)}d", *values))
        else:
            self._plain().extend(values)

    def extend_floats(self, values: Floats) -> None:
        """Adds numbers, NaN being none."""
        missing = np.isnan(values)
        if missing.any():
            self.extend(
                [None if none else value for value, none in zip(values.tolist(), missing.tolist(), strict=True)]
            )
        elif self._values is None:
            self._floats.frombytes(np.ascontiguousarray(values, np.float64).tobytes())
        else:
            self._values.extend(values.tolist())

    def pad(self, rows: int) -> None:
        """Fills the column up to so many rows: these had no value."""
        if len(self) < rows:
            self._plain().extend([None] * (rows - len(self)))

    def whole(self, rows: int) -> Sequence[Scalar] | Floats:
        """All of so many rows; as an array where it is nothing but finite floats."""
        if self._values is None and len(self._floats) == rows:
            numbers = np.array(self._floats, np.float64)
            if rows and np.isfinite(numbers).all():
                return numbers
        values: list[Scalar] = [*self._floats] if self._values is None else self._values
        return [*values, *[None] * (rows - len(values))]

    def state(self) -> State:
        """For a checkpoint."""
        return np.array(self._floats, "<f8").tobytes() if self._values is None else self._values

    def _plain(self) -> list[Scalar]:
        if self._values is None:
            self._values = [*self._floats]
            self._floats = array("d")
        return self._values

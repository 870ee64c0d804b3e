"""A column is the list of what it was given, packed or not, stored or not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.monitor.features.collected import Column

VALUES = st.one_of(st.floats(), st.floats(), st.none(), st.booleans(), st.text(max_size=3))
STEPS = st.one_of(
    st.lists(st.floats(allow_nan=False), max_size=5),
    st.lists(VALUES, max_size=5),
    st.integers(0, 20),
    st.just("stored"),
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


@given(st.lists(STEPS, max_size=8), st.integers(0, 5))
def test_it_holds_what_came(steps: list[Any], missing: int) -> None:
    column, plain = Column(), list[Any]()
    for step in steps:
        if step == "stored":
            column = Column(column.state())
        elif isinstance(step, int):
            column.pad(step)
            plain += [None] * (step - len(plain))
        else:
            column.extend(step)
            plain += step
    assert len(column) == len(plain)
    plain += [None] * missing
    whole = column.whole(len(plain))
    finite = bool(plain) and all(type(value) is float and math.isfinite(value) for value in plain)
    assert isinstance(whole, np.ndarray) == finite
    found = whole.tolist() if isinstance(whole, np.ndarray) else list(whole)
    assert len(found) == len(plain)
    assert all(map(same, found, plain))


@given(st.lists(st.floats(), max_size=9), st.booleans())
def test_numbers_that_are_none_are_missing(values: list[float], mixed: bool) -> None:
    column = Column(["text"] if mixed else b"")
    column.extend_floats(np.array(values, np.float64))
    found = column.whole(len(column))
    expected = [*(["text"] if mixed else []), *(None if math.isnan(value) else value for value in values)]
    assert all(map(same, found.tolist() if isinstance(found, np.ndarray) else found, expected))


def test_a_list_of_floats_as_stored_before_is_read() -> None:
    column = Column([1.0, 2.5])
    column.extend([3.0])
    assert list(column.whole(3)) == [1.0, 2.5, 3.0]

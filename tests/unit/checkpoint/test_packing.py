"""Structs with arrays as bytes: equal, writable, typed; everything else refused."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from msgspec import Struct, field

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.port import StateRefused


class Pane(Struct):
    """Stands for any state."""

    counts: npt.NDArray[np.int64]
    by_segment: dict[tuple[int, str], npt.NDArray[np.float64]] = field(default_factory=dict)
    note: str | None = None


@given(
    hnp.arrays(np.int64, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)),
    st.dictionaries(st.tuples(st.integers(-5, 5), st.text()), hnp.arrays(np.float64, st.integers(0, 5))),
)
def test_what_was_packed_comes_back(
    counts: npt.NDArray[np.int64], by_segment: dict[tuple[int, str], npt.NDArray[np.float64]]
) -> None:
    back = unpack(Pane, pack(Pane(counts, by_segment, "n")))
    assert (back.counts.shape, back.counts.dtype, back.note) == (counts.shape, counts.dtype, "n")
    np.testing.assert_array_equal(back.counts, counts)
    assert back.by_segment.keys() == by_segment.keys()
    for key, value in by_segment.items():
        np.testing.assert_array_equal(back.by_segment[key], value)


def test_arrays_come_back_writable_and_apart() -> None:
    packed = pack(Pane(np.zeros(3, np.int64)))
    first, second = unpack(Pane, packed), unpack(Pane, packed)
    first.counts += 1
    assert second.counts.tolist() == [0, 0, 0]


def test_layout_in_memory_does_not_matter() -> None:
    grid = np.arange(12, dtype=np.int64).reshape(3, 4)
    assert pack(Pane(grid.T)) == pack(Pane(np.ascontiguousarray(grid.T)))
    assert pack(Pane(grid.astype(">i8"))) == pack(Pane(grid))


def test_numpy_numbers_are_numbers() -> None:
    assert unpack(list[float], pack([np.float64(1.5), np.int64(2)])) == [1.5, 2]


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["text"]), np.array([1j]), object(), {1, 2}.pop])
def test_what_is_not_plain_is_not_packed(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot pack"):
        pack(value)


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"counts": 1},
        {"counts": ["<f8", [1], bytes(8)]},  # another type than the field's
        {"counts": ["<i8", [2], bytes(8)]},  # a shape that the bytes do not fill
        {"counts": ["<i8", [-1], bytes(8)]},
        {"counts": ["|O", [1], bytes(8)]},
        {"counts": ["no dtype", [1], bytes(8)]},
        {"counts": ["<i8", "shape", bytes(8)]},
        {"counts": ["<i8", [1], bytes(8)], "note": 7},
    ],
)
def test_other_contents_are_refused(stored: Any) -> None:
    with pytest.raises(StateRefused, match=r"not a Pane that this version can read.*stream reset"):
        unpack(Pane, pack(stored))


@given(st.binary())
def test_any_bytes_are_read_or_refused(noise: bytes) -> None:
    try:
        unpack(Pane, noise)
    except StateRefused:
        pass


@pytest.mark.parametrize("name", [",", "O", "i4,i4", "(2,)i4", "datetime64[s]", "<U5", "[", 7, None, ["i4"], "<i99"])
def test_what_numpy_would_parse_as_a_dtype_is_refused(name: object) -> None:
    packed = msgspec.msgpack.encode([name, [1], b"\0" * 8])
    with pytest.raises(StateRefused):
        unpack(npt.NDArray[np.int64], packed)

"""A short run of the fuzzer, and bytes that hypothesis draws; the long run is `python -m tests.fuzz`."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.pickles import loads
from stream.checkpoint.port import StateRefused
from stream.config import Config
from stream.monitor.features.reference import ReferenceRefused, from_bytes
from stream.monitor.panes.stored import Head
from stream.shard import Shard
from tests.fuzz import TARGETS, fuzz

SHORT = {"configuration": 100, "restore": 100}


@pytest.mark.parametrize("target", TARGETS)
def test_a_short_run(target: str) -> None:
    fuzz(target, SHORT.get(target, 300), seed=1)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(content: bytes) -> None:
    for read, refusal in (
        (lambda: unpack(Head, content), StateRefused),
        (lambda: loads(content), StateRefused),
        (lambda: from_bytes(content), ReferenceRefused),
        (lambda: from_bytes(b"stream-reference 1\n" + content), ReferenceRefused),
    ):
        try:
            read()
        except refusal as refused:
            assert str(refused)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=30), max_size=4))
def test_any_rows_are_refused_or_restored(rows: dict[str, bytes]) -> None:
    try:
        Shard.restore(0, Config(), rows.items())
    except StateRefused as refused:
        assert "stream reset" in str(refused)


def test_nesting_without_end_is_refused() -> None:
    for deep in (b"\x91" * 100_000, b"\x81\xa1x" * 100_000):
        with pytest.raises(StateRefused):
            unpack(Head, deep)
        with pytest.raises(ReferenceRefused):
            from_bytes(b"stream-reference 1\n" + deep)


def test_rows_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(StateRefused, match="stream reset --shard 4"):
        Shard.restore(4, Config(), {"early/m/1": pack((1, 1.0, 1.0, 1))}.items())

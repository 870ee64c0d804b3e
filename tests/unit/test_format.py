"""Stored state says its format: another one is refused with what to do, before anything else of it is read."""

from __future__ import annotations

import msgspec
import pytest

from stream.checkpoint.packing import pack
from stream.checkpoint.port import StateRefused
from stream.config import Config
from stream.rows import FORMAT, HEAD
from stream.shard import Shard


def test_what_is_stored_says_its_format() -> None:
    head = Shard(0, Config()).delta().put[HEAD]
    assert msgspec.msgpack.decode(head)["format"] == FORMAT
    Shard.restore(0, Config(), {HEAD: head}.items())


@pytest.mark.parametrize("found", [0, FORMAT + 1])
def test_another_format_is_refused(found: int) -> None:
    head = pack({"format": found, "fields": "that this version does not know"})
    with pytest.raises(StateRefused, match=f"format {found}, this version reads {FORMAT}.*stream reset --shard 3"):
        Shard.restore(3, Config(), {HEAD: head}.items())

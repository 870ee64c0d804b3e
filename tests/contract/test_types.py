"""Decoding in several threads at once does not crash once the types are learned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import sys, threading
import msgspec
from stream.checkpoint.types import learn_types

sys.setswitchinterval(1e-6)
for number in range(100):
    inner = msgspec.defstruct("Inner", [(f"f{n}", int | str | None) for n in range(30)])
    outer = msgspec.defstruct("Outer", [("one", inner), ("many", list[inner])])
    raw = msgspec.msgpack.encode({"one": {f"f{n}": 1 for n in range(30)}, "many": []})
    assert learn_types() >= 2
    gate = threading.Barrier(4)

    def decode():
        gate.wait()
        msgspec.msgpack.Decoder(outer).decode(raw)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_learned_types_decode_in_any_thread() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == 0

"""Makes msgspec learn every struct type once, before threads decode.

msgspec builds what it knows of a struct when the type is first used, and marks the type as known before it is done, so
that types may refer to themselves. A second thread that decodes the same type at that moment ends the process with a
segmentation fault (msgspec 0.22; four threads that first use one type crash it within a second).

Invariant: after `learn_types`, decoding any struct that is defined by then is safe in any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


def learn_types() -> int:
    """Learns all struct types that are defined now; returns their number. Call it before threads start."""
    known = 0
    for kind in _subclasses(msgspec.Struct):
        try:
            # Types that only code builds may have fields that cannot be decoded: nobody decodes those.
            msgspec.msgpack.Decoder(kind, dec_hook=lambda _, stored: stored)
        except (TypeError, NameError):
            continue
        known += 1
    return known


def _subclasses(kind: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)

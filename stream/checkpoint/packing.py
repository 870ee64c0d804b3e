"""State as bytes without code: msgspec structs with numpy arrays, as MessagePack.

Invariant: what `unpack` returns has the type asked for, owns its memory and is writable; arrays hold plain numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable
from functools import cache, lru_cache
from typing import Any, TypeVar, cast, get_args, get_origin

import msgspec
import numpy as np

from stream.checkpoint.port import StateRefused

T = TypeVar("T")

_NUMERIC = frozenset("biuf")
"""Kinds of dtype that are stored: booleans, integers, unsigned integers, floats."""

_PLAIN = re.compile(r"[<|][biuf][0-9]{1,2}")
"""How such a dtype is spelled."""


def pack(value: object) -> bytes:
    """A struct (or any plain value) with numpy arrays in it as bytes.

    >>> unpack(list[int], pack([1, 2]))
    [1, 2]

    Raises TypeError for arrays of anything but numbers.
    """
    return _encoder.encode(value)


def unpack(kind: type[T], packed: bytes) -> T:
    """The value of type `kind` that was packed. Raises StateRefused when the bytes say anything else."""
    try:
        decoder: msgspec.msgpack.Decoder[T] = _decoder(cast(Hashable, kind))
        return decoder.decode(packed)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise StateRefused(
            f"stored state is not a {getattr(kind, '__name__', kind)} that this version can read ({error}): "
            "run the version that wrote it, or rebuild the shard from Kafka with `stream reset`"
        ) from error


def _encode(value: object) -> object:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in _NUMERIC:
            raise TypeError(f"cannot pack an array of {value.dtype}: expected numbers")
        plain = value.astype(value.dtype.newbyteorder("<"), copy=False)
        return plain.dtype.str, plain.shape, plain.tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot pack a {type(value).__name__}")


def _decode(kind: Any, stored: Any) -> Any:
    if get_origin(kind) is not np.ndarray and kind is not np.ndarray:
        raise TypeError(f"no way to read a {kind}")
    name, shape, body = stored
    if not isinstance(name, str) or not _PLAIN.fullmatch(name):
        # numpy would parse it, and texts that it reads as Python raise whatever that raises.
        raise ValueError(f"an array of {name!r:.40}, expected numbers")
    dtype = np.dtype(name)
    expected = _dtype_of(kind)
    if expected is not None and dtype != expected:
        raise ValueError(f"an array of {dtype}, expected {expected}")
    if len(body) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(body)} bytes for an array of shape {tuple(shape)}")
    # A bytearray makes the array writable without a second copy.
    return np.frombuffer(bytearray(body), dtype).reshape(shape)


@cache
def _dtype_of(kind: Any) -> np.dtype[Any] | None:
    """The dtype that an annotation such as NDArray[np.int64] asks for."""
    for argument in get_args(kind):
        scalar = get_args(argument)
        if get_origin(argument) is np.dtype and scalar and isinstance(scalar[0], type):
            return np.dtype(scalar[0]) if issubclass(scalar[0], np.generic) else None
    return None


@lru_cache(maxsize=256)
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cast(Any, kind), dec_hook=_decode)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode)

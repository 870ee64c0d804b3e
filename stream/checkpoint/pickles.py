"""Learned objects (river detectors, river pipelines) as bytes: pickle, read back by an unpickler that knows few names.

Invariant: reading never imports or calls anything but river's estimators, plain containers, numbers and random number
generators. The seal over stored state keeps strangers out; this keeps a stranger who has the key from running code.
Nor does it take more memory than there are bytes to read: a pickle may name a place in its memo by number, and Python
makes room for all places below that.
"""

from __future__ import annotations

import importlib
import io
import pickle
import pickletools
import re
from collections.abc import Callable
from inspect import isfunction
from typing import Any

from stream.checkpoint.port import StateRefused

_PLAIN: dict[str, frozenset[str]] = {
    "builtins": frozenset(
        "bool bytearray bytes complex dict float frozenset int iter list object range set slice str tuple".split()
    ),
    "collections": frozenset("Counter OrderedDict defaultdict deque".split()),
    "copy": frozenset({"deepcopy"}),
    "datetime": frozenset("date datetime time timedelta timezone".split()),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "functools": frozenset({"partial"}),
    "numpy": frozenset("array bool_ dtype float32 float64 int32 int64 ndarray ones zeros".split()),
    "numpy._core.multiarray": frozenset("_reconstruct scalar".split()),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "numpy.core.multiarray": frozenset("_reconstruct scalar".split()),
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "numpy.random._mt19937": frozenset({"MT19937"}),
    "numpy.random._pcg64": frozenset({"PCG64"}),
    "numpy.random._pickle": frozenset("__bit_generator_ctor __generator_ctor __randomstate_ctor".split()),
    "numpy.random.bit_generator": frozenset("SeedSequence __pyx_unpickle_SeedSequence".split()),
    "random": frozenset({"Random"}),
    "statistics": frozenset({"NormalDist"}),
}
"""What pickles of river 0.26 estimators name besides river itself: found by pickling every one of them."""

_RIVER_FUNCTIONS = frozenset({
    ("river._river_rust.vectordict", "euclidean_distance_dict"),
    ("river._river_rust.vectordict", "euclidean_distance_tuple"),
    ("river.feature_extraction.vectorize", "strip_accents_unicode"),
    ("river.feature_extraction.vectorize", "tokenize_using_regex_pattern"),
    ("river.metrics.mutual_info", "_average_arithmetic"),
    ("river.metrics.mutual_info", "_average_geometric"),
    ("river.metrics.mutual_info", "_average_max"),
    ("river.metrics.mutual_info", "_average_min"),
})  # fmt: skip

_RIVER_MODULE = re.compile(r"river(\.[A-Za-z_]\w*)+")
_NOT_LEARNERS = frozenset("api checks compat datasets dataviz evaluate stream test_estimators".split())
"""Parts of river that read files, reach the network or wrap other libraries."""

_PROTOCOL = 5

_NOT_WRITTEN = frozenset("PUT BINPUT LONG_BINPUT".split())
"""Opcodes that `dumps` never writes, for its protocol numbers places in the memo by counting."""

_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
"""Bytes of the length that an argument begins with, by what pickletools says of it."""

_STOP = ord(pickle.STOP)


_REFUSED, _COUNTED, _LINE, _TWO_LINES = 0, -10, -1, -2


def _step(code: pickletools.OpcodeInfo) -> int:
    """How far it is to the next opcode. Not above zero: that has to be read; less _COUNTED are the bytes that say."""
    if code.name in _NOT_WRITTEN:
        return _REFUSED
    if code.arg is None:
        return 1
    if code.arg.n == pickletools.UP_TO_NEWLINE:
        return _TWO_LINES if code.arg is pickletools.stringnl_noescape_pair else _LINE
    return _COUNTED - _LENGTHS[code.arg.n] if code.arg.n in _LENGTHS else 1 + code.arg.n


_STEPS = [_REFUSED] * 256
for _code in pickletools.opcodes:
    _STEPS[ord(_code.code)] = _step(_code)

_WITH_METHODS = frozenset({("random", "Random"), ("builtins", "str")})
"""What else than river's classes a pickled bound method may belong to."""


def dumps(value: object) -> bytes:
    """The object as bytes that `loads` reads."""
    return pickle.dumps(value, protocol=_PROTOCOL)


def loads(pickled: bytes) -> Any:
    """The object that was pickled. Raises StateRefused when the bytes name anything that is not a learner's part."""
    try:
        _look_through(pickled)
        return _Reader(io.BytesIO(pickled)).load()
    except StateRefused:
        raise
    except BaseException as error:  # a broken or hostile pickle can raise anything
        # A panic of river's Rust part is no Exception; what else is none (an interrupt, an exit) goes on its way.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise StateRefused(
            f"a stored learner cannot be read ({type(error).__name__}: {error}): it is damaged, or river has changed "
            "since; rebuild the shard from Kafka with `stream reset`"
        ) from error


def _look_through(pickled: bytes) -> None:
    """Raises UnpicklingError for an opcode that is none, or that `dumps` does not write."""
    at, end, steps = 0, len(pickled), _STEPS
    while at < end:
        code = pickled[at]
        step = steps[code]
        if step > 0:
            if code == _STOP:
                return
            at += step
        elif step < _COUNTED:
            first = at + 1 + _COUNTED - step
            at = first + int.from_bytes(pickled[at + 1 : first], "little")
        elif step == _REFUSED:
            raise pickle.UnpicklingError(f"no stored learner has the opcode {pickled[at : at + 1]!r} (at {at})")
        else:
            for _ in range(-step):
                at = pickled.find(b"\n", at) + 1 or end


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _method
        if name in _PLAIN.get(module, ()):
            return getattr(importlib.import_module(module), name)
        if _RIVER_MODULE.fullmatch(module) and not _NOT_LEARNERS.intersection(module.split(".")):
            found = _river(module, name)
            if found is not None:
                return found
        raise _refused(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise _refused(f"the persistent id {pid!r}")


def _river(module: str, name: str) -> Any:
    """A class that river defines in `module`, a function of such a class, or an allowed function; else None."""
    found: Any = importlib.import_module(module)
    if (module, name) in _RIVER_FUNCTIONS:
        return getattr(found, name)
    for part in name.split("."):
        if part.startswith("__"):
            return None
        found = getattr(found, part, None)
        # Every step must lead to something of river's own: no way through what a module happens to import.
        if not (isinstance(found, type) or ("." in name and isfunction(found))) or not _is_rivers(found):
            return None
    return found


def _method(owner: object, name: str) -> Callable[..., Any]:
    """What `getattr` stands for in a pickle: a bound method of a learner, of a generator, or a method of text."""
    kind = owner if isinstance(owner, type) else type(owner)
    known = _is_rivers(kind) or (kind.__module__, kind.__name__) in _WITH_METHODS
    # An instance's own attribute would hide the method that the name stands for.
    hidden = kind is type(owner) and name in getattr(owner, "__dict__", {})
    if known and not hidden and not name.startswith("__") and callable(getattr(kind, name, None)):
        bound: Callable[..., Any] = getattr(owner, name)
        return bound
    raise _refused(f"{kind.__module__}.{kind.__qualname__}.{name}")


def _is_rivers(found: object) -> bool:
    module = str(getattr(found, "__module__", ""))
    return module.startswith("river.") and not _NOT_LEARNERS.intersection(module.split("."))


def _refused(what: str) -> StateRefused:
    return StateRefused(
        f"a stored learner names {what}, which no learner needs: nothing of it was run. If you did not put it there, "
        "somebody else can write to the store and has its key; change the key, then `stream reset`"
    )

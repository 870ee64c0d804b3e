"""Modules that others import early and hardly ever use, put off until somebody does.

A worker that was killed is away for as long as it takes to start, and half of that went into modules that no event
needs: `river.drift` imports scipy.stats for one detector, and data sets, which import scikit-learn where there is one.

Invariant: outside of the block nothing is deferred: whoever imports such a module then gets the real one, and what was
imported inside the block finds it at the first attribute that it looks for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

SELDOM = (
    *("scipy.stats", "scipy.integrate", "river.drift.datasets"),
    *("narwhals", "narwhals.stable", "narwhals.stable.v2"),
)
"""What river imports for single detectors and metrics, for data sets and for data frames."""


class Deferred(ModuleType):
    """Stands for a module until an attribute of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """While the block runs, importing one of `names` that is not imported yet does not load it.

    >>> with deferred("this"):
    ...     import this  # prints nothing
    >>> "this" in sys.modules
    False
    """
    placeholders = {name: Deferred(name) for name in names if name not in sys.modules}
    for name, placeholder in placeholders.items():
        parent, _, child = name.rpartition(".")
        if parent in placeholders:
            setattr(placeholders[parent], child, placeholder)
    sys.modules.update(placeholders)
    try:
        yield
    finally:
        for name, placeholder in placeholders.items():
            if sys.modules.get(name) is placeholder:
                del sys.modules[name]

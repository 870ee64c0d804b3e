"""Features in slots instead of a dictionary, for models whose features are known: a third of the time to decode.

A row answers as a mapping does where single values are asked for. Whoever reads many rows of one type has them as
columns (`parts`). Invariant: a row holds what the dictionary would; a feature that the event lacks is not in it.

Measured on the reference job's predictions (12 features, CPython 3.11, msgspec 0.22, µs per record, decoding and
freeing): dictionary 3.8, row 1.2, no features at all 0.7.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import astuple

from stream.events import Scalar

MOST = 128
"""Features of a row, at most: a decoder looks for a field by going through them."""


BATCH = 256
"""Rows that are looked at together."""


class FeatureRow(Struct, gc=False):
    """The features of one event; subclasses have a slot for each feature."""

    slots: ClassVar[Mapping[str, str]] = {}
    """Attribute by feature."""

    def get(self, name: str, default: Scalar = None) -> Scalar:
        """The value of a feature, the default where there is none."""
        slot = self.slots.get(name)
        value = UNSET if slot is None else getattr(self, slot)
        return default if value is UNSET else cast(Scalar, value)

    def __contains__(self, name: object) -> bool:
        slot = self.slots.get(cast(str, name))
        return slot is not None and getattr(self, slot) is not UNSET

    def __iter__(self) -> Iterator[str]:
        return (name for name, slot in self.slots.items() if getattr(self, slot) is not UNSET)

    def items(self) -> ItemsView[str, Scalar]:
        """Names and values of the features that the event has."""
        pairs = zip(self.slots, msgspec.structs.astuple(self), strict=True)
        return {name: value for name, value in pairs if value is not UNSET}.items()


def row_type(names: Sequence[str]) -> type[FeatureRow] | None:
    """A type of rows with these features and no others; None where that cannot be.

    >>> row = msgspec.json.decode('{"amount": 1.5, "land": null}', type=row_type(["land", "amount", "age"]))
    >>> dict(row.items()), row.get("amount"), "age" in row
    ({'land': None, 'amount': 1.5}, 1.5, False)
    """
    if not 0 < len(names) <= MOST:
        return None
    slots = {name: f"f{number}" for number, name in enumerate(names)}
    fields = [(slot, Scalar | UnsetType, UNSET) for slot in slots.values()]
    try:
        made = msgspec.defstruct(
            "FeatureRow",
            fields,
            bases=(FeatureRow,),
            namespace={"slots": slots, "__annotations__": {"slots": ClassVar[Mapping[str, str]]}},
            rename={slot: name for name, slot in slots.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
    except ValueError:  # a name that JSON writes with escapes
        return None
    return cast(type[FeatureRow], made)


R = TypeVar("R", bound=Struct)


def with_rows(record: type[R], row: type[FeatureRow]) -> type[R]:
    """The record type with its features in such rows: a decoder of it refuses events with other features."""
    fields: list[Any] = []
    for each in msgspec.structs.fields(record):
        kind = row | None if each.name == "features" else each.type
        fields.append((each.name, kind) if each.required else (each.name, kind, each.default))
    return cast(type[R], msgspec.defstruct(record.__name__, fields, gc=False))


class Part(Struct, frozen=True):
    """Rows of one type as columns."""

    at: slice
    """Their places among all rows."""
    columns: Mapping[str, Sequence[Scalar | UnsetType]]

    def column(self, name: str) -> Sequence[Scalar | UnsetType]:
        """The values of one feature, UNSET where a row has none."""
        return self.columns.get(name) or (UNSET,) * (self.at.stop - self.at.start)


def parts(rows: Sequence[FeatureRow]) -> Iterator[Part]:
    """Rows of one type, at least one, as columns, `BATCH` rows at a time: more would leave the cache.

    >>> kind = row_type(["a", "b"])
    >>> [part] = parts([msgspec.json.decode(text, type=kind) for text in ('{"a": "x"}', '{"b": 2.5, "a": null}')])
    >>> part.at, part.column("a"), part.column("b"), part.column("c")
    (slice(0, 2, None), ('x', None), (UNSET, 2.5), (UNSET, UNSET))
    """
    names = list(type(rows[0]).slots)
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        columns = zip(*map(astuple, some), strict=True)
        yield Part(slice(start, start + len(some)), dict(zip(names, columns, strict=True)))


def plain(features: Mapping[str, Scalar] | FeatureRow | None) -> dict[str, Scalar] | None:
    """Features as a dictionary."""
    return None if features is None else dict(features.items())

"""Values of the file as the types of `stream.config`; every mismatch is reported, not only the first.

A problem says what was found and what was expected. Invariant: a value that is secret or came from the environment
is never part of a message.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
from msgspec import Struct
from msgspec import inspect as types

from stream.configfile import durations
from stream.configfile.problems import Path, Problem, choice, spell
from stream.configfile.tree import Node
from stream.events import seconds

_BAD = object()
"""Stands for a value that could not be read; a problem has been reported."""


class Reader:
    """Reads nodes as types; `problems` fills while it does."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def struct(self, kind: type[Struct], node: Node, path: Path, inherit: Struct | None = None) -> Any:
        """A struct from a mapping. What the mapping does not name comes from `inherit`, else from the type."""
        if node.value is None:
            return inherit if inherit is not None else self._filled(kind, {})
        if not isinstance(node.value, dict):
            self.mismatch(node, path, "a mapping")
            return inherit if inherit is not None else self._filled(kind, {})
        info = types.type_info(kind)
        assert isinstance(info, types.StructType)
        fields = {field.encode_name: field for field in info.fields}
        values: dict[str, Any] = {}
        if inherit is not None:
            values = {field.name: getattr(inherit, field.name) for field in info.fields}
        for name, child in node.value.items():
            field = fields.get(name)
            if field is None:
                self._report((*path, name), child.line, f"unknown key, {choice(name, fields)}")
                continue
            value = self._read(field.type, child, (*path, name), {})
            if value is not _BAD:
                values[field.name] = value
        missing = [f.encode_name for f in info.fields if f.required and f.encode_name not in node.value]
        for name in missing:
            self._report((*path, name), node.line, "is missing")
        return self._filled(kind, values)

    def touched(self, path: Path) -> bool:
        """Whether a problem was found at a path or below it."""
        return any(problem.path[: len(path)] == path for problem in self.problems)

    def _filled(self, kind: type[Struct], values: dict[str, Any]) -> Any:
        # A stand-in for a required value is never used: its absence is a problem, and then there is no configuration.
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in values:
                values[field.name] = () if "tuple" in str(field.type) else ""
        return kind(**values)

    def _report(self, path: Path, line: int, message: str) -> None:
        self.problems.append(Problem(path, message, line))

    def mismatch(self, node: Node, path: Path, expected: str, secret: bool = False) -> Any:
        self._report(path, node.line, f"found {found(node, secret)}, expected {expected}")
        return _BAD

    def _read(self, kind: types.Type, node: Node, path: Path, extra: dict[str, Any]) -> Any:
        match kind:
            case types.Metadata():
                return self._read(kind.type, node, path, extra | (kind.extra or {}))
            case types.UnionType():
                return self._union(kind, node, path, extra)
            case types.StructType():
                return self.struct(kind.cls, node, path)
            case types.DictType():
                return self._mapping(kind, node, path)
            case types.VarTupleType():
                return self._items(kind.item_type, node, path, extra)
            case types.FloatType() if extra.get("duration"):
                return self._duration(kind, node, path)
            case types.FloatType() if extra.get("moment"):
                return self._moment(node, path)
            case types.FloatType() | types.IntType():
                return self._number(kind, node, path)
            case types.StrType():
                return self._text(node, path, extra)
            case types.BoolType():
                return node.value if isinstance(node.value, bool) else self.mismatch(node, path, "true or false")
            case types.LiteralType():
                return self._literal(kind, node, path)
            case types.AnyType():
                return plain(node)
        raise TypeError(f"{spell(path)}: no way to read {kind}")

    def _union(self, kind: types.UnionType, node: Node, path: Path, extra: dict[str, Any]) -> Any:
        options = [option for option in kind.types if not isinstance(option, types.NoneType)]
        if node.value is None and len(options) < len(kind.types):
            return None
        if len(options) == 1:
            return self._read(options[0], node, path, extra)
        for option in options:
            if _fits(option, node):
                return self._read(option, node, path, extra)
        return self.mismatch(node, path, " or ".join(_describe(option) for option in options))

    def _mapping(self, kind: types.DictType, node: Node, path: Path) -> Any:
        if node.value is None:
            return {}
        if not isinstance(node.value, dict):
            return self.mismatch(node, path, "a mapping")
        read = {name: self._read(kind.value_type, child, (*path, name), {}) for name, child in node.value.items()}
        return {name: value for name, value in read.items() if value is not _BAD}

    def _items(self, item: types.Type, node: Node, path: Path, extra: dict[str, Any]) -> Any:
        if isinstance(node.value, list):
            read = [self._read(item, child, (*path, i), extra) for i, child in enumerate(node.value)]
            return tuple(value for value in read if value is not _BAD)
        if node.value is None or isinstance(node.value, dict):
            return self.mismatch(node, path, "a list")
        # One value stands for a list of one.
        value = self._read(item, node, path, extra)
        return value if value is _BAD else (value,)

    def _duration(self, kind: types.FloatType, node: Node, path: Path) -> Any:
        expected = "a duration such as 250ms, 5s, 10m, 1h or 7d"
        if node.value is None or isinstance(node.value, bool | list | dict):
            return self.mismatch(node, path, expected)
        try:
            value = durations.seconds(node.text)
        except ValueError:
            near = f" (did you mean {node.text}s?)" if isinstance(node.value, int | float) else ""
            return self.mismatch(node, path, expected + near)
        return value if value < 1e11 else self.mismatch(node, path, "a duration of at most a thousand years")

    def _moment(self, node: Node, path: Path) -> Any:
        if isinstance(node.value, str | int | float) and not isinstance(node.value, bool):
            try:
                return seconds(node.value)
            except ValueError:
                pass
        return self.mismatch(node, path, "a time such as 2026-01-31T12:00:00Z, or seconds since 1970")

    def _number(self, kind: types.FloatType | types.IntType, node: Node, path: Path) -> Any:
        whole = isinstance(kind, types.IntType)
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return self.mismatch(node, path, _describe(kind))
        assert isinstance(value, int | float)
        low = kind.ge is None or value >= kind.ge
        high = kind.le is None or value <= kind.le
        if not (low and high) or not math.isfinite(value) or abs(value) > 1e18:
            return self.mismatch(node, path, _describe(kind))
        return value if whole else float(value)

    def _text(self, node: Node, path: Path, extra: dict[str, Any]) -> Any:
        secret = bool(extra.get("secret"))
        if isinstance(node.value, str):
            return node.value
        if node.variables and not isinstance(node.value, list | dict):
            return node.text
        if node.value is None or isinstance(node.value, list | dict):
            return self.mismatch(node, path, "text", secret)
        return self.mismatch(node, path, "text: put it in quotes" if secret else f'text: write "{node.text}"', secret)

    def _literal(self, kind: types.LiteralType, node: Node, path: Path) -> Any:
        if node.value in kind.values and isinstance(node.value, str):
            return node.value
        names = [str(value) for value in kind.values]
        self._report(path, node.line, f"found {found(node)}, {choice(str(node.value), names)}")
        return _BAD


def found(node: Node, secret: bool = False) -> str:
    """What a message may say about a value."""
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    if node.variables:
        return f"the value of {', '.join(f'${{{name}}}' for name in node.variables)}"
    if node.value is None:
        return "nothing"
    if secret:
        return "a secret that is not text"
    text = node.text if len(node.text) <= 80 else f"{node.text[:77]}..."
    return f'"{text}"' if isinstance(node.value, str) else text


def plain(node: Node) -> Any:
    """A node as ordinary lists, dictionaries and scalars."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def _fits(kind: types.Type, node: Node) -> bool:
    value = node.value
    match kind:
        case types.DictType():
            return isinstance(value, dict)
        case types.StrType():
            return isinstance(value, str)
        case types.BoolType():
            return isinstance(value, bool)
        case types.FloatType() | types.IntType():
            return isinstance(value, int | float) and not isinstance(value, bool)
    return False


def _describe(kind: types.Type) -> str:
    match kind:
        case types.IntType() | types.FloatType():
            noun = "a whole number" if isinstance(kind, types.IntType) else "a number"
            if kind.ge is not None and kind.le is not None:
                return f"{noun} from {kind.ge:g} to {kind.le:g}"
            return noun if kind.ge is None else f"{noun} of at least {kind.ge:g}"
        case types.StrType():
            return "text"
        case types.BoolType():
            return "true or false"
        case types.DictType():
            return "a mapping"
    return "something else"

"""YAML text as a tree in which every value knows its line and whether it came from the environment.

Scalars follow YAML 1.2: `yes` and `on` are text, `1e-3` is a number, a date is text. Tags and merge keys are not
used. `${NAME}` in a value is replaced from the environment, `$${` stands for a literal `${`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, TypeAlias

import yaml
from msgspec import Struct

from stream.configfile.problems import Path, Problem


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Leaves the meaning of unquoted scalars to `resolve`; the C parser where PyYAML was built with it."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}


MAX_BYTES = 4 * 1024 * 1024
MAX_VALUES = 200_000
"""Aliases repeat what they name; a file that grows beyond this is refused instead of filling the memory."""

_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
"""What a value without a tag of its own has."""
_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_VARIABLE = re.compile(r"\$(\$\{)|\$\{([^}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Value: TypeAlias = "str | int | float | bool | list[Node] | dict[str, Node] | None"


class Node(Struct, frozen=True):
    """One value of the file."""

    value: Value
    line: int
    text: str = ""
    """A scalar as it was written, after replacement."""
    variables: tuple[str, ...] = ()
    """Environment variables that are part of it."""


class Tree:
    """Reads one text; `problems` fills while `root` is built."""

    def __init__(self, text: str, environment: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self._environment = environment
        self._values = 0
        self._open: set[int] = set()
        self.root = Node({}, 1)
        if len(text) > MAX_BYTES:
            self._complain((), 1, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB")
            return
        try:
            composed = yaml.compose(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            self._complain((), *_syntax(error, text))
            return
        except (yaml.YAMLError, RecursionError) as error:
            self._complain((), 1, f"not YAML: {str(error).splitlines()[0]}")
            return
        if composed is not None:
            try:
                self.root = self._node(composed, ())
            except RecursionError:
                self._complain((), 1, "values are nested too deeply")

    def line(self, path: Path) -> int | None:
        """The line of the value at a path, or of its nearest ancestor in the file."""
        node = self.root
        for part in path:
            child = _child(node, part)
            if child is None:
                break
            node = child
        return node.line

    def redact(self, path: Path, message: str) -> str:
        """The message without what came from the environment at a path or below it."""
        node: Node | None = self.root
        for part in path:
            node = _child(node, part) if node is not None else None
        for name in _variables(node) if node is not None else ():
            value = self._environment[name]
            message = message.replace(value, f"${{{name}}}") if value else message
        return message

    def has(self, path: Path) -> bool:
        """Whether the file says anything at a path."""
        node: Node | None = self.root
        for part in path:
            node = _child(node, part) if node is not None else None
        return node is not None

    def _complain(self, path: Path, line: int, message: str) -> None:
        self.problems.append(Problem(path, message, line))

    def _node(self, node: yaml.Node, path: Path) -> Node:
        line = node.start_mark.line + 1
        self._values += 1
        if self._values > MAX_VALUES:
            if self._values == MAX_VALUES + 1:
                self._complain((), line, f"more than {MAX_VALUES:,} values")
            return Node(None, line)
        if id(node) in self._open:
            self._complain(path, line, "an alias inside of what it names")
            return Node(None, line)
        self._open.add(id(node))
        try:
            if not isinstance(node, yaml.ScalarNode) and node.tag not in (
                "tag:yaml.org,2002:map",
                "tag:yaml.org,2002:seq",
            ):
                self._complain(path, line, f"found the tag {node.tag}, expected a value without a tag")
            if isinstance(node, yaml.MappingNode):
                return Node(self._mapping(node, path), line)
            if isinstance(node, yaml.SequenceNode):
                return Node([self._node(item, (*path, i)) for i, item in enumerate(node.value)], line)
            assert isinstance(node, yaml.ScalarNode)
            return self._scalar(node, path, line)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._complain(path, line, "a key is a list or a mapping, expected text")
                continue
            name = str(key.value)
            if name in entries:
                self._complain((*path, name), line, f"the key stands here again, first in line {entries[name].line}")
                continue
            child = self._node(value, (*path, name))
            # A block below its key is pointed at by the line of the key.
            entries[name] = Node(child.value, line, child.text, child.variables)
        return entries

    def _scalar(self, node: yaml.ScalarNode, path: Path, line: int) -> Node:
        variables: list[str] = []

        def replace(match: re.Match[str]) -> str:
            if match[1]:
                return "${"
            name = match[2]
            if not _NAME.fullmatch(name) or not match[0].endswith("}"):
                self._complain(path, line, f"found {match[0]}, expected ${{NAME}}, or $${{ for a literal ${{")
            elif name not in self._environment:
                self._complain(path, line, f"the environment variable {name} is not set")
            else:
                variables.append(name)
                return self._environment[name]
            return ""

        text = _VARIABLE.sub(replace, str(node.value))
        # Inside of { } a variable has to be quoted, so quotes do not make it text.
        quoted = bool(node.style) and not variables
        return Node(text if quoted else resolve(text), line, text, tuple(variables))


def resolve(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar.

    >>> resolve("1e-3"), resolve("1_000"), resolve("yes"), resolve("~")
    (0.001, 1000, 'yes', None)
    """
    if text in _WORDS:
        return _WORDS[text]
    try:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    except ValueError:  # underscores where Python allows none, or thousands of digits
        return text
    return text


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    """Line and words of what the YAML parser says."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    message = f"not YAML: {error.problem or 'it ends too early'}"
    start = error.context_mark.line if error.context_mark else line - 1
    if error.context and start != line - 1:
        message += f" ({error.context} that begins in line {start + 1})"
    if any("${" in part for part in text.splitlines()[start:line]):
        message += '; inside of { } and [ ] write "${NAME}" in quotes'
    return line, message


def _child(node: Node, part: str | int) -> Node | None:
    if isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
        return node.value[part]
    return None


def _variables(node: Node) -> set[str]:
    children: list[Node] = []
    if isinstance(node.value, dict):
        children = list(node.value.values())
    elif isinstance(node.value, list):
        children = node.value
    return set(node.variables).union(*map(_variables, children))

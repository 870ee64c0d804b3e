"""What is wrong with a configuration file, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeAlias

from msgspec import Struct

Path: TypeAlias = tuple[str | int, ...]

_plain = re.compile(r"[^\s.\[\]\"']+")


class Problem(Struct, frozen=True):
    """One thing that is wrong: its YAML path, its line (from 1; None when the file has no such place), and why."""

    path: Path
    message: str
    line: int | None = None

    def render(self, file: str) -> str:
        """The problem as one line of text: `file:line: path: message`."""
        place = file if self.line is None else f"{file}:{self.line}"
        path = spell(self.path)
        return f"{place}: {path}: {self.message}" if path else f"{place}: {self.message}"


class ConfigurationError(Exception):
    """A configuration file that cannot be used; `str()` has one line for each problem, in the order of the file."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(problem.render(file) for problem in self.problems))


def spell(path: Path) -> str:
    """A path as people read it.

    >>> spell(("models", "car-loan", "rules", 0, "for"))
    'models.car-loan.rules[0].for'
    >>> spell(("models", "a.b", "task"))
    'models["a.b"].task'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _plain.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text


def choice(found: str, known: Iterable[str]) -> str:
    """The known names, the nearest first as a question: the tail of a message about an unknown one.

    >>> choice("pis", ["psi", "js"])
    'expected one of: psi, js; did you mean psi?'
    """
    names = list(known)
    text = f"expected one of: {', '.join(names)}" if names else "there are none"
    near = get_close_matches(found, names, n=1, cutoff=0.6)
    return f"{text}; did you mean {near[0]}?" if near else text

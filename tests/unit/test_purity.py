"""What decides reads no clock and does no I/O: replay equals live because of it.

Import floors are checked by import-linter (pyproject.toml); this looks for calls that need no import of their own.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "stream"
PURE = sorted(
    [*(PACKAGE / "monitor").glob("*.py"), PACKAGE / "shard.py", PACKAGE / "taking.py", PACKAGE / "effects.py"]
)
FORBIDDEN = {"now", "utcnow", "today", "open", "print", "input", "perf_counter", "monotonic", "sleep", "urandom"}


def called(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            target = node.func
            names.add(target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", ""))
    return names


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_calls_no_clock_and_no_io(path: Path) -> None:
    assert not called(ast.parse(path.read_text(encoding="utf-8"))) & FORBIDDEN


def test_the_check_sees_a_clock() -> None:
    assert called(ast.parse("import datetime as d\nx = d.datetime.now(d.UTC)\nprint(x)")) >= {"now", "print"}

"""Log lines: ECS for machines, one line per record whatever is in it, one line per kind and minute."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from stream.telemetry import logs


def record(message: str, *args: object, level: int = logging.WARNING, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("stream.engine", level, "f.py", 1, message, args, None)
    made.created = 1_767_225_600.25
    for key, value in extra.items():
        setattr(made, key, value)
    return made


def failed(message: str) -> logging.LogRecord:
    try:
        float(message)
    except ValueError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
    return made


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_json_line_is_ecs() -> None:
    line = json.loads(logs.EcsFormatter().format(record("took %d records", 3, partition=7, model="fraud")))
    assert line["@timestamp"] == "2026-01-01T00:00:00.250Z"
    assert line["log.level"] == "warning"
    assert line["message"] == "took 3 records"
    assert line["ecs.version"] == logs.ECS_VERSION
    assert line["log.logger"] == "stream.engine"
    assert line["service.name"] == "stream"
    assert line["stream.partition"] == 7
    assert line["stream.model"] == "fraud"
    assert isinstance(line["process.pid"], int)


def test_an_error_carries_type_message_and_trace() -> None:
    line = json.loads(logs.EcsFormatter().format(failed("bad value")))
    assert line["error.type"] == "ValueError"
    assert "bad value" in line["error.message"]
    assert "test_logs.py" in line["error.stack_trace"]


@pytest.mark.parametrize(
    "value",
    ["\ud800", 2**200, {"a": {1, 2}}, float("nan"), object(), b"\xff", "\u2028", [[[[]]]]],
    ids=lambda value: type(value).__name__,
)
def test_a_json_line_comes_out_whatever_it_carries(value: object) -> None:
    line = logs.EcsFormatter().format(record("said %s", value, what=value))
    assert "\n" not in line
    assert json.loads(line)["message"]


def test_text_is_one_line_that_nothing_can_forge() -> None:
    hostile = "x\n2026-01-01T00:00:00.000Z ERROR   forged\r\x1b[31m\u2028\x9b"
    line = logs.TextFormatter().format(record("model %s", hostile, model=hostile, kind="k"))
    assert line.splitlines() == [line]
    assert line.startswith("2026-01-01T00:00:00.250Z WARNING model x\\n2026")
    assert "\x1b" not in line
    assert "kind=" not in line


def test_a_trace_in_text_is_indented() -> None:
    first, *rest = logs.TextFormatter().format(failed("bad\nvalue")).split("\n")
    assert first.endswith("it failed")
    assert rest
    assert all(part.startswith("    ") for part in rest)


def test_one_line_per_kind_and_minute_says_what_was_left_out() -> None:
    now = [0.0]
    limit = logs.OncePerMinute(clock=lambda: now[0])
    passed = []
    for second in range(121):
        now[0] = float(second)
        for kind in ("not_json", "future"):
            made = record("refused", kind=kind)
            if limit.filter(made):
                passed.append((second, kind, logs.EcsFormatter().format(made)))
    assert [(second, kind) for second, kind, _ in passed] == [
        (second, kind) for second in (0, 60, 120) for kind in ("not_json", "future")
    ]
    assert json.loads(passed[0][2])["message"] == "refused"
    assert json.loads(passed[2][2])["message"] == "refused (and 59 more like it since the last line)"


def test_records_without_a_kind_always_pass() -> None:
    limit = logs.OncePerMinute(clock=lambda: 0.0)
    assert all(limit.filter(record("started")) for _ in range(3))


def test_a_flood_of_kinds_is_bounded_in_memory_and_lines() -> None:
    limit = logs.OncePerMinute(clock=lambda: 0.0)
    passed = sum(limit.filter(record("x", kind=f"k{i}")) for i in range(5 * logs.MAX_KINDS))
    assert passed == logs.MAX_KINDS + 1


@pytest.mark.parametrize(("log_format", "starts"), [("json", '{"@timestamp"'), ("text", "20")])
def test_configure_sends_everything_through_one_formatter(root: logging.Logger, log_format: Any, starts: str) -> None:
    out = io.StringIO()
    logs.configure(log_format, out=out)
    logs.configure(log_format, out=out)
    logging.getLogger("stream.any").info("hello", extra={"model": "m"})
    logging.getLogger("stream.any").debug("not shown")
    for _ in range(3):
        logging.getLogger("stream.any").warning("refused", extra={"kind": "bad"})
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert all(line.startswith(starts) for line in lines)

"""Log lines for machines (ECS JSON) and for people, and a limit so that bad input cannot flood them.

Invariant: one record is one line that starts with its time, whatever a model name or an error message contains (a
traceback follows indented); a record with `extra={"kind": …}` appears at most once per kind and minute.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import msgspec

ECS_VERSION = "8.11.0"
"""The Elastic Common Schema that the field names follow: https://www.elastic.co/guide/en/ecs/8.11/."""

SERVICE = "stream"
MAX_KINDS = 1000
"""Kinds remembered by the limit; what comes beyond shares one, so that memory is bounded."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "repeats"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {10: "\\n", 13: "\\r", 9: "\\t"}
_LINES = {0x2028: "\\u2028", 0x2029: "\\u2029"}
_ESCAPES = _CONTROL | _LINES
_encode = msgspec.json.Encoder(enc_hook=str).encode


class EcsFormatter(logging.Formatter):
    """One JSON object per line. Everything passed as `extra` stands under `stream.`, such as `stream.model`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line: dict[str, Any] = {
            "@timestamp": _time(record),
            "log.level": record.levelname.lower(),
            "message": _message(record),
            "ecs.version": ECS_VERSION,
            "log.logger": record.name,
            "service.name": SERVICE,
            "process.pid": record.process,
            "process.thread.name": record.threadName,
        }
        line |= {f"{SERVICE}.{key}": value for key, value in _extra(record).items()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error.type"] = record.exc_info[0].__name__
            line["error.message"] = str(record.exc_info[1])
            line["error.stack_trace"] = self.formatException(record.exc_info)
        return _json(line)


class TextFormatter(logging.Formatter):
    """For a terminal: time, level, message, then what came as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline; a traceback follows indented."""
        extra = " ".join(f"{key}={value}" for key, value in _extra(record).items() if key != "kind")
        words = f"{_message(record)}  {extra}" if extra else _message(record)
        line = f"{_time(record)} {record.levelname:<8}{words.translate(_ESCAPES)}"
        if record.exc_info and record.exc_info[0] is not None:
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n    {part.translate(_ESCAPES)}" for part in trace)
        return line


class OncePerMinute(logging.Filter):
    """Lets the first record of a kind through, then one per `interval` seconds that says how many were left out.

    A kind is what a record's `extra` says (`kind`); records without one always pass.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, interval: float = 60.0) -> None:
        super().__init__()
        self._clock = clock
        self._interval = interval
        self._seen: dict[str, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        kind = getattr(record, "kind", None)
        if kind is None:
            return True
        with self._lock:
            key = str(kind) if str(kind) in self._seen or len(self._seen) < MAX_KINDS else ""
            now = self._clock()
            last, left_out = self._seen.get(key, (-self._interval, 0))
            if key in self._seen and now - last < self._interval:
                self._seen[key] = (last, left_out + 1)
                return False
            self._seen[key] = (now, 0)
        record.repeats = left_out
        return True


def configure(log_format: Literal["text", "json"], level: int = logging.INFO, out: TextIO | None = None) -> None:
    """Sends all log records of the process to `out` (standard error) in one format, replacing earlier handlers."""
    target = logging.StreamHandler(out or sys.stderr)
    target.setFormatter(EcsFormatter() if log_format == "json" else TextFormatter())
    target.addFilter(OncePerMinute())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(target)
    root.setLevel(level)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    left_out = getattr(record, "repeats", 0)
    return record.getMessage() + (f" (and {left_out:,} more like it since the last line)" if left_out else "")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _json(line: dict[str, Any]) -> str:
    try:
        return _encode(line).decode()
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError):
        # A log line must come out whatever was passed as `extra`: lone surrogates, integers beyond 64 bits, cycles.
        plain = {key: str(value).encode("utf-8", "backslashreplace").decode() for key, value in line.items()}
        return _encode(plain).decode()

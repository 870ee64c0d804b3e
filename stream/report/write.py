"""Replays and writes the page: once, or once for each of two configurations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from stream.config import Config
from stream.effects import Outgoing, Side
from stream.recorded import Progress
from stream.replay import SLICE, replay
from stream.report.history import Recorder
from stream.report.page import render
from stream.report.scoreboard import Run
from stream.report.truth import read
from stream.shard import Shard

FILE = "report.html"
COMPARED = "compared"
"""Folder of the second replay's files, inside the first one's."""


class Asked(Struct, frozen=True):
    """One replay to run: what the page calls it, its configuration, where its files go."""

    label: str
    config: Config
    out: Path


def labels_of(files: Sequence[Path]) -> list[str]:
    """Short names that tell the files apart.

    >>> labels_of([Path("a/monitor.yaml"), Path("b/monitor.yaml")])
    ['a/monitor.yaml', 'b/monitor.yaml']
    >>> labels_of([Path("a/one.yaml"), Path("a/two.yaml")])
    ['one.yaml', 'two.yaml']
    """
    short = [file.name for file in files]
    return short if len(set(short)) == len(short) else [str(file) for file in files]


def backtest(
    asked: Sequence[Asked],
    files: Mapping[Side, Sequence[Path]],
    truth: Path | None,
    page: Path,
    *,
    slice_size: int = SLICE,
    progress: Progress = lambda _: None,
) -> list[Run]:
    """Runs the replays and writes the page. Raises ConfigurationError for the truth, and what `replay` raises."""
    incidents = None if truth is None else read(truth, [each.config for each in asked])
    runs = [_run(each, files, slice_size, progress) for each in asked]
    part = page.with_name(f"{page.name}.part")
    part.write_text(render(runs, incidents), encoding="utf-8")
    part.replace(page)
    return runs


def _run(asked: Asked, files: Mapping[Side, Sequence[Path]], slice_size: int, progress: Progress) -> Run:
    recorder = Recorder()
    shards: list[Shard] = []

    def watch(shard: Shard, decided: Sequence[Outgoing]) -> None:
        shards[:] = [shard]
        recorder(shard, decided)

    summary = replay(asked.config, files, asked.out, slice_size=slice_size, progress=progress, observer=watch)
    return Run(asked.label, asked.config, summary, recorder.histories(shards[0]) if shards else [])

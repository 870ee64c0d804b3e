"""A progress bar over the files that are read, and the table at the end of a replay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from stream.console.summary import models_table, print_alerts
from stream.console.words import clock
from stream.effects import Channel
from stream.recorded import Progress as Told
from stream.recorded import size
from stream.replay import FILES, Summary


@contextmanager
def reading(files: Sequence[Path]) -> Iterator[Told]:
    """A bar on standard error while files are read; nothing when that is no terminal. Raises UnreadableFile."""
    total = size(files)
    columns = (
        TextColumn("reading"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda count: bar.advance(task, count)


def summarise(summary: Summary, out: Path, console: Console | None = None) -> None:
    """Prints what a replay came to."""
    console = console or Console()
    view = msgspec.to_builtins(summary.view, str_keys=False)
    console.print(
        f"{summary.events['predictions']:,} predictions and {summary.events['labels']:,} labels from "
        f"{clock(summary.start)} to {clock(summary.end)} UTC",
        highlight=False,
    )
    if view["models"]:
        console.print(models_table(sorted(view["models"], key=lambda model: str(model["model"]))))
    print_alerts(
        console,
        sorted((alert for model in view["models"] for alert in model["alerts"]), key=lambda alert: alert["ts"])[-20:],
    )
    if view["dead_letters"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(view["dead_letters"].items()))
        console.print(f"refused: {reasons} (see {out / FILES[Channel.DEAD_LETTERS]})", highlight=False)
    written = ", ".join(f"{summary.effects.get(channel, 0):,} in {name}" for channel, name in FILES.items())
    console.print(f"{out}: {written}", highlight=False)

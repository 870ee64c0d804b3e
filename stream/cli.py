"""The commands: parse, call, print. Exit codes: 0 done, 1 failed, 2 bad usage or configuration.

What a command needs is imported when it runs, so that `stream --help` answers at once.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from stream.config import Config
    from stream.effects import Side

FAILED, BAD_USAGE = 1, 2

MANY = ("--predictions", "--labels")
"""Options that take several values at once, as a shell expands `--labels day-*.jsonl`."""


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


app = typer.Typer(
    name="stream",
    help="Monitors machine-learning models on a stream of predictions and labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The configuration (YAML).")]
Logs = Annotated[LogFormat, typer.Option("--log-format", help="Log lines for people, or as ECS JSON.")]
Predictions = Annotated[
    list[Path], typer.Option("--predictions", metavar="F…", help="JSON lines (.gz too), Parquet or CSV files.")
]
Labels = Annotated[list[Path] | None, typer.Option("--labels", metavar="F…", help="The same, of labels.")]


@app.command()
def demo(
    duration: Annotated[
        str | None, typer.Option("--for", metavar="T", help="End after this long, such as 30s.")
    ] = None,
    rate: Annotated[int | None, typer.Option("--rate", min=1, metavar="N", help="Predictions per second.")] = None,
    log_format: Logs = LogFormat.TEXT,
) -> None:
    """Shows it all: a broker, traffic with a known drift, a worker, alerts. Needs nothing else."""
    from stream.configfile.durations import seconds

    try:
        limit = None if duration is None else seconds(duration)
    except ValueError:
        _refuse(f"--for: found {duration}, expected a duration such as 30s or 5m")
    from stream import demo as demonstration

    raise typer.Exit(demonstration.run(limit, rate, log_format.value))


@app.command()
def run(config: ConfigFile, log_format: Logs = LogFormat.TEXT) -> None:
    """Runs one worker until it is told to stop (Ctrl-C, SIGTERM)."""
    settings = _load(config)
    from stream import app as worker

    raise typer.Exit(worker.run(settings, log_format.value))


@app.command()
def check(config: ConfigFile) -> None:
    """Says everything that is wrong with a configuration, and where."""
    settings = _load(config)
    rules = sum(len(model.rules or ()) for model in settings.models.values())
    _say(f"{config}: good. {len(settings.models)} models, {rules} rules; unknown models: {settings.unknown_models}")


@app.command()
def replay(
    config: ConfigFile,
    predictions: Predictions,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the results go.")],
    labels: Labels = None,
    slice_size: Annotated[int, typer.Option("--slice", min=1, metavar="N", help="Records at a time.")] = 5000,
    report: Annotated[
        bool, typer.Option("--report", help="Also write report.html: what happened, in one page.")
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option("--truth", metavar="FILE", help="Times known to be bad (YAML or JSON lines): judges each rule."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="FILE", help="A second configuration, to see beside the first."),
    ] = None,
) -> None:
    """Runs the same engine over recorded events, in event-time order and without a broker."""
    settings = _load(config)
    _there([*predictions, *(labels or [])])
    if report or truth or compare:
        _report(config, settings, {"predictions": predictions, "labels": labels or []}, out, slice_size, truth, compare)
        return
    from stream.console.progress import reading, summarise
    from stream.recorded import UnreadableFile
    from stream.replay import replay as rerun

    try:
        with reading([*predictions, *(labels or [])]) as progress:
            summary = rerun(
                settings,
                {"predictions": predictions, "labels": labels or []},
                out,
                slice_size=slice_size,
                progress=progress,
            )
    except (UnreadableFile, OSError) as error:
        _fail(str(error))
    summarise(summary, out)


def _report(
    config: Path,
    settings: Config,
    recorded: dict[Side, list[Path]],
    out: Path,
    slice_size: int,
    truth: Path | None,
    compare: Path | None,
) -> None:
    """A replay with its page; the second configuration's results go to `compared` inside the folder."""
    from stream.configfile import ConfigurationError
    from stream.console.progress import reading, summarise
    from stream.recorded import UnreadableFile
    from stream.report.write import COMPARED, FILE, Asked, backtest, labels_of

    others = [] if compare is None else [(compare, _load(compare))]
    files = [config, *(path for path, _ in others)]
    asked = [
        Asked(label, each, out if number == 0 else out / COMPARED)
        for number, (label, each) in enumerate(
            zip(labels_of(files), [settings, *(other for _, other in others)], strict=True)
        )
    ]
    try:
        with reading([*recorded["predictions"], *recorded["labels"]] * len(asked)) as progress:
            runs = backtest(asked, recorded, truth, out / FILE, slice_size=slice_size, progress=progress)
    except ConfigurationError as error:
        _refuse(str(error))
    except (UnreadableFile, OSError) as error:
        _fail(str(error))
    for run, each in zip(runs, asked, strict=True):
        summarise(run.summary, each.out)
    _say(f"report: {out / FILE}")


@app.command()
def profile(
    config: ConfigFile,
    model: Annotated[str, typer.Option("--model", metavar="M", help="Whose events of the files are taken.")],
    predictions: Predictions,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="REF", help="The file to write.")],
    labels: Labels = None,
) -> None:
    """Writes a reference: what recorded events say is normal."""
    settings = _load(config)
    _there([*predictions, *(labels or [])])
    from stream.console.progress import reading
    from stream.profile import NoReference, write
    from stream.recorded import UnreadableFile

    try:
        with reading([*predictions, *(labels or [])]) as progress:
            words = write(settings, model, predictions, labels or [], output, progress)
    except (UnreadableFile, NoReference, OSError) as error:
        _fail(str(error))
    _say(f"{output}: {words}")


@app.command()
def topics(
    config: ConfigFile, create: Annotated[bool, typer.Option("--create", help="Create those that are missing.")] = False
) -> None:
    """Shows the topics and whether their partitions match; exits 1 when a worker could not start on them."""
    settings = _load(config)
    import asyncio

    from stream.engine import topics as topic_list

    try:
        states = asyncio.run(topic_list.inspect(settings.kafka, create))
    except (topic_list.BrokerUnreachable, topic_list.TopicProblem, OSError) as error:
        _fail(str(error))
    for state in states:
        count = "missing" if state.partitions is None else f"{state.partitions} partitions"
        note = " (created)" if state.created else ""
        if state.partitions not in (None, state.wanted):
            note = f" (the configuration says {state.wanted})"
        _say(f"{state.topic}: {count}{note}")
    problem = topic_list.mismatch(settings.kafka, {state.topic: state.partitions for state in states})
    if problem:
        _fail(problem)


@app.command()
def status(
    config: ConfigFile,
    url: Annotated[str | None, typer.Option("--url", help="The worker to ask, instead of the one configured.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The worker's answer as it is.")] = False,
) -> None:
    """Shows what a running worker knows."""
    settings = _load(config)
    from rich.console import Console

    from stream.console.status import NoAnswer, fetch, show, url_of
    from stream.web.access import token_of

    try:
        answer = fetch(url or url_of(settings.http), token_of(settings.http, os.environ))
    except ValueError as error:
        _refuse(str(error))
    except NoAnswer as error:
        _fail(str(error))
    if as_json:
        import json

        _say(json.dumps(answer))
    else:
        show(Console(), answer)


@app.command()
def reference(
    config: ConfigFile,
    model: Annotated[str, typer.Option("--model", metavar="M", help="Whose reference is taken anew.")],
    first: Annotated[int | None, typer.Option("--first", min=1, metavar="N", help="How many predictions.")] = None,
    at: Annotated[str | None, typer.Option("--at", metavar="T", help="From this event time on, not now.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="WORDS", help="Why, for others.")] = "",
    url: Annotated[str | None, typer.Option("--url", help="The worker to tell, instead of the one configured.")] = None,
) -> None:
    """Accepts the present as the new normal: a model's next predictions become its reference."""
    settings = _load(config)
    from stream.console.status import NoAnswer, tell, url_of
    from stream.events import instant
    from stream.web.access import token_of

    said = {"model": model, "reason": reason, "first": first, **({} if at is None else {"at": at})}
    try:
        token = token_of(settings.http, os.environ)
        answer = tell(url or url_of(settings.http), "/api/references", said, token)
    except ValueError as error:
        _refuse(str(error))
    except NoAnswer as error:
        _fail(str(error))
    _say(f"the reference of {model} is taken anew from predictions since {instant(answer['at'])}")


@app.command()
def alerts(
    config: ConfigFile,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new ones until Ctrl-C.")] = False,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="With --follow: first show those that are there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Records as they are, one a line.")] = False,
) -> None:
    """Shows the alert topic: all that is there, or with --follow what comes."""
    settings = _load(config)
    import asyncio

    import msgspec
    from rich.console import Console

    from stream.console.alerts import read
    from stream.console.summary import print_alerts
    from stream.engine.topics import BrokerUnreachable, TopicProblem

    async def show() -> None:
        console = Console()
        async for alert, value in read(settings.kafka, from_beginning=from_beginning or not follow, follow=follow):
            if as_json:
                typer.echo(value)
            else:
                print_alerts(console, [msgspec.to_builtins(alert)])

    try:
        asyncio.run(show())
    except (BrokerUnreachable, TopicProblem, OSError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def schemas(out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")]) -> None:
    """Writes the JSON Schema of every record."""
    from stream.schemas import write

    try:
        _say("\n".join(str(path) for path in write(out)))
    except OSError as error:
        _fail(str(error))


@app.command()
def dashboards(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the files go.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="The configuration; defaults when left out.")
    ] = None,
) -> None:
    """Writes a Grafana dashboard, Prometheus rules and Alertmanager routes."""
    from stream.config import Config
    from stream.telemetry.dashboards import write

    settings = Config() if config is None else _load(config)
    try:
        _say("\n".join(str(path) for path in write(settings, out)))
    except OSError as error:
        _fail(str(error))


@app.command()
def reset(
    config: ConfigFile,
    shard: Annotated[list[int] | None, typer.Option("--shard", metavar="N", help="Only this partition.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forgets stored state, so that it is rebuilt from what Kafka still has. Stop the workers first."""
    settings = _load(config)
    from stream.checkpoint.open import open_store
    from stream.checkpoint.port import StoreUnavailable

    try:
        store = open_store(settings.checkpoint.store, settings.kafka.group)
        found = [number for number in store.shards() if number >= 0]  # silences stay: Kafka does not have them
        chosen = found if shard is None else [number for number in shard if number in found]
        if not chosen:
            _say(f"There is no state of {'any partition' if shard is None else 'such a partition'}.")
            return
        numbers = ", ".join(map(str, chosen))
        if not yes:
            typer.confirm(f"Forget all that is known of partitions {numbers}?", abort=True)
        for number in chosen:
            store.reset(number)
        store.close()
    except StoreUnavailable as error:
        _fail(str(error))
    _say(f"Forgotten: partitions {numbers}.")


def spread(words: list[str]) -> list[str]:
    """Arguments with the name of an option in `MANY` repeated before each of its values.

    >>> spread(["replay", "--labels", "a", "b", "--out", "c"])
    ['replay', '--labels', 'a', '--labels', 'b', '--out', 'c']
    """
    result: list[str] = []
    name, values = None, 0
    for word in words:
        if word.startswith("-") and word != "-":
            name, values = word if word in MANY else None, 0
        elif name is not None:
            result += [name] if values else []
            values += 1
        result.append(word)
    return result


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point of the console script."""
    app(args=spread(sys.argv[1:] if arguments is None else arguments), prog_name="stream")
    raise SystemExit(0)


def _load(path: Path) -> Config:
    from stream.configfile import ConfigurationError, load

    try:
        return load(path)
    except ConfigurationError as error:
        _refuse(str(error))


def _there(files: list[Path]) -> None:
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        _refuse("\n".join(f"{path}: expected a file, there is none" for path in missing))


def _say(text: str) -> None:
    typer.echo(text)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(FAILED)


def _refuse(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(BAD_USAGE)

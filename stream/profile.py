"""References from recorded events: what a model's features, output and performance were when all was well.

The shard that a worker runs reads the events, so a reference from files is what the worker would have made of the same
events. Invariant: it is a function of the files, the model's specification and the limits alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import UNSET, structs

from stream.checkpoint.packing import pack
from stream.config import DAY, Config, Learn, Model
from stream.config import Reference as Wanted
from stream.effects import Clock, Side, StoredRecord
from stream.monitor.features.feature_layout import FeatureLayout
from stream.monitor.features.reference import Reference, ReferenceRefused, from_bytes, to_bytes, with_performance
from stream.monitor.model import ModelMonitor
from stream.monitor.rules.asked import asks
from stream.recorded import Progress, records, slices
from stream.shard import Shard

SLICE = 5000
YEAR = 365 * DAY
EVERYTHING = 10**12
"""More predictions than a file has."""


class NoReference(Exception):
    """A reference cannot be had from these files; the message says why."""


def references(config: Config) -> dict[str, Reference]:
    """The references that the configuration takes from files, by model. Raises NoReference and UnreadableFile."""
    found: dict[str, Reference] = {}
    for name, model in config.models.items():
        wanted = model.reference
        if wanted.file is not None:
            found[name] = _read(Path(wanted.file), name)
        elif wanted.predictions is not None:
            labels = [Path(wanted.labels)] if wanted.labels is not None else []
            found[name] = build(config, name, [Path(wanted.predictions)], labels)
    return found


def build(
    config: Config,
    name: str,
    predictions: Sequence[Path],
    labels: Sequence[Path],
    progress: Progress = lambda _: None,
) -> Reference:
    """The reference that all events of one model in these files make. Raises NoReference and UnreadableFile."""
    shard = Shard(0, structs.replace(config, models={name: _whole(config.model(name))}, unknown_models="dead-letter"))
    files: dict[Side, Iterator[StoredRecord]] = {
        "predictions": records(predictions, progress),
        "labels": records(labels, progress),
    }
    for side, batch, behind in slices(files, SLICE):
        now = batch[-1].timestamp / 1000 if batch else 0.0
        shard.apply({side: batch}, Clock(now, behind))
        shard.forget_effects()
    shard.finish()
    monitor = shard.models.get(name)
    builder = monitor.normal.builder if monitor is not None else None
    source = ", ".join(path.name for path in predictions)
    if monitor is None or builder is None or not builder.rows:
        raise NoReference(f"{source}: found no usable prediction of {name!r}, expected some: is that the model's name?")
    return _measured(monitor, builder.finish(f"{builder.rows:,} predictions of {source}"))


def _measured(monitor: ModelMonitor, reference: Reference) -> Reference:
    """The reference of all that a monitor has seen, with how well the model did, and what its losses depend on."""
    losses, builder, features = monitor.estimator.losses, monitor.normal.builder, FeatureLayout(reference)
    assert builder is not None
    if monitor.layout is not None and monitor.layout.task == "regression":
        collected = builder.columns(features)
        losses.remember(collected[:0], collected, reference.version)
        losses.calibrate(monitor.layout, features, at_once=True)
    learned = UNSET if losses.scale is None else pack(losses.state())
    return with_performance(reference, pack(monitor.at_reference()), learned)


def write(
    config: Config,
    name: str,
    predictions: Sequence[Path],
    labels: Sequence[Path],
    output: Path,
    progress: Progress = lambda _: None,
) -> str:
    """Writes the reference of recorded events to a file and returns what it is, in words."""
    reference = build(config, name, predictions, labels, progress)
    part = output.with_name(f"{output.name}.part")
    part.write_bytes(to_bytes(reference))
    part.replace(output)
    kinds = f"{len(reference.features)} features" + (f", {len(reference.ignored)} ignored" if reference.ignored else "")
    outcomes = ", with outcomes" if labels else ""
    return f"reference {reference.version} of {name}: {reference.source}, {kinds}{outcomes}"


def _whole(model: Model) -> Model:
    """A specification under which everything becomes reference and nothing else happens; rules say what to measure."""
    return structs.replace(
        model,
        horizon=1000 * YEAR,
        pane=DAY,
        windows=(DAY,),
        reference=Wanted(first=EVERYTHING),
        rules=tuple(filter(asks, model.rules or ())),
        learn=Learn(),
    )


def _read(path: Path, model: str) -> Reference:
    try:
        return from_bytes(path.read_bytes())
    except OSError as error:
        raise NoReference(f"reference of {model}: {path}: {(error.strerror or str(error)).lower()}") from None
    except ReferenceRefused as error:
        raise NoReference(f"reference of {model}: {path}: {error}") from None

"""Replay: the shard that a worker runs, over recorded events instead of Kafka.

One shard takes all models. Each topic is read in event-time order and the one that is behind goes on, so memory holds
a slice of each and the join. Invariant: what is written to the folder is a function of the configuration and the files
alone, whatever the slice size and the machine's clock.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec
from msgspec import Struct

from stream.config import Config
from stream.effects import SIDES, Channel, Clock, Outgoing, Side
from stream.learning.registry import DirectoryRegistry
from stream.profile import references
from stream.recorded import Progress, records, slices
from stream.shard import Shard
from stream.view import ShardView

SLICE = 5000
"""Records that go through the shard at once, unless told otherwise."""

FILES: Mapping[Channel, str] = {
    channel: f"{channel}.jsonl"
    for channel in (Channel.SNAPSHOTS, Channel.ALERTS, Channel.UPDATES, Channel.DEAD_LETTERS)
}
"""What is written, one record a line; artifacts go to the folder `models`."""

REGISTRY = "models"

Observer: TypeAlias = Callable[[Shard, Sequence[Outgoing]], None]
"""Sees the shard after each slice, and what was decided in it. It may take `ModelMonitor.parted`."""

_encode = msgspec.json.Encoder().encode


class Summary(Struct):
    """What a replay came to."""

    view: ShardView
    effects: dict[Channel, int]
    """Records written."""
    events: dict[Side, int]
    """Records read."""
    start: float | None
    """The first and the last event time."""
    end: float | None


def replay(
    config: Config,
    files: Mapping[Side, Sequence[Path]],
    out: Path,
    *,
    slice_size: int = SLICE,
    progress: Progress = lambda _: None,
    observer: Observer | None = None,
) -> Summary:
    """Runs recorded events through a shard and writes what it decides into `out`, which is made when missing.

    Files of an earlier replay there are replaced when this one is complete. Raises UnreadableFile, NoReference and
    OSError.
    """
    shard = Shard(0, config, references(config))
    shard.parts_kept = observer is not None
    events: dict[Side, int] = dict.fromkeys(SIDES, 0)
    start, end = None, None
    with Written(out) as written:
        for side, batch, behind in slices({side: records(files.get(side, ()), progress) for side in SIDES}, slice_size):
            events[side] += len(batch)
            times = [batch[0].timestamp / 1000, batch[-1].timestamp / 1000] if batch else []
            start = min([*times, *([] if start is None else [start])], default=None)
            end = max([*times, *([] if end is None else [end])], default=None)
            decided = shard.apply({side: batch}, Clock(now=end or 0.0, behind=behind))
            written.write(decided)
            if observer is not None:
                observer(shard, decided)
            shard.forget_effects()
        if end is not None:
            decided = shard.finish()
            written.write(decided)
            if observer is not None:
                observer(shard, decided)
    return Summary(shard.view(), dict(written.counts), events, start, end)


class Written:
    """The files of a replay. They appear under their names when the block is left without an error."""

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[Channel] = Counter()
        self._folder = folder
        self._files: dict[Channel, BinaryIO] = {}
        self._registry = DirectoryRegistry(folder / REGISTRY)
        self._stack = ExitStack()

    def __enter__(self) -> Written:
        self._folder.mkdir(parents=True, exist_ok=True)
        for channel, name in FILES.items():
            self._files[channel] = self._stack.enter_context((self._folder / f"{name}.part").open("wb"))
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._stack.close()
        for name in FILES.values():
            part = self._folder / f"{name}.part"
            if kind is None:
                part.replace(self._folder / name)
            else:
                part.unlink(missing_ok=True)

    def write(self, effects: Iterable[Outgoing]) -> None:
        """Adds effects to their files."""
        for effect in effects:
            self.counts[effect.channel] += 1
            if effect.channel is Channel.ARTIFACTS:
                self._registry.save(effect.key, effect.value)
                continue
            value = dead_letter(effect) if effect.channel is Channel.DEAD_LETTERS else effect.value
            self._files[effect.channel].write(value + b"\n")


def dead_letter(effect: Outgoing) -> bytes:
    """A dead letter as a line: its headers, then the original bytes as text, or in base64 when they are not UTF-8."""
    letter: dict[str, str] = {name: value.decode(errors="replace") for name, value in effect.headers}
    try:
        letter["value"] = effect.value.decode()
    except UnicodeDecodeError:
        letter["value_base64"] = base64.b64encode(effect.value).decode()
    return _encode(letter)

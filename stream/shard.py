"""One partition: all that is known of the models in it, as a state machine without clock, I/O or threads.

Records come in, effects go out. Order is by ticks of event time (500 ms): a record belongs to the tick of the largest
event time that its own topic has reached, and tick by tick predictions are applied before labels. A topic with a
backlog holds the other back; a topic that is caught up does not, and then the clock closes a tick, too.
Invariant: on a backlog, state and effects are functions of the log alone, however it is sliced and whatever is killed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from stream import eviction, model_rows
from stream.by_model import by_model, guesses, refusals, refused, truths
from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.port import Delta, StateRefused
from stream.config import Config
from stream.decided import Decided
from stream.due import Dues
from stream.effects import SIDES, Clock, Outgoing, Record, Side
from stream.events import Label, Prediction, Refusal, without
from stream.learners import Learners
from stream.monitor import keeping, model_view
from stream.monitor.exchange import Emission
from stream.monitor.features.reference import Reference
from stream.monitor.model import ModelMonitor
from stream.monitor.renewals import Renewals
from stream.monitor.rules.machine import TICK
from stream.monitor.rules.silences import Silences
from stream.rows import FORMAT, HEAD, Formatted, ModelKeys, ShardHead, split_key
from stream.taking import Intake, Ready
from stream.upgrades import other_format
from stream.view import ModelView, ShardView

BUSY = 20
"""Predictions of a model at once from which on decoding them faster is worth preparing for."""

LEAP = 120
"""Ticks that the clock may move a silent shard at once: a clock that jumps does not end every horizon."""


class Shard:
    """One partition of the two input topics."""

    def __init__(
        self,
        partition: int,
        config: Config,
        references: Mapping[str, Reference] | None = None,
        silences: Silences | None = None,
        renewals: Renewals | None = None,
    ) -> None:
        """`silences` and `renewals` may be shared: what is put into them holds from then on."""
        self.partition, self.config = partition, config
        self._silences = silences or Silences(config.silences)
        self._renewals = renewals or Renewals(config.references)
        self._references = references or {}
        segmented = any(spec.segments for spec in (config.defaults, *config.models.values()))
        guess = Prediction if segmented else without(Prediction, "attributes")
        self._predictions = Intake("predictions", guess, config.max_skew)
        self._labels = Intake("labels", Label, config.max_skew)
        self._closed = 0
        """Ticks below this one are applied."""
        self._models: dict[str, ModelMonitor] = {}
        self._learners = Learners(config.limits)
        self._views: dict[str, tuple[int, ModelView]] = {}
        self._touched: set[str] = set()
        self._dues = Dues()
        self._moved: set[str] = set()
        """Models that may be due at another time than was noted."""
        self._told = self._silences.revision, self._renewals.revision
        self._events = 0
        self._decided = Decided(partition, config.kafka.topics)
        self._arrived = -math.inf
        """Wall clock at the last arrival: since then nothing has come."""
        self._closed_at = -math.inf
        self._idle_from = 0.0
        self.parts_kept = False
        """Panes that are forgotten are kept in `ModelMonitor.parted` of each model that is made from now on."""
        self.wanted: list[str] = []
        """Keys of stored rows that are needed before anything else is applied: `answer` brings them."""

    # -- events --------------------------------------------------------------------------------------------------

    @property
    def next(self) -> dict[Side, int | None]:
        """Offset of the first record that is not applied, by side; None while none was seen."""
        return {"predictions": self._predictions.next, "labels": self._labels.next}

    @property
    def outbox(self) -> list[Outgoing]:
        """Effects that are not known to be published."""
        return self._decided.rows

    @property
    def urgent(self) -> bool:
        """Whether an alert waits for the next checkpoint."""
        return self._decided.urgent

    @property
    def buffered(self) -> dict[Side, int]:
        """Records that wait for their tick."""
        return {"predictions": self._predictions.waiting, "labels": self._labels.waiting}

    def apply(self, slices: Mapping[Side, Sequence[Record]], clock: Clock) -> list[Outgoing]:
        """Takes new records (possibly none: time passes) and returns the effects that this decides."""
        before = len(self.outbox)
        waited = self._waits
        for side in SIDES:
            records = slices.get(side)
            if records:
                self.wanted += eviction.wanted(self._models, self._side(side).take(records, clock.now, self._closed))
                self._arrived = clock.now
        if self._waits and not waited:
            self._closed_at = clock.now
        limit = self._limit(clock)
        if limit > self._closed and not self.wanted:
            self._advance(limit)
            self._closed_at = clock.now
        return self.outbox[before:]

    def answer(self, rows: Mapping[str, bytes]) -> None:
        """Brings the rows that are `wanted`, those of them that exist."""
        self.wanted = []
        for name, waiting in eviction.waiting(self._models, rows).items():
            keeping.lend(self._models[name], waiting)
            self._touched.add(name)
            self._moved.add(name)

    def patrol(self, rows: Mapping[str, bytes]) -> None:
        """Looks at stored rows of waiting predictions: deletes what has expired, takes in what there is room for."""
        for name, waiting in eviction.waiting(self._models, rows).items():
            room = self.config.limits.pending - self.in_memory >= len(waiting)
            keeping.lend(self._models[name], waiting, only_expired=not room)
            self._touched.add(name)
            self._moved.add(name)

    @property
    def in_memory(self) -> int:
        """Predictions that wait and whose row is in memory."""
        return eviction.in_memory(self._models)

    @property
    def stored_only(self) -> int:
        """Predictions that wait and whose row is only in the store."""
        return sum(model.join.stored_only for model in self._models.values())

    @property
    def garbage(self) -> int:
        """Rows in the store whose prediction has expired: `patrol` deletes those that it is given."""
        return sum(model.join.garbage for model in self._models.values())

    def finish(self) -> list[Outgoing]:
        """The end of a replay: the last tick is closed, and what has changed is told."""
        before = len(self.outbox)
        self._advance(max(self._closed, self._predictions.newest + 1, self._labels.newest + 1))
        for name, model in sorted(self._models.items()):
            self._decided.emit([(emission.tick, name, emission) for emission in model.finish()])
        return self.outbox[before:]

    def _side(self, side: Side) -> Intake[Prediction] | Intake[Label]:
        return self._predictions if side == "predictions" else self._labels

    @property
    def _waits(self) -> bool:
        return self._predictions.waiting > 0 or self._labels.waiting > 0

    def _limit(self, clock: Clock) -> int:
        """The first tick that is not complete."""
        newest = {"predictions": self._predictions.newest, "labels": self._labels.newest}
        if clock.behind:
            return min(newest[side] for side in clock.behind)
        limit = max(newest.values())
        if self._waits:
            # The clock closes a tick, so that an alert does not wait for the next event.
            return limit + 1 if clock.now - self._closed_at >= TICK else limit
        if clock.idle and self._events and self._arrived > -math.inf:
            # Both topics are silent: event time moves on as the clock does.
            moved = int((self._idle_from + clock.now - self._arrived) // TICK)
            return max(limit, min(moved, self._closed + LEAP))
        return limit

    def _advance(self, limit: int) -> None:
        """Applies all ticks below `limit`."""
        predictions, labels = self._predictions.ready(limit), self._labels.ready(limit)
        self._closed = limit
        self._events += len(predictions.events) + len(labels.events)
        bad = [*predictions.bad, *labels.bad]
        decided: list[tuple[int, str, Emission]] = []
        for name, (guessed, observed) in by_model(predictions, labels).items():
            model = self._model(name)
            if model is None:
                unknown = Refusal.TOO_MANY_MODELS if self.config.unknown_models == "monitor" else Refusal.UNKNOWN_MODEL
                for ready, rows in ((predictions, guessed), (labels, observed)):
                    bad += [refused(ready, int(row), unknown, f"model {name!r}") for row in rows]
                continue
            self._touched.add(name)
            self._moved.add(name)
            applied = model.apply(guesses(predictions, guessed), truths(labels, observed), limit)
            decided += [(emission.tick, name, emission) for emission in applied.emissions]
            bad += refusals(predictions, guessed, applied.predictions) + refusals(labels, observed, applied.labels)
            for lesson in applied.lessons:
                self._learners.teach(name, model, lesson, self._decided)
            if len(guessed) >= BUSY:
                self._expect(model, predictions, int(guessed[-1]))
        time = limit * TICK
        told = self._silences.revision, self._renewals.revision
        if told != self._told:
            self._told = told
            self._moved.update(self._models)
        for name in self._moved:
            self._dues.note(name, self._models[name].due)
        self._moved.clear()
        for name in self._dues.until(time):
            model = self._models[name]
            if model.tick < limit:
                self._touched.add(name)
                decided += [(emission.tick, name, emission) for emission in model.advance(limit)]
            self._dues.note(name, model.due)
        self._decided.emit(sorted(decided, key=lambda each: each[:2]))
        for one in bad:
            self._decided.bury(one)
        if predictions.events or labels.events:
            self._idle_from = time

    def _expect(self, model: ModelMonitor, predictions: Ready[Prediction], row: int) -> None:
        """Prepares for more predictions with the features of this one, once the model knows its features."""
        key = predictions.records[row].key
        known = model.normal.known
        if key is None or not known or self._predictions.expects(key):
            return
        features = [*(predictions.events[row].features or ())]
        self._predictions.expect(key, [*features, *sorted(known - set(features))])

    def _model(self, name: str) -> ModelMonitor | None:
        """The monitor of a model, made on first use; None when it may not be monitored."""
        model = self._models.get(name)
        if model is None:
            if name not in self.config.models and (
                self.config.unknown_models == "dead-letter" or len(self._models) >= self.config.limits.models
            ):
                return None
            model = self._new_model(name)
            model.parted = [] if self.parts_kept else None
            self._models[name] = model
        return model

    def _new_model(self, name: str) -> ModelMonitor:
        spec, reference = self.config.model(name), self._references.get(name)
        return ModelMonitor(name, spec, self.config.limits, reference, self._silences, self._renewals)

    def published(self, seq: int) -> None:
        """Effects up to `seq` are out: the next delta forgets them."""
        self._decided.published(seq)

    def forget_effects(self) -> None:
        """Replay: what was decided is written where it belongs, and no delta will be asked for."""
        self._decided.forget()

    # -- storing -------------------------------------------------------------------------------------------------

    def delta(self) -> Delta:
        """Rows that have changed since the last call. The caller commits it before it asks for the next one."""
        delta = Delta()
        coming = chain[Prediction | Label](self._predictions.events, self._labels.events)
        eviction.make_room(self._models, self.config.limits.pending, coming)
        for name in sorted(self._touched):
            model_rows.store(self._models[name], delta)
            if learner := self._learners.known.get(name):
                delta.put[ModelKeys(name).learner] = learner.state()
        self._touched.clear()
        self._decided.changes(delta)
        delta.put[HEAD] = pack(
            ShardHead(
                next=(self._predictions.next, self._labels.next),
                reached=(self._predictions.reached, self._labels.reached),
                closed=self._closed,
                events=self._events,
                sequence=self._decided.sequence,
                dead_letters=self._decided.dead_letters,
                arrived=self._arrived,
                idle_from=self._idle_from,
            )
        )
        return delta

    @classmethod
    def restore(
        cls,
        partition: int,
        config: Config,
        rows: Iterable[tuple[str, bytes]],
        references: Mapping[str, Reference] | None = None,
        silences: Silences | None = None,
        renewals: Renewals | None = None,
    ) -> Shard:
        """The shard that wrote these rows; rows of waiting predictions (`rows.PENDING`) may come later.

        Raises StateRefused for rows that are not such.
        """
        try:
            return cls(partition, config, references, silences, renewals)._restored(rows)
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise StateRefused(
                f"stored rows of shard {partition} do not fit each other ({type(error).__name__}: {error}): rebuild it "
                f"from Kafka with `stream reset --shard {partition}`"
            ) from error

    def _restored(self, rows: Iterable[tuple[str, bytes]]) -> Shard:
        models: dict[str, dict[str, dict[str, bytes]]] = {}
        effects: list[Outgoing] = []
        whole = False
        for row, content in rows:
            name, part, rest = split_key(row)
            if name is not None:
                models.setdefault(name, {}).setdefault(part, {})[rest] = content
            elif part == HEAD:
                found = unpack(Formatted, content).format
                if found != FORMAT:
                    raise other_format(self.partition, found)
                self._restore_head(unpack(ShardHead, content))
                whole = True
            else:
                effects.append(unpack(Outgoing, content))
        if not whole and (models or effects):
            raise StateRefused(
                f"stored state of shard {self.partition} has no head row, so it is not whole: rebuild it from Kafka "
                f"with `stream reset --shard {self.partition}`"
            )
        self._decided.restore(effects)
        for name, parts in models.items():
            self._restore_model(name, parts)
        return self

    def _restore_head(self, head: ShardHead) -> None:
        self._predictions.restore(head.next[0], head.reached[0])
        self._labels.restore(head.next[1], head.reached[1])
        self._closed, self._events, self._decided.sequence = head.closed, head.events, head.sequence
        self._decided.dead_letters = head.dead_letters
        self._arrived, self._idle_from = head.arrived, head.idle_from

    def _restore_model(self, name: str, parts: dict[str, dict[str, bytes]]) -> None:
        model = self._models[name] = self._new_model(name)
        self._moved.add(name)
        model_rows.restore(model, parts)
        for content in parts.get("learner", {}).values():
            assert model.task is not None
            self._learners.begin(name, model, model.task).restore(content)

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def models(self) -> Mapping[str, ModelMonitor]:
        """The monitors by model name."""
        return self._models

    def view(self) -> ShardView:
        """What is known, for page, API and Prometheus; a model is described anew only when it has changed."""
        for name, model in self._models.items():
            known = self._views.get(name)
            if known is None or known[0] != model.revision:
                view = model_view.view(model)
                if learner := self._learners.known.get(name):
                    view.challengers = learner.views()
                    view.notes += learner.notes()
                self._views[name] = (model.revision, view)
        return ShardView(
            partition=self.partition,
            models=[self._views[name][1] for name in sorted(self._views)],
            dead_letters=dict(self._decided.dead_letters),
            events=self._events,
            buffered=self._predictions.waiting + self._labels.waiting,
        )

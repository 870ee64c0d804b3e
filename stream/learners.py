"""The challengers of the models of one partition: they predict and learn from what labels tell, in the same order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream.config import Limits
from stream.decided import Decided
from stream.effects import Channel
from stream.events import Task, encode
from stream.monitor import lessons
from stream.monitor.basis.join_rows import Joined
from stream.monitor.model import ModelMonitor

if TYPE_CHECKING:
    from stream.learning.learner import Learner


class Learners:
    """Those of one shard."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.known: dict[str, Learner] = {}
        """By model, of those that have had something to learn."""

    def begin(self, name: str, model: ModelMonitor, task: Task) -> Learner:
        """One that has learned nothing yet, in place of any other."""
        from stream.learning.learner import Learner  # river's learners take long to import, and most models have none

        learner = self.known[name] = Learner(model.spec.learn, name, task, self._limits)
        return learner

    def teach(self, name: str, model: ModelMonitor, lesson: Joined, decided: Decided) -> None:
        """Lets the challengers of a model predict and learn, and decides what that leads to."""
        if model.task is None:
            return
        learner = self.known.get(name)
        if learner is None or learner.task != model.task:
            learner = self.begin(name, model, model.task)
        features = [payload or {} for payload in lesson.payload or []]
        actual, incumbent = (lessons.named(model, values) for values in (lesson.actual, lesson.predicted))
        scores = lessons.scored(model, lesson.scores)
        for saved in learner.observe(features, actual, incumbent, lesson.ts, scores):
            if saved.artifact:
                decided.push(Channel.ARTIFACTS, saved.path, saved.artifact)
            decided.push(Channel.UPDATES, name, encode(saved.update))

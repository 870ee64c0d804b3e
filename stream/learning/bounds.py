"""Keeps what challengers learn from finite: river's learners hold a weight for every feature name and category met.

Invariant: which names and texts are known depends on the outcomes in order alone, and is part of the stored state.
"""

from __future__ import annotations

from collections.abc import Mapping

from stream.config import Challenger
from stream.events import Scalar

OTHER = "__other__"
"""What every text of a feature is from `TEXTS` different ones on."""

TEXTS = 1000
MAX_TEXT = 256
"""A longer text is `__other__`, a feature with a longer name is left out."""


class Bounds:
    """The feature names and texts that challengers may know.

    >>> bounds = Bounds(names=1, texts=2)
    >>> [bounds.within({"a": text, "b": 1.0}) for text in "xyz"]
    [{'a': 'x'}, {'a': 'y'}, {'a': '__other__'}]
    """

    def __init__(self, names: int, texts: int | None = TEXTS) -> None:
        """`texts` None: texts are passed on as they are, for learners that read words in them."""
        self._names = names
        self._texts = texts
        self._known: dict[str, dict[str, str]] = {}

    def within(self, row: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The row without features beyond the limit, with texts beyond it as `__other__`."""
        kept: dict[str, Scalar] = {}
        for name, value in row.items():
            known = self._known.get(name)
            if known is None:
                if len(self._known) >= self._names or len(name) > MAX_TEXT:
                    continue
                known = self._known[name] = {}
            if isinstance(value, str) and self._texts is not None:
                found = known.get(value)
                if found is None:
                    found = OTHER
                    if len(known) < self._texts and len(value) <= MAX_TEXT:
                        found = known[value] = value
                kept[name] = found
            else:
                kept[name] = value
        return kept

    def state(self) -> dict[str, list[str]]:
        """Known texts by known name."""
        return {name: list(texts) for name, texts in self._known.items()}

    def restore(self, state: Mapping[str, list[str]]) -> None:
        """Goes on where `state` was taken."""
        self._known = {name: {text: text for text in texts} for name, texts in state.items()}


def reads_words(challenger: Challenger) -> bool:
    """Whether a pipeline takes texts apart, so that folding rare ones would leave it nothing to learn."""
    names = [name for step in challenger.model for name in ([step] if isinstance(step, str) else step)]
    return any("feature_extraction" in name for name in names)

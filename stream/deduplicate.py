"""For consumers of the topics `alerts` and `model-updates`: drops records that come again.

What the monitor publishes arrives at least once; a repeat has the `id` of the first. Needs nothing but Python, so it
can be used, or copied, wherever alerts are consumed.

Invariant: memory is bounded; a repeat is recognised while fewer than `remembered` other ids came in between.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator

REMEMBERED = 100_000
"""Ids, unless said otherwise: about 10 MB."""


class Once:
    """Tells repeats of an id from new ones.

    >>> once = Once()
    >>> once.new("a"), once.new("b"), once.new("a")
    (True, True, False)

    To survive a restart of the consumer, keep `ids()` with the offsets and begin with them.
    """

    def __init__(self, remembered: int = REMEMBERED, ids: Iterable[str] = ()) -> None:
        if remembered < 1:
            raise ValueError(f"remembered is {remembered}: expected at least 1")
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._remembered = remembered
        for each in ids:
            self.new(each)

    def new(self, id: str) -> bool:
        """Whether the id was not seen before. A repeat makes it the latest again."""
        if id in self._seen:
            self._seen.move_to_end(id)
            return False
        self._seen[id] = None
        if len(self._seen) > self._remembered:
            self._seen.popitem(last=False)
        return True

    def ids(self) -> list[str]:
        """What is remembered, oldest first."""
        return list(self._seen)


def distinct(values: Iterable[bytes | str | None], once: Once | None = None) -> Iterator[dict[str, object]]:
    """The JSON objects among record values, each `id` once, in order. What is no object with an `id` is passed over.

    >>> list(distinct([b'{"id": "a", "state": "firing"}', b'{"id": "a", "state": "firing"}', None, b"?"]))
    [{'id': 'a', 'state': 'firing'}]
    """
    seen = once or Once()
    for value in values:
        try:
            record = json.loads(value or b"")
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("id"), str) and seen.new(record["id"]):
            yield record

"""Small dictionaries of names that grow with the stream and stop at a limit.

Invariant: a code, once given, keeps its meaning; what comes after the limit, or is too long to be a
name, is `__other__`.
"""

from __future__ import annotations

from typing import TypeAlias

Key: TypeAlias = float | str | bool | None

OTHER = "__other__"
MISSING = "__missing__"

MAX_NAME = 256
"""Characters of a name that is remembered; a longer one is never a class, category, segment or feature of its own."""


def name_of(value: Key) -> str:
    """The one name of values that mean the same class, however they were serialised.

    >>> name_of(True), name_of(1.0), name_of("1"), name_of(None), name_of(0.5)
    ('1', '1', '1', '__missing__', '0.5')
    """
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    number = float(value)
    return str(int(number)) if number.is_integer() else repr(number)


class Vocabulary(dict[Key, int]):
    """Maps a value to its code in one dictionary look-up; unknown values get the next code.

    >>> words = Vocabulary(limit=3)
    >>> [words[v] for v in ("a", "b", "c", "d", "a")], words.names
    ([0, 1, 2, 2, 0], ['a', 'b', '__other__'])
    """

    def __init__(self, limit: int, names: list[str] | None = None) -> None:
        super().__init__()
        self.limit = limit
        self.names: list[str] = []
        self.codes: dict[str, int] = {}
        for name in names or []:
            self._new(name)

    def __missing__(self, value: Key) -> int:
        code = self.code(name_of(value))
        if len(self) < 4 * self.limit and not (isinstance(value, str) and len(value) > MAX_NAME):
            self[value] = code
        return code

    def code(self, name: str) -> int:
        """The code of a name, given now if it is new."""
        known = self.codes.get(name)
        if known is not None:
            return known
        if len(self.names) >= self.limit - 1 or len(name) > MAX_NAME:
            other = self.codes.get(OTHER)
            return self._new(OTHER) if other is None else other
        return self._new(name)

    def _new(self, name: str) -> int:
        code = self.codes[name] = len(self.names)
        self.names.append(name)
        return code

"""Which models are due: judged by asking every one."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from stream.due import Dues

Step = tuple[int, int]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), max_size=300), st.integers(1, 7))
@settings(max_examples=100)
def test_it_finds_what_asking_everyone_would(notes: list[Step], every: int) -> None:
    dues, truth = Dues(), dict[str, float]()
    for number, (model, due) in enumerate(notes):
        name, time = f"m{model}", math.inf if due == 30 else float(due)
        dues.note(name, time)
        truth[name] = time
        if number % every == 0:
            now = float(number % 29)
            found = dues.until(now)
            assert sorted(found) == sorted(each for each, when in truth.items() if when <= now)
            for each in found:
                truth[each] = math.inf
        assert len(dues._heap) <= 2 * len(truth) + 64

"""Which ids are known to have had their outcome: for at least the horizon, and the same for any slicing."""

from __future__ import annotations

import numpy as np
import pytest

from stream.monitor.basis.ids import hashes
from stream.monitor.joining import settled
from stream.monitor.joining.settled import GENERATIONS, Block, Settled

IDS = hashes([f"id-{number}" for number in range(1000)])


def kept(them: Settled) -> list[bool]:
    return them.contains(IDS).tolist()


def test_an_id_is_remembered_for_the_horizon_and_forgotten_after_it() -> None:
    them = Settled()
    them.add(IDS, 1000.0, 90.0)
    them.pass_time(1090.0, 90.0)
    assert all(kept(them))
    them.pass_time(1000.0 + 90.0 * (GENERATIONS + 1) / (GENERATIONS - 1), 90.0)
    assert not any(kept(them))


def test_nothing_is_forgotten_before_time_passes() -> None:
    """Else a repeat later in the same pane would be one or none, as the slices fall."""
    them = Settled()
    them.add(IDS[:500], 0.0, 90.0)
    them.add(IDS[500:], 1e6, 90.0)
    assert all(kept(them))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_oldest_are_forgotten_beyond_the_capacity_however_they_came(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "CAPACITY", 400)
    them = Settled()
    for start in range(0, len(IDS), size):
        them.add(IDS[start : start + size], 10.0, 90.0)
    them.pass_time(10.0, 90.0)
    assert kept(them) == [False] * 600 + [True] * 400


def test_blocks_rebuild_the_same_set() -> None:
    them = Settled()
    stored: dict[str, Block] = {}
    for start in range(0, len(IDS), 300):
        them.add(IDS[start : start + 300], start * 0.1, 90.0)
        put, gone = them.changes()
        assert not gone
        stored |= put
    again = Settled()
    for name, block in stored.items():
        again.restore(name, block)
    assert kept(again) == kept(them)
    assert np.array_equal(again.contains(hashes(["other"])), [False])

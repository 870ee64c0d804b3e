"""Hashes of ids: a function of the id alone, whatever comes beside it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.monitor.basis.ids import hashes

texts = st.lists(
    st.one_of(st.text(min_size=1, max_size=12), st.text(min_size=60, max_size=200)), min_size=1, max_size=20
)


@given(texts)
def test_an_id_has_the_same_hash_alone_and_in_company(ids: list[str]) -> None:
    together = hashes(ids).tolist()
    assert together == [int(hashes([event_id])[0]) for event_id in ids]
    assert 0 not in together


@given(st.sets(st.text(min_size=1, max_size=80), max_size=50))
def test_different_ids_have_different_hashes(ids: set[str]) -> None:
    assert len(set(hashes(list(ids)).tolist())) == len(ids)


def test_a_hash_never_changes_since_it_is_stored() -> None:
    assert hashes(["order-1", "ключ", "x" * 100]).tolist() == EXPECTED


EXPECTED = [10828446278781324330, 16964817729687084443, 14724974202993330654]

"""Partitions are shared out evenly, both topics together, and stay where they are if they can."""

from __future__ import annotations

from types import SimpleNamespace

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from hypothesis import given
from hypothesis import strategies as st

from stream.engine.assignor import Claim, Copartitioned, share_out

members = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.builds(Claim, st.integers(-1, 4), st.lists(st.integers(0, 20), max_size=20, unique=True).map(tuple)),
    min_size=1,
    max_size=6,
)


@given(st.integers(0, 20), members)
def test_every_partition_has_one_owner_and_nobody_has_two_more_than_another(
    partitions: int, claims: dict[str, Claim]
) -> None:
    shares = share_out(partitions, claims)
    assert sorted(p for share in shares.values() for p in share) == list(range(partitions))
    sizes = [len(share) for share in shares.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 20), members)
def test_what_was_shared_out_stays(partitions: int, claims: dict[str, Claim]) -> None:
    shares = share_out(partitions, claims)
    again = share_out(partitions, {member: Claim(5, tuple(share)) for member, share in shares.items()})
    assert again == shares


@given(st.integers(1, 20), st.integers(1, 5))
def test_a_newcomer_takes_only_its_share(partitions: int, workers: int) -> None:
    before = share_out(partitions, {f"w{n}": Claim() for n in range(workers)})
    claims = {member: Claim(1, tuple(share)) for member, share in before.items()}
    after = share_out(partitions, {**claims, "new": Claim()})
    moved = sum(len(set(before[member]) - set(after[member])) for member in before)
    assert moved == len(after["new"])


def test_the_newest_claim_wins() -> None:
    assert share_out(2, {"a": Claim(1, (0,)), "b": Claim(2, (0,))}) == {"a": [1], "b": [0]}


def _metadata(user_data: bytes) -> ConsumerProtocolMemberMetadata:
    return ConsumerProtocolMemberMetadata(0, ["labels", "predictions"], user_data)


def test_both_topics_go_together_and_a_surplus_partition_to_nobody() -> None:
    sizes = {"labels": 3, "predictions": 2}
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: set(range(sizes[topic])))
    assignor = Copartitioned()
    assignor.remember(3, [1])
    mine = assignor.metadata({"predictions", "labels"}).user_data
    shares = assignor.assign(cluster, {"a": _metadata(b"from another program"), "b": _metadata(mine)})
    assert shares["a"].assignment == [("labels", [0]), ("predictions", [0])]
    assert shares["b"].assignment == [("labels", [1]), ("predictions", [1])]

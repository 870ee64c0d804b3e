"""Which worker owns which partition number: both input topics together, moved as little as possible.

Invariant: partition p of every subscribed topic goes to the same worker, and the numbers of partitions of any two
workers differ by at most one. A worker keeps what it had as long as that allows; so a rebalance rebuilds only the
shards that really move. Neither of aiokafka's round-robin and sticky assignors keeps the topics together, and its
range assignor shifts nearly everything when a worker joins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class Claim(msgspec.Struct, array_like=True, frozen=True):
    """What a worker had when it last was in the group; a later generation beats an earlier one."""

    generation: int = -1
    partitions: tuple[int, ...] = ()


def share_out(partitions: int, claims: Mapping[str, Claim]) -> dict[str, list[int]]:
    """Partition numbers by member: balanced to one, and otherwise as claimed.

    >>> share_out(4, {"a": Claim(1, (0, 1, 2, 3)), "b": Claim()})
    {'a': [0, 1], 'b': [2, 3]}
    """
    members = sorted(claims)
    if not members:
        return {}
    newest_first = sorted(members, key=lambda member: (-claims[member].generation, member))
    owner: dict[int, str] = {}
    for member in newest_first:
        for partition in claims[member].partitions:
            if 0 <= partition < partitions:
                owner.setdefault(partition, member)
    claimed = {member: sorted(p for p, m in owner.items() if m == member) for member in members}
    least, extra = divmod(partitions, len(members))
    # Those who claim most keep the odd partitions, so that none moves that need not.
    by_claim = sorted(members, key=lambda member: (-len(claimed[member]), member))
    quota = {member: least + (rank < extra) for rank, member in enumerate(by_claim)}
    shares = {member: claimed[member][: quota[member]] for member in members}
    taken = {partition for share in shares.values() for partition in share}
    free = [partition for partition in range(partitions) if partition not in taken]
    for member in members:
        room = quota[member] - len(shares[member])
        shares[member] = sorted(shares[member] + free[:room])
        free = free[room:]
    return shares


class Copartitioned(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """The assignor as aiokafka wants it. One instance per worker: it remembers what the worker has."""

    name = "stream-copartitioned"
    version = 0

    def __init__(self) -> None:
        self.claim = Claim()

    def remember(self, generation: int, partitions: Iterable[int]) -> None:
        """What this worker will claim at the next rebalance."""
        self.claim = Claim(generation, tuple(sorted(partitions)))

    def assign(  # a class method in aiokafka, which calls it on whatever it was given
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Called in the worker that leads the group."""
        topics = sorted({topic for metadata in members.values() for topic in metadata.subscription})
        sizes = [len(cluster.partitions_for_topic(topic) or ()) for topic in topics]
        claims = {}
        for member, metadata in members.items():
            try:
                claims[member] = msgspec.msgpack.decode(metadata.user_data, type=Claim)
            except (msgspec.MsgspecError, TypeError):
                claims[member] = Claim()
        # A partition that only some of the topics have is nobody's: its records could not meet.
        shares = share_out(min(sizes, default=0), claims)
        return {
            member: ConsumerProtocolMemberAssignment(
                self.version, [(topic, shares[member]) for topic in topics if shares[member]], b""
            )
            for member in members
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What this worker tells the leader."""
        return ConsumerProtocolMemberMetadata(self.version, sorted(topics), msgspec.msgpack.encode(self.claim))

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """The new claim is set by the engine, which knows the generation."""

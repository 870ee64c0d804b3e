"""Of two workers with one instance, the one that started first stays."""

from __future__ import annotations

from stream.engine.group import client_id, older_holder


def test_a_client_id_orders_workers_by_their_start() -> None:
    first, second = client_id("one", 100.0), client_id("one", 100.5)
    assert older_holder(second, [(second, "/h"), (first, "/g")]) == (first, "/g")
    assert older_holder(first, [(second, "/h")]) is None


def test_other_instances_and_foreign_clients_are_nobody() -> None:
    mine = client_id("one", 100.0)
    others = [client_id("two", 1.0), client_id(None, 1.0), "aiokafka-0.14", "", "stream:one"]
    assert older_holder(mine, [(other, "/h") for other in others]) is None

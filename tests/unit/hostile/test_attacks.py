"""Whatever comes: no exception, nothing lost, nothing remembered beyond the limits, dead letters that a topic takes."""

from __future__ import annotations

import msgspec
import pytest

from stream.config import Config, Limits
from stream.effects import CUT, CUT_BYTES, Channel, Clock, Outgoing, StoredRecord
from stream.monitor.model import ModelMonitor
from stream.shard import Shard
from stream.view import ShardView
from tests.attacks import ATTACKS, START, Attack, Run, batches, run

LIMITS = Limits(models=10, classes=5, features=10, categories=10, segments=10)
COUNT = 200

MESSAGE_BYTES = 1_048_588
"""`max.message.bytes` of a Kafka topic unless told otherwise
(https://kafka.apache.org/documentation/#topicconfigs_max.message.bytes)."""
RECORD_OVERHEAD = 61 + 100
"""Of a batch, and at most of a record with few headers (https://kafka.apache.org/documentation/#recordbatch)."""


def attacks(*names: str) -> pytest.MarkDecorator:
    chosen = [attack for attack in ATTACKS if not names or attack.name in names]
    return pytest.mark.parametrize("attack", chosen, ids=lambda attack: attack.name)


def accounted(view: ShardView) -> int:
    counts = [model.counts for model in view.models]
    return sum(count.predictions + count.labels for count in counts) + sum(view.dead_letters.values())


@attacks()
def test_nothing_is_lost_and_every_effect_can_be_published(attack: Attack) -> None:
    under = run(attack, COUNT, LIMITS)
    view = under.shard.view()
    assert accounted(view) == under.records
    assert under.largest <= MESSAGE_BYTES - RECORD_OVERHEAD
    if attack.refused is not None:
        assert view.dead_letters == {attack.refused: under.records}
    assert under.effects.get(Channel.DEAD_LETTERS, 0) == sum(view.dead_letters.values())


@attacks()
def test_what_is_stored_is_read_again(attack: Attack) -> None:
    under = run(attack, COUNT, LIMITS)
    restored = Shard.restore(0, under.shard.config, under.stored.items())
    assert shown(restored) == shown(under.shard)


def shown(shard: Shard) -> bytes:
    """What is seen of a shard, but for the last value of a quiet rule, which is known again at its next tick."""
    view = shard.view()
    for model in view.models:
        model.rules = [msgspec.structs.replace(rule, value=None) for rule in model.rules]
    return msgspec.msgpack.encode(view)


def remembered(under: Run) -> int:
    """Bytes of what is stored of models, without the events that wait."""
    waits = ("pending/", "early/", "settled/", "outbox/")
    return sum(len(row) for key, row in under.stored.items() if not key.startswith(waits))


@attacks()
def test_twice_the_attack_is_not_remembered_twice(attack: Attack) -> None:
    once, twice = (run(attack, count * attack.share, LIMITS) for count in _lengths(attack))
    assert remembered(twice) <= 1.3 * remembered(once) + 4096


def _lengths(attack: Attack) -> tuple[int, int]:
    return (300, 600) if attack.share == 1 else (1, 2) if attack.share > 1000 else (35, 70)


def test_a_dead_letter_has_the_original_bytes() -> None:
    value = b"\xff\x00 not json"
    decided = _bury(StoredRecord(0, int(START * 1000), value, b"k\xff"))
    assert (decided.value, decided.key) == (value, "k\ufffd")
    assert dict(decided.headers)["reason"] == b"not_json"
    assert CUT not in dict(decided.headers)


def test_one_that_no_topic_would_take_is_cut_and_says_so() -> None:
    value = b"[" * 50_000_000
    decided = _bury(StoredRecord(7, int(START * 1000), value, b"k" * 5_000_000))
    headers = dict(decided.headers)
    assert (decided.value, headers[CUT]) == (value[:CUT_BYTES], b"50000000")
    assert (headers["reason"], headers["topic"], headers["offset"]) == (b"too_large", b"predictions", b"7")
    assert len(decided.key) == 1024


def _bury(record: StoredRecord) -> Outgoing:
    shard = Shard(0, Config())
    shard.apply({"predictions": [record]}, Clock(now=START))
    (decided,) = shard.finish()
    return decided


def test_long_names_do_not_stay_in_the_look_up_of_values() -> None:
    for name in ("segment values of 1 MB", "class names of 1 MB", "categories of 1 MB", "versions of 1 MB"):
        (attack,) = [each for each in ATTACKS if each.name == name]
        under = run(attack, 20 * attack.share, LIMITS)
        (model,) = under.shard.models.values()
        known = [*model.classes.vocabulary, *model.segments.names, model.version, *model.normal.features]
        known += [key for codes in model.segments._dimensions for key in codes]
        assert max(len(str(key)) for key in known) <= 300


def test_records_of_an_attack_do_not_depend_on_its_length() -> None:
    for attack in ATTACKS:
        first = next(iter(batches(attack, attack.share)))
        more = next(iter(batches(attack, 3 * attack.share)))
        assert all(records[0] == more[side][0] for side, records in first.items())


def test_a_label_of_1970_does_not_make_time_pass_pane_by_pane() -> None:
    """One step for each pane of a week's horizon took most of a second for every model that begins so."""
    shard = Shard(0, Config())
    first = {"model": "m", "id": "1", "ts": 0.0, "label": 1}
    second = {"model": "m", "id": "2", "ts": START, "label": 1}
    records = [StoredRecord(i, int(START * 1000), msgspec.json.encode(body)) for i, body in enumerate((first, second))]
    (entered, kept) = (0, ModelMonitor._enter)

    def enter(monitor: ModelMonitor, pane: int) -> None:
        nonlocal entered
        entered += 1
        kept(monitor, pane)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ModelMonitor, "_enter", enter)
        shard.apply({"labels": records}, Clock(now=START))
        shard.finish()
    assert shard.view().models[0].counts.expired_labels == 1
    assert 0 < entered < 20

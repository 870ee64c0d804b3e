"""The rows of one model in a checkpoint: those that have changed, and a model from all of them.

Invariant: a delta holds every row that differs from what was stored before it, and `restore` of all rows gives a model
that goes on as if it had never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from stream.checkpoint.packing import pack, unpack
from stream.checkpoint.pickles import loads
from stream.checkpoint.port import Delta
from stream.monitor import keeping
from stream.monitor.basis.join_rows import Early, Waiting
from stream.monitor.estimates.estimate import Estimator, StoredEstimator
from stream.monitor.features.normal import Stored
from stream.monitor.joining.settled import Block
from stream.monitor.model import ModelMonitor
from stream.monitor.panes.baseline import Baseline, StoredBaseline
from stream.monitor.panes.stored import Head, StoredPane
from stream.rows import ModelKeys


def store(model: ModelMonitor, delta: Delta) -> None:
    """Puts what has changed since the last call into a delta."""
    key = ModelKeys(model.name)
    delta.put[key.head] = pack(keeping.head(model))
    if model.normal.changed:
        delta.put[key.normal] = pack(model.normal.state())
        model.normal.changed = False
    if model.baseline.changed:
        delta.put[key.baseline] = pack(model.at_reference())
        model.baseline.changed = False
    if model.estimator.changed:
        delta.put[key.estimate] = pack(model.estimator.state())
        model.estimator.changed = False
    for index in model.changed:
        delta.put[key.pane(index)] = pack(StoredPane.of(model.panes[index]))
    delta.delete += [key.pane(index) for index in model.gone]
    model.changed, model.gone = set(), set()
    waiting, settled, early, met = model.join.changes()
    delta.put |= {key.pending(event_id): pack(row) for event_id, row in waiting.items()}
    delta.put |= {key.early(event_id): pack(label) for event_id, label in early.items()}
    delta.delete += [key.pending(event_id) for event_id in settled if event_id not in waiting]
    delta.delete += [key.early(event_id) for event_id in met if event_id not in early]
    blocks, forgotten = model.join.settled.changes()
    delta.put |= {key.settled(block): pack(content) for block, content in blocks.items()}
    delta.delete += [key.settled(block) for block in forgotten]


def restore(model: ModelMonitor, parts: Mapping[str, Mapping[str, bytes]]) -> None:
    """Has a new model go on from its rows, by kind and rest of their key; waiting predictions may come later."""
    same = all(model.normal.restore(unpack(Stored, content)) for content in parts.get("normal", {}).values())
    if model.normal.since > -math.inf:
        model.baseline = Baseline(model.normal.since)
    for content in parts.get("baseline", {}).values() if same else ():
        if model.baseline.given is None:
            model.baseline.restore(unpack(StoredBaseline, content))
    for content in parts.get("estimate", {}).values():
        given, model.estimator = model.estimator.losses, Estimator(unpack(StoredEstimator, content))
        another = model.normal.since == -math.inf and given.known
        if not same or (another and given.version != model.estimator.losses.version):
            model.estimator.losses = given
    panes = [unpack(StoredPane, content).pane() for content in parts.get("pane", {}).values()]
    early = {event_id: unpack(Early, content) for event_id, content in parts.get("early", {}).items()}
    head = unpack(Head, parts["model"][""])
    keeping.restore(model, head, sorted(panes, key=lambda pane: pane.index), early, loads)
    for block, content in parts.get("settled", {}).items():
        model.join.settled.restore(block, unpack(Block, content))
    keeping.lend(model, {event_id: unpack(Waiting, content) for event_id, content in parts.get("pending", {}).items()})

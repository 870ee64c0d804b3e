"""What is shown of a window besides performance: latency, throughput, resources, and how labels come.

Invariant: a number here is the one that a rule on the metric of that name sees at the same moment.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stream.events import Estimated
from stream.monitor import serving, values
from stream.monitor.columns import Ints
from stream.monitor.course import Course
from stream.monitor.serving import DELAY_BOUNDS, LEAST
from stream.monitor.watch import METRICS
from stream.monitor.window import Window

if TYPE_CHECKING:
    from stream.monitor.model import ModelMonitor

SHOWN = tuple(name for name, metric in METRICS.items() if not metric.per_feature)
"""Coverage has a place of its own."""


def service(m: ModelMonitor, window: Window) -> dict[str, Estimated]:
    """Every such metric of the whole model that has a value, and coverage and delay by predicted class."""
    course = Course.still(0, m.layout, 0, 1)
    tallies = course.tallies(window, 0)
    found: dict[str, Estimated] = {}
    for name in SHOWN:
        if name != "coverage":
            value, samples = values.service(name, course, window, 0, tallies, m.layout)
            if not math.isnan(value[0]):
                found[name] = Estimated(float(value[0]), int(samples[0]))
    if m.task in ("binary", "multiclass"):
        found |= _by_class(m.classes.names, window.sums.serving.answers, window.sums.serving.delays)
    return found


def _by_class(names: list[str], answers: Ints, delays: Ints) -> dict[str, Estimated]:
    found: dict[str, Estimated] = {}
    for name, predicted, counts in zip(names, answers.tolist(), delays, strict=False):
        labelled = int(counts.sum())
        if predicted >= LEAST:
            found[f"coverage_class_{name}"] = Estimated(labelled / predicted, predicted)
        if labelled >= LEAST:
            median = float(serving.quantile(counts, DELAY_BOUNDS, 0.5))
            found[f"label_delay_p50_class_{name}"] = Estimated(median, labelled)
    return found

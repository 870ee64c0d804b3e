"""Drawings over time: a metric with its interval and its estimate, when alerts fired, a map of drift.

All are SVG on the same horizontal scale, share of the model's life from left to right, in colours that the style sheet
names. What a pointer can ask for stands beside each drawing as JSON, with few digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec
from msgspec import Struct

from stream.console.words import number as spoken
from stream.report.markup import Child, Markup, h, name, number

Points: TypeAlias = "Sequence[float | None]"
Spans: TypeAlias = "Sequence[tuple[float, float]]"
_Y: TypeAlias = "Callable[[float], float]"

WIDTH, HEIGHT = 1000.0, 100.0
"""Of a drawing in its own units; it is stretched to the room there is."""

LEVELS = (0.02, 0.05, 0.1, 0.25, 0.5)
"""PSI at which a cell of the drift map gets darker: 0.1 and 0.25 are the usual bounds of little and much change
(Siddiqi, Credit Risk Scorecards, 2006, ch. 6)."""

_encode = msgspec.json.Encoder().encode


class Scale(Struct, frozen=True):
    """Time from left to right, and the steps of the timeline."""

    begin: float
    end: float
    starts: tuple[float, ...]
    step: float

    def x(self, time: float) -> float:
        """Place of a time in a drawing."""
        length = self.end - self.begin
        return WIDTH * min(1.0, max(0.0, (time - self.begin) / length)) if length > 0 else 0.0

    @property
    def middles(self) -> list[float]:
        """Places of the steps' middles."""
        return [self.x(start + self.step / 2) for start in self.starts]


class Line(Struct, frozen=True):
    """What one chart shows of a metric, by step."""

    title: str
    value: Points
    lower: Points = ()
    upper: Points = ()
    estimate: Points = ()
    samples: Sequence[int] = ()
    bounds: Sequence[float] = ()
    """Where rules draw the line."""
    note: str = ""


def chart(line: Line, scale: Scale, bad: Spans, small: bool = False) -> Markup:
    """A metric over time."""
    low, high = _range(line)
    height = high - low

    def y(value: float) -> float:
        return HEIGHT * (1.0 - min(1.02, max(-0.02, (value - low) / height)))

    xs = scale.middles
    plot: list[Child] = [_shade(bad, scale)]
    if line.lower and line.upper:
        plot.append(h("path", {"class": "band", "d": _band(xs, line.lower, line.upper, y)}))
    plot += [
        h("line", {"class": "bound", "x1": 0.0, "x2": WIDTH, "y1": y(bound), "y2": y(bound)})
        for bound in line.bounds
        if low <= bound <= high
    ]
    if line.estimate:
        plot.append(h("path", {"class": "estimate", "d": _path(xs, line.estimate, y)}))
    plot.append(h("path", {"class": "value", "d": _path(xs, line.value, y)}))
    drawing = h(
        "svg",
        {"class": "plot", "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "preserveAspectRatio": "none", "aria-hidden": "true"},
        plot,
    )
    hover = {"t": [round(start) for start in scale.starts], "d": scale.step, "v": _few(line.value)}
    hover |= {key: _few(found) for key, found in (("l", line.lower), ("u", line.upper), ("e", line.estimate)) if found}
    if line.samples:
        hover["n"] = list(line.samples)
    return h(
        "figure",
        {"class": "chart small" if small else "chart", "data-points": _encode(hover).decode()},
        h("figcaption", None, h("b", None, name(line.title)), " ", h("small", None, line.note or _told(line))),
        h(
            "div",
            {"class": "frame"},
            h("span", {"class": "high"}, spoken(high)),
            h("span", {"class": "low"}, spoken(low)),
            drawing,
        ),
    )


def axis(scale: Scale) -> Markup:
    """The times below drawings."""
    marks = _ticks(scale.begin, scale.end)
    return h(
        "svg",
        {"class": "axis", "aria-hidden": "true"},
        [
            h(
                "text",
                {
                    "class": "second" if position % 2 else None,
                    "x": f"{number(scale.x(time) / WIDTH * 100)}%",
                    "y": "12",
                    "text-anchor": _anchor(time, scale),
                },
                said,
            )
            for position, (time, said) in enumerate(marks)
        ],
    )


def lane(fired: Sequence[tuple[float, float, str]], scale: Scale, bad: Spans) -> Markup:
    """When a rule fired: start, end and severity of each alert."""
    bars = [
        h(
            "rect",
            {
                "class": f"fired {severity}",
                "x": min(scale.x(start), WIDTH - 2.5),
                "width": max(scale.x(end) - scale.x(start), 2.5),
                "y": "4",
                "height": "12",
            },
        )
        for start, end, severity in fired
    ]
    return h(
        "svg",
        {"class": "lane", "viewBox": f"0 0 {WIDTH:g} 20", "preserveAspectRatio": "none", "aria-hidden": "true"},
        h("rect", {"class": "track", "x": "0", "y": "4", "width": WIDTH, "height": "12"}),
        _shade(bad, scale, 20.0),
        bars,
    )


def heat(rows: Sequence[tuple[str, Points]], scale: Scale) -> Markup:
    """A map of drift: a row for each feature, a column for each step; darker is further from the reference."""
    drawn: list[Child] = []
    for feature, values in rows:
        cells = [
            h(
                "rect",
                {
                    "class": f"h{level}",
                    "x": scale.x(scale.starts[first]),
                    "width": scale.x(scale.starts[last] + scale.step) - scale.x(scale.starts[first]) + 0.3,
                    "y": "0",
                    "height": "10",
                },
            )
            for first, last, level in _runs(values, scale)
        ]
        known = [value for value in values if value is not None]
        hover = {"t": [round(start) for start in scale.starts], "d": scale.step, "v": _few(values)}
        drawn.append(
            h(
                "div",
                {"class": "row", "data-points": _encode(hover).decode()},
                h("span", {"class": "of"}, name(feature)),
                h(
                    "svg",
                    {"class": "cells", "viewBox": f"0 0 {WIDTH:g} 10", "preserveAspectRatio": "none"},
                    cells,
                ),
                h("span", {"class": "num"}, spoken(max(known, default=math.nan))),
            )
        )
    return h("div", {"class": "heat"}, drawn)


def level(psi: float | None) -> int | None:
    """How dark a cell is.

    >>> level(0.01), level(0.1), level(3.0), level(None)
    (0, 3, 5, None)
    """
    return None if psi is None or math.isnan(psi) else sum(psi >= bound for bound in LEVELS)


def _runs(values: Points, scale: Scale) -> list[tuple[int, int, int]]:
    """Neighbouring steps of one level: first, last, level."""
    runs: list[tuple[int, int, int]] = []
    for at, value in enumerate(values):
        found = level(value)
        if found is None:
            continue
        if runs and runs[-1][1] == at - 1 and runs[-1][2] == found and _follows(scale, at):
            runs[-1] = runs[-1][0], at, found
        else:
            runs.append((at, at, found))
    return runs


def _follows(scale: Scale, at: int) -> bool:
    return scale.starts[at] - scale.starts[at - 1] <= scale.step * 1.5


def _shade(bad: Spans, scale: Scale, height: float = HEIGHT) -> list[Markup]:
    return [
        h(
            "rect",
            {
                "class": "bad",
                "x": scale.x(start),
                "width": max(1.5, scale.x(end) - scale.x(start)),
                "y": "0",
                "height": height,
            },
        )
        for start, end in bad
        if start <= scale.end and end >= scale.begin
    ]


def _range(line: Line) -> tuple[float, float]:
    """The values that a chart has room for: all of the metric's, and most of the intervals' ends."""
    values = sorted(value for value in (*line.value, *line.estimate) if value is not None)
    if not values:
        return 0.0, 1.0
    low, high = values[0], values[-1]
    for ends, which in ((line.lower, 0.1), (line.upper, 0.9)):
        known = sorted(value for value in ends if value is not None)
        if known:
            end = known[round(which * (len(known) - 1))]
            low, high = min(low, end), max(high, end)
    room = (high - low or abs(high) or 1.0) * 0.08
    floor = 0.0 if low >= 0.0 else -math.inf
    ceiling = 1.0 if 0.5 < high <= 1.0 else math.inf  # most likely a share
    return max(floor, low - room), min(ceiling, high + room)


def _pieces(xs: Sequence[float], values: Points) -> list[list[tuple[float, float]]]:
    """Runs of known values."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, value in zip(xs, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x, value))
    return [piece for piece in pieces if piece]


def _path(xs: Sequence[float], values: Points, y: _Y) -> str:
    drawn = []
    for piece in _pieces(xs, values):
        points = " ".join(f"{number(x)},{number(y(value))}" for x, value in piece)
        drawn.append(f"M{points}" if len(piece) > 1 else f"M{points}h1")
    return "".join(drawn)


def _band(xs: Sequence[float], lower: Points, upper: Points, y: _Y) -> str:
    both = [None if a is None or b is None else (a, b) for a, b in zip(lower, upper, strict=True)]
    drawn, piece = [], []
    for x, ends in [*zip(xs, both, strict=True), (0.0, None)]:
        if ends is not None:
            piece.append((x, *ends))
            continue
        if piece:
            there = " ".join(f"{number(px)},{number(y(low))}" for px, low, _ in piece)
            back = " ".join(f"{number(px)},{number(y(high))}" for px, _, high in reversed(piece))
            drawn.append(f"M{there} {back}Z")
        piece = []
    return "".join(drawn)


def _told(line: Line) -> str:
    known = [value for value in line.value if value is not None]
    if not known:
        return "no labels"
    return f"{spoken(known[-1])} at the end, from {spoken(min(known))} to {spoken(max(known))}"


def _few(values: Points) -> list[float | None]:
    return [None if value is None or not math.isfinite(value) else float(f"{value:.4g}") for value in values]


def _ticks(begin: float, end: float) -> list[tuple[float, str]]:
    """Round times, about six of them, and how they are said; the day where it begins."""
    length = max(end - begin, 1.0)
    days = (86400.0, 2 * 86400.0, 7 * 86400.0, 14 * 86400.0, 28 * 86400.0, 91 * 86400.0, 364 * 86400.0)
    steps = (1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 4 * 3600.0, 6 * 3600.0, 12 * 3600.0, *days)
    step = next((each for each in steps if length / each <= 7), steps[-1])
    marks: list[tuple[float, str]] = []
    time = math.ceil(begin / step) * step
    while time <= end and len(marks) < 40:
        moment = datetime.fromtimestamp(time, UTC)
        midnight = time % 86400.0 == 0.0
        clock = "%H:%M" if step >= 60 else "%H:%M:%S"
        marks.append((time, moment.strftime("%d %b" if midnight or step >= 86400 else clock)))
        time += step
    return marks


def _anchor(time: float, scale: Scale) -> str:
    place = scale.x(time) / WIDTH
    return "start" if place < 0.03 else "end" if place > 0.97 else "middle"

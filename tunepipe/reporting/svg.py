"""Charts as inline SVG: pure functions from numbers to a text, drawn by `charts.svg.j2`.

Each chart is an image with a title and a description for screen readers. A chart's `name` is a
word unlike that of any other chart of the page, its `title` says in one sentence what it shows,
and `write` turns a value into a text. Colours come from the page's CSS by class (`tuned`, `base`,
`good`...), so light and dark are the page's business. Charts are drawn 380 units wide, the width at
which they are shown: their letters keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from tunepipe.reporting.formatting import clean, count
from tunepipe.reporting.html_page import fill

WIDTH = 380
_LETTER = 6.1
_MAX_POINTS = 300


class Mark(NamedTuple):
    """A value with its interval, on the chart's own scale; `series` names its colour."""

    series: str
    value: float
    low: float | None = None
    high: float | None = None


# The marks of each label, in the order of the drawing, and how their values are written.
Groups = Sequence[tuple[str, Sequence[Mark]]]
Write = Callable[[float], str]
Points = Sequence[tuple[float, float]]


class Axis(NamedTuple):
    """Maps values to units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return a value's position."""
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)


def interval_chart(
    groups: Groups, *, name: str, title: str, zero: bool = False, write: Write = "{:.1f}".format
) -> str:
    """Draw values as dots on their intervals, a group of series under each label.

    With `zero`, zero is on the axis, as a rule that an interval crosses or clears.
    """
    ends = [e for _, marks in groups for mark in marks for e in mark[1:] if e is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    left = _label_width(label for label, _ in groups)
    span = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    axis = _axis(*span, left + 12, WIDTH - 52)
    named = {"name": name, "title": title, "write": write, "ticks": _ticks(axis), "zero": zero}
    return _draw_rows("intervals", groups, 6, 18, left=left, axis=axis, **named)


def bar_chart(
    rows: Groups, *, name: str, title: str, maximum: float = 0.0, write: Write = count
) -> str:
    """Draw horizontal bars from zero, a group of series next to each label.

    A value's interval is drawn if it has one. A full bar is `maximum`; 0 takes the largest value.
    """
    largest = max((mark.value for _, marks in rows for mark in marks), default=0.0)
    left = _label_width(label for label, _ in rows)
    axis = Axis(0.0, maximum or largest or 1.0, left + 10, WIDTH - 52)
    named = {"name": name, "title": title, "write": write, "ticks": (), "zero": False}
    return _draw_rows("bars", rows, 5, 2, left=left, axis=axis, **named)


def _draw_rows(kind: str, groups: Groups, gap: int, below: int, **view: Any) -> str:
    """Draw the marks of each label below each other."""
    bottom = 2 + sum(15 * len(marks) + gap for _, marks in groups)
    view |= {"groups": groups, "gap": gap, "bottom": bottom, "short": _short}
    return fill("charts.svg.j2", kind=kind, width=WIDTH, height=bottom + below, **view)


def histogram_chart(bins: Points, *, name: str, title: str, last_edge: float | None = None) -> str:
    """Draw a distribution from [low edge, count] pairs, one bar a bin.

    Bins are drawn equally wide, whatever they span, and the edges below say what they span: so
    bins that grow by factors are as readable as even ones. `last_edge` is the end of the last one.
    """
    edges = [edge for edge, _ in bins] + ([last_edge] if last_edge is not None else [])
    view = {"name": name, "title": title, "bins": bins, "bottom": 104, "edges": edges}
    view["most"] = max((amount for _, amount in bins), default=0) or 1
    view["step"] = max(1, math.ceil(len(edges) * 44 / WIDTH))
    return fill("charts.svg.j2", kind="histogram", width=WIDTH, height=124, **view)


def line_chart(series: Sequence[tuple[str, Points]], *, name: str, title: str, x_title: str) -> str:
    """Draw curves over a common axis, each named at its end; names are also the classes."""
    drawn = [(label, _thinned(points)) for label, points in series if points]
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    up = _axis(min(ys, default=0), max(ys, default=1), 140, 8)
    left = max(36, 6 + _label_width(words for _, words in _ticks(up)))
    across = Axis(min(xs, default=0), max(xs, default=1), left, WIDTH - 46)
    view = {"name": name, "title": title, "x_title": x_title, "write": "{:.4g}".format}
    view |= {"across": across, "up": up, "ticks": _ticks(up), "curves": drawn}
    view["heights"] = _apart([up.at(points[-1][1]) for _, points in drawn], 13)
    return fill("charts.svg.j2", kind="lines", width=WIDTH, height=164, **view)


def _width(text: str) -> float:
    return sum(_LETTER * (2 if ord(character) > 0x2E7F else 1) for character in text)


def _label_width(labels: Iterable[str]) -> float:
    """The room that a column of labels takes, at most about a third of the chart."""
    return min(130.0, max((_width(_short(label, 130)) for label in labels), default=0.0))


def _short(text: str, width: float) -> str:
    """Cut a label to the room it has, counting wide letters twice."""
    text = " ".join(clean(text[:200]).split())
    if _width(text) <= width:
        return text
    while text and _width(text) > width - _LETTER:
        text = text[:-1]
    return text + "…"


def _axis(low: float, high: float, start: float, end: float) -> Axis:
    if low == high:
        room = max(0.5, abs(low) / 1000)  # 0.5 is lost in a very large number
        low, high = low - room, high + room
    room = (high - low) * 0.04
    return Axis(low - room if low else low, high + room if high else high, start, end)


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    """Return some four to seven round values on an axis, 1, 2 or 5 times a power of ten apart.

    Each is written with the digits that tell it from its neighbours.
    """
    rough = (axis.high - axis.low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.9)
    first = math.ceil(axis.low / step - 1e-9)
    last = math.floor(axis.high / step + 1e-9)
    values = [index * step for index in range(first, last + 1)]
    return [(value, count(value, digits=10)) for value in values]


def _thinned(points: Points) -> list[tuple[float, float]]:
    """Keep some hundred points, the last one among them."""
    step = math.ceil(len(points) / _MAX_POINTS)
    return [*points[:-1:step], points[-1]]


def _apart(heights: list[float], distance: float) -> list[float]:
    """Push overlapping labels apart."""
    placed = list(heights)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + distance)
    return placed

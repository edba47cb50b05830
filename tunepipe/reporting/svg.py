"""Charts as inline SVG: pure functions from numbers to a text.

Each chart is an image with a title and a description for screen readers. A chart's `name` is a
word unlike that of any other chart of the page, its `title` says in one sentence what it shows,
and `write` turns a value into a text. Colours come from the
page's CSS by class (`tuned`, `base`, `good`...), so light and dark are the page's business. Charts
are drawn 380 units wide, the width at which they are shown: their letters keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from tunepipe.reporting.formatting import clean, count

WIDTH = 380
_LETTER = 6.1
_MAX_POINTS = 300


class Mark(NamedTuple):
    """A value with its interval, on the chart's own scale; `series` names its colour."""

    series: str
    value: float
    low: float | None = None
    high: float | None = None


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
    groups: Sequence[tuple[str, Sequence[Mark]]],
    *,
    name: str,
    title: str,
    zero: bool = False,
    write: Callable[[float], str] = "{:.1f}".format,
) -> str:
    """Draw values as dots on their intervals, a group of series under each label.

    With `zero`, zero is on the axis, as a rule that an interval crosses or clears.
    """
    ends = [e for _, marks in groups for mark in marks for e in mark[1:] if e is not None]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    left = _label_width(label for label, _ in groups)
    span = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    axis = _axis(*span, left + 12, WIDTH - 52)

    def dot(mark: Mark, y: float) -> str:
        whisker = _interval(axis, mark, y + 7.5, f"whisker {mark.series}")
        place = f'cx="{_n(axis.at(mark.value))}" cy="{_n(y + 7.5)}"'
        return f'{whisker}<circle class="{mark.series}" {place} r="4"/>'

    body, y = _lines(groups, left, 6, write, dot)
    rules = _x_rules(axis, 2, y, write)
    if zero:
        rules += _line(axis.at(0), 2, axis.at(0), y, "zero")
    return _svg(name, title, _words(groups, write), y + 18, rules + body)


def bar_chart(
    rows: Sequence[tuple[str, Sequence[Mark]]],
    *,
    name: str,
    title: str,
    maximum: float = 0.0,
    write: Callable[[float], str] = count,
) -> str:
    """Draw horizontal bars from zero, a group of series next to each label.

    A value's interval is drawn if it has one. A full bar is `maximum`; 0 takes the largest value.
    """
    largest = max((mark.value for _, marks in rows for mark in marks), default=0.0)
    left = _label_width(label for label, _ in rows)
    axis = Axis(0.0, maximum or largest or 1.0, left + 10, WIDTH - 52)

    def bar(mark: Mark, y: float) -> str:
        width = max(1.0, axis.at(mark.value) - axis.start)
        drawn = _rect(axis.start, y + 1, width, 12, mark.series)
        return drawn + _interval(axis, mark, y + 7, "error")

    body, y = _lines(rows, left, 5, write, bar)
    return _svg(name, title, _words(rows, write), y + 2, body)


def _lines(
    groups: Sequence[tuple[str, Sequence[Mark]]],
    left: float,
    gap: float,
    write: Callable[[float], str],
    draw: Callable[[Mark, float], str],
) -> tuple[str, float]:
    """Draw the marks of each label below each other, each with its value; return the end too."""
    body, y = [], 2.0
    for label, marks in groups:
        middle = y + 7.5 * len(marks) + 4
        body.append(_text(left, middle, _short(label, left), "label", "end"))
        for mark in marks:
            body.append(draw(mark, y) + _text(WIDTH, y + 11.5, write(mark.value), "value", "end"))
            y += 15
        y += gap
    return "".join(body), y


def _interval(axis: Axis, mark: Mark, y: float, css: str) -> str:
    if mark.low is None or mark.high is None:
        return ""
    return _line(axis.at(mark.low), y, axis.at(mark.high), y, css)


def _words(groups: Sequence[tuple[str, Sequence[Mark]]], write: Callable[[float], str]) -> str:
    """Describe a chart's numbers in words; a series is named if a label has several."""
    spoken = []
    for label, estimates in groups:
        for series, value, low, high in estimates:
            named = f"{label}, {series}" if len(estimates) > 1 else label
            spoken.append(f"{named} {write(value)}")
            if low is not None and high is not None:
                spoken[-1] += f" ({write(low)} to {write(high)})"
    return "; ".join(spoken)


def histogram_chart(
    bins: Sequence[tuple[float, float]], *, name: str, title: str, last_edge: float | None = None
) -> str:
    """Draw a distribution from [low edge, count] pairs, one bar a bin.

    Bins are drawn equally wide, whatever they span, and the edges below say what they span: so
    bins that grow by factors are as readable as even ones. `last_edge` is the end of the last one.
    """
    height, top = 96.0, 8.0
    most = max((amount for _, amount in bins), default=0) or 1
    width = WIDTH / max(1, len(bins))
    gap = 1.0 if width > 4 else 0.0
    body = [_line(0, top + height, WIDTH, top + height, "axis")]
    for index, (_, amount) in enumerate(bins):
        # A bin with a single row among thousands still shows as a line.
        tall = max(1.5, amount / most * height) if amount else 0
        body.append(_rect(index * width, top + height - tall, width - gap, tall, "plain"))
    edges = [edge for edge, _ in bins] + ([last_edge] if last_edge is not None else [])
    step = max(1, math.ceil(len(edges) * 44 / WIDTH))
    for index in range(0, len(edges), step):
        x = index * width
        anchor = "start" if not index else "end" if x > WIDTH - 20 else "middle"
        body.append(_text(x, top + height + 15, count(edges[index]), "tick", anchor))
    words = "; ".join(f"from {count(edge)}: {count(amount)}" for edge, amount in bins if amount)
    return _svg(name, title, words, top + height + 20, "".join(body))


def line_chart(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    name: str,
    title: str,
    x_title: str,
    write: Callable[[float], str] = "{:.2f}".format,
) -> str:
    """Draw curves over a common axis, each named at its end; names are also the classes."""
    drawn = [(label, _thinned(points)) for label, points in series if points]
    xs = [x for _, points in drawn for x, _ in points]
    ys = [y for _, points in drawn for _, y in points]
    across = Axis(min(xs, default=0), max(xs, default=1), 36, WIDTH - 46)
    up = _axis(min(ys, default=0), max(ys, default=1), 140, 8)
    body = [
        _line(36, up.at(tick), WIDTH - 46, up.at(tick), "rule")
        + _text(32, up.at(tick) + 4, write(tick), "tick", "end")
        for tick in _ticks(up)
    ]
    for x, anchor in ((across.low, "start"), (across.high, "end")):
        body.append(_text(across.at(x), 158, count(x), "tick", anchor))
    body.append(_text((36 + WIDTH - 46) / 2, 158, x_title, "tick", "middle"))
    heights = _apart([up.at(points[-1][1]) for _, points in drawn], 13)
    for (label, points), height in zip(drawn, heights, strict=True):
        body.append(_curve(label, [(across.at(x), up.at(y)) for x, y in points], height))
    words = "; ".join(
        f"{label} from {write(points[0][1])} to {write(points[-1][1])}" for label, points in drawn
    )
    return _svg(name, title, words, 164, "".join(body))


def _curve(label: str, points: list[tuple[float, float]], label_y: float) -> str:
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    ends = "".join(
        f'<circle class="{label}" cx="{_n(x)}" cy="{_n(y)}" r="2.5"/>'
        for x, y in (points if len(points) <= 12 else points[-1:])
    )
    text = _text(WIDTH - 38, label_y + 4, label, f"label on-{label}")
    return f'<polyline class="curve {label}" points="{path}"/>{ends}{text}'


def _svg(name: str, title: str, description: str, height: float, body: str) -> str:
    name = escape(name)
    labels = f'aria-labelledby="{name}-title" aria-describedby="{name}-text"'
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {_n(height)}" {labels}>'
        f'<title id="{name}-title">{_escaped(title)}</title>'
        f'<desc id="{name}-text">{_escaped(description)}</desc>{body}</svg>'
    )


def _text(x: float, y: float, text: str, css: str, anchor: str = "start") -> str:
    place = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{css}" x="{_n(x)}" y="{_n(y)}"{place}>{_escaped(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    ends = f'x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"'
    return f'<line class="{css}" {ends}/>'


def _rect(x: float, y: float, width: float, height: float, css: str) -> str:
    size = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
    return f'<rect class="{css}" {size}/>'


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _escaped(text: str) -> str:
    return escape(clean(text))


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
        low, high = low - 0.5, high + 0.5
    room = (high - low) * 0.04
    return Axis(low - room if low else low, high + room if high else high, start, end)


def _ticks(axis: Axis) -> list[float]:
    """Return some four to seven round values on an axis, 1, 2 or 5 times a power of ten apart."""
    rough = (axis.high - axis.low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.9)
    first = math.ceil(axis.low / step - 1e-9)
    last = math.floor(axis.high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _x_rules(axis: Axis, top: float, bottom: float, write: Callable[[float], str]) -> str:
    ticks = _ticks(axis)
    whole = all(tick == round(tick) for tick in ticks)
    return "".join(
        _line(axis.at(tick), top, axis.at(tick), bottom, "rule")
        + _text(axis.at(tick), bottom + 14, count(tick) if whole else write(tick), "tick", "middle")
        for tick in ticks
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
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

"""Charts: well-formed, accessible, and drawn where the numbers say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.reporting import svg as charts
from tunepipe.reporting.svg import Mark

HOSTILE = "</svg><script>alert(1)</script>\"'&\x00\ud800"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 3))
AMOUNTS = st.integers(0, 10**9)
LABELS = st.one_of(st.just(HOSTILE), st.text(st.characters(), max_size=300))


def parsed(svg: str) -> ElementTree.Element:
    svg.encode("utf-8")
    return ElementTree.fromstring(svg)


def drawn(root: ElementTree.Element, tag: str, css: str = "") -> list[ElementTree.Element]:
    return [e for e in root.iter(tag) if css in (e.get("class") or "").split() or not css]


def place(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name, "nan"))


def accessible(svg: str, title: str) -> ElementTree.Element:
    """The chart is an image with a title and a description, and every number is one."""
    root = parsed(svg)
    assert root.get("role") == "img"
    named = {e.get("id"): e.text or "" for e in root if e.tag in ("title", "desc")}
    assert list(named) == [root.get("aria-labelledby"), root.get("aria-describedby")]
    assert next(iter(named.values())) == title
    for element in root.iter():
        for key in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"):
            if key in element.attrib:
                assert math.isfinite(place(element, key))
        assert place(element, "width") >= 0 or "width" not in element.attrib
    return root


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            LABELS,
            st.lists(
                st.tuples(st.just("tuned"), NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=3
            ),
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_any_intervals_can_be_drawn(groups, zero):
    rows = [
        (label, [Mark(s, sorted(v)[1], sorted(v)[0], sorted(v)[2]) for s, *v in estimates])
        for label, estimates in groups
    ]
    root = accessible(charts.interval_chart(rows, name="n", title="t", zero=zero), "t")
    dots = drawn(root, "circle")
    assert len(dots) == sum(len(estimates) for _, estimates in rows)
    for dot, line in zip(dots, drawn(root, "line", "whisker"), strict=True):
        assert place(line, "x1") - 0.11 <= place(dot, "cx") <= place(line, "x2") + 0.11
        assert 0 <= place(line, "x1") <= place(line, "x2") <= charts.WIDTH


def test_a_larger_value_stands_further_right_and_zero_where_it_belongs():
    rows = [("a", [Mark("good", 10.0, 5.0, 15.0)]), ("b", [Mark("bad", -4.0, -8.0, -1.0)])]
    root = accessible(charts.interval_chart(rows, name="n", title="t", zero=True), "t")
    right, left = (place(dot, "cx") for dot in drawn(root, "circle"))
    (zero,) = (place(line, "x1") for line in drawn(root, "line", "zero"))
    assert left < zero < right
    assert (right - zero) / (zero - left) == pytest.approx(10 / 4, rel=0.01)
    assert "a 10.0 (5.0 to 15.0); b -4.0 (-8.0 to -1.0)" in "".join(root.itertext())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NUMBERS, AMOUNTS), max_size=40), st.one_of(st.none(), NUMBERS))
def test_any_histogram_can_be_drawn(bins, last_edge):
    svg = charts.histogram_chart(bins, name="n", title=HOSTILE, last_edge=last_edge)
    root = accessible(svg, "</svg><script>alert(1)</script>\"'&␀\ufffd")
    bars = drawn(root, "rect")
    assert len(bars) == len(bins)
    assert all(
        (place(bar, "height") > 0) == (n > 0) for bar, (_, n) in zip(bars, bins, strict=True)
    )


def test_bars_of_a_histogram_are_as_tall_as_their_counts():
    root = parsed(charts.histogram_chart([(0, 10), (5, 40), (10, 20)], name="n", title="t"))
    heights = [place(bar, "height") for bar in drawn(root, "rect")]
    assert [height / heights[1] for height in heights] == [0.25, 1, 0.5]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(LABELS, st.floats(0, 100)), max_size=12))
def test_bars_are_as_long_as_their_values(rows):
    bars = [(label, [Mark("tuned", value)]) for label, value in rows]
    root = accessible(charts.bar_chart(bars, name="n", title="t", maximum=100), "t")
    lengths = [place(bar, "width") for bar in drawn(root, "rect")]
    full = charts.WIDTH - 52 - min((place(bar, "x") for bar in drawn(root, "rect")), default=0)
    for length, (_, value) in zip(lengths, rows, strict=True):
        assert length == pytest.approx(max(1.0, value / 100 * full), abs=0.11)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 10**6), NUMBERS), max_size=900), st.booleans())
def test_any_curve_can_be_drawn_and_keeps_its_end(points, second):
    points.sort()
    series = [("train", points), ("eval", points[::7] if second else [])]
    svg = charts.line_chart(series, name="n", title="t", x_title="step")
    root = accessible(svg, "t")
    lines = [line.get("points", "").split() for line in drawn(root, "polyline")]
    assert len(lines) == sum(bool(points) for _, points in series)
    assert all(len(line) <= 302 for line in lines)
    if points:
        assert float(lines[0][-1].split(",")[0]) == max(
            float(pair.split(",")[0]) for pair in lines[0]
        )


def test_labels_of_curves_that_end_together_stand_apart():
    series = [("train", [(0, 1.0), (9, 0.5)]), ("eval", [(0, 1.0), (9, 0.5)])]
    root = parsed(charts.line_chart(series, name="n", title="t", x_title="step"))
    heights = [place(text, "y") for text in drawn(root, "text", "label")]
    assert abs(heights[0] - heights[1]) >= 13


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0.93, 0.97), (0.6853, 0.6931), (-61.1, 12.2), (17, 100), (0, 1e-6), (-3e8, 5e8),
     (1e17, 1e17), (-1e18, -1e18), (100, 100)],
)  # fmt: skip
def test_ticks_are_round_and_inside_and_each_is_written_differently(low, high):
    axis = charts._axis(low, high, 0, 100)
    assert axis.low <= low <= high <= axis.high
    low, high = axis.low, axis.high
    ticks, words = zip(*charts._ticks(axis), strict=True)
    assert 3 <= len(ticks) == len(set(words)) <= 11
    step = ticks[1] - ticks[0]
    assert low - step * 1e-6 <= ticks[0] < ticks[-1] <= high + step * 1e-6
    assert re.fullmatch(r"[125]0*\.?0*e.*", f"{step:.6e}")


def test_wide_letters_count_twice_when_a_label_is_cut():
    assert charts._short("abc", 100) == "abc"
    assert len(charts._short("a" * 50, 100)) > 1.8 * len(charts._short("あ" * 50, 100)) > 8
    assert charts._short("two\nlines\there", 200) == "two lines here"

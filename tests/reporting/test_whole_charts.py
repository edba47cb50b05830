"""Charts as they are drawn, character for character.

python -m tests.reporting.test_whole_charts    # writes charts.json anew; look at what changed
"""

import json
from pathlib import Path

import pytest

from tunepipe.reporting import svg
from tunepipe.reporting.svg import Mark

GOLDEN = Path(__file__).with_name("charts.json")
LONG = "a label that is longer than the space that a chart leaves for it, 日本語も"
TWO = [("bleu", [Mark("tuned", 31.5, 28.25, 35.0), Mark("base", 12.0, 10.0, 14.5)])]
PAIRS = [*TWO, (LONG, [Mark("tuned", 2.0), Mark("base", -3.5, -4.0, None)])]
BARS = [("yes", [Mark("train", 40, 30, 50), Mark("eval", 5)]), (LONG, [Mark("train", 0)])]
CURVE = [(step, 2.0 / step) for step in range(1, 400)]
NAMED = {"name": "n", "title": "t"}
CHARTS = {
    "intervals": svg.interval_chart(PAIRS, **NAMED),
    "intervals, zero": svg.interval_chart(TWO, **NAMED, zero=True, write="{:+.2f}".format),
    "intervals, one": svg.interval_chart([("f1", [Mark("tuned", 1.0, 1.0, 1.0)])], **NAMED),
    "intervals, below zero": svg.interval_chart(
        [("f1", [Mark("tuned", -2.0, -3.0, -1.0)])], **NAMED, zero=True
    ),
    "intervals, none": svg.interval_chart([], **NAMED),
    "histogram": svg.histogram_chart([(0, 3), (10, 0), (20, 7), (40, 1)], **NAMED, last_edge=80),
    "histogram, narrow": svg.histogram_chart([(n, n % 7) for n in range(120)], **NAMED),
    "histogram, one": svg.histogram_chart([(5, 2)], **NAMED),
    "histogram, none": svg.histogram_chart([], **NAMED),
    "bars": svg.bar_chart(BARS, **NAMED),
    "bars, maximum": svg.bar_chart(BARS, **NAMED, maximum=100, write="{:.0f} %".format),
    "bars, none": svg.bar_chart([], **NAMED),
    "curves": svg.line_chart(
        [("train", CURVE), ("eval", [(1, 2.5), (200, 1.25), (399, 1.5)])], **NAMED, x_title="step"
    ),
    "curves that end together": svg.line_chart(
        [("train", [(0, 1.0), (1, 0.5)]), ("eval", [(0, 1.0), (1, 0.5)])], **NAMED, x_title="epoch"
    ),
    "curves, none": svg.line_chart([], **NAMED, x_title="step"),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_drawn_like_this(name: str) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert CHARTS[name].split(">") == golden[name]


if __name__ == "__main__":
    lines = {name: chart.split(">") for name, chart in CHARTS.items()}
    GOLDEN.write_text(json.dumps(lines, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")

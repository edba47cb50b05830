"""The charts of the report, drawn from the facts of a run, each empty where its facts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunepipe.reporting import svg
from tunepipe.reporting.facts import Comparison, Confusion, Estimate, Facts, Score
from tunepipe.reporting.formatting import count, points, score
from tunepipe.reporting.sections import (
    comparisons,
    field_metrics,
    ordered,
    spoken,
    whole_metrics,
)
from tunepipe.reporting.svg import Mark

_MAX_BARS = 30
_MAX_CLASSES = 12
_MAX_TABLE = 200

Groups = list[tuple[str, list[Mark]]]


def metrics_chart(facts: Facts) -> str:
    """Draw every metric of every model with its interval."""
    groups = dict(_by_label(facts, lambda model: _marks(whole_metrics(model.metrics))))
    title = "Every metric with its 95 % interval, out of 100"
    named = [(spoken(metric), groups[metric]) for metric in ordered(groups, facts)]
    return svg.interval_chart(named, name="metrics", title=title) if named else ""


def difference_charts(facts: Facts) -> list[tuple[str, str]]:
    """Draw the differences to each other model with their intervals, in each metric."""
    drawn = []
    for other, comparison in comparisons(facts):
        title = f"Points against {other}: right of the line at zero is better, grey is not settled"
        groups: Groups = [
            (spoken(metric), [_mark(_color(estimate), estimate)])
            for metric, estimate in _differences(facts, other, comparison).items()
        ]
        chart = svg.interval_chart(
            groups,
            name=f"differences-{other.replace(' ', '-')}",
            title=title,
            zero=True,
            write=lambda value: points(value / 100),
        )
        drawn.append((title, chart))
    return drawn


def _differences(facts: Facts, other: str, comparison: Comparison) -> dict[str, Estimate]:
    """The deciding metric's difference first, then those of the others, if they are given."""
    others = comparison.differences
    if not others and other == "base":
        others = facts.tuned.differences
    first = Estimate(comparison.difference, comparison.low, comparison.high)
    found = {comparison.metric: first, **whole_metrics(others or {})} | {comparison.metric: first}
    return {name: estimate for name, estimate in found.items() if name != "answered"}


def _color(difference: Estimate) -> str:
    """The class of a difference: its interval is right of zero, left of it, or across it."""
    return "good" if difference.low > 0 else "bad" if difference.high < 0 else "even"


def part_charts(facts: Facts) -> list[tuple[str, str]]:
    """Draw the fields of a JSON answer, or the classes of a classification, for each model."""
    fields = _by_label(facts, lambda model: _marks(field_metrics(model.metrics)))
    classes = _by_label(facts, lambda model: {row.label: (100 * row.f1,) for row in model.classes})
    return [
        *_bars(fields, "fields", "Right values in each field, out of 100"),
        *_bars(classes, "classes", "F1 of each class, out of 100"),
    ]


def class_table(facts: Facts) -> list[list[str]]:
    """Return the tuned model's classes as lines of a table: name, rows, precision, recall, F1."""
    return [
        [row.label, count(row.support), *map(score, (row.precision, row.recall, row.f1))]
        for row in facts.tuned.classes[:_MAX_TABLE]
    ]


def _marks(metrics: Mapping[str, Estimate]) -> dict[str, tuple[float, ...]]:
    return {
        name: (100 * each.value, 100 * each.low, 100 * each.high) for name, each in metrics.items()
    }


def _mark(series: str, estimate: Estimate) -> Mark:
    return Mark(series, 100 * estimate.value, 100 * estimate.low, 100 * estimate.high)


def _by_label(facts: Facts, read: Callable[[Score], Mapping[str, tuple[float, ...]]]) -> Groups:
    """Group what is read of each model, a value or one with its interval, by its label."""
    values = {name: read(model) for name, model in facts.models.items()}
    labels = dict.fromkeys(label for each in values.values() for label in each)
    return [
        (label, [Mark(name, *each[label]) for name, each in values.items() if label in each])
        for label in labels
    ]


def _bars(groups: Groups, name: str, title: str) -> list[tuple[str, str]]:
    if not groups:
        return []
    shown = groups[:_MAX_BARS]
    chart = svg.bar_chart(shown, name=name, title=title, maximum=100, write="{:.1f}".format)
    more = len(groups) - len(shown)
    return [(title + (f"; {count(more)} more not drawn" if more else ""), chart)]


def confusion_view(facts: Facts) -> dict[str, Any] | None:
    """Draw the tuned model's confusion matrix, and give it as a table; None if there is none."""
    confusion = facts.tuned.confusion or Confusion()
    labels, counts = confusion.labels, confusion.matrix
    if not labels or [len(row) for row in counts] != [len(labels)] * len(labels):
        return None
    labels, counts, merged = _largest(labels, counts)
    title = "What the tuned model said for each true class"
    return {
        "labels": labels,
        "rows": list(zip(labels, counts, strict=True)),
        "merged": merged,
        "chart": svg.confusion_chart(labels, counts, name="confusion", title=title),
    }


def _largest(
    labels: list[str], counts: list[list[float]]
) -> tuple[list[str], list[list[float]], int]:
    """Keep the largest classes and merge the others into one; return how many were merged."""
    if len(labels) <= _MAX_CLASSES:
        return labels, counts, 0
    order = sorted(range(len(labels)), key=lambda row: -sum(counts[row]))
    place = {old: min(new, _MAX_CLASSES - 1) for new, old in enumerate(order)}
    merged = [[0.0] * _MAX_CLASSES for _ in range(_MAX_CLASSES)]
    for row, amounts in enumerate(counts):
        for column, amount in enumerate(amounts):
            merged[place[row]][place[column]] += amount
    names = [labels[old] for old in order[: _MAX_CLASSES - 1]]
    return [*names, "(others)"], merged, len(labels) - _MAX_CLASSES + 1


def loss_chart(facts: Facts) -> str:
    """Draw the training loss, and the evaluation loss if it was measured."""
    curve = facts.tuning.statistics.loss_curve if facts.tuning else []
    series = []
    for column, name in ((1, "train"), (2, "eval")):
        pairs = [(point[0], point[column]) for point in curve if len(point) > column]
        if drawn := [(x, y) for x, y in pairs if x is not None and y is not None]:
            series.append((name, drawn))
    if not series:
        return ""
    return svg.line_chart(series, name="loss", title="Loss during the tuning", x_title="step")

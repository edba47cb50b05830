"""The charts of the report, drawn from the facts of a run, each empty where its facts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunepipe.reporting import svg
from tunepipe.reporting.facts import Confusion, Estimate, Facts, Score
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
    groups = dict(_by_label(facts, lambda model: whole_metrics(model.metrics)))
    title = "Every metric with its 95 % interval, out of 100"
    named = [(spoken(metric), groups[metric]) for metric in ordered(groups, facts)]
    return svg.interval_chart(named, name="metrics", title=title) if named else ""


def difference_charts(facts: Facts) -> list[tuple[str, str]]:
    """Draw the differences to each other model with their intervals, in each metric."""
    drawn = []
    for other, comparison in comparisons(facts):
        others = comparison.differences
        if not others and other == "base":
            others = facts.tuned.differences
        # The deciding metric first, by the comparison itself.
        first = {
            comparison.metric: Estimate(comparison.difference, comparison.low, comparison.high)
        }
        groups = []
        for metric, found in (first | whole_metrics(others or {}) | first).items():
            color = "good" if found.low > 0 else "bad" if found.high < 0 else "even"
            if metric != "answered":
                groups.append((spoken(metric), [_mark(color, found)]))
        title = f"Points against {other}: right of the line at zero is better, grey is not settled"
        chart = svg.interval_chart(
            groups,
            name=f"differences-{other.replace(' ', '-')}",
            title=title,
            zero=True,
            write=lambda value: points(value / 100),
        )
        drawn.append((title, chart))
    return drawn


def part_charts(facts: Facts) -> list[tuple[str, str]]:
    """Draw the fields of a JSON answer, or the classes of a classification, for each model."""
    fields = _by_label(facts, lambda model: field_metrics(model.metrics))
    classes = _by_label(facts, lambda model: {row.label: row.f1 for row in model.classes})
    drawn = []
    for groups, name, title in (
        (fields, "fields", "Right values in each field, out of 100"),
        (classes, "classes", "F1 of each class, out of 100"),
    ):
        shown, more = groups[:_MAX_BARS], len(groups) - _MAX_BARS
        if shown:
            write = "{:.1f}".format
            chart = svg.bar_chart(shown, name=name, title=title, maximum=100, write=write)
            drawn.append((title + (f"; {count(more)} more not drawn" if more > 0 else ""), chart))
    return drawn


def class_table(facts: Facts) -> list[list[str]]:
    """Return the tuned model's classes as lines of a table: name, rows, precision, recall, F1."""
    return [
        [row.label, count(row.support), *map(score, (row.precision, row.recall, row.f1))]
        for row in facts.tuned.classes[:_MAX_TABLE]
    ]


def _mark(series: str, found: Estimate | float) -> Mark:
    if isinstance(found, Estimate):
        return Mark(series, 100 * found.value, 100 * found.low, 100 * found.high)
    return Mark(series, 100 * found)


def _by_label(facts: Facts, read: Callable[[Score], Mapping[str, Estimate | float]]) -> Groups:
    """Group what is read of each model, a value or one with its interval, by its label."""
    values = {name: read(model) for name, model in facts.models.items()}
    labels = dict.fromkeys(label for each in values.values() for label in each)
    return [
        (label, [_mark(name, each[label]) for name, each in values.items() if label in each])
        for label in labels
    ]


def confusion_view(facts: Facts) -> dict[str, Any] | None:
    """Prepare the tuned model's confusion matrix; None if there is none.

    Returns:
        `labels`; `rows` of a label and its cells, each a count and its CSS classes: a cell is as
        dark as its share of the row, and the diagonal has the colour of what is right; and how many
        classes were `merged`.
    """
    confusion = facts.tuned.confusion or Confusion()
    labels, counts = confusion.labels, confusion.matrix
    if not labels or [len(row) for row in counts] != [len(labels)] * len(labels):
        return None
    labels, counts, merged = _largest(labels, counts)
    rows = []
    for row, amounts in enumerate(counts):
        total = sum(amounts) or 1
        cells = [
            (amount, f"{'good' if row == column else 'bad'} share-{round(9 * amount / total)}")
            for column, amount in enumerate(amounts)
        ]
        rows.append((labels[row], cells))
    return {"labels": labels, "rows": rows, "merged": merged}


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

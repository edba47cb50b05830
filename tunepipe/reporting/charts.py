"""The charts of the report, drawn from the facts of a run, each empty where its facts are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunepipe.reporting import formatting
from tunepipe.reporting import svg as charts
from tunepipe.reporting.formatting import finite, items, part
from tunepipe.reporting.sections import (
    MODELS,
    comparisons,
    field_metrics,
    ordered,
    spoken,
    whole_metrics,
)
from tunepipe.reporting.svg import Estimate

_MAX_BARS = 30
_MAX_CLASSES = 12
_MAX_TABLE = 200

Groups = list[tuple[str, list[Estimate]]]


def metrics_chart(facts: Mapping[str, Any]) -> str:
    """Draw every metric of every model with its interval."""
    groups = dict(_by_label(facts, whole_metrics))
    title = "Every metric with its 95 % interval, out of 100"
    named = [(spoken(metric), groups[metric]) for metric in ordered(groups, facts)]
    return charts.interval_chart(named, name="metrics", title=title) if named else ""


def difference_charts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draw the differences to each other model with their intervals, in each metric."""
    drawn = []
    for other, comparison in comparisons(facts):
        title = f"Points against {other}: right of the line at zero is better, grey is not settled"
        groups: Groups = [
            (spoken(metric), [estimate])
            for metric, values in _differences(facts, other, comparison).items()
            if (estimate := _estimate(_evidence(values), values))
        ]
        if groups:
            svg = charts.interval_chart(
                groups,
                name=_name("differences", other),
                title=title,
                zero=True,
                write=_points,
            )
            drawn.append((title, svg))
    return drawn


def _name(chart: str, other: str) -> str:
    return f"{chart}-{other.replace(' ', '-')}"


def _points(value: float) -> str:
    return formatting.points(value / 100)


def _differences(
    facts: Mapping[str, Any], other: str, comparison: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """The deciding metric's difference first, then those of the others, if they are given."""
    decided = {**comparison, "value": comparison.get("difference")}
    given = comparison.get("differences")
    if given is None and other == "base":
        given = part(part(facts, "scores"), "tuned").get("differences")
    others = whole_metrics({"metrics": given})
    metric = str(comparison.get("metric"))
    return {metric: decided} | {
        name: part(others, name) for name in others if name not in (metric, "answered")
    }


def _evidence(values: Mapping[str, Any]) -> str:
    """The colour of a difference: its interval is right of zero, left of it, or across it."""
    low, high = finite(values.get("low")), finite(values.get("high"))
    if low is not None and low > 0:
        return "good"
    return "bad" if high is not None and high < 0 else "even"


def share_charts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draw, for each comparison, on how many rows the tuned model is better, the same, worse."""
    return [
        _shares(other, [finite(comparison.get(key)) or 0.0 for key in ("wins", "ties", "losses")])
        for other, comparison in comparisons(facts)
        if any(finite(comparison.get(key)) for key in ("wins", "ties", "losses"))
    ]


def _shares(other: str, sizes: list[float]) -> tuple[str, str]:
    kinds = (("better", "good"), ("the same", "base"), ("worse", "bad"))
    parts = [(label, css, size) for (label, css), size in zip(kinds, sizes, strict=True)]
    words = ", ".join(f"{formatting.count(size)} {label}" for label, _, size in parts)
    title = f"Rows of the tuned model against {other}"
    svg = charts.share_chart(parts, name=_name("shares", other), title=title)
    return f"Rows against {other}: {words}", svg


def part_charts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draw the fields of a JSON answer, or the classes of a classification, for each model."""
    fields = _by_label(facts, field_metrics)
    classes = _by_label(facts, _f1_of_classes)
    return [
        *_bars(fields, "fields", "Right values in each field, out of 100"),
        *_bars(classes, "classes", "F1 of each class, out of 100"),
    ]


def class_table(facts: Mapping[str, Any]) -> list[list[str]]:
    """Return the tuned model's classes as lines of a table: name, rows, precision, recall, F1."""
    classes = items(part(part(facts, "scores"), "tuned"), "classes")
    return [
        [
            str(row.get("label", "")),
            formatting.count(row.get("support")),
            *(formatting.score(row.get(key)) for key in ("precision", "recall", "f1")),
        ]
        for row in classes[:_MAX_TABLE]
        if isinstance(row, Mapping)
    ]


def _f1_of_classes(score: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = [row for row in items(score, "classes") if isinstance(row, Mapping)]
    return {str(row.get("label", "")): {"value": row.get("f1")} for row in rows}


def _by_label(facts: Mapping[str, Any], read: Callable[[Any], Mapping[str, Any]]) -> Groups:
    scores = part(facts, "scores")
    values = {name: read(part(scores, name)) for name in MODELS}
    groups: Groups = []
    for label in dict.fromkeys(label for each in values.values() for label in each):
        found = [_estimate(name, part(values[name], label)) for name in MODELS]
        if estimates := [estimate for estimate in found if estimate]:
            groups.append((label, estimates))
    return groups


def _estimate(series: str, values: Mapping[str, Any]) -> Estimate | None:
    """Read {"value", "low", "high"} of 0..1 as an estimate out of 100; None without a value."""
    numbers = [finite(values.get(key)) for key in ("value", "low", "high")]
    value, low, high = (None if n is None else 100 * n for n in numbers)
    return None if value is None else Estimate(series, value, low, high)


def _bars(groups: Groups, name: str, title: str) -> list[tuple[str, str]]:
    if not groups:
        return []
    shown = groups[:_MAX_BARS]
    svg = charts.bar_chart(shown, name=name, title=title, maximum=100, write="{:.1f}".format)
    more = len(groups) - len(shown)
    return [(title + (f"; {formatting.count(more)} more not drawn" if more else ""), svg)]


def confusion_view(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Draw the tuned model's confusion matrix, and give it as a table; None if there is none."""
    confusion = part(part(part(facts, "scores"), "tuned"), "confusion")
    labels = [str(label) for label in items(confusion, "labels")]
    counts = [
        [finite(amount) or 0.0 for amount in row] if isinstance(row, (list, tuple)) else []
        for row in items(confusion, "matrix")
    ]
    square = len(counts) == len(labels) and all(len(row) == len(labels) for row in counts)
    if not labels or not square:
        return None
    labels, counts, merged = _largest(labels, counts)
    title = "What the tuned model said for each true class"
    return {
        "labels": labels,
        "rows": list(zip(labels, counts, strict=True)),
        "merged": merged,
        "chart": charts.confusion_chart(labels, counts, name="confusion", title=title),
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


def loss_chart(facts: Mapping[str, Any]) -> str:
    """Draw the training loss, and the evaluation loss if it was measured."""
    statistics = part(part(facts, "tuning"), "statistics")
    curve = [point for point in items(statistics, "loss_curve") if isinstance(point, (list, tuple))]
    series = []
    for column, name in ((1, "train"), (2, "eval")):
        pairs = [(finite(p[0]), finite(p[column])) for p in curve if len(p) > column]
        points = [(x, y) for x, y in pairs if x is not None and y is not None]
        if points:
            series.append((name, points))
    if not series:
        return ""
    return charts.line_chart(series, name="loss", title="Loss during the tuning", x_title="step")

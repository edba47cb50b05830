"""The report of a run: one HTML page that opens anywhere, from the facts of the run's steps.

A part whose facts are missing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunepipe.reporting import sections, svg
from tunepipe.reporting.answers import row_groups
from tunepipe.reporting.facts import Confusion, Dataset, Estimate, Facts, Score, read_facts
from tunepipe.reporting.formatting import count, points
from tunepipe.reporting.html_page import render
from tunepipe.reporting.svg import Groups, Mark
from tunepipe.reporting.validation_page import data_view

_MAX_BARS = 30
_MAX_CLASSES_DRAWN, _MAX_CLASSES = 12, 200


def report_page(facts: Mapping[str, Any] | Facts) -> str:
    """Return the report's HTML."""
    facts = read_facts(facts)
    return render(
        "report.html.j2",
        facts=facts,
        title=facts.title or "Tuning report",
        run=sections.run_pairs(facts),
        verdict=sections.verdict(facts),
        caveats=sections.caveats(facts),
        figures=sections.figures(facts),
        sections=sections,
        scores=sections.scores_view(facts),
        comparisons=sections.comparisons(facts),
        metrics_chart=_metrics_chart(facts),
        differences=_difference_charts(facts),
        parts=_part_charts(facts),
        classes=facts.tuned.classes[:_MAX_CLASSES],
        slices=sections.slices_view(facts),
        confusion=_confusion_view(facts),
        within_rows=sections.within_rows(facts.tuned.within_rows),
        judge=sections.judge_view(facts.judge),
        training=sections.training_pairs(facts),
        loss_chart=_loss_chart(facts),
        data=data_view(facts.dataset) if facts.dataset != Dataset() else None,
        split=sections.split_pairs(facts),
        rows=row_groups(facts.rows) if facts.rows else None,
    )


def _metrics_chart(facts: Facts) -> str:
    """Draw every metric of every model with its interval."""
    groups = dict(_by_label(facts, lambda model: sections.whole_metrics(model.metrics)))
    title = "Every metric with its 95 % interval, out of 100"
    named = [
        (sections.spoken(metric), groups[metric]) for metric in sections.ordered(groups, facts)
    ]
    return svg.interval_chart(named, name="metrics", title=title) if named else ""


def _difference_charts(facts: Facts) -> list[tuple[str, str]]:
    """Draw the differences to each other model with their intervals, in each metric."""
    drawn = []
    for other, comparison in sections.comparisons(facts):
        others = comparison.differences
        if not others and other == "base":
            others = facts.tuned.differences
        # The deciding metric first, by the comparison itself.
        decided = Estimate(comparison.difference, comparison.low, comparison.high)
        first = {comparison.metric: decided}
        groups = []
        for metric, gain in (first | sections.whole_metrics(others or {}) | first).items():
            color = "good" if gain.low > 0 else "bad" if gain.high < 0 else "even"
            if metric != "answered":
                groups.append((sections.spoken(metric), [_mark(color, gain)]))
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


def _part_charts(facts: Facts) -> list[tuple[str, str]]:
    """Draw the fields or arguments of an answer, or the classes of labels, for each model."""
    parts = _by_label(facts, lambda model: sections.part_metrics(model.metrics))
    part = "argument" if facts.tuned.task == "calls" else "field"
    classes = _by_label(facts, lambda model: {row.label: row.f1 for row in model.classes})
    drawn = []
    for groups, name, title in (
        (parts, "fields", f"Right values in each {part}, out of 100"),
        (classes, "classes", "F1 of each class, out of 100"),
    ):
        shown, more = groups[:_MAX_BARS], len(groups) - _MAX_BARS
        if shown:
            write = "{:.1f}".format
            chart = svg.bar_chart(shown, name=name, title=title, maximum=100, write=write)
            drawn.append((title + (f"; {count(more)} more not drawn" if more > 0 else ""), chart))
    return drawn


def _mark(series: str, value: Estimate | float) -> Mark:
    if isinstance(value, Estimate):
        return Mark(series, 100 * value.value, 100 * value.low, 100 * value.high)
    return Mark(series, 100 * value)


def _by_label(facts: Facts, read: Callable[[Score], Mapping[str, Estimate | float]]) -> Groups:
    """Group what is read of each model, a value or one with its interval, by its label."""
    values = {name: read(model) for name, model in facts.models.items()}
    labels = dict.fromkeys(label for each in values.values() for label in each)
    return [
        (label, [_mark(name, each[label]) for name, each in values.items() if label in each])
        for label in labels
    ]


def _confusion_view(facts: Facts) -> dict[str, Any] | None:
    """Prepare the tuned model's confusion matrix, the smallest of many classes merged.

    What is wrong among those has a column of its own: on the diagonal it would look right.
    """
    confusion = facts.tuned.confusion or Confusion()
    labels, counts = confusion.labels, confusion.matrix
    if not labels or [len(row) for row in counts] != [len(labels)] * len(labels):
        return None
    if len(labels) <= _MAX_CLASSES_DRAWN:
        return {"labels": labels, "rows": counts, "merged": 0}
    order = sorted(range(len(labels)), key=lambda row: -sum(counts[row]))
    last = _MAX_CLASSES_DRAWN - 1
    place = {old: min(new, last) for new, old in enumerate(order)}
    rows = [[0.0] * (_MAX_CLASSES_DRAWN + 1) for _ in range(_MAX_CLASSES_DRAWN)]
    for row, amounts in enumerate(counts):
        for column, amount in enumerate(amounts):
            is_wrong = row != column and place[row] == place[column]
            rows[place[row]][last + 1 if is_wrong else place[column]] += amount
    names = [*(labels[old] for old in order[:last]), "(others)", "(others, wrong)"]
    return {"labels": names, "rows": rows, "merged": len(labels) - last}


def _loss_chart(facts: Facts) -> str:
    """Draw the training loss, and the evaluation loss if it was measured."""
    curve = facts.tuning.statistics.loss_curve
    series = []
    for column, name in ((1, "train"), (2, "eval")):
        pairs = [(point[0], point[column]) for point in curve if len(point) > column]
        if drawn := [(x, y) for x, y in pairs if x is not None and y is not None]:
            series.append((name, drawn))
    if not series:
        return ""
    return svg.line_chart(series, name="loss", title="Loss during the tuning", x_title="step")

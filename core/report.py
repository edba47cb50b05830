"""The report of a run: one HTML page that opens anywhere, from the facts of the run's steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import charts, display
from .charts import Estimate
from .data_view import data_view
from .display import finite, items, part
from .files import replacing
from .page import render
from .report_rows import row_groups

MODELS = {"tuned": "tuned", "champion": "champion", "base": "base"}
# Each verdict's mark, for those who do not see the colour, and its sentence.
VERDICTS = {
    "better": ("▲", "The tuned model is better."),
    "worse": ("▼", "The tuned model is worse."),
    "not-enough-evidence": ("◆", "There is not enough evidence to say better or worse."),
}
_MAX_BARS = 30
_MAX_CLASSES = 12


def write_report(facts: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the report as one self-contained HTML page.

    Args:
        facts: What the run's steps gave, as `report_facts.Facts` says.
        path: The file to write.
    """
    with replacing(path) as file:
        file.write(report_page(facts))


def report_page(facts: Mapping[str, Any]) -> str:
    """Return the report's HTML; a part that is missing from the facts is left out."""
    rows = items(facts, "rows")
    return render(
        "report.html.j2",
        title=str(facts.get("title") or "Tuning report"),
        run=run_pairs(facts),
        verdict=_verdict(facts),
        figures=_figures(facts),
        scores=scores_view(facts),
        groups=[*_fields(facts), *_classes(facts)],
        confusion=_confusion(facts),
        rows=row_groups(rows) if rows else None,
        training=_training(facts),
        data=data_view(part(facts, "dataset")) if part(facts, "dataset") else None,
        split=_split(facts),
    )


def run_pairs(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what identifies the run, as pairs of label and text, those that are known."""
    run = part(facts, "run")
    names = {
        "id": "Run",
        "created": "Created",
        "backend": "Backend",
        "base_model": "Base model",
        "region": "Region",
    }
    return [(label, str(run[key])) for key, label in names.items() if run.get(key)]


def deciding(facts: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the comparison the verdict rests on: with the champion if there is one."""
    comparisons = part(facts, "comparisons")
    for name in ("champion", "base"):
        if part(comparisons, name):
            return name, part(comparisons, name)
    return "", {}


def spoken(metric: Any) -> str:
    """Write a metric's name as words: "exact_match" is "exact match"."""
    return str(metric or "").replace("_", " ")


def _verdict(facts: Mapping[str, Any]) -> dict[str, Any]:
    verdict = str(facts.get("verdict") or "")
    mark, sentence = VERDICTS.get(verdict, ("", verdict or "No verdict was reached."))
    kind = verdict if verdict in VERDICTS else "unknown"
    reason = str(facts.get("reason") or "")
    return {"kind": kind, "mark": mark, "sentence": sentence, "reason": reason}


def _figures(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The handful of numbers that a reader wants first: label, value, note."""
    other, comparison = deciding(facts)
    metric = comparison.get("metric")
    scores = part(facts, "scores")
    mine, theirs = (
        part(part(part(scores, name), "metrics"), str(metric)) for name in ("tuned", other)
    )
    figures = []
    if mine:
        note = f"{other} {display.score(theirs.get('value'))}" if theirs else ""
        figures.append((spoken(metric).capitalize(), display.score(mine.get("value")), note))
    if comparison:
        interval = display.between(comparison.get("low"), comparison.get("high"), signed=True)
        label = f"Points against {other}"
        figures.append((label, display.points(comparison.get("difference")), interval))
    rows = finite(part(scores, "tuned").get("rows"))
    if rows is not None:
        missing = _unanswered(facts)
        note = f"{display.count(missing)} unanswered" if missing else "all answered"
        figures.append(("Held-out rows", display.count(rows), note))
    return figures + _money_figure(facts)


def _unanswered(facts: Mapping[str, Any]) -> int:
    stated = finite(part(part(facts, "scores"), "tuned").get("unanswered"))
    if stated is not None:
        return int(stated)
    rows = [row for row in items(facts, "rows") if isinstance(row, Mapping)]
    return sum("tuned" in row and row["tuned"] is None for row in rows)


def _money_figure(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    estimate = finite(part(facts, "plan").get("estimated_cost_usd"))
    actual = finite(part(facts, "tuning").get("cost_usd"))
    if actual is not None:
        note = "" if estimate is None else f"estimated {display.money(estimate)}"
        return [("Cost", display.money(actual), note)]
    return [] if estimate is None else [("Cost, estimated", display.money(estimate), "")]


def scores_view(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Prepare the table of metrics, the comparisons, and their two charts.

    Returns:
        None without scores. `models` are the columns; each of `rows` has its `metric` and a
        (value, interval) for each model; each of `comparisons` is a line of the second table.
    """
    scores = part(facts, "scores")
    models = [name for name in MODELS if part(part(scores, name), "metrics")]
    names = list(dict.fromkeys(m for name in models for m in part(scores[name], "metrics")))
    table = [
        {"metric": spoken(metric), "cells": [_cell(scores[name], metric) for name in models]}
        for metric in names
    ]
    groups = [
        (spoken(m), [e for name in models if (e := _estimate(name, _metric(scores[name], m)))])
        for m in names
    ]
    compared = [_compared(name, c) for name, c in _comparisons(facts)]
    if not table and not compared:
        return None
    return {
        "models": models,
        "rows": table,
        "chart": charts.interval_chart(
            groups, name="metrics", title="Every metric with its 95 % interval, out of 100"
        )
        if table
        else "",
        "comparisons": compared,
        "differences": _difference_chart(facts),
    }


def _metric(score: Mapping[str, Any], metric: str) -> Mapping[str, Any]:
    return part(part(score, "metrics"), metric)


def _cell(score: Mapping[str, Any], metric: str) -> tuple[str, str]:
    values = _metric(score, metric)
    interval = display.between(values.get("low"), values.get("high"))
    return display.score(values.get("value")), interval


def _estimate(series: str, values: Mapping[str, Any]) -> Estimate | None:
    """Read {"value", "low", "high"} of 0..1 as an estimate out of 100; None without a value."""
    numbers = [finite(values.get(key)) for key in ("value", "low", "high")]
    value, low, high = (None if n is None else 100 * n for n in numbers)
    return None if value is None else Estimate(series, value, low, high)


def _comparisons(facts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    both = part(facts, "comparisons")
    return [(name, part(both, name)) for name in ("champion", "base") if part(both, name)]


def _compared(other: str, comparison: Mapping[str, Any]) -> dict[str, Any]:
    wins, ties, losses = (finite(comparison.get(k)) for k in ("wins", "ties", "losses"))
    shares = [
        ("better", "good", wins or 0.0),
        ("the same", "base", ties or 0.0),
        ("worse", "bad", losses or 0.0),
    ]
    more = finite(comparison.get("more_rows"))
    return {
        "other": other,
        "metric": spoken(comparison.get("metric")),
        "difference": display.points(comparison.get("difference")),
        "interval": display.between(comparison.get("low"), comparison.get("high"), signed=True),
        "p_value": display.p_value(comparison.get("p_value")),
        "wins": display.count(wins),
        "ties": display.count(ties),
        "losses": display.count(losses),
        "verdict": spoken(comparison.get("verdict")).replace("-", " "),
        "more_rows": f"About {display.count(more)} more held-out rows would settle it."
        if more
        else "",
        "shares": charts.share_chart(
            shares, name=f"shares-{other}", title=f"Rows of the tuned model against {other}"
        )
        if any(size for _, _, size in shares)
        else "",
    }


def _difference_chart(facts: Mapping[str, Any]) -> str:
    groups = []
    for other, comparison in _comparisons(facts):
        values = {**comparison, "value": comparison.get("difference")}
        if estimate := _estimate("tuned", values):
            groups.append((f"{spoken(comparison.get('metric'))}, tuned less {other}", [estimate]))
    if not groups:
        return ""
    return charts.interval_chart(
        groups,
        name="differences",
        title="Difference in points with its 95 % interval; right of the zero line is better",
        zero=True,
        write=lambda value: display.points(value / 100),
    )


def _fields(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """The share of right values in each field of a JSON answer."""
    groups = _by_label(facts, lambda score: part(score, "fields"))
    return _bars(groups, "fields", "Fields", "Right values in each field, of 100")


def _classes(facts: Mapping[str, Any]) -> list[dict[str, str]]:
    """The F1 of each class."""
    groups = _by_label(facts, _f1_of_classes)
    return _bars(groups, "classes", "Classes", "F1 of each class, of 100")


def _f1_of_classes(score: Mapping[str, Any]) -> Mapping[str, Any]:
    rows = [row for row in items(score, "classes") if isinstance(row, Mapping)]
    return {str(row.get("label", "")): {"value": row.get("f1")} for row in rows}


def _by_label(facts: Mapping[str, Any], read: Any) -> list[tuple[str, list[Estimate]]]:
    scores = part(facts, "scores")
    values = {name: read(part(scores, name)) for name in MODELS}
    groups = []
    for label in dict.fromkeys(label for each in values.values() for label in each):
        found = [_estimate(name, part(values[name], label)) for name in MODELS]
        if estimates := [estimate for estimate in found if estimate]:
            groups.append((label, estimates))
    return groups


def _bars(
    groups: list[tuple[str, list[Estimate]]], name: str, heading: str, title: str
) -> list[dict[str, str]]:
    if not groups:
        return []
    shown = groups[:_MAX_BARS]
    svg = charts.bar_chart(shown, name=name, title=title, maximum=100, write="{:.1f}".format)
    more = len(groups) - len(shown)
    caption = title + (f"; {display.count(more)} more not drawn" if more else "")
    return [{"heading": heading, "caption": caption, "chart": svg}]


def _confusion(facts: Mapping[str, Any]) -> dict[str, Any] | None:
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


def _training(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    plan, tuning = part(facts, "plan"), part(facts, "tuning")
    if not plan and not tuning:
        return None
    statistics = part(tuning, "statistics")
    pairs = [
        ("Model", tuning.get("model")),
        ("Planned model", plan.get("model")),
        ("Region", plan.get("region")),
        ("Accelerators", _accelerators(plan)),
        ("Parameters", _counted(statistics.get("parameters"))),
        ("Training rows", _counted(plan.get("rows"))),
        ("Batch size", _counted(plan.get("batch_size"))),
        ("Steps planned", _steps(plan)),
        ("Steps done", _counted(statistics.get("train_steps"))),
        ("Time estimated", _time(plan.get("estimated_hours"), 3600)),
        ("Time taken", _time(statistics.get("seconds"), 1)),
        ("Cost estimated", _cost(plan.get("estimated_cost_usd"), plan.get("price_date"))),
        ("Cost", _cost(tuning.get("cost_usd"), "")),
    ]
    return {
        "note": str(statistics.get("note") or ""),
        "pairs": [(label, str(value)) for label, value in pairs if value not in (None, "")],
        "warnings": [str(warning) for warning in items(plan, "warnings")],
        "chart": _loss_chart(statistics),
    }


def _counted(value: Any) -> str:
    return "" if finite(value) is None else display.count(value)


def _time(value: Any, unit_seconds: int) -> str:
    number = finite(value)
    return "" if number is None else display.duration(number * unit_seconds)


def _cost(value: Any, price_date: Any) -> str:
    if finite(value) is None:
        return ""
    return display.money(value) + (f", prices of {price_date}" if price_date else "")


def _accelerators(plan: Mapping[str, Any]) -> str:
    kind, number = plan.get("accelerator_type"), finite(plan.get("accelerators"))
    if not kind:
        return ""
    return f"{display.count(number)} × {kind}" if number else str(kind)


def _steps(plan: Mapping[str, Any]) -> str:
    steps, epochs = finite(plan.get("train_steps")), finite(plan.get("epochs"))
    if steps is None:
        return ""
    passes = f", {display.plural(epochs, 'pass', 'passes')} over the rows" if epochs else ""
    return display.count(steps) + passes


def _loss_chart(statistics: Mapping[str, Any]) -> str:
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


def _split(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    split = part(facts, "split")
    names = {
        "train_rows": "Training rows",
        "eval_rows": "Held-out rows",
        "duplicate_rows_kept_together": "Duplicates kept together",
        "groups": "Groups",
        "seed": "Seed",
    }
    return [(label, _counted(split[key])) for key, label in names.items() if key in split]

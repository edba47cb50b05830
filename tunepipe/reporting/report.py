"""The report of a run: one HTML page that opens anywhere, from the facts of the run's steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunepipe.files import replacing
from tunepipe.reporting import charts as report_charts
from tunepipe.reporting import sections as report_view
from tunepipe.reporting.answers import row_groups
from tunepipe.reporting.dataset_section import data_view
from tunepipe.reporting.formatting import items, part
from tunepipe.reporting.html_page import render
from tunepipe.reporting.judge_view import judge_view

_COMPARISON_LINES = (
    ("Decided by", "metric"),
    ("Difference", "difference"),
    ("95 % interval", "interval"),
    ("Rows better", "wins"),
    ("Rows the same", "ties"),
    ("Rows worse", "losses"),
    ("Exact test", "p_value"),
    ("Verdict", "verdict"),
)


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
    dataset = part(facts, "dataset")
    scores = report_view.scores_view(facts)
    return render(
        "report.html.j2",
        title=str(facts.get("title") or "Tuning report"),
        run=report_view.run_pairs(facts),
        verdict=report_view.verdict(facts),
        figures=report_view.figures(facts),
        scores=scores and scores | _score_charts(facts),
        comparison_lines=_COMPARISON_LINES,
        judge=judge_view(facts),
        training=_training(facts),
        data=data_view(dataset) if dataset else None,
        split=report_view.split_pairs(facts),
        rows=row_groups(rows) if rows else None,
    )


def _score_charts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metrics_chart": report_charts.metrics_chart(facts),
        "differences": report_charts.difference_charts(facts),
        "shares": report_charts.share_charts(facts),
        "parts": report_charts.part_charts(facts),
        "classes": report_charts.class_table(facts),
        "confusion": report_charts.confusion_view(facts),
    }


def _training(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    if not part(facts, "plan") and not part(facts, "tuning"):
        return None
    return {
        "note": str(part(part(facts, "tuning"), "statistics").get("note") or ""),
        "pairs": report_view.training_pairs(facts),
        "warnings": [str(warning) for warning in items(part(facts, "plan"), "warnings")],
        "chart": report_charts.loss_chart(facts),
    }

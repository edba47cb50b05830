"""The report of a run: one HTML page that opens anywhere, from the facts of the run's steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunepipe.files import replacing
from tunepipe.reporting import charts, sections
from tunepipe.reporting.answers import row_groups
from tunepipe.reporting.dataset_section import data_view
from tunepipe.reporting.facts import Facts, read_facts
from tunepipe.reporting.html_page import render

_MAX_CLASSES = 200


def write_report(facts: Mapping[str, Any] | Facts, path: str | os.PathLike[str]) -> None:
    """Write the report as one self-contained HTML page.

    Args:
        facts: What the run's steps gave, as `facts.Facts` says.
        path: The file to write.
    """
    with replacing(path) as file:
        file.write(report_page(facts))


def report_page(facts: Mapping[str, Any] | Facts) -> str:
    """Return the report's HTML; a part that is missing from the facts is left out."""
    facts = read_facts(facts)
    return render(
        "report.html.j2",
        facts=facts,
        title=facts.title or "Tuning report",
        run=sections.run_pairs(facts),
        verdict=sections.verdict(facts),
        caveats=sections.caveats(facts),
        figures=sections.figures(facts),
        scores=sections.scores_view(facts),
        metrics_chart=charts.metrics_chart(facts),
        differences=charts.difference_charts(facts),
        parts=charts.part_charts(facts),
        classes=facts.tuned.classes[:_MAX_CLASSES],
        slices=sections.slices_view(facts),
        serving=sections.serving_view(facts),
        confusion=charts.confusion_view(facts),
        within_rows=sections.within_rows(facts.tuned.within_rows),
        judge=sections.judge_view(facts.judge),
        training=sections.training_pairs(facts),
        loss_chart=charts.loss_chart(facts),
        data=data_view(facts.dataset) if facts.dataset else None,
        split=sections.split_pairs(facts),
        rows=row_groups(facts.rows) if facts.rows else None,
    )

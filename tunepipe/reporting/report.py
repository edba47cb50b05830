"""The report of a run: one HTML page that opens anywhere, from the facts of the run's steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.reporting import charts, sections
from tunepipe.reporting.answers import row_groups
from tunepipe.reporting.dataset_section import data_view
from tunepipe.reporting.facts import Dataset, Facts, read_facts
from tunepipe.reporting.html_page import render

_MAX_CLASSES = 200


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
        sections=sections,
        scores=sections.scores_view(facts),
        comparisons=sections.comparisons(facts),
        metrics_chart=charts.metrics_chart(facts),
        differences=charts.difference_charts(facts),
        parts=charts.part_charts(facts),
        classes=facts.tuned.classes[:_MAX_CLASSES],
        slices=sections.slices_view(facts),
        confusion=charts.confusion_view(facts),
        within_rows=sections.within_rows(facts.tuned.within_rows),
        judge=sections.judge_view(facts.judge),
        training=sections.training_pairs(facts),
        loss_chart=charts.loss_chart(facts),
        data=data_view(facts.dataset) if facts.dataset != Dataset() else None,
        split=sections.split_pairs(facts),
        rows=row_groups(facts.rows) if facts.rows else None,
    )

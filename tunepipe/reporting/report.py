"""The report of a run: one HTML page that opens anywhere, from the facts of the run's steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

from tunepipe.files import replacing
from tunepipe.reporting import charts, sections
from tunepipe.reporting.answers import row_groups
from tunepipe.reporting.dataset_section import data_view
from tunepipe.reporting.formatting import items, part
from tunepipe.reporting.html_page import render
from tunepipe.reporting.sections import judge_view

_COMPARISON_LINES = (
    ("Decided by", "metric"),
    ("Difference", "difference"),
    ("Interval", "interval"),
    ("Test", "p_value"),
    ("Rows better", "wins"),
    ("Rows the same", "ties"),
    ("Rows worse", "losses"),
    ("Independent groups", "groups"),
    ("Missing answers", "missing"),
    ("Margin", "margin"),
    ("Shows differences from", "smallest"),
    ("Verdict", "verdict"),
)


def write_report(facts: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the report as one self-contained HTML page.

    Args:
        facts: What the run's steps gave, as `Facts` says.
        path: The file to write.
    """
    with replacing(path) as file:
        file.write(report_page(facts))


def report_page(facts: Mapping[str, Any]) -> str:
    """Return the report's HTML; a part that is missing from the facts is left out."""
    rows = items(facts, "rows")
    dataset = part(facts, "dataset")
    scores = sections.scores_view(facts)
    return render(
        "report.html.j2",
        title=str(facts.get("title") or "Tuning report"),
        run=sections.run_pairs(facts),
        verdict=sections.verdict(facts),
        caveats=sections.caveats(facts),
        figures=sections.figures(facts),
        slices=sections.slices_view(facts),
        serving=sections.serving_view(facts),
        scores=scores and scores | _score_charts(facts),
        comparison_lines=_COMPARISON_LINES,
        judge=judge_view(facts),
        training=_training(facts),
        data=data_view(dataset) if dataset else None,
        split=sections.split_pairs(facts),
        rows=row_groups(rows) if rows else None,
    )


def _score_charts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "metrics_chart": charts.metrics_chart(facts),
        "differences": charts.difference_charts(facts),
        "shares": charts.share_charts(facts),
        "parts": charts.part_charts(facts),
        "classes": charts.class_table(facts),
        "confusion": charts.confusion_view(facts),
    }


def _training(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    if not part(facts, "plan") and not part(facts, "tuning"):
        return None
    return {
        "note": str(part(part(facts, "tuning"), "statistics").get("note") or ""),
        "pairs": sections.training_pairs(facts),
        "warnings": [str(warning) for warning in items(part(facts, "plan"), "warnings")],
        "chart": charts.loss_chart(facts),
    }


class Run(TypedDict, total=False):
    """Which run this is; every value is a human-readable text."""

    id: str
    created: str
    backend: str
    base_model: str
    region: str


class Statistics(TypedDict, total=False):
    """The measurements of the tuning step.

    `loss_curve` holds [step, training loss, evaluation loss or null]; `note` says in a sentence
    what the model is, such as "a tiny model trained from nothing".
    """

    train_steps: int
    parameters: int
    seconds: float
    loss_curve: list[list[float | None]]
    note: str


class Tuning(TypedDict, total=False):
    """The tuning step's result; `cost_usd` is null where the backend cannot say."""

    model: str
    statistics: Statistics
    cost_usd: float | None


class Row(TypedDict, total=False):
    """One held-out row with every model's answer; an answer is null if there was none.

    `flip` is "fixed" if the deciding metric is higher than the base model's, "broken" if it
    is lower, and "" if it is the same.
    """

    id: str
    input: str
    reference: str
    tuned: str | None
    base: str | None
    champion: str | None
    flip: str


class Scores(TypedDict, total=False):
    """Each model's `Evaluation.details()` (`score --json` at least), on the same rows."""

    tuned: dict[str, Any]
    base: dict[str, Any] | None
    champion: dict[str, Any] | None


class Comparisons(TypedDict, total=False):
    """The tuned model against the others: each the `comparison` of `Evaluation.details()`.

    It may carry that evaluation's `differences` too, under this name: the chart then shows every
    metric's difference, not the deciding one's alone. Those against the base model are also found
    under `scores.tuned.differences`.
    """

    base: dict[str, Any] | None
    champion: dict[str, Any] | None


class _Verdict(TypedDict):
    title: str
    verdict: str
    reason: str


class Facts(_Verdict, total=False):
    """Everything the pages know.

    `verdict` is better, worse or not-enough-evidence, and `reason` one sentence.
    `dataset`, `split` and `plan` are the JSON of the verbs validate, split and plan. `judge` is
    what a model said as judge (`Judgement.as_json()`), or {"model", "refused"} if it gave
    none. `data_changes` is how the data differ from those that the champion was tuned on:
    `since`, the counts of `dataset_diff.Difference`, `drift`; {} without a champion.
    """

    run: Run
    dataset: dict[str, Any]
    split: dict[str, Any]
    plan: dict[str, Any]
    tuning: Tuning
    scores: Scores
    comparisons: Comparisons
    judge: dict[str, Any]
    data_changes: dict[str, Any]
    rows: list[Row]

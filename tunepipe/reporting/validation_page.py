"""The validator's report as one HTML page: every problem by its code, and the data's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.reporting.dataset_section import data_view
from tunepipe.reporting.facts import BETTER, WORSE, Dataset, fitting
from tunepipe.reporting.formatting import count, plural
from tunepipe.reporting.html_page import render


def validation_page(report: Mapping[str, Any]) -> str:
    """Return the page's HTML; the object of `validate --json` holds no row's text."""
    dataset: Dataset = fitting(report, Dataset)
    data = data_view(dataset)
    errors, warnings = data["errors"], data["problems_total"] - data["errors"]
    rows = "" if dataset.rows is None else f" in {plural(dataset.rows, 'row')}"
    sentence = f"The data passed: no problem{rows}."
    if errors:
        sentence = f"The data did not pass: {plural(errors, 'error')}{rows}."
    elif warnings:
        sentence = f"The data passed, with {plural(warnings, 'warning')}{rows}."
    figures = [
        ("Rows", count(dataset.rows), dataset.format),
        ("Rejected rows", count(dataset.rejected), ""),
        ("Errors", count(errors), "each stops a run"),
        ("Warnings", count(warnings), "stop nothing"),
    ]
    return render(
        "validation.html.j2",
        title=f"Validation of {dataset.path}" if dataset.path else "Validation",
        kind=WORSE if errors else BETTER,
        sentence=sentence,
        figures=figures,
        data=data,
    )

"""The validator's report as one HTML page: every problem by its code, and the data's figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunepipe.files import replacing
from tunepipe.reporting.dataset_section import data_view
from tunepipe.reporting.facts import BETTER, WORSE, Dataset, fitting
from tunepipe.reporting.formatting import count, plural
from tunepipe.reporting.html_page import render


def write_validation_page(report: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a validation report as one self-contained HTML page.

    Args:
        report: The object of `validate --json`. No row's text is in it, so none is on the page.
        path: The file to write.
    """
    with replacing(path) as file:
        file.write(validation_page(report))


def validation_page(report: Mapping[str, Any]) -> str:
    """Return the page's HTML."""
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

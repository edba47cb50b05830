"""The validator's report as one HTML page: every problem by its code, and the data's figures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from tunepipe.files import replacing
from tunepipe.reporting.dataset_section import data_view, problem_pages
from tunepipe.reporting.formatting import count, finite, plural
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
    data = data_view(report)
    name = str(report.get("path") or "")
    kind, sentence = _verdict(report, data)
    return render(
        "validation.html.j2",
        title=f"Validation of {name}" if name else "Validation",
        kind=kind,
        sentence=sentence,
        figures=_figures(report, data),
        data=data,
        pages=problem_pages(report),
    )


def _verdict(report: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, str]:
    rows = finite(report.get("rows"))
    of = "" if rows is None else f" in {plural(rows, 'row')}"
    if data["errors"]:
        return "worse", f"The data did not pass: {plural(data['errors'], 'error')}{of}."
    if data["problems_total"]:
        return "better", f"The data passed, with {plural(data['problems_total'], 'warning')}{of}."
    return "better", f"The data passed: no problem{of}."


def _figures(report: Mapping[str, Any], data: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    figures = [("Rows", count(report.get("rows")), str(report.get("format") or ""))]
    if data["rejected"] is not None:
        figures.append(("Rejected rows", count(data["rejected"]), ""))
    warnings = data["problems_total"] - data["errors"]
    figures.append(("Errors", count(data["errors"]), "each stops a run"))
    figures.append(("Warnings", count(warnings), "stop nothing"))
    return figures

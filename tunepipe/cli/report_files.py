"""Reports as files, in the format that the suffix names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tunepipe.cli.inputs import written
from tunepipe.errors import UsageError
from tunepipe.files import replacing

if TYPE_CHECKING:
    from tunepipe.data.predictions import Prediction
    from tunepipe.evaluation.score import Evaluation
    from tunepipe.validation.validate import Report

VALIDATION = (".html", ".sarif", ".json")


def suffix_of(path: str, known: Sequence[str] = (".html", ".md", ".json")) -> str:
    """Return the suffix of a report's file, one of the known; "" if no report is wanted."""
    suffix = PurePath(path).suffix
    if path and suffix not in known:
        raise UsageError(
            f"there is no report of the kind {suffix or 'without a suffix'}",
            where=f"--report {path}",
            fix=f"a file that ends in {', '.join(known)}",
        )
    return suffix


def write_score_report(
    evaluation: Evaluation,
    answers: Mapping[str, Sequence[Prediction]],
    path: str,
    extra: Mapping[str, Any],
) -> None:
    """Write what `score` found: .html and .md to read, .json with all figures.

    The predictions are by model: tuned, base; `extra` has `verdict`, `reason`, and perhaps `judge`.
    """
    from tunepipe.reporting.answers import side_by_side

    details = evaluation.details()
    if suffix_of(path) == ".json":
        _write({**details, **extra}, path)
        return
    # The facts of a page, as `reporting.facts` has them.
    facts: dict[str, Any] = {
        "title": "Scores",
        "scores": {"tuned": details},
        "rows": side_by_side(answers, details["flips"]),
        **extra,
    }
    if evaluation.comparison:
        facts["scores"]["base"] = evaluation.baseline
        facts["comparisons"] = {"base": details["comparison"]}
    if suffix_of(path) == ".md":
        from tunepipe.reporting.summary import summary

        _write(summary(facts), path)
    else:
        from tunepipe.reporting.report import report_page

        _write(report_page(facts), path)


def write_validation_report(report: Report, path: str) -> None:
    """Write what `validate` found: .html to read, .sarif for GitHub and editors, or .json."""
    match suffix_of(path, VALIDATION):
        case ".html":
            from tunepipe.reporting.validation_page import validation_page

            _write(validation_page(report.as_json()), path)
        case ".sarif":
            from tunepipe.reporting.sarif import sarif

            _write(sarif(report), path)
        case _:
            _write(report.as_json(), path)


def _write(content: str | Mapping[str, Any], path: str) -> None:
    with written(path) as copy, replacing(copy) as file:
        if isinstance(content, str):
            file.write(content)
        else:
            json.dump(content, file, ensure_ascii=False, indent=1, allow_nan=False)

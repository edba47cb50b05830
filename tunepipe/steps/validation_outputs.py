"""Writes the validation outputs and fails the step on errors."""

from __future__ import annotations

from dataclasses import dataclass

from tunepipe.errors import DataError
from tunepipe.files import write_json
from tunepipe.reporting.validation_page import write_validation_page
from tunepipe.validation.report import Report

_CODES_NAMED = 5


@dataclass(frozen=True)
class Valid:
    """What the next steps need of a valid dataset: rows, format, and estimated tokens."""

    rows: int
    format: str
    tokens: int


def conclude_step(report: Report, problems: str, page: str, fingerprint: str = "") -> Valid:
    """Write a report as JSON and as a page, and refuse data with errors; see the steps."""
    said = report.as_json()
    write_json(said, problems)
    write_validation_page(said, page)
    _refuse(report, said["path"], fingerprint)
    return Valid(report.rows, report.format, report.tokens)


def _refuse(report: Report, dataset: str, fingerprint: str) -> None:
    if fingerprint and report.fingerprint != fingerprint:
        raise DataError(
            "the data changed while the run was starting",
            where=dataset,
            fix="start the run again",
        )
    if report.errors:
        raise DataError(
            f"{report.errors:,} errors in {report.rows:,} rows ({_named(report)})",
            where=dataset,
            fix="`tunepipe validate` shows each with its line and its remedy",
        )


def _named(report: Report) -> str:
    errors = {problem.code for problem in report.problems if problem.level == "error"}
    counted = sorted(((report.counts[code], code) for code in errors), reverse=True)
    return ", ".join(f"{code} {count:,}" for count, code in counted[:_CODES_NAMED])

"""The end of the steps that check a dataset: what becomes of the report."""

from __future__ import annotations

from tunepipe.errors import DataError, plural
from tunepipe.files import replacing, write_json
from tunepipe.reporting.validation_page import validation_page
from tunepipe.steps.artifacts import Artifact
from tunepipe.validation.report import Report

_CODES_NAMED = 5
_PROBLEMS_LOGGED = 20


def conclude(report: Report, problems: Artifact, page: Artifact, fingerprint: str = "") -> None:
    """Write a report as JSON and as a page, and then refuse data with errors or changes.

    With a fingerprint, the data must have the one that they had when the run began.
    """
    facts = report.as_json()
    write_json(facts, problems.path)
    with replacing(page.path) as file:
        file.write(validation_page(facts))
    # The log gets the first errors with their lines, and no text of the rows.
    errors = [problem for problem in report.problems if problem.level == "error"]
    for problem in errors[:_PROBLEMS_LOGGED]:
        field = f" in {problem.field}" if problem.field else ""
        print(f"line {problem.line}: {problem.code}{field}")
    if report.errors > _PROBLEMS_LOGGED:
        print(f"… and {plural(report.errors - _PROBLEMS_LOGGED, 'more error')}")
    print(f"the whole report: {page.uri}")
    if fingerprint and report.fingerprint != fingerprint:
        raise DataError(
            "the data changed while the run was starting",
            where=facts["path"],
            fix="start the run again",
        )
    if report.errors:
        codes = {problem.code for problem in errors}
        counts = sorted(((report.counts[code], code) for code in codes), reverse=True)
        frequent = ", ".join(f"{code} {count:,}" for count, code in counts[:_CODES_NAMED])
        raise DataError(
            f"{plural(report.errors, 'error')} in {plural(report.rows, 'row')} ({frequent})",
            where=facts["path"],
            fix="`tunepipe validate` shows each with its line and its remedy",
        )

"""The steps that check a dataset: in one process, or shard by shard and merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunepipe.errors import DataError
from tunepipe.files import write_json
from tunepipe.reporting.validation_page import write_validation_page
from tunepipe.stores import storage
from tunepipe.validation.merge import merge
from tunepipe.validation.report import Report
from tunepipe.validation.shard import write_part
from tunepipe.validation.validate import validate

_CODES_NAMED = 5


@dataclass(frozen=True)
class ValidData:
    """What the next steps need of a valid dataset: rows, format, and estimated tokens."""

    rows: int
    format: str
    tokens: int


def validate_step(
    dataset_uri: str, problems: str, page: str, fingerprint: str, format: str, model: str
) -> ValidData:
    """Check a dataset and the files it points to, write the reports, and refuse errors.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        problems: The JSON file to write.
        page: The HTML file to write.
        fingerprint: Of the data when the run began; "" takes them as they are.
        format: One of the formats, or "auto".
        model: The model whose limits apply; "" takes the format's first.

    Raises:
        DataError: The data have errors, or changed since the run began. Both reports are written
            before.
    """
    paths = storage.list_files(dataset_uri)
    report = validate(
        paths,
        format=format,
        model=model,
        opener=storage.open_file,
        size_of=storage.size_of,
    )
    return _conclude(report, problems, page, fingerprint)


def validate_shard_step(shard_uri: str, part: str, format: str, model: str) -> None:
    """Check one file of a dataset and write what a merge needs.

    Args:
        shard_uri: A path or a gs:// URI.
        part: The file to write.
        format: One of the formats; shards are not compared before the merge, so not "auto".
        model: The model whose limits apply; "" takes the format's first.
    """
    write_part([shard_uri], part, format=format, model=model, opener=storage.open_file)


def merge_step(parts: Sequence[str], problems: str, page: str) -> ValidData:
    """Merge the parts of the shards, write the reports, and refuse data with errors.

    Args:
        parts: What `validate_shard_step` wrote, in the order of the files.
        problems: The JSON file to write.
        page: The HTML file to write.

    Raises:
        DataError: The data have errors. Both reports are written before.
    """
    return _conclude(merge(parts), problems, page)


def _conclude(report: Report, problems: str, page: str, fingerprint: str = "") -> ValidData:
    """Write a report as JSON and as a page, and refuse data with errors."""
    facts = report.as_json()
    write_json(facts, problems)
    write_validation_page(facts, page)
    _refuse(report, facts["path"], fingerprint)
    return ValidData(report.rows, report.format, report.tokens)


def _refuse(report: Report, dataset: str, fingerprint: str) -> None:
    if fingerprint and report.fingerprint != fingerprint:
        raise DataError(
            "the data changed while the run was starting",
            where=dataset,
            fix="start the run again",
        )
    if report.errors:
        raise DataError(
            f"{report.errors:,} errors in {report.rows:,} rows ({_most_frequent(report)})",
            where=dataset,
            fix="`tunepipe validate` shows each with its line and its remedy",
        )


def _most_frequent(report: Report) -> str:
    errors = {problem.code for problem in report.problems if problem.level == "error"}
    counted = sorted(((report.counts[code], code) for code in errors), reverse=True)
    return ", ".join(f"{code} {count:,}" for count, code in counted[:_CODES_NAMED])

"""`tunepipe validate`: every problem of every row, with its line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from tunepipe.cli import options
from tunepipe.cli.inputs import expanded, validated_files, written
from tunepipe.cli.output import Output
from tunepipe.data.source import refuse_streams
from tunepipe.errors import DataError, plural
from tunepipe.files import refuse_same
from tunepipe.stores import storage
from tunepipe.validation.problems import CODES

_SHOWN_OF_EACH = 3
# Problems of each code that are listed: by --show-all, and in a report.
_ALL = 1 << 40
_REPORTED = 100_000
_STYLES = {"error": "red", "warning": "yellow"}


def show_problems(report: Mapping[str, Any], out: Output, show_all: bool = False) -> None:
    """Show what `validate --json` prints: the first problems of each code, or all."""
    model = f" for {report['model']}" if report["model"] else ""
    out.line(f"{report['path']}: {report['format'] or 'of no known format'}{model}", "bold")
    several = len(report["files"]) > 1
    for code, problems in _by_code(report):
        level, count = _level(code, problems), report["counts"][code]
        out.line()
        out.line(f"{out.styled(level, _STYLES[level] + ' bold')}  {code}  {count:,}")
        shown = problems if show_all else problems[:_SHOWN_OF_EACH]
        for problem in shown:
            place = f"{problem['path']}:{problem['line']}" if several else f"line {problem['line']}"
            name = f" {problem['field']}" if problem["field"] else ""
            out.line(f"  {out.styled(place, 'cyan')}{name}: {problem['message']}")
        if more := count - len(shown):
            hint = "--max-problems" if show_all else "--show-all or --report problems.html"
            out.line(f"  {more:,} more: {hint}", "dim")
        for fix in dict.fromkeys(problem["fix"] for problem in shown if problem["fix"]):
            out.line(f"  fix: {fix}", "dim")
    out.line()
    _show_verdict(report, out)


def _by_code(report: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Group the listed problems by code: errors first, then the most frequent."""
    counts = report["counts"]
    groups: dict[str, list[Mapping[str, Any]]] = {code: [] for code in counts}
    for problem in report["problems"]:
        groups[problem["code"]].append(problem)
    return sorted(
        groups.items(), key=lambda group: (_level(*group) != "error", -counts[group[0]], group[0])
    )


def _show_verdict(report: Mapping[str, Any], out: Output) -> None:
    warnings = report["problems_total"] - report["errors"]
    counted = f"{plural(report['rows'], 'row')}, {report['valid_rows']:,} valid"
    problems = f"{plural(report['errors'], 'error')}, {plural(warnings, 'warning')}"
    out.line(f"{counted}, {plural(report['bytes'], 'byte')}, {problems}")
    tokens = report["stats"].get("tokens_estimated", {}).get("total")
    if tokens:
        unknown = report["stats"].get("rows_with_unknown_tokens")
        more = f", without the files of {plural(unknown, 'row')}: not known" if unknown else ""
        out.line(f"about {plural(tokens, 'token')}{more}", "dim")
    if fixed := report.get("fixed"):
        written_rows, rejects = plural(fixed["rows_written"], "row"), fixed["rows_rejected"]
        out.line(f"corrected copy: {written_rows}; rejects: {plural(rejects, 'row')}", "cyan")
        for code, count in fixed["counts"].items():
            out.line(f"  {code}: {count:,} fixed", "dim")
    verdict = ("did not pass", "red bold") if report["errors"] else ("passed", "green bold")
    out.line(*verdict)


def _level(code: str, problems: Sequence[Mapping[str, Any]]) -> str:
    # A code that --max-problems cut from the list has its usual level.
    return str(problems[0]["level"]) if problems else CODES[code][0]


def validate(
    context: typer.Context,
    dataset: list[str],
    *,
    format: str = "auto",
    model: str = "",
    against: list[str] | None = None,
    max_problems: options.Whole = 1000,
    show_all: bool = False,
    check_files: bool = False,
    near_duplicates: bool = False,
    pii: bool = False,
    workers: options.Whole = 0,
    report: list[str] | None = None,
    fix: str = "",
    control_characters: bool = False,
    tables: str = "",
    user_project: options.UserProject = "",
    out: Output,
) -> int:
    """Find every problem of every row, with its line.

    Exit code 1 where there is an error; warnings alone pass. --fix repairs only unambiguous
    problems: byte-order marks, blank lines, line ends, exact duplicates.

    Options:
        dataset: Paths, URIs (gs, s3) or globs, one dataset together, or - .
        model (NAME): Model whose limits apply. Default: the first model of the format.
        against (FILE): Report rows that also appear in this file; repeatable.
        max_problems (N): Maximum number of problems listed (all are counted).
        show_all: List and show every problem.
        check_files: Look up the gs:// files that rows point to.
        near_duplicates: Look for near-duplicate rows.
        pii: Look for personal data.
        workers (N): Number of worker processes, at most 256; 0 = choose by dataset size.
        report (FILE): Write a report: .html, .sarif or .json; repeatable.
        fix (FILE): Write a corrected copy, and FILE's .rejects.jsonl.
        control_characters: With --fix, remove control characters.
    """
    from tunepipe.cli.report_files import VALIDATION, suffix_of, write_validation_report
    from tunepipe.validation import fix as fixing

    catalog = options.catalog(context, tables)
    catalog.check_model_name(model)
    for path in report or ():
        suffix_of(path, VALIDATION)
    # Nothing that is read is written over; only a dataset may be repaired in place.
    rejects_path = fixing.rejects_path(fix) if fix else ""
    if fix:
        refuse_same([fix, rejects_path, *(report or ())], expanded(against or ()))
        refuse_same([rejects_path], expanded(dataset))
    if report:
        refuse_same(report, expanded([*dataset, *(against or ())]))
    if fix or check_files:
        refuse_streams(expanded(dataset), "--fix" if fix else "--check-files")
    result = validated_files(
        dataset,
        against or (),
        format=format,
        model=model,
        max_problems=_ALL if show_all else max(max_problems, _REPORTED if report else 0),
        near_duplicates=near_duplicates,
        pii=pii,
        workers=workers,
        catalog=catalog,
        size_of=storage.size_of if check_files else None,
    )
    for path in report or ():
        write_validation_report(result, path)
    content, not_fixed = (result if show_all else result.limited(max_problems)).as_json(), ""
    if fix:
        try:
            with written(fix) as copy, written(rejects_path, missing_ok=True) as rejects:
                content["fixed"] = fixing.fix(
                    expanded(dataset),
                    copy,
                    rejects=rejects,
                    opener=storage.open_file,
                    control_characters=control_characters,
                    pii=pii,
                    format=format,
                    model=model,
                    catalog=catalog,
                ).as_json()
        except DataError as error:
            content["fixed"], not_fixed = None, f"{error.where}: {error.found}"
    out.result(content)
    show_problems(content, out, show_all)
    if not_fixed:
        out.warnings([f"nothing was fixed: {not_fixed}"])
    return int(result.errors > 0)

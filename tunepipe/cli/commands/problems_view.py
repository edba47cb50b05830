"""What `validate` says to people: the problems by code, the first of each, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunepipe.cli.output import Output
from tunepipe.validation.problems import CODES

_SHOWN_OF_EACH = 3
_STYLES = {"error": "red", "warning": "yellow"}


def show_problems(report: Mapping[str, Any], out: Output) -> None:
    """Say what a validation found.

    Args:
        report: What `validate --json` prints.
        out: Where it is said.
    """
    model = f" for {report['model']}" if report["model"] else ""
    out.line(f"{report['path']}: {report['format'] or 'of no known format'}{model}", "bold")
    several = len(report["files"]) > 1
    for code, problems in _by_code(report):
        out.line()
        _show_code(code, problems, report["counts"][code], several, out)
    out.line()
    _show_verdict(report, out)


def _by_code(report: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Group the listed problems by code: errors first, then the most frequent."""
    groups: dict[str, list[Mapping[str, Any]]] = {code: [] for code in report["counts"]}
    for problem in report["problems"]:
        groups[problem["code"]].append(problem)

    def order(group: tuple[str, list[Mapping[str, Any]]]) -> tuple[bool, int, str]:
        code, problems = group
        return _level(code, problems) != "error", -report["counts"][code], code

    return sorted(groups.items(), key=order)


def _show_code(
    code: str, problems: Sequence[Mapping[str, Any]], count: int, several: bool, out: Output
) -> None:
    level = _level(code, problems)
    out.line(f"{out.styled(level, _STYLES[level] + ' bold')}  {code}  {count:,}")
    for problem in problems[:_SHOWN_OF_EACH]:
        place = f"{problem['path']}:{problem['line']}" if several else f"line {problem['line']}"
        name = f" {problem['field']}" if problem["field"] else ""
        out.line(f"  {out.styled(place, 'cyan')}{name}: {problem['message']}")
    if count > _SHOWN_OF_EACH:
        out.line(f"  and {count - _SHOWN_OF_EACH:,} more", "dim")
    if problems:
        out.line(f"  fix: {problems[0]['fix']}", "dim")


def _show_verdict(report: Mapping[str, Any], out: Output) -> None:
    rows, warnings = report["rows"], report["problems_total"] - report["errors"]
    counted = f"{rows:,} rows, {report['valid_rows']:,} sound, {report['bytes']:,} bytes"
    out.line(f"{counted}, {report['errors']:,} errors, {warnings:,} warnings")
    tokens = report["stats"].get("tokens_estimated", {}).get("total")
    if tokens:
        out.line(f"about {tokens:,} tokens", "dim")
    if fixed := report.get("fixed"):
        kept, apart = fixed["rows_written"], fixed["rows_rejected"]
        out.line(f"corrected copy: {kept:,} rows; set apart: {apart:,} rows", "cyan")
        for code, count in fixed["counts"].items():
            out.line(f"  {code}: {count:,} mended", "dim")
    if report["errors"]:
        out.line("did not pass", "red bold")
    else:
        out.line("passed", "green bold")


def _level(code: str, problems: Sequence[Mapping[str, Any]]) -> str:
    # A code that --max-problems cut from the list has its usual level.
    return str(problems[0]["level"]) if problems else CODES[code][0]

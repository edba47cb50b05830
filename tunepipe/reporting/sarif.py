"""A validation report as SARIF 2.1.0, which GitHub and editors show at the line."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

from tunepipe import __version__
from tunepipe.validation.problems import CODES, Problem
from tunepipe.validation.validate import Report

RESULTS_MAX = 25_000
_ACRONYMS = {word: word.upper() for word in ("bom", "json", "jsonl", "lfs", "pii", "utf")}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(report: Report) -> dict[str, Any]:
    """Return the log: a rule for each code found, a result for each problem listed.

    GitHub takes at most 25,000 results a run. Where more were found the log says so.
    """
    problems = report.limited(RESULTS_MAX).problems
    codes = sorted({problem.code for problem in problems})
    driver = {
        "name": "tunepipe",
        "semanticVersion": __version__,
        "rules": [_rule(code) for code in codes],
    }
    artifacts = [{"location": {"uri": _uri(file.path)}} for file in report.files]
    total, invocation = report.problems_total, dict[str, Any](executionSuccessful=True)
    if len(problems) < total:
        listed = f"{len(problems)} of {total} problems are listed"
        text = f"{listed}. tunepipe validate --show-all lists all."
        invocation["toolExecutionNotifications"] = [{"level": "warning", "message": {"text": text}}]
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "artifacts": artifacts,
                "results": [_result(problem, codes) for problem in problems],
                "invocations": [invocation],
                "properties": {"problems_total": total},
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    level, fix = CODES[code]
    return {
        "id": code,
        "name": "".join(_ACRONYMS.get(word, word.capitalize()) for word in code.split("-")),
        "shortDescription": {"text": code.replace("-", " ")},
        "help": {"text": fix},
        "defaultConfiguration": {"level": level},
    }


def _result(problem: Problem, codes: list[str]) -> dict[str, Any]:
    field = f"{problem.field}: " if problem.field else ""
    return {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "level": problem.level,
        "message": {"text": f"{field}{problem.message}. {problem.fix}."},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(problem.path)},
                    "region": {"startLine": problem.line},
                }
            }
        ],
    }


def _uri(path: str) -> str:
    """Return a path as a relative reference, or as a URI where it is absolute (RFC 8089)."""
    if path == "-":
        return "stdin"
    if "://" in path:
        return quote(os.fsencode(path), safe="/:")
    prefix = "file://" if os.path.isabs(path) else ""
    return prefix + quote(os.fsencode(path.replace(os.sep, "/")))

"""The result of `validate --json` as a page, and as a section of the report and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.reporting import svg
from tunepipe.reporting.facts import (
    BETTER,
    WORSE,
    Dataset,
    DatasetStatistics,
    Distribution,
    ProblemFacts,
    fitting,
)
from tunepipe.reporting.formatting import count, known, plural
from tunepipe.reporting.html_page import render
from tunepipe.reporting.svg import Mark

_EXAMPLES = 5
_MAX_BARS = 12
_PAGE_ROWS = 100


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


def data_view(dataset: Dataset) -> dict[str, Any]:
    """Prepare a dataset's facts for a template, with charts as pairs of a caption and an SVG."""
    problems = _problems(dataset)
    total = sum(problem["total"] for problem in problems)
    # The level of a code of which no problem is listed is not known.
    errors = sum(problem["total"] for problem in problems if problem["level"] == "error")
    return {
        "facts": data_pairs(dataset),
        "problems": problems,
        "problems_total": dataset.problems_total or total,
        "errors": errors if dataset.errors is None else dataset.errors,
        "charts": _charts(dataset),
    }


def data_pairs(dataset: Dataset) -> list[tuple[str, str]]:
    """Return what is known of a dataset, as pairs of label and text."""
    stats, spreads = dataset.stats, []
    for title, lengths in _distributions(stats):
        parts = (("median", lengths.p50), ("95 % up to", lengths.p95), ("longest", lengths.max))
        texts = [f"{name} {count(value)}" for name, value in parts if value is not None]
        spreads.append((title, ", ".join(texts)))
    return known(
        [
            ("File", dataset.path),
            ("Format", dataset.format),
            ("Checked for", dataset.model),
            ("Size", _size(dataset.bytes)),
            ("Rows", count(dataset.rows)),
            ("Rejected rows", count(dataset.rejected)),
            ("Duplicate rows", count(stats.duplicate_rows)),
            ("Rows in conflict", count(stats.conflicting_rows)),
            ("Tokens, estimated", count(stats.tokens_estimated.get("total"))),
            *spreads,
            ("Fingerprint", dataset.fingerprint),
        ]
    )


def _size(number: float | None) -> str:
    if number is None:
        return ""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 999.5:  # above, three digits would write 1e+03
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _problems(dataset: Dataset) -> list[dict[str, Any]]:
    """Group problems by code, errors first, the most frequent first, in pages of 100."""
    by_code: dict[str, list[ProblemFacts]] = {code: [] for code in dataset.counts}
    for problem in dataset.problems:
        by_code.setdefault(problem.code, []).append(problem)
    groups = []
    for code, listed in by_code.items():
        fixes = {problem.fix for problem in listed[:_EXAMPLES]}
        groups.append(
            {
                "code": code,
                "level": listed[0].level if listed else "",
                "total": max(dataset.counts.get(code, 0), len(listed)),
                "examples": listed[:_EXAMPLES],
                "pages": [listed[at : at + _PAGE_ROWS] for at in range(0, len(listed), _PAGE_ROWS)],
                "fix": fixes.pop() if len(fixes) == 1 else "",
            }
        )
    order = {"error": 0, "warning": 1}
    return sorted(groups, key=lambda g: (order.get(g["level"], 2), -g["total"], g["code"]))


def _distributions(stats: DatasetStatistics) -> list[tuple[str, Distribution]]:
    named = (
        ("Characters of the input", stats.input_characters),
        ("Characters of the output", stats.output_characters),
    )
    return [(title, lengths) for title, lengths in named if lengths]


def _charts(dataset: Dataset) -> list[tuple[str, str]]:
    """Draw the lengths, and the rows of each language and label; a lone bar says nothing."""
    drawn = []
    for number, (title, lengths) in enumerate(_distributions(dataset.stats)):
        bins, last = lengths.histogram, lengths.max
        if len(bins) > 1:
            last = last if last is not None and last > bins[-1][0] else None
            name = f"lengths-{number}"
            drawn.append((title, svg.histogram_chart(bins, name=name, title=title, last_edge=last)))
    balances = (("Languages", dataset.stats.languages), ("Labels", dataset.stats.labels))
    for title, counts in balances:
        if len(counts) < 2:
            continue
        counted, more = sum(counts.values()), len(counts) - _MAX_BARS
        sampled = counted < (dataset.valid_rows or counted)
        caption = f"{title}, rows of each"
        caption += f", in a sample of {count(counted)}" if sampled else ""
        caption += f" ({count(more)} more not drawn)" if more > 0 else ""
        largest = sorted(counts.items(), key=lambda pair: -pair[1])[:_MAX_BARS]
        bars = [(label or "(empty)", [Mark("plain", amount)]) for label, amount in largest]
        name = title.lower()
        chart = svg.bar_chart(bars, name=f"balance-{name}", title=f"Rows by {name}")
        drawn.append((caption, chart))
    return drawn

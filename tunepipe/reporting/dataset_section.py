"""Shows the result of `validate --json` on the pages: problems, lengths, balance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.reporting import svg
from tunepipe.reporting.facts import Dataset, DatasetStatistics, Distribution, ProblemFacts
from tunepipe.reporting.formatting import count
from tunepipe.reporting.sections import known
from tunepipe.reporting.svg import Mark

_EXAMPLES = 5
_MAX_BARS = 12
_PAGE_ROWS = 100


def data_view(dataset: Dataset) -> dict[str, Any]:
    """Prepare a dataset's facts for a template.

    Returns:
        `facts` (pairs of label and text), `problems` by code, `charts` (pairs of a caption and
        an SVG), `rejected` rows, and whether anything was found at all (`clean`).
    """
    stats = dataset.stats
    facts = [
        ("File", dataset.path),
        ("Format", dataset.format),
        ("Checked for", dataset.model),
        ("Size", _size(dataset.bytes)),
        ("Rows", count(dataset.rows)),
        ("Rejected rows", count(dataset.rejected)),
        ("Duplicate rows", count(stats.duplicate_rows)),
        ("Rows in conflict", count(stats.conflicting_rows)),
        ("Tokens, estimated", count(stats.tokens_estimated.get("total"))),
        *((title, _spread(lengths)) for title, lengths in _distributions(stats)),
        ("Fingerprint", dataset.fingerprint),
    ]
    problems = _problems(dataset)
    total = sum(problem["total"] for problem in problems)
    return {
        "facts": known(facts),
        "problems": problems,
        "problems_total": dataset.problems_total or total,
        "errors": sum(p["total"] for p in problems if p["level"] == "error"),
        "rejected": dataset.rejected,
        "charts": [*_histograms(stats), *_balances(dataset)],
    }


def _size(number: float | None) -> str:
    if number is None:
        return ""
    for unit in ("B", "KB", "MB", "GB"):
        if number < 999.5:  # above, three digits would write 1e+03
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _problems(dataset: Dataset) -> list[dict[str, Any]]:
    """Group problems by code, errors first, the most frequent first, with the first examples."""
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
                "fix": fixes.pop() if len(fixes) == 1 else "",
            }
        )
    order = {"error": 0, "warning": 1}
    return sorted(groups, key=lambda g: (order.get(g["level"], 2), -g["total"], g["code"]))


def problem_pages(dataset: Dataset) -> dict[str, list[list[ProblemFacts]]]:
    """Return every listed problem by code, a page of 100 at a time."""
    by_code: dict[str, list[ProblemFacts]] = {}
    for problem in dataset.problems:
        by_code.setdefault(problem.code, []).append(problem)
    return {
        code: [listed[at : at + _PAGE_ROWS] for at in range(0, len(listed), _PAGE_ROWS)]
        for code, listed in by_code.items()
    }


def _distributions(stats: DatasetStatistics) -> list[tuple[str, Distribution]]:
    """Each distribution that the validator measured, by what people call it."""
    named = (
        ("Characters of the input", stats.input_characters),
        ("Characters of the output", stats.output_characters),
    )
    return [(title, lengths) for title, lengths in named if lengths]


def _histograms(stats: DatasetStatistics) -> list[tuple[str, str]]:
    """Draw the distributions that have more than one bar."""
    drawn = []
    for number, (title, lengths) in enumerate(_distributions(stats)):
        bins, last = lengths.histogram, lengths.max
        if len(bins) > 1:
            last = last if last is not None and last > bins[-1][0] else None
            name = f"lengths-{number}"
            drawn.append((title, svg.histogram_chart(bins, name=name, title=title, last_edge=last)))
    return drawn


def _spread(lengths: Distribution) -> str:
    parts = (
        ("median", lengths.p50),
        ("95 % up to", lengths.p95),
        ("longest", lengths.max),
    )
    return ", ".join(f"{name} {count(value)}" for name, value in parts if value is not None)


def _balances(dataset: Dataset) -> list[tuple[str, str]]:
    """Draw how many rows there are of each language and label, if there are several."""
    return [
        _balance(title, counts, dataset.valid_rows)
        for title, counts in (
            ("Languages", dataset.stats.languages),
            ("Labels", dataset.stats.labels),
        )
        if len(counts) > 1
    ]


def _balance(title: str, counts: Mapping[str, float], rows: float | None) -> tuple[str, str]:
    counted, more = sum(counts.values()), len(counts) - _MAX_BARS
    sample = f", in a sample of {count(counted)}" if counted < (rows or counted) else ""
    caption = f"{title}, rows of each{sample}"
    if more > 0:
        caption += f" ({count(more)} more not drawn)"
    largest = sorted(counts.items(), key=lambda pair: -pair[1])[:_MAX_BARS]
    bars = [(label or "(empty)", [Mark("plain", amount)]) for label, amount in largest]
    name = title.lower()
    return caption, svg.bar_chart(bars, name=f"balance-{name}", title=f"Rows by {name}")

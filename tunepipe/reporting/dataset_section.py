"""Shows the result of `validate --json` on the pages: problems, lengths, balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunepipe.reporting import svg
from tunepipe.reporting.formatting import count, finite, items, part
from tunepipe.reporting.svg import Estimate

_EXAMPLES = 5
_MAX_BARS = 12
_PAGE_ROWS = 100


def data_view(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Prepare a dataset's facts for a template.

    Args:
        dataset: The object of `validate --json`; keys may be missing.

    Returns:
        `facts` (pairs of label and text), `problems` by code, `charts` (pairs of a caption and
        an SVG), `rejected` rows, and whether anything was found at all (`clean`).
    """
    stats = part(dataset, "stats")
    rows, valid = finite(dataset.get("rows")), finite(dataset.get("valid_rows"))
    rejected = None if rows is None or valid is None else max(0.0, rows - valid)
    facts = [
        ("File", dataset.get("path")),
        ("Format", dataset.get("format")),
        ("Checked for", dataset.get("model")),
        ("Size", _size(dataset.get("bytes"))),
        ("Rows", None if rows is None else count(rows)),
        ("Rejected rows", None if rejected is None else count(rejected)),
        ("Duplicate rows", _counted(stats.get("duplicate_rows"))),
        ("Rows in conflict", _counted(stats.get("conflicting_rows"))),
        ("Tokens, estimated", _counted(part(stats, "tokens_estimated").get("total"))),
        *((title, _spread(values)) for title, values in _distributions(stats)),
        ("Fingerprint", dataset.get("fingerprint")),
    ]
    problems = _problems(dataset)
    return {
        "facts": [(label, str(value)) for label, value in facts if value not in (None, "")],
        "problems": problems,
        "problems_total": finite(dataset.get("problems_total"))
        or sum(problem["total"] for problem in problems),
        "errors": sum(p["total"] for p in problems if p["level"] == "error"),
        "rejected": rejected,
        "charts": [*_lengths(stats), *_balances(dataset)],
    }


def _counted(value: Any) -> str | None:
    return None if finite(value) is None else count(value)


def _size(value: Any) -> str | None:
    number = finite(value)
    if number is None:
        return None
    for unit in ("B", "KB", "MB", "GB"):
        if number < 999.5:  # above, three digits would write 1e+03
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _problems(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Group problems by code, errors first, the most frequent first, with the first examples."""
    listed = [p for p in items(dataset, "problems") if isinstance(p, Mapping)]
    counts = part(dataset, "counts")
    groups: dict[str, dict[str, Any]] = {}
    for code, total in counts.items():
        groups[str(code)] = {"code": str(code), "total": int(finite(total) or 0)}
    for problem in listed:
        code = str(problem.get("code", ""))
        group = groups.setdefault(code, {"code": code, "total": 0})
        group.setdefault("level", str(problem.get("level", "error")))
        examples = group.setdefault("examples", [])
        group["seen"] = group.get("seen", 0) + 1
        if len(examples) < _EXAMPLES:
            examples.append(problem)
    for group in groups.values():
        group["total"] = max(group["total"], group.pop("seen", 0))
        group.setdefault("level", "")
        group.setdefault("examples", [])
        group["examples"] = [_example(problem) for problem in group["examples"]]
        fixes = {example["fix"] for example in group["examples"]}
        group["fix"] = fixes.pop() if len(fixes) == 1 else ""
    order = {"error": 0, "warning": 1}
    return sorted(groups.values(), key=lambda g: (order.get(g["level"], 2), -g["total"], g["code"]))


def problem_pages(dataset: Mapping[str, Any]) -> dict[str, list[list[dict[str, str]]]]:
    """Return every listed problem by code, a page of 100 at a time."""
    by_code: dict[str, list[dict[str, str]]] = {}
    for problem in items(dataset, "problems"):
        if isinstance(problem, Mapping):
            by_code.setdefault(str(problem.get("code", "")), []).append(_example(problem))
    return {
        code: [listed[at : at + _PAGE_ROWS] for at in range(0, len(listed), _PAGE_ROWS)]
        for code, listed in by_code.items()
    }


def _example(problem: Mapping[str, Any]) -> dict[str, str]:
    names = ("path", "line", "field", "message", "fix")
    return {name: "" if problem.get(name) is None else str(problem[name]) for name in names}


def _distributions(stats: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each distribution that the validator measured, by what people call it."""
    tokens = part(stats, "tokens_estimated")
    named = [
        ("Characters of the input", part(stats, "input_characters")),
        ("Characters of the output", part(stats, "output_characters")),
        *((f"Tokens of the {side}, estimated", part(tokens, side)) for side in tokens),
    ]
    return [(title, values) for title, values in named if values]


def _lengths(stats: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Draw the distributions that have more than one bar."""
    return [
        (title, _histogram(f"lengths-{number}", title, values, bins))
        for number, (title, values) in enumerate(_distributions(stats))
        if len(bins := _bins(values)) > 1
    ]


def _histogram(
    name: str, title: str, values: Mapping[str, Any], bins: Sequence[tuple[float, float]]
) -> str:
    top = finite(values.get("max"))
    last = top if top is not None and top > bins[-1][0] else None
    return svg.histogram_chart(bins, name=name, title=title, last_edge=last)


def _bins(values: Mapping[str, Any]) -> list[tuple[float, float]]:
    pairs = [
        (finite(pair[0]), finite(pair[1]))
        for pair in items(values, "histogram")
        if isinstance(pair, (list, tuple)) and len(pair) == 2
    ]
    return [(edge, amount) for edge, amount in pairs if edge is not None and amount is not None]


def _spread(values: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {count(values[key])}"
        for name, key in (("median", "p50"), ("95 % up to", "p95"), ("longest", "max"))
        if finite(values.get(key)) is not None
    ]
    return ", ".join(parts)


def _balances(dataset: Mapping[str, Any]) -> list[tuple[str, str]]:
    balances = (("languages", "Languages"), ("labels", "Labels"))
    return [
        (_caption(title, amounts, dataset), _balance(key, title, amounts))
        for key, title in balances
        if len(amounts := _amounts(part(part(dataset, "stats"), key))) > 1
    ]


def _amounts(counts: Mapping[str, Any]) -> list[tuple[str, float]]:
    amounts = [(str(k), number) for k, v in counts.items() if (number := finite(v)) is not None]
    return sorted(amounts, key=lambda pair: -pair[1])


def _caption(title: str, amounts: Sequence[tuple[str, float]], dataset: Mapping[str, Any]) -> str:
    counted = sum(amount for _, amount in amounts)
    rows = finite(dataset.get("valid_rows")) or counted
    sample = f", in a sample of {count(counted)}" if counted < rows else ""
    more = len(amounts) - _MAX_BARS
    return f"{title}, rows of each{sample}" + (f" ({count(more)} more not drawn)" * (more > 0))


def _balance(key: str, title: str, amounts: Sequence[tuple[str, float]]) -> str:
    bars = [(label or "(empty)", [Estimate("plain", amount)]) for label, amount in amounts]
    return svg.bar_chart(bars[:_MAX_BARS], name=f"balance-{key}", title=f"Rows by {title.lower()}")

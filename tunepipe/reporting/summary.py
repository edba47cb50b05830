"""A run in a screenful of Markdown: for a pull request, a chat, or the pipeline's own page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunepipe.reporting import formatting
from tunepipe.reporting.facts import Facts, Score, read_facts
from tunepipe.reporting.sections import (
    caveats,
    judge_sentence,
    known,
    run_pairs,
    scores_view,
    spoken,
    verdict,
    within_rows,
)

_SPECIAL = re.compile(r"([\\`*_\[\]|~<>&]|:(?=//))")
_LINE_START = re.compile(r"^(\d*)([-+#=.)])")


def summary(facts: Mapping[str, Any] | Facts) -> str:
    """Return the verdict, the numbers and what changed, as Markdown.

    Args:
        facts: What the run's steps gave, as `facts.Facts` says.
    """
    facts = read_facts(facts)
    said, unseen = verdict(facts), caveats(facts)
    flips = [row.flip for row in facts.rows]
    fixed, broken = formatting.plural(flips.count("fixed"), "row"), flips.count("broken")
    parts = [
        f"## {escaped(facts.title or 'Tuning report')}",
        f"**{said['mark']} {escaped(said['sentence'])}** {escaped(said['reason'])}",
        f"What this does not show: {escaped('; '.join(unseen))}." if unseen else "",
        *scores_markdown(facts),
        escaped(within_rows(facts.scores.get("tuned", Score()).within_rows)),
        escaped(judge_sentence(facts.judge)),
        f"{fixed} better, {broken} worse than the base model's." if flips else "",
        bullets([*_figures(facts), *run_pairs(facts)]),
    ]
    return "\n\n".join(text.strip() for text in parts if text.strip()) + "\n"


def escaped(value: Any) -> str:
    """Write any text as one line of Markdown that shows it as it is, at most 500 characters."""
    text = " ".join(formatting.clean("" if value is None else str(value)).split())
    shown, left_out = formatting.clip(text, 500)
    shown = _LINE_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", shown))
    return shown + ("…" if left_out else "")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table whose columns after the first are aligned to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = [head, rule, *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def bullets(pairs: Sequence[tuple[str, Any]]) -> str:
    """Write pairs of label and text as a Markdown list."""
    return "\n".join(f"- {escaped(label)}: {escaped(value)}" for label, value in pairs)


def scores_markdown(facts: Facts) -> list[str]:
    """Write the table of metrics and a sentence for each comparison; empty without scores."""
    scores = scores_view(facts)
    if not scores:
        return []
    rows = [
        [escaped(row["metric"]), *(" ".join(_cell(*cell)) for cell in row["cells"])]
        for row in scores["rows"]
    ]
    head = ["Out of 100 (95 % interval)", *scores["models"]]
    return [table(head, rows) if rows else "", *map(_sentence, scores["comparisons"])]


def _cell(value: str, interval: str) -> list[str]:
    return [f"**{value}**", f"({interval})"] if interval else [value]


def _sentence(comparison: Mapping[str, Any]) -> str:
    interval = f" ({comparison['interval']})" if comparison["interval"] else ""
    p_value = f", {comparison['p_value'].replace('<', '&lt;')}" if comparison["p_value"] else ""
    more = f"; {comparison['more_rows'].rstrip('.')}" if comparison["more_rows"] else ""
    missing = "" if comparison["missing"] == "none" else f"; missing: {comparison['missing']}"
    margin = "" if comparison["margin"] == "none" else f"; {comparison['margin']}"
    trained = f"; {comparison['trained']} rows left out" if comparison["trained"] else ""
    return (
        f"Against {comparison['other']}, by {escaped(comparison['metric'])}: "
        f"**{comparison['difference']}** points{interval}{p_value}; {comparison['wins']} rows "
        f"better, {comparison['ties']} the same, {comparison['losses']} worse"
        f"{escaped(missing)}{trained}{escaped(margin)}: {escaped(comparison['verdict'])}{more}."
    )


def _figures(facts: Facts) -> list[tuple[str, str]]:
    """What the run cost and did, and what its data are."""
    plan, tuning, dataset = facts.plan, facts.tuning, facts.dataset
    steps = tuning.statistics.train_steps if tuning else None
    if steps is None and plan:
        steps = plan.train_steps
    pairs = [
        ("Cost estimated", formatting.money(plan.estimated_cost_usd if plan else None)),
        ("Cost", formatting.money(tuning.cost_usd if tuning else None)),
        ("Steps", formatting.count(steps)),
    ]
    if dataset:
        counts = dataset.counts.items()
        problems = ", ".join(f"{spoken(code)} {formatting.count(n)}" for code, n in counts)
        pairs += [
            ("Rows", formatting.count(dataset.rows)),
            ("Problems", problems),
            ("Fingerprint", dataset.fingerprint),
        ]
    return known(pairs)

"""A run in a screenful of Markdown: for a pull request, a chat, or the pipeline's own page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tunepipe.reporting import formatting, sections
from tunepipe.reporting.facts import Comparison, Facts, read_facts

_SPECIAL = re.compile(r"([\\`*_\[\]|~<>&]|:(?=//))")
_LINE_START = re.compile(r"^(\d*)([-+#=.)])")


def summary(facts: Mapping[str, Any] | Facts) -> str:
    """Return the verdict, the numbers and what changed, as Markdown."""
    facts = read_facts(facts)
    decision, unseen = sections.verdict(facts), sections.caveats(facts)
    flips = [row.flip for row in facts.rows]
    fixed, broken = formatting.plural(flips.count("fixed"), "row"), flips.count("broken")
    parts = [
        f"## {escaped(facts.title or 'Tuning report')}",
        f"**{decision['mark']} {escaped(decision['sentence'])}** {escaped(decision['reason'])}",
        f"What this does not show: {escaped('; '.join(unseen))}." if unseen else "",
        *scores_markdown(facts),
        escaped(sections.within_rows(facts.tuned.within_rows)),
        escaped(sections.judge_sentence(facts.judge)),
        f"{fixed} better, {broken} worse than the base model's." if flips else "",
        bullets([*_figures(facts), *sections.run_pairs(facts)]),
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
    scores = sections.scores_view(facts)
    if not scores:
        return []
    rows = [
        [escaped(row["metric"]), *(f"**{v}** ({i})" if i else v for v, i in row["cells"])]
        for row in scores["rows"]
    ]
    head = ["Out of 100 (95 % interval)", *scores["models"]]
    sentences = [_sentence(other, comparison) for other, comparison in sections.comparisons(facts)]
    return [table(head, rows) if rows else "", *sentences]


def _sentence(other: str, comparison: Comparison) -> str:
    interval = formatting.between(comparison.low, comparison.high, signed=True)
    p_value = formatting.p_value(comparison.p_value).replace("<", "&lt;")
    wins = formatting.plural(comparison.wins, "row")
    ties, losses = map(formatting.count, (comparison.ties, comparison.losses))
    absent, trained = sections.missing(comparison), comparison.trained_rows
    notes = [
        f"missing: {absent}" if absent else "",
        f"{formatting.plural(trained, 'row')} left out" if trained else "",
        sections.margin(comparison),
    ]
    more = sections.more_rows(comparison)
    return (
        f"Against {other}, by {escaped(sections.spoken(comparison.metric))}: "
        f"**{formatting.points(comparison.difference)}** points "
        f"({interval} ({formatting.percent(comparison.confidence)})), {p_value}; {wins} "
        f"better, {ties} the same, {losses} worse"
        f"{''.join(f'; {escaped(note)}' for note in notes if note)}: "
        f"{escaped(comparison.verdict.replace('-', ' '))}{f'; {more}' if more else ''}."
    )


def _figures(facts: Facts) -> list[tuple[str, str]]:
    """What the run cost and did, and what its data are."""
    costs = ("Cost estimated", "Cost", "Steps planned", "Steps done")
    pairs = [(label, text) for label, text in sections.training_pairs(facts) if label in costs]
    data = facts.dataset
    problems = (f"{sections.spoken(c)} {formatting.count(n)}" for c, n in data.counts.items())
    return formatting.known(
        [
            *pairs,
            ("Rows", formatting.count(data.rows)),
            ("Problems", ", ".join(problems)),
            ("Fingerprint", data.fingerprint),
        ]
    )

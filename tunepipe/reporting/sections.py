"""The facts of a run as texts and tables: what the report, the summary and the card all say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunepipe.reporting.facts import (
    BETTER,
    EXCLUDED,
    INCONSISTENT,
    UNDECIDED,
    VERDICTS,
    WORSE,
    Comparison,
    DataChanges,
    Estimate,
    Facts,
    Judge,
    Score,
    WithinRows,
)
from tunepipe.reporting.formatting import (
    MISSING,
    between,
    clean,
    count,
    duration,
    known,
    money,
    p_value,
    percent,
    plural,
    points,
    score,
)

# How the metrics of an answer's parts are named: a JSON field "field:quantity", and a call's
# argument "argument:weather.city".
_PARTS = ("field:", "argument:")
CHECK = "check:"
_OTHERS = {
    "champion": "champion",
    "base": "base",
    "first": "first champion",
    "guard": "base on guarded prompts",
}
_LISTED = 5


def spoken(name: str) -> str:
    """Write a name as words: "exact_match" is "exact match"."""
    return name.replace("_", " ")


def whole_metrics(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the metrics of whole answers, without those of their parts."""
    return {name: value for name, value in metrics.items() if not name.startswith(_PARTS)}


def part_metrics(metrics: Mapping[str, Estimate]) -> dict[str, Estimate]:
    """Return the metrics of the answers' parts, under the names of fields and arguments."""
    parts = [name for name in metrics if name.startswith(_PARTS)]
    return {name.partition(":")[2]: metrics[name] for name in parts}


def ordered(metrics: Iterable[str], facts: Facts) -> list[str]:
    """Put the metric that decides first, and the share of answered rows last."""
    first = deciding(facts)[1].metric
    return sorted(dict.fromkeys(metrics), key=lambda name: (name == "answered") - (name == first))


def run_pairs(facts: Facts) -> list[tuple[str, str]]:
    """Return what identifies the run, as pairs of label and text, those that are known."""
    names = ("created", "backend", "base_model", "region", "code")
    pairs = [(spoken(name).capitalize(), facts.run.get(name, "")) for name in names]
    return [*known([("Run", facts.run.get("id", "")), *pairs]), *data_changes(facts.data_changes)]


def data_changes(changes: DataChanges) -> list[tuple[str, str]]:
    """Describe how the data differ from the champion's training data, if that is known."""
    if not changes.since:
        return []
    names = ("same", "added", "changed", "removed")
    counts = ", ".join(f"{count(getattr(changes, name))} {name}" for name in names)
    parts, lengths = [], []
    for name, drift in changes.drift.items():
        if isinstance(drift, list):
            before, now = drift
            lengths.append(f"{name.partition('_')[0]}s {before:.0f} then, {now:.0f} now")
        else:
            parts.append(f"{name} {100 * drift:.0f} % apart")
    if lengths:
        parts.append(f"mean characters: {', '.join(lengths)}")
    pairs = [("Rows since the champion's training", f"{counts} (run {changes.since})")]
    return pairs + ([("Drift since then", "; ".join(parts))] if parts else [])


def comparisons(facts: Facts) -> list[tuple[str, Comparison]]:
    """Return the comparisons there are, each with the other's name; the champion's first."""
    compared = facts.comparisons
    return [(other, compared[name]) for name, other in _OTHERS.items() if name in compared]


def deciding(facts: Facts) -> tuple[str, Comparison]:
    """Return the comparison the verdict rests on: with the champion if there is one."""
    return next(iter(comparisons(facts)), ("", Comparison()))


def verdict(facts: Facts) -> dict[str, str]:
    """Return the verdict's `kind`, its `mark`, its `sentence`, and the `reason`."""
    word = facts.verdict
    mark, sentence = VERDICTS.get(word, ("", word or "No verdict was reached."))
    kind = word if word in VERDICTS else "unknown"
    return {"kind": kind, "mark": mark, "sentence": sentence, "reason": facts.reason}


def figures(facts: Facts) -> list[tuple[str, str, str]]:
    """The handful of numbers that a reader wants first: label, value, note."""
    shown = []
    tuned = facts.tuned
    if facts.comparisons:
        other, comparison = deciding(facts)
        metric = comparison.metric
        theirs = facts.scores.get(other, Score()).metrics.get(metric)
        if mine := tuned.metrics.get(metric):
            note = f"{other} {score(theirs.value)}" if theirs else ""
            shown.append((spoken(metric).capitalize(), score(mine.value), note))
        interval = between(comparison.low, comparison.high, signed=True)
        shown.append((f"Points against {other}", points(comparison.difference), interval))
    if tuned.rows:
        note = f"{count(tuned.unanswered)} unanswered" if tuned.unanswered else "all answered"
        shown.append(("Held-out rows", count(tuned.rows), note))
    estimate, actual = facts.plan.estimated_cost_usd, facts.tuning.cost_usd
    if actual is not None:
        note = "" if estimate is None else f"estimated {money(estimate)}"
        shown.append(("Cost", money(actual), note))
    elif estimate is not None:
        shown.append(("Cost, estimated", money(estimate), ""))
    return shown


def scores_view(facts: Facts) -> dict[str, Any] | None:
    """Prepare the table of metrics; None without scores and comparisons.

    `models` are the columns; each of `rows` has its `metric` and a (value, interval) for each. The
    only metric of a part is one that decides.
    """
    scores = {name: model.metrics for name, model in facts.models.items() if model.metrics}
    decides = (facts.tuned.metric, deciding(facts)[1].metric)
    named = (name for metrics in scores.values() for name in metrics)
    names = ordered((m for m in named if m in decides or not m.startswith(_PARTS)), facts)
    rows = []
    for name in names:
        values = [each.get(name) for each in scores.values()]
        cells = [(score(v.value), between(v.low, v.high)) if v else (MISSING, "") for v in values]
        rows.append({"metric": spoken(name), "cells": cells})
    return {"models": list(scores), "rows": rows} if rows or facts.comparisons else None


def more_rows(comparison: Comparison) -> str:
    """Say how many more rows would show such a difference; "" if that is not known."""
    if not comparison.more_rows:
        return ""
    few, many = map(count, comparison.more_rows)
    return (
        f"{few} to {many} more held-out rows would show such a difference (the middle half of the "
        "estimates)"
    )


def margin(comparison: Comparison) -> str:
    """Say whether a loss above the margin is ruled out; "" without a margin."""
    held = "ruled out" if comparison.non_inferior else "not ruled out"
    return f"a loss above {score(comparison.margin)} is {held}" if comparison.margin else ""


def missing(comparison: Comparison) -> str:
    """Say how many answers are missing, of both models, and what they count as; "" if none is."""
    if not comparison.missing_tuned + comparison.missing_other:
        return ""
    treated = "rows left out" if comparison.missing == EXCLUDED else "as wrong"
    return f"{count(comparison.missing_tuned)} and {count(comparison.missing_other)}, {treated}"


def slices_view(facts: Facts) -> list[list[str]]:
    """Return each slice as a line of a table: name, rows, score, difference, p, verdict."""
    lines = []
    for each in facts.tuned.slices:
        line = [each.name, count(each.rows), score(each.score.value)]
        if gain := each.comparison:
            smallest = f"shows {score(gain.smallest_difference)} or more"
            line += [
                f"{points(gain.difference)} ({between(gain.low, gain.high, signed=True)})",
                p_value(each.p_adjusted),
                smallest if each.verdict == UNDECIDED else each.verdict,
            ]
        lines.append(line + [""] * (6 - len(line)))
    return lines


def within_rows(spread: WithinRows | None) -> str:
    """Describe how much several answers to one row differ; "" with one answer a row."""
    if not spread:
        return ""
    return (
        f"{count(spread.answers)} answers a row: {percent(round(spread.rows_that_vary, 3))} of "
        f"the rows have answers that score differently; standard deviation "
        f"{score(spread.deviation_within_rows)} points within a row, "
        f"{score(spread.deviation_between_rows)} between rows."
    )


def caveats(facts: Facts) -> list[str]:
    """Return what the verdict does not show, each in a short clause made from the numbers."""
    if not facts.comparisons:
        return []
    other, comparison = deciding(facts)
    tuned = facts.tuned
    rival = facts.scores.get(other) or facts.scores.get("base", Score())
    lost = [each for each in tuned.slices if each.verdict == WORSE and not each.declared]
    gain, decides = comparison.difference, tuned.metrics.get(comparison.metric)
    lists = {
        # Metrics that point the other way than the deciding one.
        "the other way": [
            f"{spoken(name).replace(':', ' ')} {points(each.value)}"
            for name, each in (comparison.differences or tuned.differences).items()
            if name != comparison.metric
            and ((gain > 0 and each.high < 0) or (gain < 0 and each.low > 0))
        ],
        # Numbers, signs or negations that are right less often than the deciding metric says.
        "what words do not show": [
            f"{name.removeprefix(CHECK)} right in {score(each.value)} of 100"
            for name, each in tuned.metrics.items()
            if name.startswith(CHECK) and decides and each.high < decides.low
        ],
        "never right any more": _dead(tuned, rival),
        "worse in": [each.name for each in lost],
    }
    clauses = []
    for clause, names in lists.items():
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            clauses.append(f"{clause}: {', '.join(names[:_LISTED])}{more}")
    if unanswered := missing(comparison):
        clauses.append(f"missing answers (tuned and other): {unanswered}")
    if comparison.trained_rows:
        left_out = plural(comparison.trained_rows, "row")
        clauses.append(f"{left_out} left out, because the {other} was trained on them")
    if comparison.groups and comparison.groups < comparison.rows:
        independent = f"{count(comparison.groups)} of {count(comparison.rows)}"
        are = "is" if comparison.groups == 1 else "are"
        clauses.append(f"only {independent} rows {are} independent")
    smallest = score(comparison.smallest_difference)
    clauses.append(f"differences below {smallest} points may stay unseen")
    if tuned.look > 1:
        clauses.append(f"these rows have decided {count(tuned.look)} times")
    return clauses


def _dead(tuned: Score, rival: Score) -> list[str]:
    """The classes and parts that the tuned model never has right, and the other model has."""
    now, before = (
        [(row.label, row.f1) for row in model.classes]
        + [(name, each.value) for name, each in part_metrics(model.metrics).items()]
        for model in (tuned, rival)
    )
    return [name for name, value in now if value == 0 and dict(before).get(name)]


def training_pairs(facts: Facts) -> list[tuple[str, str]]:
    """Return how the model was tuned and what it cost, planned and actual, as pairs."""
    plan, tuning = facts.plan, facts.tuning
    statistics, epochs = tuning.statistics, plan.epochs
    accelerators = plan.accelerator_type
    if accelerators and plan.accelerators:
        accelerators = f"{count(plan.accelerators)} × {accelerators}"
    passes = f", {plural(epochs, 'pass', 'passes')} over the rows" if epochs else ""
    date = f", prices of {plan.price_date}" if plan.price_date else ""
    hours, job_hours = plan.estimated_hours, statistics.job_hours
    machines = ""
    if statistics.machine_type:
        machines = (
            f"{count(statistics.machines)} × {statistics.machine_type} "
            f"({statistics.accelerator}), {statistics.provisioning}"
        )
    pairs = [
        ("Model", tuning.model),
        ("Planned model", plan.model),
        ("Base revision", statistics.base_revision),
        ("Region", plan.region),
        ("Accelerators", accelerators),
        ("Machines", machines),
        ("Parameters", count(statistics.parameters)),
        ("Training rows", count(plan.rows)),
        ("Batch size", count(plan.batch_size)),
        ("Steps planned", count(plan.train_steps) + passes),
        ("Steps done", count(statistics.train_steps)),
        ("Time estimated", duration(None if hours is None else 3600 * hours)),
        ("Time taken", duration(statistics.seconds)),
        ("Time of the job", duration(None if job_hours is None else 3600 * job_hours)),
        ("Cost estimated", money(plan.estimated_cost_usd) + date),
        ("Cost", money(tuning.cost_usd)),
        ("Price and model tables", plan.tables_version),
    ]
    return known(pairs)


def split_pairs(facts: Facts) -> list[tuple[str, str]]:
    """Return how the rows were split, as pairs of label and text."""
    split = facts.split
    return known(
        [
            ("Training rows", count(split.train_rows)),
            ("Held-out rows", count(split.eval_rows)),
            ("Duplicates kept together", count(split.duplicate_rows_kept_together)),
            ("Groups", count(split.groups)),
            ("Seed", count(split.seed)),
            ("Inputs on both sides", count(split.leak.get("inputs_in_both"))),
        ]
    )


_JUDGE_VERDICTS = {
    BETTER: "the tuned model is better",
    WORSE: "the tuned model is worse",
    UNDECIDED: "not enough evidence",
    INCONSISTENT: "none: the order of the answers decided more than the answers",
}


def judge_view(judge: Judge) -> dict[str, Any] | None:
    """Prepare the judge's result: pairs of label and text, and its prompt; None without a judge."""
    if judge == Judge():
        return None
    pairs = [("Judge", judge.model)]
    if by := judge.comparison:
        agreed = (
            f"{count(judge.judged - judge.disagreements)} of {plural(judge.judged, 'row')} asked"
        )
        pairs += [
            ("Verdict", _judge_words(judge)[1]),
            ("Wins of the tuned model", count(by.wins)),
            ("Losses", count(by.losses)),
            ("Ties", count(by.ties)),
            ("Test", p_value(by.p_value)),
            ("Same answer in both orders", agreed if judge.judged else ""),
        ]
    if bias := judge.length_bias:
        won = f"{score(bias.value)} ({between(bias.low, bias.high)}) of {count(bias.rows)}"
        pairs.append(("The longer answer won", won))
    if people := judge.agreement:
        share = f"{score(people.value)} of 100 on {plural(people.rows, 'row')}"
        pairs.append(("Agrees with people", f"{share}, kappa {people.kappa:.2f}"))
    if other := judge.champion:
        against = f"refused: {other.refused}" if other.refused else ": ".join(_judge_words(other))
        pairs.append(("Against the champion", against))
    pairs += [
        ("Rows without a judgement", count(judge.unjudged)),
        ("Cost estimated", money(judge.estimated_cost_usd)),
    ]
    return {"pairs": known(pairs), "prompt": clean(judge.prompt), "refused": judge.refused}


def judge_sentence(judge: Judge) -> str:
    """Describe the judge's verdict in one sentence; "" without a judge."""
    if not judge.comparison:
        return f"The judge gave no judgement: {judge.refused}" if judge.refused else ""
    counts, words = _judge_words(judge)
    return f"Judged by {judge.model}: {counts} against the base model: {words}."


def _judge_words(judge: Judge) -> tuple[str, str]:
    """Return wins, losses and ties, and the verdict, in words."""
    by = judge.comparison or Comparison()
    word = judge.verdict or by.verdict
    lost, tied = plural(by.losses, "loss", "losses"), plural(by.ties, "tie")
    return f"{plural(by.wins, 'win')}, {lost}, {tied}", _JUDGE_VERDICTS.get(word, word)

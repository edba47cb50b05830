"""The facts of a run as texts and tables: what the report, the summary and the card all say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunepipe.reporting import formatting
from tunepipe.reporting.formatting import finite, items, part

# How the metrics of a JSON answer's fields are named: "field:quantity".
FIELD = "field:"
# The order of columns, of bars and of colours.
MODELS = ("tuned", "champion", "base")
_OTHERS = {
    "champion": "champion",
    "base": "base",
    "first": "first champion",
    "guard": "base on guarded prompts",
}
# Each verdict's mark, readable without the colour, and its sentence.
VERDICTS = {
    "better": ("▲", "The tuned model is better."),
    "worse": ("▼", "The tuned model is worse."),
    "not-enough-evidence": ("◆", "There is not enough evidence to say better or worse."),
}


def spoken(metric: Any) -> str:
    """Write a metric's name as words: "exact_match" is "exact match"."""
    return str(metric or "").replace("_", " ")


def whole_metrics(score: Any) -> Mapping[str, Any]:
    """Return a score's metrics of whole answers, without those of single fields."""
    metrics = part(score, "metrics")
    return {name: values for name, values in metrics.items() if not str(name).startswith(FIELD)}


def ordered(metrics: Iterable[str], facts: Mapping[str, Any]) -> list[str]:
    """Put the metric that decides first, and the share of answered rows last."""
    first = deciding(facts)[1].get("metric")
    return sorted(dict.fromkeys(metrics), key=lambda name: (name == "answered") - (name == first))


def field_metrics(score: Any) -> Mapping[str, Any]:
    """Return a score's metrics of the fields of a JSON answer, under the fields' names."""
    metrics = part(score, "metrics")
    return {
        str(name).removeprefix(FIELD): values
        for name, values in metrics.items()
        if str(name).startswith(FIELD)
    }


def run_pairs(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what identifies the run, as pairs of label and text, those that are known."""
    run = part(facts, "run")
    names = {
        "id": "Run",
        "created": "Created",
        "backend": "Backend",
        "base_model": "Base model",
        "region": "Region",
        "code": "Code",
    }
    pairs = [(label, str(run[key])) for key, label in names.items() if run.get(key)]
    return [*pairs, *data_changes(facts)]


def data_changes(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Describe how the data differ from the champion's training data, if that is known."""
    found = part(facts, "data_changes")
    if not found:
        return []
    counts = ", ".join(
        f"{formatting.count(found[key])} {key}" for key in ("same", "added", "changed", "removed")
    )
    drift = part(found, "drift")
    moved = [f"{name} {drift[name]:.0%} apart" for name in ("labels", "languages") if name in drift]
    lengths = [
        f"{name.partition('_')[0]}s {drift[name][0]:.0f} then, {drift[name][1]:.0f} now"
        for name in ("input_characters", "output_characters")
        if name in drift
    ]
    told = [("Rows since the champion's training", f"{counts} (run {found['since']})")]
    if moved or lengths:
        characters = [f"mean characters: {', '.join(lengths)}"] if lengths else []
        told.append(("Drift since then", "; ".join([*moved, *characters])))
    return told


def comparisons(facts: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the comparisons there are, each with the other's name; the champion's first."""
    made = part(facts, "comparisons")
    return [(other, part(made, name)) for name, other in _OTHERS.items() if part(made, name)]


def verdict(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the verdict's `kind`, its `mark`, its `sentence`, and the `reason`."""
    word = str(facts.get("verdict") or "")
    mark, sentence = VERDICTS.get(word, ("", word or "No verdict was reached."))
    kind = word if word in VERDICTS else "unknown"
    reason = str(facts.get("reason") or "")
    return {"kind": kind, "mark": mark, "sentence": sentence, "reason": reason}


def deciding(facts: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the comparison the verdict rests on: with the champion if there is one."""
    return next(iter(comparisons(facts)), ("", {}))


def figures(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The handful of numbers that a reader wants first: label, value, note."""
    other, comparison = deciding(facts)
    metric = comparison.get("metric")
    scores = part(facts, "scores")
    mine, theirs = (
        part(part(part(scores, name), "metrics"), str(metric)) for name in ("tuned", other)
    )
    shown = []
    if mine:
        note = f"{other} {formatting.score(theirs.get('value'))}" if theirs else ""
        shown.append((spoken(metric).capitalize(), formatting.score(mine.get("value")), note))
    if comparison:
        interval = formatting.between(comparison.get("low"), comparison.get("high"), signed=True)
        label = f"Points against {other}"
        shown.append((label, formatting.points(comparison.get("difference")), interval))
    rows = finite(part(scores, "tuned").get("rows"))
    if rows is not None:
        missing = _unanswered(facts)
        note = f"{formatting.count(missing)} unanswered" if missing else "all answered"
        shown.append(("Held-out rows", formatting.count(rows), note))
    return shown + _money_figure(facts)


def _unanswered(facts: Mapping[str, Any]) -> int:
    stated = finite(part(part(facts, "scores"), "tuned").get("unanswered"))
    if stated is not None:
        return int(stated)
    rows = [row for row in items(facts, "rows") if isinstance(row, Mapping)]
    return sum("tuned" in row and row["tuned"] is None for row in rows)


def _money_figure(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    estimate = finite(part(facts, "plan").get("estimated_cost_usd"))
    actual = finite(part(facts, "tuning").get("cost_usd"))
    if actual is not None:
        note = "" if estimate is None else f"estimated {formatting.money(estimate)}"
        return [("Cost", formatting.money(actual), note)]
    return [] if estimate is None else [("Cost, estimated", formatting.money(estimate), "")]


def scores_view(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Prepare the table of metrics and the comparisons.

    Returns:
        None without scores. `models` are the columns; each of `rows` has its `metric` and a
        (value, interval) for each model; each of `comparisons` is one column of the second table.
    """
    scores = part(facts, "scores")
    models = [name for name in MODELS if part(part(scores, name), "metrics")]
    names = ordered((m for name in models for m in whole_metrics(scores[name])), facts)
    table = [
        {"metric": spoken(metric), "cells": [_cell(scores[name], metric) for name in models]}
        for metric in names
    ]
    compared = [_compared(other, comparison) for other, comparison in comparisons(facts)]
    return {"models": models, "rows": table, "comparisons": compared} if table or compared else None


def _cell(score: Mapping[str, Any], metric: str) -> tuple[str, str]:
    values = part(part(score, "metrics"), metric)
    interval = formatting.between(values.get("low"), values.get("high"))
    return formatting.score(values.get("value")), interval


def _compared(other: str, comparison: Mapping[str, Any]) -> dict[str, Any]:
    wins, ties, losses = (finite(comparison.get(k)) for k in ("wins", "ties", "losses"))
    confidence = finite(comparison.get("confidence")) or 0.95
    interval = formatting.between(comparison.get("low"), comparison.get("high"), signed=True)
    more = [formatting.count(number) for number in items(comparison, "more_rows")]
    return {
        "other": other,
        "metric": spoken(comparison.get("metric")),
        "difference": formatting.points(comparison.get("difference")),
        "interval": interval and f"{interval} ({formatting.percent(confidence)})",
        "p_value": formatting.p_value(comparison.get("p_value")),
        "wins": formatting.count(wins),
        "ties": formatting.count(ties),
        "losses": formatting.count(losses),
        "groups": formatting.count(comparison.get("groups", comparison.get("rows"))),
        "missing": _missing(comparison),
        "margin": _margin(comparison),
        "smallest": formatting.score(comparison.get("smallest_difference")),
        "verdict": spoken(comparison.get("verdict")).replace("-", " "),
        "more_rows": f"{more[0]} to {more[1]} more held-out rows would show such a difference "
        "(the middle half of the estimates)."
        if len(more) == 2
        else "",
    }


def _missing(comparison: Mapping[str, Any]) -> str:
    tuned, other = (finite(comparison.get(f"missing_{name}")) or 0 for name in ("tuned", "other"))
    if not tuned + other:
        return "none"
    counted = "as wrong" if comparison.get("missing") != "excluded" else "rows left out"
    return f"{formatting.count(tuned)} and {formatting.count(other)}, {counted}"


def _margin(comparison: Mapping[str, Any]) -> str:
    margin = finite(comparison.get("margin"))
    if not margin:
        return "none"
    held = "ruled out" if comparison.get("non_inferior") else "not ruled out"
    return f"a loss above {formatting.score(margin)} is {held}"


def slices_view(facts: Mapping[str, Any]) -> list[list[str]]:
    """Return each slice as a line of a table: name, rows, score, difference, p, verdict."""
    lines = []
    for row in items(part(part(facts, "scores"), "tuned"), "slices"):
        if not isinstance(row, Mapping):
            continue
        comparison = part(row, "comparison")
        interval = formatting.between(comparison.get("low"), comparison.get("high"), signed=True)
        smallest = formatting.score(comparison.get("smallest_difference"))
        verdict = str(row.get("verdict") or "")
        lines.append(
            [
                f"{row.get('field', '')}: {row.get('value', '')}",
                formatting.count(row.get("rows")),
                formatting.score(part(row, "score").get("value")),
                f"{formatting.points(comparison.get('difference'))} ({interval})"
                if interval
                else "",
                formatting.p_value(row.get("p_adjusted")) if comparison else "",
                verdict if verdict in ("better", "worse") else f"shows {smallest} or more",
            ]
        )
    return lines


_SERVING = (
    ("latency_p50_ms", "Time of an answer, median (ms)"),
    ("latency_p95_ms", "Time of an answer, 95th percentile (ms)"),
    ("input_tokens", "Tokens read, mean"),
    ("output_tokens", "Tokens written, mean"),
    ("cost_usd", "Cost of an answer (USD)"),
)


def serving_view(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an answer of each model takes; None if nothing was measured."""
    scores = part(facts, "scores")
    values = {name: part(part(scores, name), "serving") for name in MODELS}
    models = [name for name in MODELS if values[name]]
    rows = [
        (label, [_measure(values[name].get(key)) for name in models])
        for key, label in _SERVING
        if any(finite(values[name].get(key)) is not None for name in models)
    ]
    return {"models": models, "rows": rows} if rows else None


def _measure(value: Any) -> str:
    number = finite(value)
    return formatting.MISSING if number is None else f"{number:.4g}"


def caveats(facts: Mapping[str, Any]) -> list[str]:
    """Return what the verdict does not show, each in a short clause made from the numbers."""
    other, comparison = deciding(facts)
    if not comparison:
        return []
    scores = part(facts, "scores")
    tuned = part(scores, "tuned")
    rival = part(scores, other if other in MODELS else "base")
    differences = part(comparison, "differences") or part(tuned, "differences")
    return [
        *_opposite(comparison, differences),
        *_dead(tuned, rival),
        *_lost_slices(tuned),
        *_limits(comparison, tuned),
    ]


def _opposite(comparison: Mapping[str, Any], differences: Mapping[str, Any]) -> list[str]:
    """The metrics that point the other way than the deciding one."""
    metric, gain = str(comparison.get("metric")), finite(comparison.get("difference")) or 0.0
    found = []
    for name in differences:
        values = part(differences, name)
        low, high = finite(values.get("low")), finite(values.get("high"))
        if name == metric or low is None or high is None:
            continue
        if (gain > 0 and high < 0) or (gain < 0 and low > 0):
            found.append(
                f"{spoken(name).replace(':', ' ')} {formatting.points(values.get('value'))}"
            )
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
    return [f"the other way: {shown}"] if found else []


def _dead(tuned: Mapping[str, Any], rival: Mapping[str, Any]) -> list[str]:
    """The classes and fields that the tuned model never has right, and the other model has."""
    before = _f1_by_class(rival)
    dead = [name for name, f1 in _f1_by_class(tuned).items() if f1 == 0 and before.get(name)]
    fields, theirs = field_metrics(tuned), field_metrics(rival)
    dead += [
        name
        for name in fields
        if finite(part(fields, name).get("value")) == 0 and finite(part(theirs, name).get("value"))
    ]
    return [f"never right any more: {', '.join(dead[:5])}"] if dead else []


def _f1_by_class(score: Mapping[str, Any]) -> dict[str, float]:
    rows = (row for row in items(score, "classes") if isinstance(row, Mapping))
    return {str(row.get("label", "")): finite(row.get("f1")) or 0.0 for row in rows}


def _lost_slices(tuned: Mapping[str, Any]) -> list[str]:
    lost = [
        f"{row.get('field')} {row.get('value')}"
        for row in items(tuned, "slices")
        if isinstance(row, Mapping) and row.get("verdict") == "worse" and not row.get("declared")
    ]
    return [f"worse in: {', '.join(lost[:5])}"] if lost else []


def _limits(comparison: Mapping[str, Any], tuned: Mapping[str, Any]) -> list[str]:
    found = []
    if (missing := _missing(comparison)) != "none":
        found.append(f"missing answers (tuned and other): {missing}")
    rows, groups = finite(comparison.get("rows")), finite(comparison.get("groups"))
    if rows and groups and groups < rows:
        found.append(
            f"only {formatting.count(groups)} of {formatting.count(rows)} rows are independent"
        )
    if (smallest := finite(comparison.get("smallest_difference"))) is not None:
        found.append(f"differences below {formatting.score(smallest)} points may stay unseen")
    look = finite(tuned.get("look"))
    if look and look > 1:
        found.append(f"these rows have decided {formatting.count(look)} times")
    return found


def training_pairs(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how the model was tuned and what it cost, planned and actual, as pairs."""
    plan, tuning = part(facts, "plan"), part(facts, "tuning")
    statistics = part(tuning, "statistics")
    pairs = [
        ("Model", tuning.get("model")),
        ("Planned model", plan.get("model")),
        ("Region", plan.get("region")),
        ("Accelerators", _accelerators(plan)),
        ("Parameters", _counted(statistics.get("parameters"))),
        ("Training rows", _counted(plan.get("rows"))),
        ("Batch size", _counted(plan.get("batch_size"))),
        ("Steps planned", _steps(plan)),
        ("Steps done", _counted(statistics.get("train_steps"))),
        ("Time estimated", _time(plan.get("estimated_hours"), 3600)),
        ("Time taken", _time(statistics.get("seconds"), 1)),
        ("Cost estimated", _cost(plan.get("estimated_cost_usd"), plan.get("price_date"))),
        ("Cost", _cost(tuning.get("cost_usd"), "")),
        ("Price and model tables", plan.get("tables_version")),
    ]
    return [(label, str(value)) for label, value in pairs if value not in (None, "")]


def split_pairs(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how the rows were split, as pairs of label and text."""
    split = part(facts, "split")
    names = {
        "train_rows": "Training rows",
        "eval_rows": "Held-out rows",
        "duplicate_rows_kept_together": "Duplicates kept together",
        "groups": "Groups",
        "seed": "Seed",
    }
    pairs = [(label, _counted(split[key])) for key, label in names.items() if key in split]
    leak = part(split, "leak")
    if "inputs_in_both" in leak:
        pairs.append(("Inputs on both sides", _counted(leak["inputs_in_both"])))
    return pairs


def _counted(value: Any) -> str:
    return "" if finite(value) is None else formatting.count(value)


def _time(value: Any, unit_seconds: int) -> str:
    number = finite(value)
    return "" if number is None else formatting.duration(number * unit_seconds)


def _cost(value: Any, price_date: Any) -> str:
    if finite(value) is None:
        return ""
    return formatting.money(value) + (f", prices of {price_date}" if price_date else "")


def _accelerators(plan: Mapping[str, Any]) -> str:
    kind, number = plan.get("accelerator_type"), finite(plan.get("accelerators"))
    if not kind:
        return ""
    return f"{formatting.count(number)} × {kind}" if number else str(kind)


def _steps(plan: Mapping[str, Any]) -> str:
    steps, epochs = finite(plan.get("train_steps")), finite(plan.get("epochs"))
    if steps is None:
        return ""
    passes = f", {formatting.plural(epochs, 'pass', 'passes')} over the rows" if epochs else ""
    return formatting.count(steps) + passes


_NAMES = {
    "better": "the tuned model is better",
    "worse": "the tuned model is worse",
    "not-enough-evidence": "not enough evidence",
    "inconsistent": "none: the order of the answers decided more than the answers",
}


def judge_view(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Prepare the judge's result.

    Returns:
        None without a judge. `pairs` are labels and texts; `prompt` is the template it was asked
        with, and `refused` says why it gave no judgement; each may be empty.
    """
    judge = part(facts, "judge")
    if not judge:
        return None
    return {
        "pairs": [(label, text) for label, text in _pairs(judge) if text],
        "prompt": formatting.clean(str(judge.get("prompt") or "")),
        "refused": str(judge.get("refused") or ""),
    }


def judge_sentence(facts: Mapping[str, Any]) -> str:
    """Describe the judge's verdict in one sentence; "" without a judge."""
    judge = part(facts, "judge")
    said = part(judge, "comparison")
    if not said:
        refused = judge.get("refused")
        return f"The judge gave no judgement: {refused}" if refused else ""
    wins, losses, ties = (formatting.count(said.get(name)) for name in ("wins", "losses", "ties"))
    return (
        f"Judged by {judge.get('model')}: {wins} wins, {losses} losses, {ties} ties against the "
        f"base model: {_verdict(judge if 'verdict' in judge else said)}."
    )


def _pairs(judge: Mapping[str, Any]) -> list[tuple[str, str]]:
    said = part(judge, "comparison")
    cost = judge.get("estimated_cost_usd")
    return [
        ("Judge", str(judge.get("model") or "")),
        ("Verdict", _verdict(judge if "verdict" in judge else said)),
        ("Wins of the tuned model", _counted(said.get("wins"))),
        ("Losses", _counted(said.get("losses"))),
        ("Ties", _counted(said.get("ties"))),
        ("Test", formatting.p_value(said.get("p_value"))),
        ("Same answer in both orders", _agreement(judge)),
        ("The longer answer won", _share_of_rows(part(judge, "length_bias"))),
        ("Agrees with people", _with_people(part(judge, "agreement"))),
        ("Against the champion", _against_champion(part(judge, "champion"))),
        ("Rows without a judgement", _counted(judge.get("unjudged"))),
        ("Cost estimated", "" if finite(cost) is None else formatting.money(cost)),
    ]


def _verdict(said: Mapping[str, Any]) -> str:
    verdict = str(said.get("verdict") or "")
    return _NAMES.get(verdict, verdict)


def _share_of_rows(found: Mapping[str, Any]) -> str:
    if finite(found.get("value")) is None:
        return ""
    interval = formatting.between(found.get("low"), found.get("high"))
    return (
        f"{formatting.score(found['value'])} ({interval}) of {formatting.count(found.get('rows'))}"
    )


def _with_people(found: Mapping[str, Any]) -> str:
    kappa = finite(found.get("kappa"))
    if kappa is None:
        return ""
    share, rows = formatting.score(found.get("value")), formatting.count(found.get("rows"))
    return f"{share} of 100 on {rows} rows, kappa {kappa:.2f}"


def _against_champion(judge: Mapping[str, Any]) -> str:
    if not judge:
        return ""
    if judge.get("refused"):
        return f"refused: {judge['refused']}"
    said = part(judge, "comparison")
    wins, losses, ties = (formatting.count(said.get(name)) for name in ("wins", "losses", "ties"))
    return f"{wins} wins, {losses} losses, {ties} ties: {_verdict(judge)}"


def _agreement(judge: Mapping[str, Any]) -> str:
    judged, disagreed = finite(judge.get("judged")), finite(judge.get("disagreements"))
    if not judged or disagreed is None:
        return ""
    agreed = judged - disagreed
    return f"{formatting.count(agreed)} of {formatting.count(judged)} rows asked"

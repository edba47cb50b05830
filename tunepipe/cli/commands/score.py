"""`tunepipe score`: metrics, and the comparison of two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from msgspec import to_builtins
from msgspec.structs import replace

from tunepipe.cli import options
from tunepipe.cli.inputs import read_predictions
from tunepipe.cli.judge import JudgeOptions, run_judge
from tunepipe.cli.output import Output
from tunepipe.errors import UsageError, plural
from tunepipe.extras import require as require_extra
from tunepipe.files import refuse_same
from tunepipe.reporting.facts import BETTER, INCONSISTENT, UNDECIDED, WORSE, Comparison, Facts
from tunepipe.reporting.formatting import between, p_value, percent
from tunepipe.reporting.formatting import score as points_of_100
from tunepipe.reporting.sections import caveats, slices_view, within_rows

if TYPE_CHECKING:
    from tunepipe.evaluation.score import Evaluation

NOT_WORSE = "not-worse"


def score(
    context: typer.Context,
    predictions: str,
    *,
    judge_options: JudgeOptions,
    scoring: options.ScoringOptions,
    baseline: str = "",
    group_by: str = "",
    require: str = "",
    seed: int = 0,
    report: list[str] | None = None,
    user_project: options.UserProject = "",
    out: Output,
) -> int:
    """Score predictions, and compare two models.

    Each value has a 95 % interval. With a baseline the verdict is better, worse or
    not-enough-evidence. Exit code 1 if it is worse, or if --require is not met. With --margin a
    loss of at most that much is acceptable to --require not-worse.

    Options:
        predictions: A predictions file: path, URI or - .
        baseline (FILE): Another model's answers to the same rows.
        group_by (FIELD): Rows that agree in this field are not independent.
        require (VERDICT): Exit with 1 unless: better, or not-worse.
        report (FILE): Write a report: .html, .md or .json; repeatable.
    """
    from tunepipe.cli.report_files import suffix_of, write_score_report
    from tunepipe.evaluation.score import evaluate

    require_extra("score")
    for path in report or ():
        suffix_of(path)
    if require not in ("", BETTER, NOT_WORSE):
        raise UsageError(
            f"{require!r} is not a verdict", where="--require", fix="better or not-worse"
        )
    if require and not baseline:
        raise UsageError(
            "a verdict needs two models", where="--require", fix="--baseline PREDICTIONS"
        )
    if report:
        read = (predictions, baseline, judge_options.judge_prompt)
        refuse_same(report, [name for name in read if name])
    judge_options.check(baseline)
    tuned = read_predictions(predictions)
    base = read_predictions(baseline) if baseline else None
    evaluation = evaluate(
        tuned,
        base,
        group_by=group_by,
        seed=seed,
        **{**vars(scoring), "slice_by": scoring.slice_by or ()},
    )
    show_scores(evaluation, out)
    catalog = options.catalog(context, judge_options.tables)
    judgement = run_judge(tuned, base, judge_options, scoring.missing, catalog, out)
    extra: dict[str, Any] = {}
    comparison = evaluation.comparison
    if judgement:
        extra["judge"] = {**to_builtins(judgement), "decides": judge_options.judge_decides}
    if judge_options.judge_decides and judgement and judgement.comparison:
        comparison = replace(judgement.comparison, margin=scoring.margin)
        if judgement.verdict == INCONSISTENT:  # then the judge's comparison decides nothing
            comparison = replace(comparison, low=-1.0, high=1.0, verdict=UNDECIDED)
        out.line(f"the judge decides: {judgement.verdict}", "bold")
    extra["verdict"], extra["reason"] = evaluation.decide(comparison)
    answers = {"tuned": tuned, "base": base or ()}
    for path in report or ():
        write_score_report(evaluation, answers, path, extra)
    out.result(evaluation.as_json() | extra)
    if comparison is None:
        return 0
    if require == NOT_WORSE and comparison.margin > 0 and not evaluation.lost_slices:
        return int(not comparison.non_inferior)
    passes = extra["verdict"] == BETTER if require == BETTER else extra["verdict"] != WORSE
    return int(not passes)


def show_scores(evaluation: Evaluation, out: Output) -> None:
    """Show metrics, slices and the comparison to people."""
    setting = "" if evaluation.task_reason == "set" else f" ({evaluation.task_reason})"
    groups = ""
    if evaluation.groups != evaluation.rows:
        groups = f" in {evaluation.groups:,} independent groups"
    out.line(
        f"{plural(evaluation.rows, 'row')}{groups}, {evaluation.task}{setting}; "
        f"{evaluation.metric} decides",
        "bold",
    )
    out.table(metric_rows(evaluation))
    scores = {"tuned": evaluation, **({"base": evaluation.baseline} if evaluation.baseline else {})}
    compared = {"base": evaluation.comparison} if evaluation.comparison else {}
    facts = Facts(scores=scores, comparisons=compared)
    if slices := slices_view(facts):
        head = ("slice", "rows", "value", "difference", "p (Holm)", "verdict")
        out.table(map(tuple, slices), head)
    if evaluation.unanswered:
        counted = "count as wrong" if evaluation.missing == "wrong" else "are left out"
        out.warnings([f"{plural(evaluation.unanswered, 'row')} without an answer {counted}"])
    if lost := evaluation.lost_slices:
        out.warnings([f"a loss is shown in {', '.join(lost)}: it stops a promotion"])
    if text := within_rows(evaluation.within_rows):
        out.line(text)
    if evaluation.comparison:
        _show_comparison(evaluation.comparison, *evaluation.decide(), out)
        out.line(f"what this does not show: {'; '.join(caveats(facts))}")


def metric_rows(evaluation: Evaluation) -> list[tuple[str, str, str, str]]:
    """Return a head, and each metric with its value, its interval and the baseline's value."""
    baseline = evaluation.baseline.metrics if evaluation.baseline else {}
    return [
        ("metric", "value", f"{percent(0.95)} interval", "baseline"),
        *(
            (
                name,
                points_of_100(estimate.value),
                between(estimate.low, estimate.high),
                points_of_100(baseline[name].value) if name in baseline else "",
            )
            for name, estimate in evaluation.metrics.items()
        ),
    ]


def _show_comparison(comparison: Comparison, verdict: str, reason: str, out: Output) -> None:
    from tunepipe.evaluation.comparison import in_words

    styles = {BETTER: "green bold", WORSE: "red bold"}
    shown = out.styled(verdict, styles.get(verdict, "bold"))
    # A loss in a declared slice decides against what all rows say.
    if verdict != comparison.verdict:
        out.line(f"{shown}: {reason}")
    out.line(
        f"{shown if verdict == comparison.verdict else 'all rows'}: {in_words(comparison)}, "
        f"{p_value(comparison.p_value)}; {comparison.wins:,} rows better, "
        f"{comparison.losses:,} worse, {comparison.ties:,} the same"
    )
    if comparison.margin:
        ruled_out = "is ruled out" if comparison.non_inferior else "is not ruled out"
        out.line(
            f"margin: a loss of more than {points_of_100(comparison.margin)} points {ruled_out}"
        )

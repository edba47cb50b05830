"""`tunepipe score`: metrics, and the comparison of two models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec.structs import replace

from tunepipe.cli import options
from tunepipe.cli.inputs import local_copy
from tunepipe.cli.options import flag, option
from tunepipe.cli.output import Output, plural
from tunepipe.errors import UsageError
from tunepipe.extras import require as require_extra
from tunepipe.files import refuse_same
from tunepipe.reporting.facts import BETTER, INCONSISTENT, UNDECIDED, WORSE, Comparison, Slice

if TYPE_CHECKING:
    from tunepipe.evaluation.score import Evaluation

NOT_WORSE = "not-worse"


def score(
    context: typer.Context,
    predictions: Annotated[str, typer.Argument(help="A predictions file: path, URI or - .")],
    baseline: Annotated[str, option("FILE", "Another model's answers to the same rows.")] = "",
    task: options.Task = "auto",
    metric: options.Metric = "",
    normalize: options.Normalize = "strict",
    missing: options.Missing = "wrong",
    group_by: Annotated[
        str, option("FIELD", "Rows that agree in this field are not independent.")
    ] = "",
    slice_by: options.SliceBy = None,
    margin: options.Margin = 0.0,
    require: Annotated[str, option("VERDICT", "Exit with 1 unless: better, or not-worse.")] = "",
    seed: options.Seed = 0,
    report: Annotated[str, option("FILE", "Write a report: .html, .md or .json.")] = "",
    judge: Annotated[
        str, option("MODEL", "A Gemini that compares the answers in both orders.")
    ] = "",
    judge_prompt: Annotated[
        str, option("FILE", "The judge's prompt, in place of the built-in one.")
    ] = "",
    judge_humans: Annotated[
        str,
        option(
            "FILE", 'What people prefer: lines of {"id", "preference": "tuned", "base" or "tie"}.'
        ),
    ] = "",
    judge_decides: Annotated[
        bool,
        flag("--judge-decides", "The judge's verdict counts; it must agree with people."),
    ] = False,
    project: options.Project = "",
    region: Annotated[str, option("NAME", "Where the judge may read the texts.")] = "",
    max_cost_usd: options.MaxCostUsd = None,
    tables: options.Tables = "",
    runs: options.Runs = Path("runs"),
    yes: options.Yes = False,
    user_project: options.UserProject = "",
    json: options.Json = False,
) -> int:
    """Score predictions, and compare two models.

    Each value has a 95 % interval. With a baseline the verdict is better, worse or
    not-enough-evidence. Exit code 1 if it is worse, or if --require is not met. With --margin a
    loss of at most that much is acceptable to --require not-worse.
    """
    from tunepipe.cli.judge import JudgeOptions, judged, show_judgement
    from tunepipe.cli.report_files import suffix_of, write_score_report
    from tunepipe.data import predictions as files
    from tunepipe.evaluation.score import evaluate

    require_extra("score")
    suffix_of(report)
    _check_require(require, baseline)
    if report:
        refuse_same([report], [name for name in (predictions, baseline, judge_prompt) if name])
    judge_options = JudgeOptions(
        model=judge,
        project=project,
        region=region,
        prompt=judge_prompt,
        max_cost_usd=options.positive(max_cost_usd, "--max-cost-usd"),
        catalog=options.catalog(context, tables),
        work_dir=runs / "work",
        yes=yes,
        humans=judge_humans,
        decides=judge_decides,
    )
    judge_options.check(baseline)
    with local_copy(predictions) as path:
        tuned = files.read(path)
    base = None
    if baseline:
        with local_copy(baseline) as path:
            base = files.read(path)
    evaluation = evaluate(
        tuned,
        base,
        task=task,
        metric=metric,
        normalize=normalize,
        missing=missing,
        group_by=group_by,
        slice_by=slice_by or (),
        margin=margin,
        seed=seed,
    )
    out = Output(json)
    show_scores(evaluation, out)
    judgement = judged(tuned, base, judge_options, out=out)
    extra = {"judge": judgement.as_json()} if judgement else {}
    if judgement:
        show_judgement(judgement, out)
    if report:
        write_score_report(evaluation, tuned, base, report, extra)
    out.result(evaluation.as_json() | extra)
    comparison = evaluation.comparison
    if judge_decides and judgement:
        # An inconsistent judge has no verdict; its comparison then decides nothing.
        decided = replace(judgement.comparison, margin=margin)
        if judgement.verdict == INCONSISTENT:
            decided = replace(decided, low=-1.0, verdict=UNDECIDED)
        comparison = decided
    return int(not _passes(comparison, evaluation.lost_slices, require))


def _check_require(require: str, baseline: str) -> None:
    if require not in ("", BETTER, NOT_WORSE):
        raise UsageError(
            f"{require!r} is not a verdict", where="--require", fix="better or not-worse"
        )
    if require and not baseline:
        raise UsageError(
            "a verdict needs two models", where="--require", fix="--baseline PREDICTIONS"
        )


def _passes(comparison: Comparison | None, lost_slices: Sequence[str], require: str) -> bool:
    if comparison is None:
        return True
    if require and lost_slices:
        return False
    if require == BETTER:
        return comparison.verdict == BETTER
    if require == NOT_WORSE and comparison.margin > 0:
        return comparison.non_inferior
    return comparison.verdict != WORSE


def show_scores(evaluation: Evaluation, out: Output) -> None:
    """Show metrics, slices and the comparison to people."""
    from tunepipe.reporting.formatting import between, percent
    from tunepipe.reporting.formatting import score as points_of_100

    setting = "" if evaluation.task_reason == "set" else f" ({evaluation.task_reason})"
    groups = ""
    if evaluation.groups != evaluation.rows:
        groups = f" in {evaluation.groups:,} independent groups"
    out.line(
        f"{plural(evaluation.rows, 'row')}{groups}, {evaluation.task}{setting}; "
        f"{evaluation.metric} decides",
        "bold",
    )
    rows = [("metric", "value", f"{percent(0.95)} interval", "baseline")]
    for name, estimate in evaluation.metrics.items():
        other = evaluation.baseline.metrics.get(name) if evaluation.baseline else None
        rows.append(
            (
                name,
                points_of_100(estimate.value),
                between(estimate.low, estimate.high),
                points_of_100(other.value) if other else "",
            )
        )
    out.table(rows, styles=("bold",))
    _show_slices(evaluation.slices, out)
    if evaluation.unanswered:
        counted = "count as wrong" if evaluation.missing == "wrong" else "are left out"
        out.warnings([f"{plural(evaluation.unanswered, 'row')} without an answer {counted}"])
    if evaluation.comparison:
        _show_comparison(evaluation.comparison, out)


def _show_slices(slices: Sequence[Slice], out: Output) -> None:
    from tunepipe.reporting.formatting import between, points
    from tunepipe.reporting.formatting import score as points_of_100

    if not slices:
        return
    rows: list[tuple[str, ...]] = [("slice", "rows", "value", "difference", "p (Holm)")]
    for each in slices:
        change: tuple[str, ...] = ("", "")
        if each.comparison:
            interval = between(each.comparison.low, each.comparison.high, signed=True)
            difference = points(each.comparison.difference)
            change = (f"{difference} ({interval})", f"{each.p_adjusted:.3g}")
        rows.append((each.name, f"{each.rows:,}", points_of_100(each.score.value), *change))
    out.table(rows, styles=("bold",))


def _show_comparison(comparison: Comparison, out: Output) -> None:
    from tunepipe.evaluation.comparison import in_words
    from tunepipe.reporting.formatting import p_value, points
    from tunepipe.reporting.formatting import score as points_of_100

    style = {BETTER: "green bold", WORSE: "red bold"}.get(comparison.verdict, "bold")
    out.line(
        f"{out.styled(comparison.verdict, style)}: {in_words(comparison)}, "
        f"{p_value(comparison.p_value)}; {comparison.wins:,} rows better, "
        f"{comparison.losses:,} worse, {comparison.ties:,} the same"
    )
    if comparison.margin:
        ruled_out = "is ruled out" if comparison.non_inferior else "is not ruled out"
        out.line(
            f"margin: a loss of more than {points_of_100(comparison.margin)} points {ruled_out}"
        )
    seen = points(comparison.smallest_difference).lstrip("+")
    out.line(f"these rows show a difference of {seen} points or more (80 % power)")

"""`tunepipe score`: metrics, the comparison of two models, and what a model as judge says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from msgspec import to_builtins
from msgspec.structs import replace

from tunepipe.catalog.catalog import Catalog
from tunepipe.cli import options
from tunepipe.cli.inputs import local_copy, read_predictions
from tunepipe.cli.output import Output, agree
from tunepipe.errors import UsageError, dollars, plural
from tunepipe.extras import require as require_extra
from tunepipe.files import refuse_same
from tunepipe.reporting.facts import (
    BETTER,
    INCONSISTENT,
    UNDECIDED,
    WORSE,
    Comparison,
    Facts,
    Judge,
)
from tunepipe.reporting.formatting import between, p_value, percent
from tunepipe.reporting.formatting import score as points_of_100
from tunepipe.reporting.sections import caveats, judge_view, slices_view, within_rows
from tunepipe.stores import storage

if TYPE_CHECKING:
    from tunepipe.data.predictions import Prediction
    from tunepipe.evaluation.judge import Bill
    from tunepipe.evaluation.score import Evaluation

NOT_WORSE = "not-worse"


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """Who judges, how, where and for how much.

    Options:
        judge (MODEL): A Gemini that compares the answers in both orders.
        judge_prompt (FILE): The judge's prompt, in place of the built-in one.
        judge_humans (FILE): What people prefer: lines of {"id", "preference": "tuned", "base" or
            "tie"}.
        judge_decides: The judge's verdict counts; it must agree with people.
        region (NAME): Where the judge may read the texts.
    """

    judge: str = ""
    judge_prompt: str = ""
    judge_humans: str = ""
    judge_decides: bool = False
    project: str = ""
    region: str = ""
    max_cost_usd: float | None = None
    tables: str = ""
    runs: Path = Path("runs")
    yes: options.Yes = False

    def check(self, baseline: str) -> None:
        """Refuse a judge without two models to judge, and a setting of the judge without one."""
        alone = self.judge_decides and not self.judge_humans
        people = self.judge_humans or self.judge_decides
        checks = (
            (self.judge and not baseline, "a judge compares two models", "--baseline PREDICTIONS"),
            (people and not self.judge, "people are compared with a judge", "--judge MODEL"),
            (self.judge_prompt and not self.judge, "a prompt needs a judge", "--judge MODEL"),
            (alone, "a judge decides only if it is compared with people", "--judge-humans FILE"),
        )
        for is_wrong, found, fix in checks:
            if is_wrong:
                raise UsageError(found, where="--judge", fix=fix)


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
    judgement = _judge(tuned, base, judge_options, scoring.missing, catalog, out)
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
        groups = f" in {plural(evaluation.groups, 'independent group')}"
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
        f"{p_value(comparison.p_value)}; {plural(comparison.wins, 'row')} better, "
        f"{comparison.losses:,} worse, {comparison.ties:,} the same"
    )
    if comparison.margin:
        ruled_out = "is ruled out" if comparison.non_inferior else "is not ruled out"
        out.line(
            f"margin: a loss of more than {points_of_100(comparison.margin)} points {ruled_out}"
        )


def _judge(
    tuned: Sequence[Prediction],
    base: Sequence[Prediction] | None,
    settings: JudgeOptions,
    missing: str,
    catalog: Catalog,
    out: Output,
) -> Judge | None:
    """Compare two models by the judge, and show its result; None without a judge."""
    if not (settings.judge and base):
        return None
    from tunepipe.evaluation.judge import check_calibrated, read_preferences
    from tunepipe.steps.judging import judge_on_vertex

    prompt, place = "", settings.judge_prompt
    try:
        prompt = storage.read_bytes(place).decode() if place else ""
    except UnicodeDecodeError:
        raise UsageError("the prompt is not UTF-8", where=place, fix="save it as UTF-8") from None
    humans: dict[str, str] = {}
    if settings.judge_humans:
        with local_copy(settings.judge_humans) as path:
            humans = read_preferences(path)
    judgement = judge_on_vertex(
        tuned,
        base,
        model=settings.judge,
        project=settings.project,
        region=settings.region,
        prompt=prompt,
        catalog=catalog,
        max_cost_usd=options.positive(settings.max_cost_usd, "max_cost_usd"),
        work_dir=str(settings.runs / "work"),
        humans=humans,
        missing=missing,
        agree=lambda bill: _agree(bill, settings, catalog, out),
    )
    if settings.judge_decides:
        check_calibrated(judgement)
    out.facts((judge_view(judgement) or {})["pairs"])
    return judgement


def _agree(bill: Bill, settings: JudgeOptions, catalog: Catalog, out: Output) -> None:
    if not bill.questions:
        return
    from tunepipe.steps.judging import location_of

    where = location_of(settings.judge, settings.region, catalog)
    cost = "at a cost that is not known"
    if bill.cost_usd is not None:
        cost = f"for about {dollars(bill.cost_usd)}"
    earlier = f"; {bill.kept:,} of the replies are kept from before" if bill.kept else ""
    questions = f"{plural(bill.questions, 'question')} {cost}"
    out.line(f"{settings.judge} in {where} is asked {questions}{earlier}", "bold")
    agree(f"Ask {questions}?", settings.yes, out)

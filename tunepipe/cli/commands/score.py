"""`tunepipe score`: metrics, and the comparison of two models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.cli import options
from tunepipe.cli.inputs import local_copy
from tunepipe.cli.output import Output
from tunepipe.extras import require
from tunepipe.files import refuse_same

if TYPE_CHECKING:
    pass


BETTER, WORSE = "better", "worse"


def score(
    context: typer.Context,
    predictions: Annotated[str, typer.Argument(help="A predictions file: path, gs:// URI or - .")],
    baseline: Annotated[
        str, typer.Option(metavar="FILE", help="Another model's answers to the same rows.")
    ] = "",
    task: options.Task = "text",
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="The metric that decides; the task's own if unsaid.")
    ] = "",
    margin: options.Margin = 0.0,
    seed: options.Seed = 0,
    report: Annotated[
        str, typer.Option(metavar="FILE", help="Write a report: .html, .md or .json.")
    ] = "",
    judge: Annotated[
        str,
        typer.Option(metavar="MODEL", help="A Gemini that compares the answers in both orders."),
    ] = "",
    judge_prompt: Annotated[
        str, typer.Option(metavar="FILE", help="What it is asked, in place of our prompt.")
    ] = "",
    project: options.Project = "",
    region: Annotated[
        str, typer.Option(metavar="NAME", help="Where the judge may read the texts.")
    ] = "",
    max_cost_usd: options.MaxCostUsd = None,
    tables: options.Tables = "",
    runs: options.Runs = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    json: options.Json = False,
) -> int:
    """Score predictions, and compare two models.

    Values lie in 0..1 with their 95 % intervals; with a baseline the verdict is better, worse or
    not-enough-evidence. Exit code 1 where it is worse. A judge is told beside it and decides
    nothing; its replies are kept in the folder of runs, so that none is paid for twice.
    """
    from tunepipe.cli.commands.judge import JudgeOptions, judged, show_judgement
    from tunepipe.cli.report_files import suffix_of, write_score_report
    from tunepipe.data import predictions as files
    from tunepipe.evaluation import score as scoring

    require("score")
    suffix_of(report)
    if report:
        refuse_same([report], [name for name in (predictions, baseline, judge_prompt) if name])
    asked = JudgeOptions(
        model=judge,
        project=project,
        region=region,
        prompt=judge_prompt,
        max_cost_usd=options.positive(max_cost_usd, "--max-cost-usd"),
        catalog=options.catalog(context, tables),
        work_dir=runs / "work",
        yes=yes,
    )
    asked.check(baseline)
    with local_copy(predictions) as path:
        tuned = files.read(path)
    base = None
    if baseline:
        with local_copy(baseline) as path:
            base = files.read(path)
    found = scoring.evaluate(tuned, base, task=task, metric=metric, seed=seed, margin=margin)
    out = Output(json)
    _show_scores(found.details(), out)
    judgement = judged(tuned, base, asked, seed=seed, out=out)
    told = {"judge": judgement.as_json()} if judgement else {}
    if judgement:
        show_judgement(judgement, out)
    if report:
        write_score_report(found, tuned, base, report, told)
    out.result(found.as_json() | told)
    return int(found.comparison is not None and found.comparison.verdict == WORSE)


def _show_scores(found: Mapping[str, Any], out: Output) -> None:
    out.line(f"{found['rows']:,} rows, {found['task']}", "bold")
    rows = [("metric", "value", "95 % interval", "baseline")]
    for name, value in found["metrics"].items():
        base = (found["baseline"] or {}).get(name)
        shown = f"{base['value']:.3f}" if base else ""
        rows.append(
            (name, f"{value['value']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}", shown)
        )
    out.table(rows, styles=("bold",))
    if unanswered := found["unanswered"]:
        out.warnings([f"{unanswered:,} rows have no answer and are left out"])
    if said := found["comparison"]:
        style = {BETTER: "green bold", WORSE: "red bold"}.get(said["verdict"], "bold")
        out.line(f"{out.styled(said['verdict'], style)}: {_difference(said)}")


def _difference(said: Mapping[str, Any]) -> str:
    return (
        f"{said['metric']} {said['difference']:+.3f} ({said['low']:+.3f} to {said['high']:+.3f}), "
        f"p = {said['p_value']:.3g}; {said['wins']:,} rows better, {said['losses']:,} worse, "
        f"{said['ties']:,} the same"
    )

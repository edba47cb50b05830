"""The verbs on files: validate, split, plan, score, convert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.problems_view import show_problems
from tunepipe.cli.inputs import STDIN, expanded, local_copies, local_copy, written
from tunepipe.cli.output import Output
from tunepipe.errors import DataError, TunepipeError, UsageError
from tunepipe.gcp import storage
from tunepipe.same_file import refuse_same

if TYPE_CHECKING:
    from tunepipe.planning.plan import Plan
    from tunepipe.splitting.split import SplitReport
    from tunepipe.validation.fix import Fixing
    from tunepipe.validation.validate import Report

BETTER, WORSE = "better", "worse"
REFUSED_SHOWN = 10


def validate(
    context: typer.Context,
    dataset: Annotated[
        list[str], typer.Argument(help="Paths, gs:// URIs or globs, one dataset together, or - .")
    ],
    format: options.Format = "auto",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Whose limits hold; the format's first if unsaid.")
    ] = "",
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="No row may stand in this file too; repeatable."),
    ] = None,
    max_problems: Annotated[
        int, typer.Option(metavar="N", min=0, help="List so many; all are counted.")
    ] = 1000,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look for rows that say nearly the same.")
    ] = False,
    pii: Annotated[bool, typer.Option("--pii", help="Look for personal data.")] = False,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Processes; 0: as the size asks for.")
    ] = 0,
    report: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Write a report: .html, .sarif or .json; repeatable."),
    ] = None,
    fix: Annotated[
        str,
        typer.Option(metavar="FILE", help="Write a corrected copy, and FILE's .rejects.jsonl."),
    ] = "",
    control_characters: Annotated[
        bool, typer.Option("--control-characters", help="With --fix: take them out.")
    ] = False,
    tables: options.Tables = "",
    json: options.Json = False,
) -> int:
    """Find every problem of every row, with its line.

    Exit code 1 where there is an error; warnings alone pass. --fix mends what needs no guess:
    byte-order marks, blank lines, line ends, exact duplicates.
    """
    from tunepipe.catalog.models import check_name
    from tunepipe.cli.commands.validation_output import (
        check_validation_report,
        write_validation_report,
    )

    over = options.tables(context, tables)
    check_name(model, over)
    for path in report or ():
        check_validation_report(path)
    if report or fix:
        _check_outputs(expanded(dataset), expanded(against or ()), report or (), fix)
    if fix and STDIN in dataset:
        raise UsageError("standard input cannot be read twice", where="--fix", fix="name a file")
    found = _validated(
        dataset,
        against or (),
        format=format,
        model=model,
        max_problems=max_problems,
        near_duplicates=near_duplicates,
        pii=pii,
        workers=workers,
        overrides=over.get("services"),
    )
    for path in report or ():
        write_validation_report(found, path)
    said, unmended = found.as_json(), ""
    if fix:
        try:
            wishes = {"format": format, "model": model, "overrides": over.get("services")}
            done = _fixed(dataset, fix, control_characters, pii=pii, **wishes)
            said["fixed"] = done.as_json()
        except DataError as error:
            said["fixed"], unmended = None, f"{error.where}: {error.found}"
    out = Output(json)
    out.result(said)
    show_problems(said, out)
    if unmended:
        out.warnings([f"nothing was mended: {unmended}"])
    return int(found.errors > 0)


def _check_outputs(
    datasets: Sequence[str], against: Sequence[str], reports: Sequence[str], fix: str
) -> None:
    """Refuse to write over what is read; a dataset alone may be mended in its place."""
    if fix:
        from tunepipe.validation.fix import rejects_path

        refuse_same([fix, rejects_path(fix), *reports], against)
        refuse_same([rejects_path(fix)], datasets)
    refuse_same(reports, [*datasets, *against])


def _fixed(datasets: Sequence[str], target: str, control_characters: bool, **wishes: Any) -> Fixing:
    from tunepipe.validation import fix as fixing

    with (
        written(target) as copy,
        written(fixing.rejects_path(target), missing_ok=True) as rejects,
    ):
        return fixing.fix(
            expanded(datasets),
            copy,
            rejects=rejects,
            control_characters=control_characters,
            opener=storage.open_file,
            **wishes,
        )


@dataclass(frozen=True)
class Measured:
    """How much a dataset holds, and what a run over it would be stopped by.

    Args:
        rows: Its rows, the bad ones included.
        tokens: About so many tokens of all rows.
        longest_output_tokens: About so many of the longest output.
        refusal: What the run's validation will say; None where the data pass.
    """

    rows: int
    tokens: int
    longest_output_tokens: int = 0
    refusal: TunepipeError | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a plan says of data that do not pass."""
        if self.refusal is None:
            return ()
        return (f"a run would be refused: {self.refusal.found}; {self.refusal.fix}",)


def measured(
    datasets: Sequence[str],
    format: str,
    model: str = "",
    overrides: Mapping[str, Any] | None = None,
) -> Measured:
    """Count the rows of a dataset, estimate its tokens, and see whether a model is tuned on it.

    Args:
        datasets: Paths, gs:// URIs or globs.
        format: The rows' format, or "auto".
        model: The model to tune, for its limits; "" for the format's first.
        overrides: The user's values over services.toml.

    Raises:
        UsageError: A file cannot be read.
    """
    wishes = {"format": format, "max_problems": 0, "overrides": overrides}
    refusal: TunepipeError | None = None
    try:
        found = _validated(datasets, model=model, **wishes)
    except UsageError as error:
        if STDIN in datasets:
            raise
        # Without the model, what still fails is not about its formats: it is raised from here.
        found, refusal = _validated(datasets, **wishes), error
    if found.errors:
        errors = f"{found.errors:,} error{'s' if found.errors > 1 else ''}"
        given = [] if format == "auto" else ["--format", format]
        given += ["--model", model] if model else []
        refusal = refusal or DataError(
            f"the dataset has {errors}",
            where=", ".join(datasets),
            fix=f"see them: tunepipe validate {' '.join([*datasets, *given])}",
        )
    return Measured(found.rows, _tokens(found), found.longest_output_tokens, refusal)


def _tokens(found: Report) -> int:
    """Estimate the tokens of all rows; bad ones are not read, and count as others or by size."""
    tokens = found.tokens
    if found.valid_rows == found.rows or (found.valid_rows and not tokens):
        return tokens
    from tunepipe.planning.costs import tokens_from_characters

    by_size = tokens_from_characters(sum(file.bytes for file in found.files))
    return max(by_size, -(-tokens * found.rows // max(found.valid_rows, 1)))


def _validated(datasets: Sequence[str], against: Sequence[str] = (), **wishes: Any) -> Report:
    from tunepipe.validation.validate import validate

    paths, others = expanded(datasets), expanded(against)
    if any(map(storage.is_gcs, paths + others)):
        wishes["opener"] = storage.open_file
    return validate(paths, against=others, **wishes)


def plan(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DATASET]...", help="Paths, gs:// URIs or globs; else --rows."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Training rows, in place of DATASET.")
    ] = None,
    region: options.Region = "",
    model: options.Model = "",
    backend: options.Backend = "",
    epochs: options.Epochs = None,
    train_steps: options.TrainSteps = None,
    max_cost_usd: options.MaxCostUsd = None,
    tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Tokens of all rows, if counted.")
    ] = None,
    tokenizer: options.Tokenizer = "",
    project: options.Project = "",
    hours: Annotated[
        float | None, typer.Option(metavar="H", help="Hours it runs, in place of our estimate.")
    ] = None,
    learning_rate_multiplier: options.LearningRateMultiplier = 1.0,
    format: options.Format = "auto",
    tables: options.Tables = "",
    json: options.Json = False,
) -> int:
    """Work out steps, hours, dollars and quota.

    Exit code 3 where a limit refuses: the region, the model, or --max-cost-usd.
    """
    from tunepipe.catalog import models
    from tunepipe.cli.token_counts import calibrated
    from tunepipe.planning import plan as steps

    if bool(dataset) == (rows is not None):
        raise UsageError("a plan needs a dataset or a number of rows", fix="DATASET or --rows N")
    if tokenizer and not dataset:
        raise UsageError("has no rows to count without a dataset", where="--tokenizer")
    over = options.tables(context, tables)
    what = models.find(model, backend, over)
    size = Measured(rows or 0, 0)
    if dataset:
        size = measured(dataset, format, what.name, over.get("services"))
    place = {"project": project, "region": region}
    over = calibrated(over, tokenizer, dataset or (), model=what, format=format, **place)
    found = steps.plan(
        size.rows,
        tokens=tokens or 0,
        tokens_estimated=size.tokens,
        region=region,
        model=model,
        backend=backend,
        epochs=options.positive(epochs, "--epochs"),
        train_steps=train_steps or 0,
        max_cost_usd=options.positive(max_cost_usd, "--max-cost-usd"),
        hours=options.positive(hours, "--hours"),
        learning_rate_multiplier=learning_rate_multiplier,
        today=datetime.now(UTC).date(),
        overrides=over,
    )
    found = replace(found, warnings=(*found.warnings, *size.warnings))
    out = Output(json)
    out.result(found.as_json())
    show_plan(found, out)
    return 0


def show_plan(found: Plan, out: Output) -> None:
    """Say a plan to people: what, where, how long, how much, and how that was worked out."""
    hours = "not known" if found.estimated_hours is None else f"{found.estimated_hours:g}"
    cost = "not known"
    if found.estimated_cost_usd is not None:
        cost = f"{found.estimated_cost_usd:.2f} USD"
    hardware = f"{found.accelerators} x {found.accelerator_type}" if found.accelerators else ""
    out.table(
        [
            (name, value)
            for name, value in [
                ("model", f"{found.model} ({found.backend})"),
                ("region", found.region),
                ("hardware", hardware),
                ("quota", found.quota),
                ("rows", f"{found.rows:,}"),
                ("steps", f"{found.train_steps:,} ({found.epochs:g} epochs)"),
                ("hours", hours),
                ("cost", cost),
            ]
            if value
        ],
        styles=("bold",),
    )
    for line in found.explanation:
        out.line(f"  {line}", "dim")
    out.warnings(found.warnings)


def split(
    context: typer.Context,
    dataset: Annotated[list[str], typer.Argument(help="Paths, gs:// URIs or globs, or - .")],
    train: Annotated[str, typer.Option(metavar="FILE", help="Where the training rows go.")],
    eval: Annotated[str, typer.Option(metavar="FILE", help="Where the held-out rows go.")],
    eval_fraction: options.EvalFraction = 0.1,
    eval_min: options.EvalMin = 10,
    eval_max: options.EvalMax = 0,
    seed: options.Seed = 0,
    group_by: options.GroupBy = "",
    stratify_by: options.StratifyBy = "",
    by_time: Annotated[
        str, typer.Option(metavar="FIELD", help="Hold out the latest rows by this field.")
    ] = "",
    format: options.Format = "auto",
    model: options.Model = "",
    json: options.Json = False,
) -> int:
    """Split rows into training and evaluation.

    A row's side depends on its input, the seed and the fraction alone: equal inputs stay together,
    and rows that are added later move no other. The limits of the model's service are kept.
    """
    from tunepipe.catalog import models
    from tunepipe.splitting import split as splitting

    over = options.tables(context, "")
    models.check_name(model, over)
    with local_copies(dataset) as files, written(train) as train_file, written(eval) as eval_file:
        refuse_same([train, eval], files.values())
        found = splitting.split(
            list(files),
            train_file,
            eval_file,
            eval_fraction=eval_fraction,
            eval_min=eval_min,
            eval_max=eval_max,
            seed=seed,
            group_by=group_by,
            stratify_by=stratify_by,
            by_time=by_time,
            format=format,
            model=model,
            overrides=over.get("services"),
        )
    out = Output(json)
    out.result(found.as_json())
    _show_split(found, train, eval, out)
    return 0


def _show_split(found: SplitReport, train: str, eval: str, out: Output) -> None:
    share = found.eval_rows / (found.train_rows + found.eval_rows)
    out.table(
        [
            ("training", f"{found.train_rows:,} rows", train),
            ("evaluation", f"{found.eval_rows:,} rows ({share:.1%})", eval),
        ],
        styles=("bold",),
    )
    if decided := found.limits.get("decided_by"):
        out.line(f"  decided by: {decided}", "dim")
    if found.duplicate_rows_kept_together:
        out.line(f"  {found.duplicate_rows_kept_together:,} repeated inputs kept together", "dim")
    for label, sides in found.labels.items():
        counts = ", ".join(f"{rows:,} {side}" for side, rows in sides.items())
        out.line(f"  {label}: {counts}", "dim")
    out.line("no input stands on both sides", "green")


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
    from tunepipe.cli.commands.validation_output import suffix_of, write_score_report
    from tunepipe.data import predictions as files
    from tunepipe.evaluation import score as scoring

    suffix_of(report)
    if report:
        refuse_same([report], [name for name in (predictions, baseline, judge_prompt) if name])
    asked = JudgeOptions(
        model=judge,
        project=project,
        region=region,
        prompt=judge_prompt,
        max_cost_usd=options.positive(max_cost_usd, "--max-cost-usd"),
        tables=options.tables(context, tables),
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


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="JSONL, or a table: CSV, TSV or Parquet.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The JSONL file to write.")],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="The format to write, such as gemini.")],
    format: options.Format = "auto",
    input_column: Annotated[
        str, typer.Option(metavar="NAME", help="A table's column of inputs.")
    ] = "",
    output_column: Annotated[
        str, typer.Option(metavar="NAME", help="A table's column of outputs.")
    ] = "",
    system_column: Annotated[
        str, typer.Option(metavar="NAME", help="A table's column of system instructions.")
    ] = "",
    json: options.Json = False,
) -> int:
    """Write a dataset in another format.

    Rows that cannot be carried over are named and left out; exit code 1 where there are any.
    """
    from tunepipe.data import conversion

    refuse_same([target], expanded([source]))
    with local_copy(source) as path, written(target) as copy:
        found = conversion.convert(
            path,
            copy,
            to,
            format=format,
            input_column=input_column,
            output_column=output_column,
            system_column=system_column,
        )
    out = Output(json)
    out.result(found.as_json())
    out.line(f"{found.written:,} of {found.rows:,} rows written as {found.to} to {target}", "bold")
    for row in found.refused[:REFUSED_SHOWN]:
        place = out.styled(f"line {row['line']}", "cyan")
        out.line(f"  {place}: {row['reason']}")
    if found.refused_total > REFUSED_SHOWN:
        out.line(f"  and {found.refused_total - REFUSED_SHOWN:,} more", "dim")
    out.warnings(f"left out of {rows:,} rows: {name}" for name, rows in found.left_out.items())
    return int(found.refused_total > 0)

"""`tunepipe plan`: steps, hours, dollars and quota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.catalog.catalog import Catalog, load_catalog
from tunepipe.catalog.limits import estimated_tokens
from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.errors import DataError, TunepipeError, UsageError, dollars, plural
from tunepipe.splitting.sampling import share
from tunepipe.stores import storage

if TYPE_CHECKING:
    from tunepipe.planning.plan import Plan


# Rows whose references say what the task is.
_SAMPLE = 2_000


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What is planned.

    Options:
        rows (N): Training rows, in place of DATASET.
        tokens (N): Tokens of all rows, if counted.
        hours (H): Hours it runs, in place of our estimate.
    """

    rows: Annotated[int | None, typer.Option(min=0)] = None
    region: str = ""
    model: str = ""
    backend: str = ""
    accelerator: str = ""
    epochs: float | None = None
    train_steps: options.TrainSteps = None
    max_cost_usd: float | None = None
    tokens: Annotated[int | None, typer.Option(min=1)] = None
    tokenizer: str = ""
    project: str = ""
    task: str = "auto"
    metric: str = ""
    answers: options.Count = 1
    hours: float | None = None
    learning_rate_multiplier: float = 1.0
    format: str = "auto"

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `make_plan`."""
        values = dict(vars(self))
        for name in ("epochs", "max_cost_usd", "hours"):
            values[name] = options.positive(values[name], name)
        accelerator = values.pop("accelerator")
        values["options"] = {"accelerator": accelerator} if accelerator else {}
        return {**values, "train_steps": self.train_steps or 0, "tokens": self.tokens or 0}


def plan(
    context: typer.Context,
    dataset: list[str] | None = None,
    *,
    plan_options: PlanOptions,
    tables: str = "",
    user_project: options.UserProject = "",
    out: Output,
) -> None:
    """Work out steps, hours, dollars and quota.

    Exit code 3 where a limit refuses: the region, the model, or --max-cost-usd.

    Options:
        dataset ([DATASET]...): Paths, URIs (gs, s3) or globs; else --rows.
    """
    merged = options.tables(context, tables)
    settings = plan_options.settings()
    source = context.get_parameter_source("region")
    if plan_options.backend == "local" and source and source.name != "COMMANDLINE":
        settings["region"] = ""  # tunepipe.toml names one for all commands
    result = make_plan(dataset or (), tables=merged, **settings)
    out.result(result.as_json())
    show_plan(result, out)


@dataclass(frozen=True)
class Measured:
    """How much a dataset holds, bad rows included, and what a run over it would be stopped by.

    Args:
        tokens: Estimated tokens of all rows; `output_tokens` of all outputs, and
            `longest_output_tokens` of the longest one.
        model: The model whose limits were applied; "" where the format is not known.
        refusal: What the run's validation will say; None where the data pass.
    """

    rows: int
    tokens: int = 0
    output_tokens: int = 0
    longest_output_tokens: int = 0
    model: str = ""
    refusal: TunepipeError | None = None


def measure(
    datasets: Sequence[str], format: str, model: str = "", catalog: Catalog | None = None
) -> Measured:
    """Count the rows of a dataset, estimate its tokens, and see whether a model is tuned on it."""
    from tunepipe.cli.inputs import validated_files

    validated = partial(validated_files, datasets, format=format, max_problems=1, catalog=catalog)
    refusal: TunepipeError | None = None
    try:
        report = validated(model=model)
    except UsageError as error:
        # Without the model, what still fails is not about its formats: it is raised from here.
        report, refusal = validated(), error
    if report.problems and not (report.rows and report.format):
        # Not a dataset at all, such as a workbook, or of no format: its first problem says why.
        problem = report.problems[0]
        refusal = DataError(problem.message, where=problem.path, fix=problem.fix)
    if report.errors:
        options = [] if format == "auto" else ["--format", format]
        options += ["--model", model] if model else []
        refusal = refusal or DataError(
            f"the dataset has {plural(report.errors, 'error')}",
            where=", ".join(datasets),
            fix=f"see them: tunepipe validate {' '.join([*datasets, *options])}",
        )
    tokens = report.tokens
    if report.valid_rows < report.rows and (tokens or not report.valid_rows):
        # Bad rows are not read: they count as the others, or by size.
        by_size = estimated_tokens(sum(file.bytes for file in report.files), 0)
        tokens = max(by_size, -(-tokens * report.rows // max(report.valid_rows, 1)))
    written = int(report.stats.get("tokens_estimated", {}).get("output", 0))
    longest = report.longest_output_tokens
    return Measured(report.rows, tokens, written, longest, report.model, refusal)


def make_plan(datasets: Sequence[str], rows: int | None = None, **settings: Any) -> Plan:
    """Plan the tuning of a dataset, or of a number of rows.

    The settings are the options of `tunepipe plan`, and those of `plan_dataset`. Without a model it
    is the first one of the rows' format, or of the backend if one is named.

    Raises:
        UsageError: Both a dataset and rows, or neither; a file that cannot be read.
        LimitError: A region, a model or a budget forbids it.
    """
    if not datasets:
        return _make_plan({}, rows, **settings)
    from tunepipe.cli.inputs import local_copies

    # The rows are read several times.
    with local_copies(datasets, streams_only=True) as files:
        return _make_plan(files, rows, **settings)


def _make_plan(
    files: Mapping[str, str],
    rows: int | None,
    *,
    model: str = "",
    backend: str = "",
    tokenizer: str = "",
    project: str = "",
    region: str = "",
    format: str = "auto",
    task: str = "auto",
    metric: str = "",
    tables: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    datasets = list(files)
    if bool(datasets) == (rows is not None):
        what = "both are" if datasets else "neither is"
        raise UsageError(f"{what} given", where="dataset, rows", fix="give one of the two")
    if tokenizer and not datasets:
        raise UsageError(
            "there are no rows to count without a dataset",
            where="tokenizer",
            fix="name the dataset, in place of --rows",
        )
    if metric or task != "auto":
        from tunepipe.evaluation.tasks import check_metric, check_task

        check_task(task)
        check_metric(metric, "" if task == "auto" else task)
    if format != "auto":
        from tunepipe.data.formats import check_format

        check_format(format)
    over = tables or {}
    catalog = load_catalog(over)
    size = Measured(rows or 0)
    if datasets:
        from tunepipe.cli.inputs import dataset_format, name_originals

        if backend and not model:
            model = catalog.default_model(dataset_format(datasets, format), backend)
        name = catalog.find_model(model, backend).name if model else ""
        size = measure(datasets, format, name, catalog)
        if size.refusal:
            name_originals(size.refusal, files)
        if size.refusal and not (size.rows and size.model):
            raise size.refusal
        model = model or size.model
    elif format != "auto":
        model = model or catalog.default_model(format, backend)
    if tokenizer:
        from tunepipe.cli.token_counts import calibrated

        base = catalog.find_model(model, backend)
        place: dict[str, Any] = {"project": project, "region": region}
        over = calibrated(over, tokenizer, datasets, model=base, format=format, **place)
        catalog = load_catalog(over)
    # What a split by the usual share would hold out.
    service = catalog.find_service(catalog.find_model(model, backend).name)[1]
    eval_rows = max(share(size.rows, 0.1), min(10, size.rows))
    return plan_dataset(
        datasets,
        size,
        eval_rows=min(eval_rows, service.evaluation.rows_max or eval_rows),
        rows=size.rows,
        catalog=catalog,
        format=format,
        task=task,
        metric=metric,
        tokens_estimated=size.tokens,
        region=region,
        model=model,
        backend=backend,
        **settings,
    )


def plan_dataset(
    datasets: Sequence[str],
    size: Measured,
    *,
    eval_rows: int,
    rows: int,
    catalog: Catalog,
    format: str = "auto",
    task: str = "auto",
    metric: str = "",
    answers: int = 1,
    **amounts: Any,
) -> Plan:
    """Plan a tuning on `rows`, with what the held-out rows can show, and by which metric.

    `amounts` are the other arguments of `planning.plan.plan`: epochs, max_cost_usd …
    """
    from tunepipe.planning.plan import HeldOut, plan

    planned = plan(rows, today=datetime.now(UTC).date(), catalog=catalog, **amounts)
    chosen = (metric, "set" if metric else "")
    if not metric and (references := _references(datasets, format)):
        from tunepipe.evaluation.tasks import choose_metric

        name, reason = choose_metric(references, task)
        sample = f", of the first {len(references):,}" if len(references) < size.rows else ""
        chosen = (name, reason + sample)
    written = size.output_tokens / max(1, size.rows)
    read = max(0.0, size.tokens / max(1, size.rows) - written)
    held_out = HeldOut(eval_rows, *chosen, answers, read, written)
    planned = planned.with_held_out(held_out, catalog, amounts.get("max_cost_usd", 0))
    if not size.refusal:
        return planned
    refused = f"a run would be refused: {size.refusal.found}; {size.refusal.fix}"
    return replace(planned, warnings=(*planned.warnings, refused))


def _references(datasets: Sequence[str], format: str) -> list[str]:
    """Read the first references of a dataset; none if a row is broken, which validation says."""
    if not datasets:
        return []
    from tunepipe.cli.inputs import expanded
    from tunepipe.data.rows import read_examples

    references: list[str] = []
    try:
        for path in expanded(datasets):
            opener = {"opener": storage.open_file} if storage.is_object(path) else {}
            examples = islice(read_examples(path, format, **opener), _SAMPLE)
            references += [example.reference for example in examples]
    except TunepipeError:
        return []
    return references[:_SAMPLE]


def show_plan(plan: Plan, out: Output) -> None:
    """Print a human-readable plan: what, where, how long, how much, and the arithmetic."""
    out.facts(plan_rows(plan))
    for line in plan.explanation:
        if not any(warning.startswith(line) for warning in plan.warnings):
            out.line(f"  {line}", "dim")
    out.warnings(plan.warnings)


def plan_rows(plan: Plan) -> list[tuple[str, str]]:
    """Return the figures of a plan as labels and texts; what does not apply is left out."""
    hours = "not known" if plan.estimated_hours is None else f"{plan.estimated_hours:g}"
    if plan.estimated_hours and plan.estimated_hours < 1:
        minutes = plan.estimated_hours * 60
        short = f"{minutes:.0f} minutes" if minutes >= 2 else plural(round(minutes * 60), "second")
        hours = f"{hours} ({short})"
    hardware = f"{plan.accelerators} x {plan.accelerator_type}" if plan.accelerators else ""
    usd, smallest, answers = plan.estimated_cost_usd, "", ""
    if plan.smallest_difference is not None:
        points = f"{100 * plan.smallest_difference:.1f} points"
        smallest = f"{points}, by {plural(plan.eval_rows, 'held-out row')}"
    price = plan.evaluation_cost_usd
    if price is not None or plan.answers > 1:
        about = "" if price is None else f", about {dollars(price)}"
        answers = f"{plan.answers} a row by each of 2 models{about}"
    rows = [
        ("model", f"{plan.model} ({plan.backend})"),
        ("region", plan.region),
        ("hardware", hardware),
        ("quota", plan.quota),
        ("rows", f"{plan.rows:,}"),
        ("steps", f"{plan.train_steps:,} ({plural(plan.epochs, 'epoch')})"),
        ("hours", hours),
        ("cost", "not known" if usd is None else dollars(usd)),
        ("metric", f"{plan.metric}: {plan.metric_reason}" if plan.metric else ""),
        ("smallest difference shown", smallest),
        ("answers to held-out rows", answers),
    ]
    return [row for row in rows if row[1]]

"""The verbs of a run: compile, run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.core.errors import UsageError

from . import options
from .data_verbs import WORSE, measured, show_plan
from .output import Output
from .parameters import checked, declared

if TYPE_CHECKING:
    from .local_run import LocalRun

LOCAL = "local"


def compile_pipelines(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit code 1 where a file is stale.")
    ] = False,
    base_image: Annotated[
        str,
        typer.Option(metavar="IMAGE", help="Steps run on this image and install nothing."),
    ] = "",
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the YAML files lie.")
    ] = Path("compiled"),
    json: options.Json = False,
) -> int:
    """Write compiled/, or say what is stale."""
    from . import compilation

    if check:
        changed = compilation.differences(folder, compilation.render(base_image))
    else:
        changed = compilation.compile_all(folder, base_image=base_image)
    out = Output(json)
    out.result({"folder": str(folder), "stale" if check else "written": changed})
    for path in changed:
        out.line(f"{'stale' if check else 'wrote'}  {folder / path}")
    if not changed:
        out.line(f"{folder} is current")
    elif check:
        out.line("run: tunepipe compile", "bold")
    return int(check and bool(changed))


def run(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="A path, a gs:// URI, or a glob of either.")
    ],
    backend: options.Backend = "",
    region: options.Region = "",
    project: Annotated[
        str, typer.Option(metavar="ID", help="The Google Cloud project that pays.")
    ] = "",
    bucket: Annotated[
        str, typer.Option(metavar="gs://BUCKET", help="Where everything is kept, in the region.")
    ] = "",
    base_model: Annotated[
        str,
        typer.Option(metavar="NAME", help="The model to tune; for local a folder or a hub id."),
    ] = "",
    format: options.Format = "auto",
    epochs: options.Epochs = None,
    train_steps: options.TrainSteps = None,
    learning_rate_multiplier: options.LearningRateMultiplier = 1.0,
    eval_fraction: options.EvalFraction = 0.1,
    eval_min: options.EvalMin = 10,
    eval_max: options.EvalMax = 0,
    group_by: options.GroupBy = "",
    stratify_by: options.StratifyBy = "",
    task: options.Task = "auto",
    margin: options.Margin = 0.0,
    seed: options.Seed = 0,
    max_cost_usd: options.MaxCostUsd = None,
    tables: options.Tables = "",
    service_account: Annotated[
        str, typer.Option(metavar="EMAIL", help="The account that the run acts as.")
    ] = "",
    network: Annotated[
        str, typer.Option(metavar="NAME", help="The VPC network that the run is peered with.")
    ] = "",
    encryption_key: Annotated[
        str, typer.Option(metavar="NAME", help="The customer-managed key (CMEK).")
    ] = "",
    label: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="A label of the run; repeatable.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="Any other parameter of the pipeline; repeatable."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="What the backend alone knows: lora_rank=16; repeatable."),
    ] = None,
    runs: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where runs on this machine are kept.")
    ] = Path("runs"),
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Run even if the same run was done before.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    json: options.Json = False,
) -> int:
    """Run the whole pipeline: in the cloud, or here.

    Validates, splits, tunes, evaluates, compares and promotes. Shows the plan first, and asks
    before it spends. The backend local runs on this machine. Exit code 1 where the tuned model is
    worse.
    """
    from tunepipe.core import models

    over = options.tables(context, tables)
    model = models.find(base_model, backend, over)
    backend = model.backend
    told: dict[str, Any] = {
        "format": format,
        "base_model": model.name,
        "eval_fraction": eval_fraction,
        "eval_min": eval_min,
        "eval_max": eval_max,
        "group_by": group_by,
        "stratify_by": stratify_by,
        "epochs": options.positive(epochs, "--epochs"),
        "train_steps": train_steps or 0,
        "learning_rate_multiplier": learning_rate_multiplier,
        "seed": seed,
        "max_cost_usd": options.positive(max_cost_usd, "--max-cost-usd"),
        "tables": over,
        "options": pairs(option, "--option"),
        "task": task,
        "margin": margin,
    }
    parameters = {"dataset_uri": dataset, **told, **pairs(param, "--param")}
    if backend != LOCAL:
        raise UsageError(f"the backend {backend} cannot be run yet", where="--backend")
    parameters = checked(parameters, declared(backend))
    out = Output(json)
    plan = show_run_plan(parameters, backend, "", out)
    if dry_run:
        out.result({"backend": backend, "parameters": parameters, "plan": plan})
        return 0
    return _run_here(parameters, runs, again, out)


def show_run_plan(
    parameters: dict[str, Any], backend: str, region: str, out: Output
) -> dict[str, Any]:
    """Plan a run over its dataset, and say the plan to people.

    Args:
        parameters: The pipeline's parameters.
        backend: The backend that tunes.
        region: Where; "" on this machine.
        out: Where the plan is said.

    Returns:
        The plan, as `tunepipe plan --json` prints it.
    """
    from tunepipe.core import steps

    over = parameters["tables"]
    found = measured([parameters["dataset_uri"]], parameters["format"])
    held_out = max(parameters["eval_min"], round(found.rows * parameters["eval_fraction"]))
    rows = found.rows - min(held_out, parameters["eval_max"] or held_out)
    share = rows / found.rows if found.rows else 0.0
    plan = steps.plan(
        max(rows, 0),
        region=region,
        model=parameters["base_model"],
        backend=backend,
        epochs=parameters["epochs"],
        train_steps=parameters["train_steps"],
        max_cost_usd=parameters["max_cost_usd"],
        tokens=round(found.tokens * share),
        learning_rate_multiplier=parameters["learning_rate_multiplier"],
        today=datetime.now(UTC).date(),
        overrides=over,
    )
    show_plan(plan, out)
    return plan.as_json()


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Read K=V arguments; a value that is JSON is taken as such, any other as text.

    Raises:
        UsageError: An argument without a name or without "=".
    """
    import json

    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError("not of the form K=V", where=f"{option} {text}")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def _run_here(parameters: dict[str, Any], runs: Path, again: bool, out: Output) -> int:
    from .local_run import run_local

    began = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"  # as the ids of runs begin
    done = run_local(parameters, runs_folder=runs, again=again)
    out.result(_told(done))
    if done.id < began:
        out.line(f"this was done before, as run {done.id}; --again does it anew", "yellow")
    out.line(f"verdict: {done.verdict}", "bold green" if done.verdict == "better" else "bold")
    out.line(done.reason)
    out.table(sorted(done.results.items()), styles=("bold",))
    return int(done.verdict == WORSE)


def _told(done: LocalRun) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(done)

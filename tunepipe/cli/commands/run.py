"""`tunepipe run`: the whole pipeline, in the cloud or on this machine."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe import __version__
from tunepipe.arguments import hint
from tunepipe.cli import options
from tunepipe.cli.commands.plan import measured, show_plan
from tunepipe.cli.commands.score import WORSE
from tunepipe.cli.commands.status import _ended, _show_local
from tunepipe.cli.output import Output, agree
from tunepipe.errors import UsageError
from tunepipe.extras import require
from tunepipe.files import write_json
from tunepipe.notifications.message import run_page

if TYPE_CHECKING:
    from tunepipe.runs.kfp.host import KfpHost
    from tunepipe.runs.local import LocalRun
    from tunepipe.runs.status import RunStatus
    from tunepipe.runs.vertex_request import VertexRun

LOCAL = "local"
# Options of `run` that go to the pipeline, and to the job around it, as they are.
_PARAMETERS = (
    *("format", "eval_fraction", "eval_min", "eval_max", "group_by", "stratify_by"),
    *("learning_rate_multiplier", "seed", "task", "metric", "margin", "answers", "notify"),
)
# Options that say how a run is started, and not what is run.
_SURROUNDINGS = (
    *("context", "runs", "wait", "dry_run", "again", "yes", "json", "kfp_host", "kfp"),
)
_PLACE = (
    *("project", "region", "bucket", "service_account", "network", "encryption_key"),
    *("image", "code", "wheelhouse", "persistent_resource"),
)


def run(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="A path, a gs:// or s3:// URI, or a glob.")
    ],
    backend: options.Backend = "",
    region: options.Region = "",
    project: options.Project = "",
    bucket: Annotated[
        str, typer.Option(metavar="gs://BUCKET", help="Where everything is kept, in the region.")
    ] = "",
    base_model: Annotated[
        str,
        typer.Option(metavar="NAME", help="The model to tune; for local a folder or a hub id."),
    ] = "",
    accelerator: options.Accelerator = "",
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
    metric: options.Metric = "",
    normalize: options.Normalize = "strict",
    missing: options.Missing = "wrong",
    slice_by: options.SliceBy = None,
    margin: options.Margin = 0.0,
    answers: options.Answers = 1,
    max_latency_ms: options.MaxLatencyMs = None,
    max_cost_per_answer: options.MaxCostPerAnswer = None,
    seed: options.Seed = 0,
    max_cost_usd: options.MaxCostUsd = None,
    max_hours: options.MaxHours = None,
    tokenizer: options.Tokenizer = "",
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
        typer.Option(metavar="K=V", help="Backend-specific option, e.g. lora_rank=16; repeatable."),
    ] = None,
    select_checkpoint: Annotated[
        bool,
        typer.Option(
            "--select-checkpoint",
            help="Ask each checkpoint rows set apart for it, and evaluate the best (Gemini).",
        ),
    ] = False,
    notify: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Tell a webhook how the run ends; PLACE keeps its address, which is a secret: "
            "projects/P/secrets/NAME, gs://, or a file where the run is here.",
        ),
    ] = "",
    email: Annotated[
        list[str] | None,
        typer.Option(metavar="ADDRESS", help="Vertex AI mails how the run ends; repeatable."),
    ] = None,
    pipeline: Annotated[
        str,
        typer.Option(metavar="FILE", help="Run this compiled pipeline; see compile --template."),
    ] = "",
    image: options.Image = "",
    code: options.Code = "",
    wheelhouse: options.Wheelhouse = "",
    persistent_resource: options.PersistentResource = "",
    kfp_host: options.KfpHost = "",
    kfp: options.Kfp = None,
    runs: options.Runs = Path("runs"),
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Start a new run even if an identical run exists.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")] = False,
    json: options.Json = False,
) -> int:
    """Run the whole pipeline: in the cloud, or here.

    Validates, splits, tunes, evaluates, compares and promotes. Shows the plan first, and asks
    before it spends. The backend local runs on this machine, or with --kfp-host on the cluster of
    that host. Exit code 1 where the tuned model is worse.
    """
    asked = asked_run(context, locals())
    out = Output(json)
    if host := options.kfp_place(kfp_host, kfp):
        return _run_on_host(host, asked, runs, dry_run=dry_run, wait=wait, yes=yes, out=out)
    if asked.backend == LOCAL:
        return _run_here(asked, runs, again, dry_run, out)
    return _run_there(asked, runs, again=again, dry_run=dry_run, wait=wait, yes=yes, out=out)


def run_options(dataset: str, tables: Mapping[str, Any], **given: Any) -> VertexRun:
    """Put together a run from options by name, as a program gives them.

    Args:
        dataset: A path, a gs:// URI, or a glob.
        tables: The user's tables.
        given: Options of `run` by their Python names; `option`, `param` and `label` as mappings.

    Raises:
        UsageError: An unknown option; see `asked_run`.
    """
    known = inspect.signature(run).parameters
    defaults = {name: one.default for name, one in known.items() if name not in _SURROUNDINGS}
    for name in given:
        if name not in defaults:
            raise UsageError("unknown option", where=name, fix=hint(name, defaults))
    return _asked(tables, {**defaults, **given, "dataset": dataset})


def asked_run(context: typer.Context, given: Mapping[str, Any]) -> VertexRun:
    """Put together what the options of the command `run` ask for.

    Args:
        context: Holds the settings of tunepipe.toml.
        given: The options of `run` by name.

    Returns:
        The run; where its backend is `local`, its backend and parameters alone matter.

    Raises:
        UsageError: An option out of range, or not of the form K=V; a setting that a step after
            the tuning would refuse.
    """
    return _asked(options.tables(context, given["tables"]), given)


def _asked(over: Mapping[str, Any], given: Mapping[str, Any]) -> VertexRun:
    from tunepipe.catalog.catalog import load_catalog
    from tunepipe.cli.token_counts import calibrated
    from tunepipe.evaluation.settings import check_settings

    model = load_catalog(over).find_model(given["base_model"], given["backend"])
    require(*(("kfp", "local", "score") if model.backend == LOCAL else ("vertex",)))
    from tunepipe.runs.vertex_request import VertexRun

    if given["email"] and model.backend == LOCAL:
        raise UsageError(
            "--email is only supported on Vertex AI", where="--email", fix="--notify PLACE"
        )
    own = options.pairs(given["option"], "--option")
    accelerator = given.get("accelerator") or ""
    if accelerator and model.backend != LOCAL:
        own = {"accelerator": accelerator, **own}
    if given.get("select_checkpoint"):
        own["select_checkpoint"] = True
    if given.get("max_hours"):
        own["max_hours"] = options.positive(given["max_hours"], "--max-hours")
    over = calibrated(
        over,
        given["tokenizer"],
        [given["dataset"]],
        model=model,
        options=own,
        **{name: given[name] for name in ("format", "project", "region")},
    )
    parameters: dict[str, Any] = {
        "dataset_uri": given["dataset"],
        **{name: given[name] for name in _PARAMETERS},
        "base_model": model.name,
        "epochs": options.positive(given["epochs"], "--epochs"),
        "train_steps": given["train_steps"] or 0,
        "max_cost_usd": options.positive(given["max_cost_usd"], "--max-cost-usd"),
        "tables": over,
        "options": own,
        "scoring": _scoring(given),
        **options.pairs(given["param"], "--param"),
    }
    for name in ("project", "region"):  # the plan and the request go by the option
        if name in parameters:
            raise UsageError(f"use --{name} instead", where=f"--param {name}", fix=f"--{name}")
    for name in ("tables", "options", "scoring"):
        if not isinstance(parameters[name], Mapping):
            raise UsageError("must be a mapping", where=name, fix='such as {"name": 1}')
    check_settings(parameters, model.backend, load_catalog(parameters["tables"]))
    return VertexRun(
        backend=model.backend,
        parameters=parameters,
        labels=_labels(given["label"]),
        pipeline=given.get("pipeline", ""),
        emails=tuple(given["email"] or ()),
        accelerator=accelerator if model.backend == LOCAL else "",
        **{name: given[name] for name in _PLACE},
    )


def _scoring(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the comparison that differ from the defaults."""
    from tunepipe.evaluation.custom_metrics import load

    custom = load(given["metric"])
    settings = {
        "normalize": "" if given["normalize"] == "strict" else given["normalize"],
        "missing": "" if given["missing"] == "wrong" else given["missing"],
        "slice_by": given["slice_by"] or [],
        "metric_code": custom.code if custom else "",
        "max_latency_ms": options.positive(given["max_latency_ms"], "--max-latency-ms"),
        "max_cost_per_answer": options.positive(
            given["max_cost_per_answer"], "--max-cost-per-answer"
        ),
    }
    return {name: value for name, value in settings.items() if value}


def show_run_plan(
    parameters: dict[str, Any],
    backend: str,
    region: str,
    out: Output,
    *,
    recurring: bool = False,
) -> dict[str, Any]:
    """Plan a run over its dataset, and say the plan to people.

    Args:
        parameters: The pipeline's parameters.
        backend: The backend that tunes.
        region: Where; "" on this machine.
        out: Where the plan is said.
        recurring: Whether the data are read again each time, so that errors in them only warn.

    Returns:
        The plan, as `tunepipe plan --json` prints it.

    Raises:
        DataError: The dataset does not pass.
        UsageError: It cannot be read, or the model is not tuned on rows of its format.
    """
    from tunepipe.catalog.catalog import load_catalog
    from tunepipe.evaluation.tasks import MAX_OUTPUT_TOKENS, cut_answers
    from tunepipe.planning import plan as steps

    catalog = load_catalog(parameters["tables"])
    # By our own limits: the step that validates knows no other.
    found = measured([parameters["dataset_uri"]], parameters["format"], parameters["base_model"])
    if found.refusal and not recurring:
        raise found.refusal
    rows = found.rows - _held_out(found.rows, parameters)
    share = rows / found.rows if found.rows else 0.0
    plan = steps.plan(
        rows,
        region=region,
        options=parameters.get("options", {}),
        model=parameters["base_model"],
        backend=backend,
        epochs=parameters["epochs"],
        train_steps=parameters["train_steps"],
        max_cost_usd=parameters["max_cost_usd"],
        tokens_estimated=round(found.tokens * share),
        learning_rate_multiplier=parameters["learning_rate_multiplier"],
        today=datetime.now(UTC).date(),
        catalog=catalog,
    )
    cut = cut_answers(
        found.longest_output_tokens, parameters.get("max_output_tokens", MAX_OUTPUT_TOKENS)
    )
    plan = replace(plan, warnings=(*plan.warnings, *found.warnings, *cut))
    plan = plan.with_held_out(found.rows - rows)
    show_plan(plan, out)
    return plan.as_json()


def _held_out(rows: int, parameters: Mapping[str, Any]) -> int:
    """Say how many rows the split will hold out, within chance.

    Raises:
        DataError: The service's limits and the user's leave no room.
    """
    from tunepipe.splitting.limits import allowance
    from tunepipe.splitting.sampling import share

    allowed = allowance(
        rows,
        0,
        eval_min=parameters["eval_min"],
        eval_max=parameters["eval_max"],
        format=parameters["format"],
        model=parameters["base_model"],
    )
    return allowed.room.nearest(share(rows, parameters["eval_fraction"]))


def _labels(given: Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    if isinstance(given, Mapping):
        return dict(given)
    return dict(options.pair(text, "--label") for text in given or ())


def _run_here(asked: VertexRun, runs: Path, again: bool, dry_run: bool, out: Output) -> int:
    plan = check_here(asked, out)
    if dry_run:
        contents = {"backend": LOCAL, "plan": plan, "parameters": dict(asked.parameters)}
        _show_dry_run(contents, runs, out)
        return 0
    began = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"  # as the ids of runs begin
    done = run_here(asked, runs, again)
    out.result(asdict(done))
    if done.id < began:
        out.line(f"this was done before, as run {done.id}; --again starts a new run", "yellow")
    _show_local(done, out)
    return int(done.verdict == WORSE)


def check_here(asked: VertexRun, out: Output) -> dict[str, Any]:
    """Check a run on this machine before it starts, and show its plan.

    Returns:
        The plan, as `tunepipe plan --json` prints it.

    Raises:
        UsageError: A parameter that the local pipeline does not have, or a judge.
        DataError: The data do not pass.
    """
    from tunepipe.backends.local import backend as local
    from tunepipe.notifications import webhook
    from tunepipe.runs.compile import pipeline_text
    from tunepipe.runs.pipeline_spec import read
    from tunepipe.runs.vertex_request import check_parameters

    parameters = dict(asked.parameters)
    if asked.accelerator:
        raise UsageError(
            "a run on this machine takes the GPUs that there are",
            where="--accelerator",
            fix="--backend custom rents them; schedule apply --kfp-host asks a cluster",
        )
    if parameters.get("judge_model"):
        raise UsageError(
            "a run on this machine asks no judge",
            where="--param judge_model",
            fix="tunepipe score PREDICTIONS --baseline PREDICTIONS --judge MODEL",
        )
    check_parameters(read(pipeline_text(LOCAL)), parameters)
    local.check(str(parameters.get("base_model") or ""), parameters.get("options") or {})
    webhook.check_place(parameters["notify"], in_cloud=False)
    return show_run_plan(parameters, LOCAL, "", out)


def run_here(asked: VertexRun, runs: Path, again: bool) -> LocalRun:
    """Run the pipeline on this machine."""
    from tunepipe.runs.local import run_local

    return run_local(dict(asked.parameters), runs_folder=runs, again=again)


def _run_there(
    asked: VertexRun, runs: Path, *, again: bool, dry_run: bool, wait: bool, yes: bool, out: Output
) -> int:
    from tunepipe.runs import vertex, vertex_request
    from tunepipe.runs.progress_display import view

    request = vertex_request.prepare(asked, again=again, now=datetime.now(UTC))
    plan = show_run_plan(dict(asked.parameters), asked.backend, asked.region, out)
    out.table(
        [("project", asked.project), ("results", f"{asked.bucket} ({asked.region})")],
        styles=("bold",),
    )
    if dry_run:
        contents = {"backend": asked.backend, "plan": plan, "request": request.as_json()}
        _show_dry_run(contents, runs, out)
        return 0
    name = "" if again else vertex.find_earlier(request)
    if name:
        out.line("an identical run exists; --again starts a new one", "yellow")
    else:
        agree(f"Spend {_price(plan)}?", yes, out)
        name = vertex.submit(request)
    out.line(f"{out.styled('run', 'bold')}   {name}")
    out.line(f"{out.styled('page', 'bold')}  {run_page(name)}")
    if not wait:
        out.line(f"follow it: tunepipe status {name} --wait")
        out.result({"run": name, "page": run_page(name), "plan": plan})
        return 0
    return _ended(vertex.follow(name, view()), out)


def _run_on_host(
    host: KfpHost,
    asked: VertexRun,
    runs: Path,
    *,
    dry_run: bool,
    wait: bool,
    yes: bool,
    out: Output,
) -> int:
    from tunepipe.runs.kfp import runs as kfp_runs
    from tunepipe.runs.kfp.request import prepare
    from tunepipe.runs.progress_display import view
    from tunepipe.runs.status import follow

    name = f"tunepipe-{asked.backend}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    # Records of a run name it by `run_id`, and `status` finds them by it.
    asked = replace(asked, parameters={"run_id": name, **asked.parameters})
    request = prepare(asked, host.settings)
    plan = show_run_plan(dict(asked.parameters), asked.backend, "", out)
    out.table([("KFP host", host.url), ("results", asked.bucket)], styles=("bold",))
    if dry_run:
        sent = {"pipeline": request.text, "parameters": dict(request.parameters)}
        _show_dry_run({"backend": asked.backend, "plan": plan, "kfp_request": sent}, runs, out)
        return 0
    agree(f"Start a run on {host.url}?", yes, out)
    run_id = kfp_runs.submit(host, request, name)
    out.line(f"{out.styled('run', 'bold')}   {run_id}")
    out.line(f"{out.styled('page', 'bold')}  {host.page(run_id)}")
    if not wait:
        out.line(f"follow it: tunepipe status {run_id} --kfp-host {host.url} --wait")
        out.result({"run": run_id, "page": host.page(run_id), "plan": plan})
        return 0
    return _ended(follow(lambda: kfp_runs.status(host, run_id), view()), out)


def run_there(asked: VertexRun, *, again: bool, wait: bool) -> RunStatus:
    """Start a run on Vertex AI without asking first, or find the identical one.

    Raises:
        UsageError: `max_cost_usd` is missing.
        LimitError: The estimate is above it.
    """
    from tunepipe.runs import vertex, vertex_request
    from tunepipe.runs.progress_display import view

    if not asked.parameters["max_cost_usd"]:
        raise UsageError(
            "a run on Vertex AI costs money, and a program is not asked first",
            where="max_cost_usd",
            fix="the most it may cost in US dollars, such as max_cost_usd=50",
        )
    request = vertex_request.prepare(asked, again=again, now=datetime.now(UTC))
    show_run_plan(dict(asked.parameters), asked.backend, asked.region, Output())
    name = "" if again else vertex.find_earlier(request)
    name = name or vertex.submit(request)
    return vertex.follow(name, view()) if wait else vertex.status(name)


def _show_dry_run(contents: Mapping[str, Any], runs: Path, out: Output) -> None:
    """Write what would be sent to a file, and print where; with --json print all of it."""
    if out.as_json:
        out.result(contents)
        return
    file = runs / f"dry-run-{contents['backend']}.json"
    write_json(contents, file)
    rows = [*_request_rows(contents), ("request", str(file))]
    out.table([row for row in rows if row[1]], styles=("bold",))
    out.line("dry run: nothing was sent", "yellow")


def _request_rows(contents: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a request to Vertex AI names besides the plan, as labels and texts."""
    from tunepipe.backends.palm.parameters import template_uri

    job = contents.get("request", {}).get("pipeline_job")
    if not job:
        return []
    own = job["runtime_config"]["parameter_values"].get("options", {})
    template = ""
    if contents["backend"] == "large-model":
        template = template_uri(contents["plan"]["model"], own.get("template_version", ""))
    executors = job["pipeline_spec"]["deploymentSpec"]["executors"].values()
    images = {one["container"]["image"] for one in executors if "container" in one}
    return [
        ("pipeline", f"{job['pipeline_spec']['pipelineInfo']['name']} (tunepipe {__version__})"),
        ("template", template),
        ("image", ", ".join(sorted(images))),
        ("code", str(own.get("code", ""))),
        ("acts as", job.get("service_account") or "the project's default account"),
        ("network", job.get("network", "")),
    ]


def _price(plan: Mapping[str, Any]) -> str:
    cost = plan["estimated_cost_usd"]
    return "an amount that is not known" if cost is None else f"about {cost:.2f} USD"

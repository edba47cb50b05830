"""`tunepipe run`: the whole pipeline, in the cloud or on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tunepipe import __version__
from tunepipe.cli import options
from tunepipe.cli.commands.plan import measure, plan_dataset, show_plan
from tunepipe.cli.commands.status import show_local_run, show_status
from tunepipe.cli.output import Output, agree
from tunepipe.cli.run_options import LOCAL, RunOptions
from tunepipe.errors import UsageError, dollars
from tunepipe.files import write_json
from tunepipe.notifications.message import run_page
from tunepipe.reporting.facts import WORSE

# The parameters that a plan takes as they are.
_PLANNED = (
    *("options", "epochs", "train_steps", "max_cost_usd", "learning_rate_multiplier"),
    *("format", "task", "metric", "answers"),
)

if TYPE_CHECKING:
    from tunepipe.runs.kfp.host import KfpHost
    from tunepipe.runs.status import RunStatus
    from tunepipe.runs.vertex_request import JobRequest, VertexRun


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """How a run is started, and not what is run.

    Options:
        dry_run: Print what would be sent, and send nothing.
        again: Start a new run even if an identical run exists.
    """

    runs: options.Runs = Path("runs")
    wait: options.Wait = False
    dry_run: bool = False
    again: bool = False
    yes: options.Yes = False


def run(
    context: typer.Context,
    *,
    run_options: RunOptions,
    start: StartOptions,
    user_project: options.UserProject = "",
    kfp_host: options.KfpHost = "",
    kfp: options.Kfp = None,
    json: options.Json = False,
) -> int:
    """Run the whole pipeline: in the cloud, or here.

    Validates, splits, tunes, evaluates, compares and promotes. Shows the plan first, and asks
    before it spends. The backend local runs on this machine, or with --kfp-host on the cluster of
    that host. Exit code 1 where the tuned model is worse.
    """
    host, out = options.kfp_place(kfp_host, kfp), Output(json)
    tables = options.tables(context, run_options.tables)
    described = run_options.resolve(tables, on_host=bool(host))
    if host:
        return _run_on_host(host, described, start, out)
    if described.backend == LOCAL:
        return _run_here(described, start, out)
    return _run_on_vertex(described, start, out)


def show_run_plan(
    described: VertexRun, region: str, out: Output, *, recurring: bool = False
) -> dict[str, Any]:
    """Plan a run over its dataset, and show the plan to people.

    Args:
        described: The run.
        region: Where it tunes; "" on this machine and on a KFP host.
        out: Where the plan is shown.
        recurring: Whether the data are read again each time, so that errors in them only warn.

    Returns:
        The plan, as `tunepipe plan --json` prints it.

    Raises:
        DataError: The dataset does not pass.
        UsageError: It cannot be read, or the model is not tuned on rows of its format.
    """
    from tunepipe.catalog.catalog import load_catalog
    from tunepipe.evaluation.tasks import MAX_OUTPUT_TOKENS, cut_answers
    from tunepipe.splitting.sampling import allowance, share

    parameters = described.parameters
    datasets, model = [parameters["dataset_uri"]], parameters["base_model"]
    # By the package's own limits: the step that validates knows no other.
    size = measure(datasets, parameters["format"], model)
    if size.refusal and not recurring:
        raise size.refusal
    # How many rows the split will hold out, within chance.
    limits = {name: parameters[name] for name in ("eval_min", "eval_max", "format")}
    allowed = allowance(size.rows, 0, model=model, **limits)
    eval_rows = allowed.nearest(share(size.rows, parameters["eval_fraction"]))
    rows = size.rows - eval_rows
    plan = plan_dataset(
        datasets,
        size,
        eval_rows,
        rows=rows,
        catalog=load_catalog(parameters["tables"]),
        region=region,
        model=model,
        backend=described.backend,
        tokens_estimated=round(size.tokens * rows / max(1, size.rows)),
        **{name: parameters[name] for name in _PLANNED if name in parameters},
    )
    most = parameters.get("max_output_tokens", MAX_OUTPUT_TOKENS)
    plan = replace(plan, warnings=(*plan.warnings, *cut_answers(size.longest_output_tokens, most)))
    show_plan(plan, out)
    return plan.as_json()


def _run_here(described: VertexRun, start: StartOptions, out: Output) -> int:
    from tunepipe.runs.local import run_local

    plan = check_here(described, out)
    if start.dry_run:
        contents = {"backend": LOCAL, "plan": plan, "parameters": dict(described.parameters)}
        _show_dry_run(contents, start.runs, out)
        return 0
    began = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"  # as the ids of runs begin
    done = run_local(dict(described.parameters), runs_folder=start.runs, again=start.again)
    out.result(asdict(done))
    if done.id < began:
        out.line(f"this was done before, as run {done.id}; --again starts a new run", "yellow")
    show_local_run(done, out)
    return int(done.verdict == WORSE)


def check_here(described: VertexRun, out: Output) -> dict[str, Any]:
    """Check a run on this machine before it starts, and show its plan.

    Returns:
        The plan, as `tunepipe plan --json` prints it.

    Raises:
        UsageError: A parameter that the local pipeline does not have, a pipeline or a judge.
        DataError: The data do not pass.
    """
    from tunepipe.backends.local import backend
    from tunepipe.notifications import webhook
    from tunepipe.runs.compile import pipeline_text
    from tunepipe.runs.pipeline_spec import check_parameters, read

    parameters = dict(described.parameters)
    if described.accelerator:
        raise UsageError(
            "a run on this machine takes the GPUs that there are",
            where="--accelerator",
            fix="--backend custom rents them; schedule apply --kfp-host asks a cluster",
        )
    if described.pipeline:
        raise UsageError(
            "a run on this machine takes the pipeline of the package",
            where="--pipeline",
            fix="leave it out, or submit the file to Vertex AI or a KFP host",
        )
    if parameters.get("judge_model"):
        raise UsageError(
            "a run on this machine asks no judge",
            where="--param judge_model",
            fix="tunepipe score PREDICTIONS --baseline PREDICTIONS --judge MODEL",
        )
    check_parameters(read(pipeline_text(LOCAL)), parameters)
    backend.check(str(parameters.get("base_model") or ""), parameters.get("options") or {})
    webhook.check_place(parameters["notify"], in_cloud=False)
    return show_run_plan(described, "", out)


def prepare_on_vertex(
    described: VertexRun, again: bool, out: Output
) -> tuple[JobRequest, dict[str, Any]]:
    """Put together the request of a run on Vertex AI, and show its plan.

    Returns:
        The request, and the plan as `tunepipe plan --json` prints it.
    """
    from tunepipe.runs import vertex_request

    request = vertex_request.prepare(described, again=again, now=datetime.now(UTC))
    return request, show_run_plan(described, described.region, out)


def submit_to_vertex(
    request: JobRequest, plan: Mapping[str, Any], *, again: bool, yes: bool, out: Output
) -> str:
    """Start a run, after a question whether to spend, or find the identical one.

    Returns:
        The run's resource name.
    """
    from tunepipe.runs import vertex

    if not again and (earlier := vertex.find_earlier(request)):
        out.line("an identical run exists; --again starts a new one", "yellow")
        return earlier
    agree(f"Spend {_price(plan)}?", yes, out)
    return vertex.submit(request)


def _run_on_vertex(described: VertexRun, start: StartOptions, out: Output) -> int:
    from tunepipe.runs import vertex
    from tunepipe.runs.progress_display import view

    request, plan = prepare_on_vertex(described, start.again, out)
    out.table(
        [("project", described.project), ("results", f"{described.bucket} ({described.region})")],
        styles=("bold",),
    )
    if start.dry_run:
        contents = {"backend": described.backend, "plan": plan, "request": request.as_json()}
        _show_dry_run(contents, start.runs, out)
        return 0
    name = submit_to_vertex(request, plan, again=start.again, yes=start.yes, out=out)
    started = {"run": name, "page": run_page(name), "plan": plan}
    return _show_started(started, lambda: vertex.follow(name, view()), start.wait, out)


def _run_on_host(host: KfpHost, described: VertexRun, start: StartOptions, out: Output) -> int:
    from tunepipe.runs.kfp import host_runs
    from tunepipe.runs.kfp.request import prepare
    from tunepipe.runs.progress_display import view
    from tunepipe.runs.status import follow

    name = f"tunepipe-{described.backend}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    # Records of a run name it by `run_id`, and `status` finds them by it.
    described = replace(described, parameters={"run_id": name, **described.parameters})
    request = prepare(described, host.settings)
    plan = show_run_plan(described, "", out)
    out.table([("KFP host", host.url), ("results", described.bucket)], styles=("bold",))
    if start.dry_run:
        sent = {"pipeline": request.text, "parameters": dict(request.parameters)}
        contents = {"backend": described.backend, "plan": plan, "kfp_request": sent}
        _show_dry_run(contents, start.runs, out)
        return 0
    agree(f"Start a run on {host.url}?", start.yes, out)
    run_id = host_runs.submit(host, request, name)
    return _show_started(
        {"run": run_id, "page": host.page(run_id), "plan": plan},
        lambda: follow(lambda: host_runs.status(host, run_id), view()),
        start.wait,
        out,
        on_host=host.options,
    )


def _show_started(
    started: Mapping[str, Any],
    follow: Callable[[], RunStatus],
    wait: bool,
    out: Output,
    *,
    on_host: str = "",
) -> int:
    """Show where a run is and how to follow it, or follow it to its end."""
    out.line(f"{out.styled('run', 'bold')}   {started['run']}")
    out.line(f"{out.styled('page', 'bold')}  {started['page']}")
    if wait:
        return show_status(follow(), out, on_host=on_host)
    look = " ".join(filter(None, ("tunepipe status", started["run"], on_host)))
    out.line(f"next: {look} --wait")
    out.result(started)
    return 0


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
    """Return what a request to Vertex AI has that the plan does not show, as labels and texts."""
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
    return "an amount that is not known" if cost is None else f"about {dollars(cost)}"

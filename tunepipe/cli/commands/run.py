"""`tunepipe run`: the whole pipeline, in the cloud or on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tunepipe import __version__
from tunepipe.backends.palm.parameters import template_uri
from tunepipe.catalog.catalog import load_catalog
from tunepipe.cli import options
from tunepipe.cli.commands.plan import measure, plan_dataset, show_plan
from tunepipe.cli.commands.runs import show_local_run, show_status
from tunepipe.cli.output import Output, agree
from tunepipe.cli.run_options import LOCAL, RunOptions
from tunepipe.errors import UsageError, dollars
from tunepipe.files import write_json
from tunepipe.notifications import webhook
from tunepipe.notifications.message import run_page
from tunepipe.reporting.facts import WORSE
from tunepipe.runs.kfp.host import KfpHost
from tunepipe.runs.listing import KFP, VERTEX, ListedRun, Places
from tunepipe.splitting.sampling import allowance, share

# The parameters that a plan takes as they are.
_PLANNED = (
    *("options", "epochs", "train_steps", "max_cost_usd", "learning_rate_multiplier"),
    *("format", "task", "metric", "answers"),
)

if TYPE_CHECKING:
    from tunepipe.runs.vertex_request import VertexRun


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """How a run is started, and not what is run.

    Options:
        dry_run: Print what would be sent, and send nothing.
        again: Start a new run even if an identical run exists.
    """

    runs: Path = Path("runs")
    wait: bool = False
    dry_run: bool = False
    again: bool = False
    yes: options.Yes = False


@dataclass(frozen=True)
class CheckedRun:
    """A run in the cloud that was checked and planned, and can be started.

    Args:
        contents: The plan and the request, as a dry run writes them.
        question: What the user is asked before it starts.
        submit: Starts it, and returns its name.
        find_earlier: Returns the name of an identical run, or "".
    """

    contents: Mapping[str, Any]
    question: str
    submit: Callable[[], str]
    find_earlier: Callable[[], str] = str


def run(
    context: typer.Context,
    *,
    run_options: RunOptions,
    start: StartOptions,
    user_project: options.UserProject = "",
    on: options.HostOptions,
    out: Output,
) -> int:
    """Run the whole pipeline: in the cloud, or here.

    Validates, splits, tunes, evaluates, compares and promotes. Shows the plan first, and asks
    before it spends. The backend local runs on this machine, or with --kfp-host on the cluster of
    that host. Exit code 1 where the tuned model is worse.
    """
    host = on.host()
    tables = options.tables(context, run_options.tables)
    described = run_options.resolve(tables, on_host=bool(host))
    if described.backend == LOCAL and not host:
        return _run_here(described, start, out)
    if host:
        checked, place = _prepare_on_host(host, described, out), ("KFP host", host.url)
    else:
        checked = prepare_on_vertex(described, start.again, out)
        place = ("project", f"{described.project}, {described.region}")
    out.facts([place, ("results", described.bucket)])
    if start.dry_run:
        return _show_dry_run(checked.contents, start.runs, out)
    name = start_run(checked, again=start.again, yes=start.yes, out=out)
    started = show_started(name, host, out)
    if start.wait:
        places = Places(start.runs, host=host)
        status = places.follow(ListedRun(name, name, KFP if host else VERTEX))
        return show_status(status, out, on_host=host.options if host else "")
    on_host = f" {host.options}" if host else ""
    out.line(f"next: tunepipe status {name}{on_host} --wait")
    out.result({**started, "plan": checked.contents["plan"]})
    return 0


def show_run_plan(
    described: VertexRun, region: str, out: Output, *, recurring: bool = False
) -> dict[str, Any]:
    """Plan a run over its dataset, show the plan, and return it as `tunepipe plan --json` does.

    Errors in the data of a recurring run only warn: they are read again each time. The region is ""
    on this machine and on a KFP host.
    """
    from tunepipe.evaluation.tasks import MAX_OUTPUT_TOKENS, cut_answers

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
        eval_rows=eval_rows,
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

    plan, parameters = check_here(described, out), dict(described.parameters)
    if start.dry_run:
        contents = {"backend": LOCAL, "plan": plan, "parameters": parameters}
        return _show_dry_run(contents, start.runs, out)
    began = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"  # as the ids of runs begin
    ended = run_local(parameters, runs_folder=start.runs, again=start.again)
    out.result(asdict(ended))
    if ended.id < began:
        out.line(f"this was done before, as run {ended.id}; --again starts a new run", "yellow")
    show_local_run(ended, out)
    return int(ended.verdict == WORSE)


def check_here(described: VertexRun, out: Output) -> dict[str, Any]:
    """Check a run on this machine, show its plan, and return it; see `show_run_plan`."""
    from tunepipe.backends.local import backend
    from tunepipe.runs.compile import pipeline_text
    from tunepipe.runs.pipeline_spec import check_parameters, read

    parameters = dict(described.parameters)
    refusals = (
        (
            described.accelerator,
            "a run on this machine takes the GPUs that there are",
            "--accelerator",
            "--backend custom rents them; schedule apply --kfp-host asks a cluster",
        ),
        (
            described.pipeline,
            "a run on this machine takes the pipeline of the package",
            "--pipeline",
            "leave it out, or submit the file to Vertex AI or a KFP host",
        ),
        (
            parameters.get("judge_model"),
            "a run on this machine asks no judge",
            "--param judge_model",
            "tunepipe score PREDICTIONS --baseline PREDICTIONS --judge MODEL",
        ),
    )
    for value, found, where, fix in refusals:
        if value:
            raise UsageError(found, where=where, fix=fix)
    check_parameters(read(pipeline_text(LOCAL)), parameters)
    backend.check(str(parameters.get("base_model") or ""), parameters.get("options") or {})
    webhook.check_place(parameters["notify"], in_cloud=False)
    return show_run_plan(described, "", out)


def prepare_on_vertex(described: VertexRun, again: bool, out: Output) -> CheckedRun:
    """Put together the request of a run on Vertex AI, and show its plan."""
    from tunepipe.runs import vertex, vertex_request

    request = vertex_request.prepare(described, again=again, now=datetime.now(UTC))
    plan = show_run_plan(described, described.region, out)
    contents = {"backend": described.backend, "plan": plan, "request": request.as_json()}
    find_earlier = partial(vertex.find_earlier, request)
    submit = partial(vertex.submit, request)
    return CheckedRun(contents, f"Spend {_price(plan)}?", submit, find_earlier)


def _price(plan: Mapping[str, Any]) -> str:
    cost = plan["estimated_cost_usd"]
    return "an amount that is not known" if cost is None else f"about {dollars(cost)}"


def _prepare_on_host(host: KfpHost, described: VertexRun, out: Output) -> CheckedRun:
    from tunepipe.runs.kfp import host_runs
    from tunepipe.runs.kfp.request import prepare

    name = f"tunepipe-{described.backend}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    # Records of a run name it by `run_id`, and `status` finds them by it.
    described = replace(described, parameters={"run_id": name, **described.parameters})
    request = prepare(described, host.settings)
    plan = show_run_plan(described, "", out)
    sent = {"pipeline": request.text, "parameters": dict(request.parameters)}
    contents = {"backend": described.backend, "plan": plan, "kfp_request": sent}
    submit = partial(host_runs.submit, host, request, name)
    return CheckedRun(contents, f"Start a run on {host.url}?", submit)


def start_run(checked: CheckedRun, *, again: bool, yes: bool, out: Output) -> str:
    """Start a run, after a question, or find the identical one; return its name."""
    if not again and (earlier := checked.find_earlier()):
        out.line("an identical run exists; --again starts a new one", "yellow")
        return earlier
    agree(checked.question, yes, out)
    return checked.submit()


def show_started(run: str, host: KfpHost | None, out: Output) -> dict[str, str]:
    """Show the name and the page of a run that has begun, and return both."""
    page = host.page(run) if host else run_page(run)
    out.line(f"{out.styled('run', 'bold')}   {run}")
    out.line(f"{out.styled('page', 'bold')}  {page}")
    return {"run": run, "page": page}


def _show_dry_run(contents: Mapping[str, Any], runs: Path, out: Output) -> int:
    """Write what would be sent to a file, and print where; with --json print all of it."""
    out.result(contents)
    if not out.as_json:
        file = runs / f"dry-run-{contents['backend']}.json"
        write_json(contents, file)
        out.facts([*_request_rows(contents), ("request", str(file))])
        out.line("dry run: nothing was sent", "yellow")
    return 0


def _request_rows(contents: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a request to Vertex AI has that the plan does not show, as labels and texts."""
    job = contents.get("request", {}).get("pipeline_job")
    if not job:
        return []
    own = job["runtime_config"]["parameter_values"].get("options", {})
    template = ""
    if contents["backend"] == "large-model":
        template = template_uri(contents["plan"]["model"], own.get("template_version", ""))
    executors = job["pipeline_spec"]["deploymentSpec"]["executors"].values()
    images = {each["container"]["image"] for each in executors if "container" in each}
    return [
        ("pipeline", f"{job['pipeline_spec']['pipelineInfo']['name']} (tunepipe {__version__})"),
        ("template", template),
        ("image", ", ".join(sorted(images))),
        ("code", str(own.get("code", ""))),
        ("acts as", job.get("service_account") or "the project's default account"),
        ("network", job.get("network", "")),
    ]

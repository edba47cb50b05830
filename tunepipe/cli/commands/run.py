"""The verbs of a run: compile, run, status, cancel, predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.validate import BETTER, WORSE, measured, show_plan
from tunepipe.cli.consent import agree
from tunepipe.cli.output import Output, print_json
from tunepipe.errors import CloudError, UsageError
from tunepipe.notifications.message import run_page

if TYPE_CHECKING:
    from tunepipe.runs.local import LocalRun
    from tunepipe.runs.vertex import RunStatus
    from tunepipe.runs.vertex_request import VertexRun

LOCAL = "local"
# Options of `run` that go to the pipeline, and to the job around it, as they are.
_PARAMETERS = (
    *("format", "eval_fraction", "eval_min", "eval_max", "group_by", "stratify_by"),
    *("learning_rate_multiplier", "seed", "task", "margin", "notify"),
)
_PLACE = ("project", "region", "bucket", "service_account", "network", "encryption_key")


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
    template: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Write FOLDER/tune_large_model_inlined.yaml instead: the pipeline with Google's "
            "template in it, from a file, a gs:// or an https:// URI. See run --pipeline.",
        ),
    ] = "",
    json: options.Json = False,
) -> int:
    """Write compiled/, or say what is stale."""
    from tunepipe.runs import compile as compilation

    if template:
        return _compile_inlined(template, folder / "tune_large_model_inlined.yaml", Output(json))
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


def _compile_inlined(template: str, path: Path, out: Output) -> int:
    from tunepipe.runs.inlined_template import write_inlined

    found = write_inlined(template, path)
    out.result({"written": str(path), "template": found.source, "sha256": found.sha256})
    out.line(f"wrote  {path}")
    out.line(f"with   {found.source} sha256:{found.sha256}")
    return 0


def run(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Option(metavar="DATASET", help="A path, a gs:// URI, or a glob of either.")
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
        typer.Option(metavar="K=V", help="What the backend alone knows: lora_rank=16; repeatable."),
    ] = None,
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
    runs: options.Runs = Path("runs"),
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
    asked = asked_run(context, locals())
    out = Output(json)
    if asked.backend == LOCAL:
        return _run_here(dict(asked.parameters), runs, again, dry_run, out)
    return _run_there(asked, again=again, dry_run=dry_run, wait=wait, yes=yes, out=out)


def asked_run(context: typer.Context, given: Mapping[str, Any]) -> VertexRun:
    """Put together what the options of `run` ask for.

    Args:
        context: Holds the settings of tunepipe.toml.
        given: The options of `run` by name.

    Returns:
        The run; where its backend is `local`, its backend and parameters alone matter.

    Raises:
        UsageError: An option out of range, or not of the form K=V; a setting that a step after
            the tuning would refuse.
    """
    from tunepipe.catalog import models
    from tunepipe.cli.token_counts import calibrated
    from tunepipe.evaluation.settings import check_settings
    from tunepipe.runs.vertex_request import VertexRun

    over = options.tables(context, given["tables"])
    model = models.find(given["base_model"], given["backend"], over)
    if given["email"] and model.backend == LOCAL:
        raise UsageError("only Vertex AI mails", where="--email", fix="--notify PLACE")
    own = pairs(given["option"], "--option")
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
        **pairs(given["param"], "--param"),
    }
    for name in ("project", "region"):  # the plan and the request go by the option
        if name in parameters:
            raise UsageError("has an option", where=f"--param {name}", fix=f"--{name}")
    for name in ("tables", "options"):
        if not isinstance(parameters[name], Mapping):
            raise UsageError("must be a mapping", where=name, fix='such as {"name": 1}')
    check_settings(parameters, model.backend, over)
    return VertexRun(
        backend=model.backend,
        parameters=parameters,
        labels=dict(_pair(text, "--label") for text in given["label"] or ()),
        pipeline=given.get("pipeline", ""),
        emails=tuple(given["email"] or ()),
        **{name: given[name] for name in _PLACE},
    )


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
        recurring: Whether the data are read anew each time, so that errors in them only warn.

    Returns:
        The plan, as `tunepipe plan --json` prints it.

    Raises:
        DataError: The dataset does not pass.
        UsageError: It cannot be read, or the model is not tuned on rows of its format.
    """
    from tunepipe.catalog import models
    from tunepipe.evaluation.tasks import MAX_OUTPUT_TOKENS, cut_answers
    from tunepipe.planning import plan as steps

    over = parameters["tables"]
    what = models.find(parameters["base_model"], backend, over)
    # By our own limits: the step that validates knows no other.
    found = measured([parameters["dataset_uri"]], parameters["format"], parameters["base_model"])
    if found.refusal and not recurring:
        raise found.refusal
    rows = found.rows - _held_out(found.rows, parameters)
    share = rows / found.rows if found.rows else 0.0
    plan = steps.plan(
        rows,
        region=models.tuned_in(what, region, parameters.get("options", {})),
        model=parameters["base_model"],
        backend=backend,
        epochs=parameters["epochs"],
        train_steps=parameters["train_steps"],
        max_cost_usd=parameters["max_cost_usd"],
        tokens_estimated=round(found.tokens * share),
        learning_rate_multiplier=parameters["learning_rate_multiplier"],
        today=datetime.now(UTC).date(),
        overrides=over,
    )
    cut = cut_answers(
        found.longest_output_tokens, parameters.get("max_output_tokens", MAX_OUTPUT_TOKENS)
    )
    plan = replace(plan, warnings=(*plan.warnings, *found.warnings, *cut))
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


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Read K=V arguments; a value that is JSON is taken as such, any other as text.

    Raises:
        UsageError: An argument without a name or without "=", or a number that JSON lacks.
    """
    import json

    found: dict[str, Any] = {}
    for text in texts or ():
        name, value = _pair(text, option)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
        try:
            json.dumps(found, allow_nan=False)
        except ValueError:
            place = f"{option} {text}"
            raise UsageError("no number to send", where=place, fix="a finite one") from None
    return found


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise UsageError("not of the form K=V", where=f"{option} {text}")
    return name.strip(), value


def _run_here(
    parameters: dict[str, Any], runs: Path, again: bool, dry_run: bool, out: Output
) -> int:
    from tunepipe.notifications import webhook
    from tunepipe.runs.compile import pipeline_text
    from tunepipe.runs.local import run_local
    from tunepipe.runs.pipeline_spec import read
    from tunepipe.runs.vertex_request import check_parameters

    if parameters.get("judge_model"):
        raise UsageError(
            "a run on this machine asks no judge",
            where="--param judge_model",
            fix="tunepipe score PREDICTIONS --baseline PREDICTIONS --judge MODEL",
        )
    check_parameters(read(pipeline_text(LOCAL)), parameters)
    webhook.check_place(parameters["notify"], in_cloud=False)
    plan = show_run_plan(parameters, LOCAL, "", out)
    if dry_run:
        print_json({"backend": LOCAL, "plan": plan, "parameters": parameters})
        return 0
    began = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"  # as the ids of runs begin
    done = run_local(parameters, runs_folder=runs, again=again)
    out.result(asdict(done))
    if done.id < began:
        out.line(f"this was done before, as run {done.id}; --again does it anew", "yellow")
    _show_local(done, out)
    return int(done.verdict == WORSE)


def _run_there(
    asked: VertexRun, *, again: bool, dry_run: bool, wait: bool, yes: bool, out: Output
) -> int:
    from tunepipe.runs import vertex as vertex_run
    from tunepipe.runs import vertex_request
    from tunepipe.runs.progress_display import view

    request = vertex_request.prepare(asked, again=again, now=datetime.now(UTC))
    plan = show_run_plan(dict(asked.parameters), asked.backend, asked.region, out)
    out.table(
        [("project", asked.project), ("results", f"{asked.bucket} ({asked.region})")],
        styles=("bold",),
    )
    if dry_run:
        print_json({"backend": asked.backend, "plan": plan, "request": request.as_json()})
        return 0
    name = "" if again else vertex_run.find_earlier(request)
    if name:
        out.line("the same run goes on or was done before; --again makes a new one", "yellow")
    else:
        agree(f"Spend {_price(plan)}?", yes, out)
        name = vertex_run.submit(request)
    out.line(f"{out.styled('run', 'bold')}   {name}")
    out.line(f"{out.styled('page', 'bold')}  {run_page(name)}")
    if not wait:
        out.line(f"follow it: tunepipe status {name} --wait")
        out.result({"run": name, "page": run_page(name), "plan": plan})
        return 0
    return _ended(vertex_run.follow(name, view()), out)


def _price(plan: Mapping[str, Any]) -> str:
    cost = plan["estimated_cost_usd"]
    return "an amount that is not known" if cost is None else f"about {cost:.2f} USD"


def status(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or id.")],
    project: options.Project = "",
    region: options.Region = "",
    runs: options.Runs = Path("runs"),
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    json: options.Json = False,
) -> int:
    """Show how far a run is.

    A run in the cloud goes by its whole name, or by its id with --project and --region; a run on
    this machine by its id or its folder. Exit code 1 where one on this machine has failed, or the
    tuned model is worse; 4 where one in the cloud has failed.
    """
    out = Output(json)
    if folder := local_folder(run, runs):
        from tunepipe.runs.local import read

        done = read(folder)
        out.result(asdict(done))
        out.line(f"{done.id}: {done.state}", "bold")
        _show_local(done, out)
        return int(done.state == "failed" or done.verdict == WORSE)
    from tunepipe.runs import vertex as vertex_run
    from tunepipe.runs.progress_display import view

    found = vertex_run.status(run, project=project, region=region)
    return _ended(vertex_run.follow(found.name, view()) if wait else found, out)


def cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or id.")],
    project: options.Project = "",
    region: options.Region = "",
    runs: options.Runs = Path("runs"),
    json: options.Json = False,
) -> int:
    """Cancel a run in the cloud, and its tuning job.

    A run on this machine ends with Ctrl-C where it was started.
    """
    if local_folder(run, runs):
        raise UsageError(
            "this run is on this machine", where=run, fix="press Ctrl-C where it was started"
        )
    from tunepipe.runs import vertex as vertex_run

    found = vertex_run.cancel(run, project=project, region=region)
    has_ended = found.state in ("succeeded", "failed")
    out = Output(json)
    out.result({"run": found.name, "state": found.state if found.over else "cancelling"})
    out.line(
        f"{found.name} had ended: {found.state}"
        if has_ended
        else f"{found.name} is being cancelled"
    )
    return 0


def predict(
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="What to ask; else --input.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="A tuned model's resource name, a run, or a folder."),
    ] = "",
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who serves it in the cloud; follows from a run's name."),
    ] = "",
    project: options.Project = "",
    region: options.Region = "",
    input: Annotated[
        str, typer.Option(metavar="FILE", help="A dataset whose every row is asked.")
    ] = "",
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Where the predictions of --input go.")
    ] = "",
    max_output_tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="The longest answer, in tokens.")
    ] = 256,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests at a time, in the cloud.")
    ] = 4,
    requests_per_minute: Annotated[
        float, typer.Option(metavar="N", min=0, help="At most so many; 0: no limit of ours.")
    ] = 0.0,
    runs: options.Runs = Path("runs"),
    json: options.Json = False,
) -> int:
    """Ask a tuned model.

    Texts are answered on standard output, a row of --input in the file --output, which can then be
    scored. Its answers are kept in the folder of runs: a call that was broken off goes on there.
    """
    if not model or bool(texts) == bool(input) or bool(input) != bool(output):
        raise UsageError(
            "a model, and either texts or files, are needed",
            where="tunepipe predict",
            fix="--model NAME TEXT…, or --model NAME --input FILE --output FILE",
        )
    from tunepipe.cli.commands.predict import Model, ask_rows, ask_texts

    folder = local_folder(model, runs)
    if folder and not (folder / "model").is_dir():
        raise UsageError("the run has made no model", where=model, fix=f"tunepipe status {model}")
    here = str(folder / "model") if folder else model if Path(model).is_dir() else ""
    place = {"project": project, "region": region, "backend": backend}
    asked = Model(here or model, local=bool(here), **place)
    settings = {"max_output_tokens": max_output_tokens}
    out = Output(json)
    if input:
        pace = (workers, requests_per_minute)
        found = ask_rows(asked, input, output, settings, *pace, work_dir=str(runs / "work"))
        out.result(asdict(found))
        out.line(f"{found.rows:,} rows asked, {found.unanswered:,} without an answer: {output}")
        return 0
    answers = ask_texts(asked, texts or [], settings, workers, requests_per_minute)
    out.result({"answers": [{"text": one.text, "error": one.error} for one in answers]})
    for one in answers:
        if not json:
            print(one.text if one.text is not None else f"(no answer: {one.error})")
    return 0


def local_folder(run: str, runs: Path) -> Path | None:
    """Find the folder of a run on this machine, by its id or its own path."""
    folders = (runs / run, Path(run))
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def _show_local(done: LocalRun, out: Output) -> None:
    if done.verdict:
        out.line(f"verdict: {done.verdict}", "bold green" if done.verdict == BETTER else "bold")
    out.line(done.reason)
    if done.results:
        out.table(sorted(done.results.items()), styles=("bold",))


def _ended(found: RunStatus, out: Output) -> int:
    out.result(found.as_json())
    out.line(f"{found.name}: {found.state}", "bold")
    if found.tasks:
        out.table([(task.name, task.state) for task in found.tasks])
    if found.verdict:
        out.line(f"verdict: {found.verdict}", "bold green" if found.verdict == BETTER else "bold")
    if found.unchanged:
        out.line(found.unchanged)
    if found.model.startswith("gs://"):
        out.line(f"its weights: {found.model}; serve them on an endpoint to ask it")
    elif found.model:
        out.line(f"ask it: tunepipe predict --model {found.model} TEXT")
    if found.error:
        out.line(f"{out.styled('error', 'red bold')}: {found.error}")
    out.line(f"page: {found.page}", "dim")
    return CloudError.exit_code if found.state == "failed" else int(found.verdict == WORSE)

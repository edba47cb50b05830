"""`tunepipe status` and `tunepipe cancel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.commands.score import BETTER, WORSE
from tunepipe.cli.output import Output
from tunepipe.errors import CloudError, UsageError
from tunepipe.extras import require
from tunepipe.notifications.message import browsable

if TYPE_CHECKING:
    from tunepipe.runs.local import LocalRun
    from tunepipe.runs.vertex import RunStatus


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
    require("vertex")
    from tunepipe.runs import vertex as vertex_run
    from tunepipe.runs.progress_display import view

    found = vertex_run.status(run, project=project, region=region)
    return _ended(vertex_run.follow(found.name, view()) if wait else found, out)


def cancel(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's name or id.")],
    project: options.Project = "",
    region: options.Region = "",
    runs: options.Runs = Path("runs"),
    shared: Annotated[
        bool, typer.Option("--shared", help="Also cancel a tuning job that other runs wait for.")
    ] = False,
    wait_seconds: Annotated[
        float, typer.Option(help="How long to wait until everything has ended.", min=0)
    ] = 600.0,
    json: options.Json = False,
) -> int:
    """Cancel a run in the cloud and its tuning job.

    Waits until both have ended. A tuning job that other runs wait for goes on, unless --shared is
    given. A local run ends with Ctrl-C where it was started.
    """
    if local_folder(run, runs):
        raise UsageError("this is a local run", where=run, fix="press Ctrl-C where it was started")
    require("vertex")
    from tunepipe.runs import cancellation

    out = Output(json)
    found = cancellation.cancel(
        run,
        project=project,
        region=region,
        shared=shared,
        wait_seconds=wait_seconds,
        show=lambda line: out.line(f"waiting: {line}", "dim"),
    )
    out.result({"run": found.run.name, "state": found.run.state, "jobs": found.jobs,
                "left": found.left})  # fmt: skip
    out.line(f"{found.run.name}: {found.run.state}", "bold")
    for name, state in found.jobs.items():
        others = found.left.get(name, [])
        why = f"; {', '.join(others)} wait for it (--shared ends it for all)" if others else ""
        out.line(f"{name}: {state}{why}")
    return 0


def local_folder(run: str, runs: Path) -> Path | None:
    """Find the folder of a run on this machine, by its id or its own path."""
    folders = (runs / run, Path(run))
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def _show_local(done: LocalRun, out: Output) -> None:
    _show_verdict(done.verdict, done.reason, done.results, out)
    if "model" in done.results:
        out.line(f"next: tunepipe predict --model {done.id} TEXT")
    elif done.state == "failed":
        out.line(f"next: see {Path(done.folder) / 'log.txt'}, then run the same command again")


def _ended(found: RunStatus, out: Output) -> int:
    from tunepipe.runs.vertex import reason_of

    reason = reason_of(found)
    out.result({**found.as_json(), "reason": reason})
    out.line(f"{found.name}: {found.state}", "bold")
    if found.tasks:
        out.table([(task.name, task.state) for task in found.tasks])
    results = {name: browsable(uri) for name, uri in found.results.items()}
    _show_verdict(found.verdict, reason, results | {"page": found.page}, out)
    if found.error:
        out.line(f"{out.styled('error', 'red bold')}: {found.error}")
    out.line(f"next: {_next_step(found)}")
    return CloudError.exit_code if found.state == "failed" else int(found.verdict == WORSE)


def _show_verdict(verdict: str, reason: str, results: Mapping[str, str], out: Output) -> None:
    if verdict:
        out.line(f"verdict: {verdict}", "bold green" if verdict == BETTER else "bold")
    if reason:
        out.line(reason)
    if results:
        out.table(sorted(results.items()), styles=("bold",))


def _next_step(found: RunStatus) -> str:
    """Say what a person does after a look at a run."""
    if not found.over:
        return f"tunepipe status {found.name} --wait"
    if found.state == "failed":
        return "do what the error says, then run the same command again: nothing is paid twice"
    if found.model.startswith("gs://"):
        return f"serve the weights {found.model} on an endpoint to ask the model"
    if found.model:
        return f"tunepipe predict --model {found.model} TEXT"
    return "run again when the data have changed" if found.unchanged else "read the report"

"""`tunepipe runs`, `logs`, `status` and `cancel`: which runs there are, and how far each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.errors import CloudError, UsageError
from tunepipe.notifications.message import browsable
from tunepipe.reporting.facts import BETTER, WORSE
from tunepipe.runs.listing import HERE, VERTEX
from tunepipe.runs.status import RunStatus

if TYPE_CHECKING:
    from tunepipe.runs.local import LocalRun


def runs(
    *,
    where: options.RunPlaces,
    limit: Annotated[int, typer.Option(min=1, max=100)] = 20,
    out: Output,
) -> None:
    """List the runs, the newest first.

    Those in the folder of --runs; with --project and --region also those on Vertex AI, and with
    --kfp-host those on a KFP host. Where a command takes a run, `latest` means the first of this
    list, and an id may be shortened to any prefix that no other run has.

    Options:
        limit (N): The newest N runs of all places.
    """
    listed = where.places().runs(limit)
    out.result({"runs": [asdict(run) for run in listed]})
    head = ("id", "where", "state", "started (UTC)", "backend", "verdict")
    rows = [
        (run.id, run.place, run.state, run.created[:16].replace("T", " "), run.backend, run.verdict)
        for run in listed
    ]
    out.table(rows, head, empty=f"no run in {where.runs}; see tunepipe run --help")
    out.warnings(run.problem for run in listed if run.problem)


def logs(run: str, *, where: options.RunPlaces, step: str = "", out: Output) -> None:
    """Print what the steps of a run printed.

    Of a run on this machine its log; of one on a KFP host the log of each step's pod. The logs of a
    run on Vertex AI are in Cloud Logging, and the command that reads them is printed.

    Options:
        step (TEXT): Only the steps whose names contain this.
    """
    places = where.places()
    chosen = places.find(run)
    if chosen.place == VERTEX:
        project = chosen.name.split("/")[1]
        job = f'labels."ml.googleapis.com/pipeline_job_id"="{chosen.id}"'
        command = f"gcloud logging read 'resource.type=\"ml_job\" {job}' --project {project}"
        out.result({"run": chosen.name, "command": command})
        out.line(f"Cloud Logging keeps them: {command}")
        return
    texts = places.logs(chosen, step)
    out.result({"run": chosen.name, "logs": texts})
    for name, text in texts.items() if not out.as_json else ():
        out.answer(f"== {name}")
        out.answer(text)


def status(run: str, *, where: options.RunPlaces, wait: bool = False, out: Output) -> int:
    """Show how far a run is.

    A run is named by its id or the beginning of it, or by `latest`; one on Vertex AI is looked for
    with --project and --region, one on a KFP host with --kfp-host. Exit code 1 where one on this
    machine has failed, or the tuned model is worse; where one in the cloud has failed, the code of
    its step's error, or 4.
    """
    places = where.places()
    chosen = places.find(run)
    if chosen.place == HERE:
        from tunepipe.runs.local import read

        local = read(Path(chosen.name))
        out.result(asdict(local))
        out.line(f"{local.id}: {local.state}", "bold")
        show_local_run(local, out)
        return int(local.state == "failed" or local.verdict == WORSE)
    looked = places.status(chosen)
    if wait and not looked.over:
        looked = places.follow(chosen)
    return show_status(looked, out, on_host=places.options_for(chosen))


def cancel(
    run: str,
    *,
    where: options.RunPlaces,
    shared: bool = False,
    wait_seconds: options.Amount = 660.0,
    out: Output,
) -> None:
    """Cancel a run in the cloud and its tuning job.

    Waits until both have ended. A tuning job that other runs wait for goes on, unless --shared is
    given. A local run ends with Ctrl-C where it was started.

    Options:
        shared: Also cancel a tuning job that other runs wait for.
        wait_seconds (SECONDS): How long to wait until everything has ended.
    """
    places = where.places()
    chosen = places.find(run)
    if chosen.place == HERE:
        raise UsageError("this is a local run", where=run, fix="press Ctrl-C where it was started")
    outcome = places.cancel(
        chosen,
        shared=shared,
        wait_seconds=wait_seconds,
        show=lambda line: out.line(f"waiting: {line}", "dim"),
    )
    name, state = outcome.run.name, outcome.run.state
    out.result({"run": name, "state": state, "jobs": outcome.jobs, "left": outcome.left})
    out.line(f"{name}: {state}", "bold")
    for job, job_state in outcome.jobs.items():
        others = outcome.left.get(job, [])
        why = f"; {', '.join(others)} wait for it (--shared ends it for all)" if others else ""
        out.line(f"{job}: {job_state}{why}")


def show_local_run(run: LocalRun, out: Output) -> None:
    """Show to people what a run on this machine has come to, and what to do next."""
    _show_verdict(run.verdict, run.reason, run.results, out)
    if "model" in run.results:
        out.line(f"next: tunepipe predict --model {run.id} TEXT")
    elif run.state == "failed":
        out.line(f"next: see {Path(run.folder) / 'log.txt'}, then run the same command again")


def show_status(status: RunStatus, out: Output, *, on_host: str = "") -> int:
    """Print the status of a run in the cloud, and return the exit code that it means."""
    from tunepipe.runs.vertex import reason_of

    reason = reason_of(status)
    out.result({**asdict(status), "reason": reason})
    out.line(f"{status.name}: {status.state}", "bold")
    if status.tasks:
        out.table([(task.name, task.state) for task in status.tasks], styles=())
    results = {name: browsable(uri) for name, uri in status.results.items()}
    _show_verdict(status.verdict, reason, results | {"page": status.page}, out)
    if status.error:
        out.line(f"{out.styled('error', 'red bold')}: {status.error}")
    if status.failure and status.failure.fix:
        out.line(f"  {out.styled('fix', 'cyan')}: {status.failure.fix}")
    out.line(f"next: {_next_step(status, on_host)}")
    if status.state != "failed":
        return int(status.verdict == WORSE)
    return status.failure.error(status.name).exit_code if status.failure else CloudError.exit_code


def _show_verdict(verdict: str, reason: str, results: Mapping[str, str], out: Output) -> None:
    if verdict:
        out.line(f"verdict: {verdict}", "bold green" if verdict == BETTER else "bold")
    if reason:
        out.line(reason)
    if results:
        out.table(sorted(results.items()))


def _next_step(status: RunStatus, on_host: str) -> str:
    run = f"{status.name} {on_host}".rstrip()
    if not status.over:
        return f"tunepipe status {run} --wait"
    if status.state == "failed":
        first = (
            "do what the error says" if status.error or status.failure else f"tunepipe logs {run}"
        )
        return f"{first}, then run the same command again: nothing is paid twice"
    if status.model and on_host and not status.model.startswith("projects/"):
        return f"tunepipe predict --model {run} TEXT"
    if status.model.startswith("gs://"):
        return f"tunepipe deploy {status.model} serves the model's weights on an endpoint"
    if status.model:
        return f"tunepipe predict --model {status.model} TEXT"
    return "run again when the data have changed" if status.unchanged else "read the report"

"""`tunepipe status` and `tunepipe cancel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.errors import CloudError, UsageError
from tunepipe.extras import require
from tunepipe.notifications.message import browsable
from tunepipe.reporting.facts import BETTER, WORSE
from tunepipe.runs.listing import HERE, KFP

if TYPE_CHECKING:
    from tunepipe.runs.local import LocalRun
    from tunepipe.runs.status import RunStatus


def status(
    run: options.Run,
    *,
    where: options.RunPlaces,
    wait: options.Wait = False,
    json: options.Json = False,
) -> int:
    """Show how far a run is.

    A run is named by its id or the beginning of it, or by `latest`; one on Vertex AI is looked for
    with --project and --region, one on a KFP host with --kfp-host. Exit code 1 where one on this
    machine has failed, or the tuned model is worse; where one in the cloud has failed, the code of
    its step's error, or 4.
    """
    out, looked = Output(json), where.places()
    chosen = looked.find(run)
    if chosen.place == HERE:
        from tunepipe.runs.local import read

        done = read(Path(chosen.name))
        out.result(asdict(done))
        out.line(f"{done.id}: {done.state}", "bold")
        show_local_run(done, out)
        return int(done.state == "failed" or done.verdict == WORSE)
    from tunepipe.runs.progress_display import view

    if chosen.place == KFP and looked.host:
        from tunepipe.runs.kfp import host_runs
        from tunepipe.runs.status import follow

        host = looked.host
        run_status = host_runs.status(host, chosen.name)
        if wait and not run_status.over:
            run_status = follow(lambda: host_runs.status(host, chosen.name), view())
        return show_status(run_status, out, on_host=host.options)
    require("vertex")
    from tunepipe.runs import vertex

    run_status = vertex.status(chosen.name)
    return show_status(vertex.follow(run_status.name, view()) if wait else run_status, out)


def cancel(
    run: options.Run,
    *,
    where: options.RunPlaces,
    shared: bool = False,
    wait_seconds: options.Amount = 600.0,
    json: options.Json = False,
) -> int:
    """Cancel a run in the cloud and its tuning job.

    Waits until both have ended. A tuning job that other runs wait for goes on, unless --shared is
    given. A local run ends with Ctrl-C where it was started.

    Options:
        shared: Also cancel a tuning job that other runs wait for.
        wait_seconds (SECONDS): How long to wait until everything has ended.
    """
    out, looked = Output(json), where.places()
    chosen = looked.find(run)
    if chosen.place == HERE:
        raise UsageError("this is a local run", where=run, fix="press Ctrl-C where it was started")
    if chosen.place == KFP and looked.host:
        from tunepipe.runs.kfp import host_runs

        ended = host_runs.cancel(looked.host, chosen.name)
        out.result({"run": ended.name, "state": ended.state, "jobs": {}, "left": {}})
        out.line(f"{ended.name}: {ended.state}", "bold")
        return 0
    require("vertex")
    from tunepipe.runs import cancellation

    outcome = cancellation.cancel(
        chosen.name,
        shared=shared,
        wait_seconds=wait_seconds,
        show=lambda line: out.line(f"waiting: {line}", "dim"),
    )
    ended = outcome.run
    out.result(
        {"run": ended.name, "state": ended.state, "jobs": outcome.jobs, "left": outcome.left}
    )
    out.line(f"{ended.name}: {ended.state}", "bold")
    for name, state in outcome.jobs.items():
        others = outcome.left.get(name, [])
        why = f"; {', '.join(others)} wait for it (--shared ends it for all)" if others else ""
        out.line(f"{name}: {state}{why}")
    return 0


def show_local_run(done: LocalRun, out: Output) -> None:
    """Show to people what a run on this machine has come to, and what to do next."""
    _show_verdict(done.verdict, done.reason, done.results, out)
    if "model" in done.results:
        out.line(f"next: tunepipe predict --model {done.id} TEXT")
    elif done.state == "failed":
        out.line(f"next: see {Path(done.folder) / 'log.txt'}, then run the same command again")


def show_status(status: RunStatus, out: Output, *, on_host: str = "") -> int:
    """Print the status of a run in the cloud, and return the exit code that it means.

    Args:
        status: How far the run is.
        out: Where it is printed.
        on_host: The options that reach its KFP host; "" for Vertex AI.
    """
    from tunepipe.runs.vertex import reason_of

    reason = reason_of(status)
    out.result({**asdict(status), "reason": reason})
    out.line(f"{status.name}: {status.state}", "bold")
    if status.tasks:
        out.table([(task.name, task.state) for task in status.tasks])
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
        out.table(sorted(results.items()), styles=("bold",))


def _next_step(status: RunStatus, on_host: str) -> str:
    """Say what a person does after a look at a run."""
    run = f"{status.name} {on_host}".rstrip()
    if not status.over:
        return f"tunepipe status {run} --wait"
    if status.state == "failed":
        return "do what the error says, then run the same command again: nothing is paid twice"
    if status.model and on_host and not status.model.startswith("projects/"):
        return f"tunepipe predict --model {run} TEXT"
    if status.model.startswith("gs://"):
        return f"tunepipe deploy {status.model} serves the model's weights on an endpoint"
    if status.model:
        return f"tunepipe predict --model {status.model} TEXT"
    return "run again when the data have changed" if status.unchanged else "read the report"

"""Runs on Vertex AI: submit, look, follow, cancel, and ask the tuned model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from tunepipe.errors import CloudError, TunepipeError, UsageError
from tunepipe.gcp import clients as google_clients
from tunepipe.gcp import launcher, pipeline_jobs
from tunepipe.gcp.advice import advice
from tunepipe.gcp.clients import explained
from tunepipe.gcp.labels import RUN_ID_LABEL
from tunepipe.gcp.retries import retry
from tunepipe.notifications.message import run_page
from tunepipe.runs.progress_display import View
from tunepipe.runs.vertex_request import RUN_LABEL, Request
from tunepipe.stores import storage

_STATES = {
    "SKIPPED": "cached",  # a hit of the execution cache
    "NOT_TRIGGERED": "not wanted",  # the other branch of a condition
}
# The results that people open: the step and the output that make each.
_RESULTS = {
    ("conclude-run", "report"),
    ("conclude-run", "summary"),
    ("conclude-run", "model_card"),
    ("compare-models", "comparison"),
    ("validate-jsonl", "problems"),
}
_BRIEFLY = 20.0  # seconds; a person waits
_TUNES = ("tune-", "keep-template-model")


@dataclass(frozen=True)
class Task:
    """A step of a run: its name, its state in small letters, and what it said when it failed."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class RunStatus:
    """What a look at a run shows.

    Args:
        name: The run's resource name; its last part is the run id.
        state: pending, running, succeeded, failed, cancelling, cancelled or paused.
        page: Its page in the console.
        tasks: The steps, in the order in which they began.
        verdict: better, worse or not-enough-evidence; "" before there is one.
        model: The tuned model's endpoint, "" before there is one.
        error: Why it failed, in the words of the step that failed.
        unchanged: Since which run the data are unchanged, where the run ended for that.
        results: What a person opens, by name: report, summary, model_card, comparison, problems.
    """

    name: str
    state: str
    page: str
    tasks: tuple[Task, ...]
    verdict: str = ""
    model: str = ""
    error: str = ""
    unchanged: str = ""
    results: Mapping[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in ("succeeded", "failed", "cancelled")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def find_earlier(request: Request) -> str:
    """Name a run of the same data and parameters that goes on or has succeeded; "" for none.

    Raises:
        CloudError: Google refused the question.
    """
    jobs = _jobs(request)
    with explained(request.parent):
        found: str = _retried(jobs.find, _BRIEFLY)
    return found


def submit(request: Request, *, first_job_seconds: float = 300.0) -> str:
    """Upload what is local, and create the run; an equal one that goes on is taken instead.

    Args:
        request: From `vertex_request.prepare`.
        first_job_seconds: How long Google wants to wait after its remedy for the 500 of a
            project's first job.

    Returns:
        The run's resource name.

    Raises:
        CloudError: Google refused.
    """
    upload(request)
    pace = launcher.JobPolling(patience_seconds=120.0, first_job_seconds=first_job_seconds)
    return launcher.start(_jobs(request), pace, lambda event: None)


def upload(request: Request) -> None:
    """Put data and code into the bucket that are not there yet; their names hold their hashes.

    Raises:
        CloudError: Google refused.
    """
    for path, uri in request.uploads.items():
        if not storage.exists(uri):
            storage.write_file(path, uri)


def status(run: str, *, project: str = "", region: str = "") -> RunStatus:
    """Look at a run.

    Args:
        run: Its resource name, or its id with `project` and `region`.
        project: Needed for an id.
        region: Needed for an id.

    Raises:
        UsageError: An id without a project or a region.
        CloudError: There is no such run, or Google refused.
    """
    return _patiently(resource_name(run, project, region), _BRIEFLY)


def reason_of(status: RunStatus) -> str:
    """Return why a run ended as it did, in one sentence; "" if that is not known.

    The sentence is in the run's comparison; a run over unchanged data, or one whose comparison may
    not be read here, has none.
    """
    if status.unchanged:
        return status.unchanged
    if "comparison" not in status.results:
        return ""
    with suppress(TunepipeError, ValueError):
        return str(json.loads(storage.read_bytes(status.results["comparison"])).get("reason", ""))
    return ""


def follow(name: str, shown: View, *, poll_seconds: float = 10.0) -> RunStatus:
    """Stay with a run to its end, showing each step as it begins and ends.

    Args:
        name: The run's resource name.
        shown: Where the steps are shown.
        poll_seconds: Between two looks.

    Returns:
        The run, which is over.

    Raises:
        CloudError: The run failed or was cancelled, or Google was out of reach for long.
    """
    seen: dict[str, str] = {}
    try:
        while True:
            found = _patiently(name)
            _show(found.tasks, seen, shown)
            if found.over:
                break
            time.sleep(poll_seconds)
    finally:
        shown.close()
    if found.state != "succeeded":
        message = found.error or f"the run was {found.state}"
        raise CloudError(message, where=name, fix=advice(message) or f"see {found.page}")
    return found


def cancel(run: str, *, project: str = "", region: str = "") -> RunStatus:
    """Cancel a run; its tuning job is cancelled by the step that waits for it.

    Returns:
        The run as it is then; one that had ended stays as it is.
    """
    name = resource_name(run, project, region)
    with explained(name):
        _retried(lambda: pipeline_jobs.cancel(name), _BRIEFLY)
    return _patiently(name, _BRIEFLY)


def made_by(model: str, *, project: str = "", region: str = "") -> tuple[str, str]:
    """Turn a run's name or id into what it has made; leave any other name as it is.

    Returns:
        The endpoint, and the backend that tuned it, "" where that does not show.

    Raises:
        UsageError: The run has left no model, or an id lacks project or region.
    """
    if "/models/" in model or "/endpoints/" in model:
        return model, ""
    found = status(model, project=project, region=region)
    if not found.model:
        raise UsageError(
            f"the run has made no model; it is {found.state}", where=model, fix="name another run"
        )
    tuned = next((task.name for task in found.tasks if task.name.startswith("tune-")), "")
    return found.model, tuned.removeprefix("tune-")


def resource_name(run: str, project: str, region: str) -> str:
    """Complete a run's id to its resource name.

    Raises:
        UsageError: An id without a project or a region.
    """
    if run.startswith("projects/"):
        return run
    if not (project and region):
        raise UsageError(
            "there is no such run in the folder of --runs",
            where=run,
            fix="name another folder; a run in the cloud goes by its id with --project "
            "and --region, or by its whole name projects/P/locations/R/pipelineJobs/ID",
        )
    return f"{google_clients.parent(project, region)}/pipelineJobs/{run}"


def _jobs(request: Request) -> pipeline_jobs.PipelineJobs:
    return pipeline_jobs.PipelineJobs(request.job, request.parent, RUN_LABEL, RUN_ID_LABEL)


def _status(job: Any) -> RunStatus:
    tasks = [task for task in job.job_detail.task_details if not _is_run(task)]
    tasks.sort(key=lambda task: (task.start_time is None, task.start_time or task.task_id))
    state = job.state.name.removeprefix("PIPELINE_STATE_").lower()
    return RunStatus(
        name=job.name,
        state=state,
        page=run_page(job.name),
        tasks=tuple(_task(task) for task in tasks),
        verdict=_output(tasks, "compare-models", "Output"),
        model=next(filter(None, map(_model, tasks)), ""),
        unchanged=_output(tasks, "prepare-run", "unchanged_since"),
        error=pipeline_jobs.failure(job) if state == "failed" else "",
        results={
            name: uri
            for task in tasks
            for name, uri in _artifacts(task).items()
            if (task.task_name, name) in _RESULTS
        },
    )


def _task(task: Any) -> Task:
    state = _STATES.get(task.state.name, task.state.name.lower())
    return Task(task.task_name, state, str(task.error.message))


def _is_run(task: Any) -> bool:
    return bool(task.execution.schema_title == "system.Run")


def _output(tasks: Sequence[Any], step: str, name: str) -> str:
    """Return an output of a step; "" if the step has not ended."""
    task = next((task for task in tasks if task.task_name == step), None)
    return str(pipeline_jobs.task_outputs(task).get(name, "")) if task else ""


def _artifacts(task: Any) -> dict[str, str]:
    return {name: found.artifacts[0].uri for name, found in task.outputs.items() if found.artifacts}


def _model(task: Any) -> str:
    if not task.task_name.startswith(_TUNES):
        return ""
    for artifact in task.outputs["model"].artifacts if "model" in task.outputs else ():
        return str(dict(artifact.metadata or {}).get("resourceName", ""))
    return ""


def _patiently(name: str, seconds: float = 600) -> RunStatus:
    """Look at a run; a connection that breaks now and then does not end the watching."""
    with explained(name):
        return _status(_retried(lambda: pipeline_jobs.get(name), seconds))


def _retried(call: Callable[[], Any], seconds: float) -> Any:
    return retry(call, seconds=seconds, longest_pause_seconds=seconds / 10)


def _show(tasks: Sequence[Task], seen: dict[str, str], shown: View) -> None:
    for task in tasks:
        before, seen[task.name] = seen.get(task.name), task.state
        if task.state == before or task.state in ("pending", "not wanted"):
            continue
        if before in (None, "pending"):
            shown.began(task.name)
        if task.state != "running":
            shown.ended(task.name, task.state in ("succeeded", "cached"))

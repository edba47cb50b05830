"""Runs on Vertex AI: submit, look, follow, list, and name what they have made.

What Google refuses becomes a CloudError.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from tunepipe.errors import TunepipeError, UsageError
from tunepipe.gcp import clients, launcher, pipeline_jobs
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.labels import RUN_ID_LABEL
from tunepipe.gcp.retries import retry
from tunepipe.notifications.message import run_page
from tunepipe.runs.status import RunStatus, StepStatus
from tunepipe.runs.vertex_request import RUN_LABEL, JobRequest
from tunepipe.stores import failures, storage
from tunepipe.stores.failures import find_failure
from tunepipe.stores.generations import fingerprint_of

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
_BRIEFLY_SECONDS = 20.0  # a person waits
_TUNES = ("tune-", "keep-template-model")


def find_earlier(request: JobRequest) -> str:
    """Find a run of the same data and parameters that runs or has succeeded; "" for none."""
    jobs = _jobs(request)
    with explained(request.parent):
        return str(retry(jobs.find, seconds=_BRIEFLY_SECONDS))


def submit(request: JobRequest, *, first_job_seconds: float = 300.0) -> str:
    """Upload what is local, and create the run; an equal one that is running is taken instead.

    After its remedy for the 500 of a project's first job Google wants to wait
    `first_job_seconds`.
    """
    upload(request)
    pace = launcher.StepOptions(patience_seconds=120.0, first_job_seconds=first_job_seconds)
    return launcher.start(_jobs(request), pace, lambda event: None)


def upload(request: JobRequest) -> None:
    """Put data and code into the bucket that are not there yet; their names hold their hashes.

    A UsageError for rows that were changed since `prepare`, such as while the user was asked: later
    runs would take them for the rows that the name stands for.
    """
    for path, uri in request.uploads.items():
        if storage.exists(uri):
            continue
        if path in request.fingerprints and fingerprint_of(path) != request.fingerprints[path]:
            fix = "run the same command again"
            raise UsageError("the file was changed meanwhile", where=path, fix=fix)
        storage.write_file(path, uri)


def status(name: str, *, patience_seconds: float = _BRIEFLY_SECONDS) -> RunStatus:
    """Look at a run; a connection that breaks is tried again for `patience_seconds`."""
    with explained(name):
        return _status(retry(lambda: pipeline_jobs.get(name), seconds=patience_seconds))


def reason_of(status: RunStatus) -> str:
    """Return why a run ended as it did, from its comparison; "" if that is not known.

    A run over unchanged data, or one whose comparison may not be read here, has none.
    """
    if status.unchanged:
        return status.unchanged
    if "comparison" not in status.results:
        return ""
    with suppress(TunepipeError, ValueError):
        return str(json.loads(storage.read_bytes(status.results["comparison"])).get("reason", ""))
    return ""


def list_runs(
    project: str, region: str, limit: int | None = None, *, also: Sequence[str] = ()
) -> list[Any]:
    """Return the newest PipelineJobs of tunepipe in a place; see `pipeline_jobs.list_jobs`."""
    place, ours = clients.parent(project, region), "labels.tunepipe_backend:*"
    look = partial(pipeline_jobs.list_jobs, place, ours, limit=limit, also=also)
    with explained(place):
        return list(retry(look, seconds=_BRIEFLY_SECONDS))


def _jobs(request: JobRequest) -> pipeline_jobs.PipelineJobs:
    return pipeline_jobs.PipelineJobs(request.job, request.parent, RUN_LABEL, RUN_ID_LABEL)


def _status(job: Any) -> RunStatus:
    tasks = [task for task in job.job_detail.task_details if not pipeline_jobs.is_run(task)]
    tasks.sort(key=lambda task: (task.start_time is None, task.start_time or task.task_id))
    state = clients.state_of(job).lower()
    error, failure = "", None
    if state == "failed":  # in the words of the first step that has left any
        error = pipeline_jobs.failure(job)
        step = error.partition(":")[0]
        folder = f"{job.runtime_config.gcs_output_directory}/*/{job.name.rpartition('/')[2]}"
        if failure := find_failure(f"{folder}/{step}*/{failures.FILE}"):
            error = f"{step}: {failure.found}"
    return RunStatus(
        name=job.name,
        state=state,
        page=run_page(job.name),
        tasks=tuple(_task(task) for task in tasks),
        verdict=_output(tasks, "compare-models", "Output"),
        model=next(filter(None, map(_model, tasks)), ""),
        unchanged=_output(tasks, "prepare-run", "unchanged_since"),
        error=error,
        failure=failure,
        results={
            name: output.artifacts[0].uri
            for task in tasks
            for name, output in task.outputs.items()
            if output.artifacts and (task.task_name, name) in _RESULTS
        },
    )


def _task(task: Any) -> StepStatus:
    state = clients.state_of(task)
    return StepStatus(task.task_name, _STATES.get(state, state.lower()), str(task.error.message))


def _output(tasks: Sequence[Any], step: str, name: str) -> str:
    """Return an output of a step; "" if the step has not ended."""
    task = next((task for task in tasks if task.task_name == step), None)
    return str(pipeline_jobs.task_outputs(task).get(name, "")) if task else ""


def _model(task: Any) -> str:
    if not task.task_name.startswith(_TUNES):
        return ""
    for artifact in task.outputs["model"].artifacts if "model" in task.outputs else ():
        return str(dict(artifact.metadata or {}).get("resourceName", ""))
    return ""

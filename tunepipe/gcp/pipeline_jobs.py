"""PipelineJobs that are created once, found again, and read when they have ended."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.gcp import clients as google_clients
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.launcher import State, Status

_RUNNING = {
    "PIPELINE_STATE_UNSPECIFIED",
    "PIPELINE_STATE_QUEUED",
    "PIPELINE_STATE_PENDING",
    "PIPELINE_STATE_RUNNING",
    "PIPELINE_STATE_PAUSED",
}
_INTERNAL = {13, 14}  # google.rpc.Code INTERNAL, UNAVAILABLE


@dataclass
class PipelineJobs:
    """The jobs of one request, whose label says so; a launcher.Service.

    Every attempt has an id of its own, made from the request's key. Two callers at once ask for
    the same id, and Google gives it to one.

    Args:
        job: What CreatePipelineJob takes; its labels hold `key_label`.
        parent: `projects/P/locations/R`.
        key_label: The label by which the jobs are found.
    """

    job: Mapping[str, Any]
    parent: str
    key_label: str
    kind: str = "PipelineJob"
    attempts: int = 0

    @property
    def _client(self) -> Any:
        return google_clients.pipelines(self.parent.rpartition("/")[2])

    @property
    def next_id(self) -> str:
        """The id that create() asks for first."""
        return f"tune-{self.job['labels'][self.key_label]}-{self.attempts + 1}"

    def get(self, name: str) -> Any:
        """Fetch a job, with its tasks."""
        return get(name)

    def stands(self, job: Any) -> bool:
        """Say whether what a job that succeeded has made is still there."""
        return True

    def find(self) -> str:
        """Name the newest of our jobs that runs, or has succeeded and still stands."""
        jobs = self._ours()
        self.attempts = max((_attempt(job.name) for job in jobs), default=0)
        for job in jobs:
            if is_running(job) or (has_succeeded(job) and self.stands(job)):
                return str(job.name)
        return ""

    def create(self) -> str:
        """Create the attempt after those that find() saw, or take it where another was quicker.

        Looking again here would see the job of a run that was quicker, and add one to it.
        """
        from google.api_core import exceptions as api

        while True:
            try:
                created = self._client.create_pipeline_job(
                    parent=self.parent,
                    pipeline_job=self.job,
                    pipeline_job_id=self.next_id,
                    timeout=3 * CALL_SECONDS,
                )
                return str(created.name)
            except api.AlreadyExists:
                other = get(f"{self.parent}/pipelineJobs/{self.next_id}")
                if is_running(other) or has_succeeded(other):
                    return str(other.name)
                self.attempts += 1

    def status(self, name: str) -> Status:
        """Look at a job."""
        job = get(name)
        if has_succeeded(job):
            return Status(State.SUCCEEDED)
        if is_running(job) or job.state.name == "PIPELINE_STATE_CANCELLING":
            return Status(State.RUNNING, detail=_running_tasks(job))
        if job.state.name == "PIPELINE_STATE_CANCELLED":
            return Status(State.CANCELLED)
        return Status(State.FAILED, failure(job), internal=job.error.code in _INTERNAL)

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        cancel(name)

    def mend_first_job(self) -> None:
        """Create an empty image dataset: Google's own remedy for the 500 of a first job."""
        name = "tunepipe-first-job"
        query = {"display_name": name, "problem_type": "IMAGE_CLASSIFICATION_MULTI_LABEL"}
        dataset = {
            "display_name": name,
            "metadata_schema_uri": "gs://google-cloud-aiplatform/schema/dataset/metadata/"
            "image_1.0.0.yaml",
            "saved_queries": [query],
        }
        client = google_clients.datasets(self.parent.rpartition("/")[2])
        client.create_dataset(parent=self.parent, dataset=dataset, timeout=CALL_SECONDS)

    def _ours(self) -> list[Any]:
        label = f'labels.{self.key_label}="{self.job["labels"][self.key_label]}"'
        request = {"parent": self.parent, "filter": label, "order_by": "create_time desc"}
        return list(self._client.list_pipeline_jobs(request=request, timeout=CALL_SECONDS))


def get(name: str) -> Any:
    """Fetch a job by its resource name, with its tasks."""
    client = google_clients.pipelines(google_clients.region_of(name))
    return client.get_pipeline_job(name=name, timeout=CALL_SECONDS)


def cancel(name: str) -> None:
    """Ask for the end of a job; no error where it has ended by itself."""
    from google.api_core import exceptions as api

    client = google_clients.pipelines(google_clients.region_of(name))
    try:
        client.cancel_pipeline_job(name=name, timeout=CALL_SECONDS)
    except api.FailedPrecondition:
        return


def is_running(job: Any) -> bool:
    """Say whether a job goes on, or waits to."""
    return job.state.name in _RUNNING


def has_succeeded(job: Any) -> bool:
    """Say whether a job has succeeded."""
    return bool(job.state.name == "PIPELINE_STATE_SUCCEEDED")


def outputs(job: Any) -> dict[str, Any]:
    """Read a finished job's outputs from the execution of its run.

    The run is the one task whose execution has the schema system.Run, whatever a template's
    version calls its tasks.
    """
    for task in job.job_detail.task_details:
        if task.execution.schema_title == "system.Run":
            return task_outputs(task)
    return {}


def task_outputs(task: Any) -> dict[str, Any]:
    """Read a task's output parameters."""
    found = dict(task.execution.metadata or {})
    return {k.removeprefix("output:"): v for k, v in found.items() if k.startswith("output:")}


def failure(job: Any) -> str:
    """Say why a job failed: a task's own message before the job's summary."""
    messages = [
        f"{task.task_name}: {task.error.message}"
        for task in job.job_detail.task_details
        if task.state.name == "FAILED" and task.error.message
    ]
    return "; ".join(messages) or str(job.error.message)


def _attempt(name: str) -> int:
    match = re.search(r"-(\d+)\Z", name)
    return int(match[1]) if match else 0


def _running_tasks(job: Any) -> str:
    running = [
        task.task_name
        for task in job.job_detail.task_details
        if task.state.name == "RUNNING" and task.execution.schema_title != "system.Run"
    ]
    return ", ".join(running)

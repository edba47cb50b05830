"""PipelineJobs that are created once, found again, and read when they have ended."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS, state_of
from tunepipe.gcp.remote_jobs import RemoteJobs, has_ended, is_running


class NamedPipelineJobs(RemoteJobs):
    """PipelineJobs that are known by their names."""

    kind = "PipelineJob"

    def get(self, name: str) -> Any:
        """Fetch a job, with its tasks."""
        client = clients.pipelines(clients.region_of(name))
        return client.get_pipeline_job(name=name, timeout=CALL_SECONDS)

    def request_cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        client = clients.pipelines(clients.region_of(name))
        client.cancel_pipeline_job(name=name, timeout=CALL_SECONDS)

    def detail(self, job: Any) -> str:
        """Return the tasks that run, or why none does."""
        tasks = job.job_detail.task_details
        running = [t.task_name for t in tasks if state_of(t) == "RUNNING" and not is_run(t)]
        return ", ".join(running) if is_running(job) else state_of(job).lower()

    def failure(self, job: Any) -> str:
        """Return why a job failed: the first failed task's own message before the job's summary.

        What fails later, such as the exit task, is often a consequence.
        """
        failed = [
            task
            for task in job.job_detail.task_details
            if state_of(task) == "FAILED" and task.error.message
        ]
        failed.sort(key=lambda task: (task.end_time is None, task.end_time or task.task_id))
        return "; ".join(f"{task.task_name}: {task.error.message}" for task in failed) or str(
            job.error.message
        )


PIPELINE_JOBS = NamedPipelineJobs()
get, failure = PIPELINE_JOBS.get, PIPELINE_JOBS.failure


@dataclass
class PipelineJobs(NamedPipelineJobs):
    """The jobs of one request, found by their label.

    Every attempt has an id of its own, made from the request's key. Two callers at once ask for
    the same id, and Google gives it to one. So a request may be repeated whatever became of it,
    and nothing depends on how soon a list shows a new job.

    Args:
        job: What CreatePipelineJob takes; its labels hold `key_label`.
        key_label: The label that finds the jobs.
        id_label: The label that holds the job's own id, for its steps; "" for none.
    """

    job: Mapping[str, Any]
    parent: str
    key_label: str
    id_label: str = ""
    attempts: int = 0
    in_doubt: bool = False

    @property
    def _region(self) -> str:
        return self.parent.rpartition("/")[2]

    @property
    def next_id(self) -> str:
        """The id that create() asks for first."""
        return f"tune-{self.job['labels'][self.key_label]}-{self.attempts + 1}"

    def find(self) -> str:
        """Return the newest job that is running, or that has succeeded and has its result."""
        jobs = self._jobs()
        self.attempts = max((_attempt(job.name) for job in jobs), default=0)
        for job in jobs:
            if self.counts(job):
                return str(job.name)
        return ""

    def create(self) -> str:
        """Create the attempt after those that find() saw, or take it where another was quicker.

        Looking again here would see the job of a run that was quicker, and add one to it.
        """
        from google.api_core import exceptions as api

        # Some fields of a job are in v1beta1 alone.
        is_beta = "default_runtime" in self.job.get("runtime_config", {})
        client = (clients.beta_pipelines if is_beta else clients.pipelines)(self._region)
        while True:
            self.in_doubt = True
            own_id = {self.id_label: self.next_id} if self.id_label else {}
            labels = {**self.job["labels"], **own_id}
            try:
                created = client.create_pipeline_job(
                    parent=self.parent,
                    pipeline_job={**self.job, "labels": labels},
                    pipeline_job_id=self.next_id,
                    timeout=3 * CALL_SECONDS,
                )
                return str(created.name)
            except api.AlreadyExists:
                other = self.get(f"{self.parent}/pipelineJobs/{self.next_id}")
                if self.counts(other):
                    return str(other.name)
                self.attempts += 1

    def remedy_first_job(self) -> None:
        """Create an empty image dataset: Google's own remedy for the 500 of a first job."""
        name = "tunepipe-first-job"
        query = {"display_name": name, "problem_type": "IMAGE_CLASSIFICATION_MULTI_LABEL"}
        dataset = {
            "display_name": name,
            "metadata_schema_uri": "gs://google-cloud-aiplatform/schema/dataset/metadata/"
            "image_1.0.0.yaml",
            "saved_queries": [query],
        }
        client = clients.datasets(self._region)
        client.create_dataset(parent=self.parent, dataset=dataset, timeout=CALL_SECONDS)

    def _jobs(self) -> list[Any]:
        """List the jobs of this request, the newest first, without their specs."""
        from google.api_core import exceptions as api

        label = f'labels.{self.key_label}="{self.job["labels"][self.key_label]}"'
        jobs = list_jobs(self.parent, label)
        if self.in_doubt and not any(_attempt(job.name) > self.attempts for job in jobs):
            with suppress(api.NotFound):  # the job that was asked for last, if no list shows it yet
                jobs.insert(0, self.get(f"{self.parent}/pipelineJobs/{self.next_id}"))
        return jobs


# Without a mask each job of a list brings its spec, of up to a megabyte.
_LISTED = ("name", "display_name", "state", "create_time", "end_time", "labels", "error")


def list_jobs(
    parent: str, filter: str, *, limit: int | None = None, also: Sequence[str] = ()
) -> list[Any]:
    """List the jobs of a place, the newest first, without their specs; `also` names more fields."""
    request = {
        "parent": parent,
        "filter": filter,
        "order_by": "create_time desc",
        "page_size": min(limit or 100, 100),
        "read_mask": {"paths": [*_LISTED, *also]},
    }
    client = clients.pipelines(parent.rpartition("/")[2])
    return list(islice(client.list_pipeline_jobs(request=request, timeout=CALL_SECONDS), limit))


def goes_on(name: str) -> bool:
    """Return True if there is a job of this name and it has not ended."""
    from google.api_core import exceptions as api

    try:
        return not has_ended(get(name))
    except (api.NotFound, api.PermissionDenied):  # of another project, or deleted
        return False


def outputs(job: Any) -> dict[str, Any]:
    """Read a finished job's outputs from the execution of its run.

    The run is the one task whose execution has the schema system.Run, whatever a template's
    version calls its tasks.
    """
    runs = filter(is_run, job.job_detail.task_details)
    return next(map(task_outputs, runs), {})


def is_run(task: Any) -> bool:
    """Return True if a task stands for the whole run."""
    return bool(task.execution.schema_title == "system.Run")


def task_outputs(task: Any) -> dict[str, Any]:
    """Read a task's output parameters."""
    metadata = dict(task.execution.metadata or {})
    return {k.removeprefix("output:"): v for k, v in metadata.items() if k.startswith("output:")}


def _attempt(name: str) -> int:
    match = re.search(r"-(\d+)\Z", name)
    return int(match[1]) if match else 0

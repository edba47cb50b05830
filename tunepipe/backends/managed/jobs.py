"""Tuning jobs of Gemini and of open models: created once, found again, read when they ended.

The jobs are those of google-genai's client.tunings. They are found by their claim and by a label;
the list is compared here, since no document says which filters it takes, or how soon it shows a new
job.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.genai import as_google_core, client, place_of
from tunepipe.gcp.launcher import JobState, Status, WaitingError
from tunepipe.stores.claimed_jobs import ClaimedJobs

CREATE_SECONDS = 3 * CALL_SECONDS
_ENDED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}
_USUAL = {"unspecified", "queued", "pending", "running"}
_INTERNAL = {13, 14}  # google.rpc.Code INTERNAL, UNAVAILABLE


class NamedJobs:
    """Tuning jobs that are known by their names; a launcher.Followed."""

    kind: str = "TuningJob"

    def status(self, name: str) -> Status:
        """Look at a job."""
        job = get(name)
        state = state_of(job)
        if has_succeeded(job):
            return Status(JobState.SUCCEEDED)
        if not has_ended(job):
            return Status(JobState.RUNNING, detail=_detail(job), created=job.create_time)
        if state == "CANCELLED":
            return Status(JobState.CANCELLED)
        error = job.error
        message = (error and error.message) or f"the job ended as JOB_STATE_{state}"
        if state == "PARTIALLY_SUCCEEDED":
            model = job.tuned_model and (job.tuned_model.endpoint or job.tuned_model.model)
            of_it = f"; its model is {model}" if model else ""
            message = f"the job succeeded in part: {message}{of_it}"
        return Status(JobState.FAILED, message, internal=bool(error and error.code in _INTERNAL))

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        cancel(name)


@dataclass(kw_only=True)
class TuningJobs(NamedJobs, ClaimedJobs):
    """The jobs of one request, found by their claim and their label; a launcher.Service.

    Args:
        project: The project that pays.
        location: Where the job runs.
        base_model: The model to tune, or the tuned model to go on from.
        rows: The files: training, and held-out or "".
        config: What CreateTuningJobConfig takes; its labels hold KEY_LABEL.
        result_exists: Returns whether what a job that succeeded has made is still there.
        service_account: The account that the job acts as, or "".
    """

    project: str
    location: str
    base_model: str
    rows: tuple[str, str]
    config: Mapping[str, Any]
    result_exists: Callable[[Any], bool]
    service_account: str = ""

    def jobs(self) -> Iterator[tuple[str, Mapping[str, str], Any]]:
        """Yield the jobs of the place, the newest first."""
        for job in list_jobs(self.project, self.location):
            yield str(job.name), job.labels or {}, job

    def get(self, name: str) -> Any:
        """Fetch a job by its resource name."""
        return get(name)

    def counts(self, job: Any) -> bool:
        """Return True if a job runs, or has succeeded and its result exists.

        Raises:
            WaitingError: It is being cancelled; what becomes of it is not known yet.
        """
        if state_of(job) == "CANCELLING":
            raise WaitingError("an equal job is being cancelled", where=str(job.name))
        if state_of(job) == "PARTIALLY_SUCCEEDED":
            return True  # reported with what is there; paid again only where `again` asks for it
        return not has_ended(job) or (has_succeeded(job) and self.result_exists(job))

    def request(self) -> str:
        """Ask for a job once, and name it."""
        from google.genai import types

        train, held_out = self.rows
        # The request has a service account, google-genai's config has none.
        extra = {"serviceAccount": self.service_account} if self.service_account else None
        http = types.HttpOptions(timeout=int(CREATE_SECONDS * 1000), extra_body=extra)
        config = types.CreateTuningJobConfig(**self.config, http_options=http)
        if held_out:
            config.validation_dataset = types.TuningValidationDataset(gcs_uri=held_out)
        tunings = client(self.project, self.location).tunings
        with as_google_core(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the client's tuning is experimental
            job = tunings.tune(
                base_model=self.base_model,
                training_dataset=types.TuningDataset(gcs_uri=train),
                config=config,
            )
        return str(job.name)


def list_jobs(project: str, location: str) -> list[Any]:
    """List the tuning jobs of a place, the newest first; no document says how they are ordered."""
    with as_google_core():
        jobs = list(client(project, location).tunings.list(config={"page_size": 100}))
    return sorted(jobs, key=lambda job: job.create_time, reverse=True)


def get(name: str) -> Any:
    """Fetch a job by its resource name."""
    with as_google_core():
        return client(*place_of(name)).tunings.get(name=name)


def cancel(name: str) -> None:
    """Request a job's cancellation; no error if it has ended by itself."""
    from google.api_core import exceptions as api

    try:
        with as_google_core():
            client(*place_of(name)).tunings.cancel(name=name)
    except api.BadRequest:
        # FAILED_PRECONDITION comes over HTTP as 400.
        if not has_ended(get(name)):
            raise


def state_of(job: Any) -> str:
    """Return a job's state as a word: RUNNING; one that is not known as Google writes it."""
    return job.state.name.removeprefix("JOB_STATE_") if job.state else "UNSPECIFIED"


def has_ended(job: Any) -> bool:
    """Return True if nothing about a job changes any more.

    A state that this version does not know is not an end: taking it for one would pay again.
    """
    return bool(job.end_time) or state_of(job) in _ENDED


def has_succeeded(job: Any) -> bool:
    """Return True if a job has succeeded."""
    return state_of(job) == "SUCCEEDED"


def data_stats(job: Any) -> dict[str, Any]:
    """Read what a job says of its rows, by the service's names; {} if it says nothing."""
    stats = job.tuning_data_stats
    for name in ("supervised_tuning_data_stats", "preference_optimization_data_stats"):
        kind_stats = getattr(stats, name, None)
        if kind_stats:
            # user_dataset_examples repeats rows of the user's, which belong in no report.
            return dict(kind_stats.model_dump(exclude_none=True, exclude={"user_dataset_examples"}))
    return {}


def _detail(job: Any) -> str:
    epochs = getattr(job.tuning_job_metadata, "completed_epoch_count", None)
    state = state_of(job).lower()
    parts = ("" if state in _USUAL else state, f"{epochs} epochs done" if epochs else "")
    return ", ".join(filter(None, parts))

"""Tuning jobs of Gemini and of open models: created once, found again, read when they ended.

The jobs are those of google-genai's client.tunings. They are found by their claim and by a label;
the list is compared here, since no document says which filters it takes, or how soon it shows a new
job.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tunepipe.gcp.claims import CREATED, CREATING, Claim, WaitingError
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.genai import as_google_core, client, place_of
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.launcher import State, Status
from tunepipe.gcp.retries import may_have_taken_effect

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
            return Status(State.SUCCEEDED)
        if not has_ended(job):
            return Status(State.RUNNING, detail=_detail(job), created=job.create_time)
        if state == "CANCELLED":
            return Status(State.CANCELLED)
        error = job.error
        message = (error and error.message) or f"the job ended as JOB_STATE_{state}"
        if state == "PARTIALLY_SUCCEEDED":
            message = f"the job succeeded in part: {message}{_partial_model(job)}"
        return Status(State.FAILED, message, internal=bool(error and error.code in _INTERNAL))

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        cancel(name)


@dataclass
class TuningJobs(NamedJobs):
    """The jobs of one request, found by their claim and their label; a launcher.Service.

    Args:
        project: The project that pays.
        location: Where the job runs.
        base_model: The model to tune, or the tuned model to go on from.
        rows: The files: training, and held-out or "".
        config: What CreateTuningJobConfig takes; its labels hold KEY_LABEL.
        claim: The right to create.
        result_exists: Returns whether what a job that succeeded has made is still there.
        service_account: The account that the job acts as, or "".
    """

    project: str
    location: str
    base_model: str
    rows: tuple[str, str]
    config: Mapping[str, Any]
    claim: Claim
    result_exists: Callable[[Any], bool]
    service_account: str = ""
    in_doubt: bool = False

    def find(self) -> str:
        """Name a job of this request that runs, or has succeeded and whose result exists.

        Raises:
            WaitingError: One is being cancelled; what becomes of it is not known yet.
        """
        state, name = self.claim.look()
        if state == CREATED and self._counts(_get_or_none(name)):
            return name
        key = self.config["labels"][KEY_LABEL]
        for job in listed(self.project, self.location):
            if (job.labels or {}).get(KEY_LABEL) == key and self._counts(job):
                if state == CREATING:
                    self._note(str(job.name))
                return str(job.name)
        return ""

    def create(self) -> str:
        """Create a job, from what find() has seen.

        Raises:
            WaitingError: Another run is about to create it, or was quicker, or a request got no
                clear answer; the launcher asks again.
        """
        self.claim.take()
        self.claim.begin()
        try:
            name = self._create()
        except Exception as error:
            self.in_doubt = may_have_taken_effect(error)
            if not self.in_doubt:
                self.claim.end()
            raise
        self._note(name)
        return name

    def remedy_first_job(self) -> None:
        """Do nothing: no remedy is known for a tuning job's 500 but to ask again."""

    def _note(self, name: str) -> None:
        with suppress(WaitingError):  # another process has noted the same job
            self.claim.created(name)

    def _counts(self, job: Any) -> bool:
        if job is None:
            return False
        if state_of(job) == "CANCELLING":
            raise WaitingError("an equal job is being cancelled", where=str(job.name))
        if state_of(job) == "PARTIALLY_SUCCEEDED":
            return True  # reported with what is there; paid again only where `again` asks for it
        return not has_ended(job) or (has_succeeded(job) and self.result_exists(job))

    def _create(self) -> str:
        from google.genai import types

        train, held_out = self.rows
        config = types.CreateTuningJobConfig(**self.config, http_options=self._http_options())
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

    def _http_options(self) -> Any:
        from google.genai import types

        # The request has a service account, google-genai's config has none.
        more = {"serviceAccount": self.service_account} if self.service_account else None
        return types.HttpOptions(timeout=int(CREATE_SECONDS * 1000), extra_body=more)


def listed(project: str, location: str) -> list[Any]:
    """List the tuning jobs of a place, the newest first; no document says how they are ordered."""
    with as_google_core():
        jobs = list(client(project, location).tunings.list(config={"page_size": 100}))
    return sorted(jobs, key=lambda job: job.create_time, reverse=True)


def get(name: str) -> Any:
    """Fetch a job by its resource name."""
    with as_google_core():
        return client(*place_of(name)).tunings.get(name=name)


def _get_or_none(name: str) -> Any:
    from google.api_core import exceptions as api

    try:
        return get(name)
    except api.NotFound:
        return None


def cancel(name: str) -> None:
    """Ask for the end of a job; no error where it has ended by itself."""
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
    """Read what a job says of its rows, by the service's names; {} where it says nothing."""
    stats = job.tuning_data_stats
    for name in ("supervised_tuning_data_stats", "preference_optimization_data_stats"):
        found = getattr(stats, name, None)
        if found:
            # user_dataset_examples repeats rows of the user's, which belong in no report.
            return dict(found.model_dump(exclude_none=True, exclude={"user_dataset_examples"}))
    return {}


def _detail(job: Any) -> str:
    epochs = getattr(job.tuning_job_metadata, "completed_epoch_count", None)
    state = state_of(job).lower()
    parts = ("" if state in _USUAL else state, f"{epochs} epochs done" if epochs else "")
    return ", ".join(filter(None, parts))


def _partial_model(job: Any) -> str:
    model = job.tuned_model and (job.tuned_model.endpoint or job.tuned_model.model)
    return f"; its model is {model}" if model else ""

"""Tuning jobs of Gemini and of open models: created once, found again, read when they ended.

The jobs are those of google-genai's client.tunings. They are found by a label, read from the list
and compared here: which filters the service's list takes is written nowhere.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tunepipe.errors import TunepipeError
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.genai import as_google_core, client, place_of
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.launcher import State, Status
from tunepipe.gcp.lock import Claim

CREATE_SECONDS = 3 * CALL_SECONDS
_OVER = {
    "JOB_STATE_SUCCEEDED",
    "JOB_STATE_PARTIALLY_SUCCEEDED",
    "JOB_STATE_FAILED",
    "JOB_STATE_CANCELLED",
    "JOB_STATE_EXPIRED",
}
_USUAL = {"queued", "pending", "running"}
_INTERNAL = {13, 14}  # google.rpc.Code INTERNAL, UNAVAILABLE


@dataclass
class TuningJobs:
    """The jobs of one request, whose label says so; a launcher.Service.

    Args:
        project: Who pays.
        location: Where the job runs.
        base_model: The model to tune, or the tuned model to go on from.
        rows: The files: training, and held-out or "".
        config: What CreateTuningJobConfig takes; its labels hold KEY_LABEL.
        claim: The right to create.
        stands: Says whether what a job that succeeded has made is still there.
        service_account: The account that the job acts as, or "".
        settle_seconds: How long to wait, after a creation of unknown outcome, before the list is
            believed.
    """

    project: str
    location: str
    base_model: str
    rows: tuple[str, str]
    config: Mapping[str, Any]
    claim: Claim
    stands: Callable[[Any], bool]
    service_account: str = ""
    settle_seconds: float = 0.0
    kind: str = "TuningJob"
    _doubtful_until: float = 0.0
    _claimed: bool = False

    def find(self) -> str:
        """Name the newest of our jobs that runs, or has succeeded and still stands."""
        found = next(filter(self._counts, listed(self.project, self.location)), None)
        if found:
            self._free()
        return str(found.name) if found else ""

    def create(self) -> str:
        """Create a job, unless another run is about to, or was quicker.

        Raises:
            google.api_core.exceptions.ServiceUnavailable: Another run is about to create it, or
                may have; the launcher looks again after a while.
        """
        from google.api_core import exceptions as api

        if time.monotonic() < self._doubtful_until:
            raise api.ServiceUnavailable("it is not known yet whether the job was created")
        if not self.claim.take():
            raise api.ServiceUnavailable("another run is about to create this job")
        self._claimed = True
        try:
            name = self.find() or self._create()
        except (ConnectionError, api.ServerError):
            raise  # a job may have been made: nobody else may try yet
        except Exception:
            self._free()
            raise
        self._free()
        return name

    def status(self, name: str) -> Status:
        """Look at a job."""
        job = get(name)
        if has_succeeded(job):
            return Status(State.SUCCEEDED)
        if is_running(job):
            return Status(State.RUNNING, detail=_detail(job))
        if job.state.name == "JOB_STATE_CANCELLED":
            return Status(State.CANCELLED)
        error = job.error
        message = (error and error.message) or f"the job ended as {job.state.name}"
        return Status(State.FAILED, message, internal=bool(error and error.code in _INTERNAL))

    def cancel(self, name: str) -> None:
        """Ask for the end of a job."""
        cancel(name)

    def mend_first_job(self) -> None:
        """Do nothing: no remedy is known for a tuning job's 500 but to ask again."""

    def _counts(self, job: Any) -> bool:
        if (job.labels or {}).get(KEY_LABEL) != self.config["labels"][KEY_LABEL]:
            return False
        return is_running(job) or (has_succeeded(job) and self.stands(job))

    def _free(self) -> None:
        if not self._claimed:
            return
        self._claimed = False
        with suppress(TunepipeError):  # a claim that is left behind makes others wait, no more
            self.claim.free()

    def _create(self) -> str:
        from google.api_core import exceptions as api
        from google.genai import types

        train, held_out = self.rows
        config = types.CreateTuningJobConfig(**self.config, http_options=self._http_options())
        if held_out:
            config.validation_dataset = types.TuningValidationDataset(gcs_uri=held_out)
        tunings = client(self.project, self.location).tunings
        try:
            with as_google_core(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the client's tuning is experimental
                job = tunings.tune(
                    base_model=self.base_model,
                    training_dataset=types.TuningDataset(gcs_uri=train),
                    config=config,
                )
        except (ConnectionError, api.ServerError):
            self._doubtful_until = time.monotonic() + self.settle_seconds
            raise
        return str(job.name)

    def _http_options(self) -> Any:
        from google.genai import types

        # The request has a service account, google-genai's config has none.
        more = {"serviceAccount": self.service_account} if self.service_account else None
        return types.HttpOptions(timeout=int(CREATE_SECONDS * 1000), extra_body=more)


def listed(project: str, location: str) -> list[Any]:
    """List the tuning jobs of a place, the newest first: in which order they come, nobody says."""
    with as_google_core():
        jobs = list(client(project, location).tunings.list(config={"page_size": 100}))
    return sorted(jobs, key=lambda job: job.create_time, reverse=True)


def get(name: str) -> Any:
    """Fetch a job by its resource name."""
    with as_google_core():
        return client(*place_of(name)).tunings.get(name=name)


def cancel(name: str) -> None:
    """Ask for the end of a job; no error where it has ended by itself."""
    from google.api_core import exceptions as api

    try:
        with as_google_core():
            client(*place_of(name)).tunings.cancel(name=name)
    except api.BadRequest:
        # FAILED_PRECONDITION comes over HTTP as 400.
        if is_running(get(name)):
            raise


def is_running(job: Any) -> bool:
    """Say whether a job goes on, or waits to.

    A state that this version does not know is none of an end: who took it for one would pay again.
    """
    return not job.end_time and (job.state is None or job.state.name not in _OVER)


def has_succeeded(job: Any) -> bool:
    """Say whether a job has succeeded."""
    return bool(job.state and job.state.name == "JOB_STATE_SUCCEEDED")


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
    done = getattr(job.tuning_job_metadata, "completed_epoch_count", None)
    state = job.state.name.removeprefix("JOB_STATE_").lower() if job.state else ""
    told = (state if state not in _USUAL else "", f"{done} epochs done" if done else "")
    return ", ".join(filter(None, told))

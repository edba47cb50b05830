"""Kinds of remote jobs: what the launcher asks of each, and what those of Google share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar

from tunepipe.errors import CloudError, TunepipeError
from tunepipe.gcp.clients import state_of

# google.rpc.Code INTERNAL, UNAVAILABLE
_INTERNAL = {13, 14}
_ENDED = {"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"}


class WaitingError(CloudError):
    """It is not known yet whether a job has to be created; the launcher asks again."""

    code = 503


class JobState(Enum):
    """The state of a remote job."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Status:
    """The status of a job.

    Args:
        message: Why it failed, in Google's words, or "".
        internal: Whether it failed through Google's fault, so that another try may succeed.
        detail: What progress reports beyond the state.
        error: The error that the program in it ended with; None if it left none.
    """

    state: JobState
    message: str = ""
    internal: bool = False
    detail: str = ""
    created: datetime | None = None
    error: TunepipeError | None = None


def has_ended(job: Any) -> bool:
    """Return True if nothing about a job changes any more.

    A state that this version does not know is not an end: taking it for one would pay again.
    """
    return bool(job.end_time) or state_of(job) in _ENDED


def has_succeeded(job: Any) -> bool:
    """Return True if a job has succeeded."""
    return state_of(job) == "SUCCEEDED"


def is_running(job: Any) -> bool:
    """Return True if a job is running or pending; one that is being cancelled is not."""
    return not has_ended(job) and state_of(job) != "CANCELLING"


class RemoteJobs:
    """The jobs of one kind, by their resource names.

    A subclass for one request finds and creates its jobs too. `in_doubt` is True once a request
    was sent whose outcome is not known.
    """

    kind: ClassVar[str]
    in_doubt: bool = False

    def find(self) -> str:
        """Return a job of this request that is running or has succeeded; "" if there is none."""
        raise NotImplementedError

    def create(self) -> str:
        """Create a job and name it. Called again after a doubtful failure, find() comes first."""
        raise NotImplementedError

    def remedy_first_job(self) -> None:
        """Do what helps against the 500 of a project's first job: nothing, for most kinds."""

    def get(self, name: str) -> Any:
        """Fetch a job; Google's NotFound if there is none."""
        raise NotImplementedError

    def request_cancel(self, name: str) -> None:
        """Ask for the end of a job; Google's BadRequest or FailedPrecondition if it has ended."""
        raise NotImplementedError

    def result_exists(self, job: Any) -> bool:
        """Return True if what a job that succeeded has made is still there."""
        return True

    def detail(self, job: Any) -> str:
        """Return what progress reports of a running job beyond its state."""
        return ""

    def failure(self, job: Any) -> str:
        """Return why a job failed."""
        state = state_of(job)
        message = (job.error and job.error.message) or f"the job ended as JOB_STATE_{state}"
        is_part = state == "PARTIALLY_SUCCEEDED"
        return f"the job succeeded in part: {message}" if is_part else str(message)

    def own_error(self, job: Any) -> TunepipeError | None:
        """Return the error that the program in a job ended with; None if it left none."""
        return None

    def status(self, name: str) -> Status:
        """Look at a job."""
        job = self.get(name)
        if has_succeeded(job):
            return Status(JobState.SUCCEEDED)
        if not has_ended(job):
            return Status(JobState.RUNNING, detail=self.detail(job), created=job.create_time)
        if state_of(job) == "CANCELLED":
            return Status(JobState.CANCELLED)
        is_internal = bool(job.error and job.error.code in _INTERNAL)
        error = None if is_internal else self.own_error(job)
        return Status(JobState.FAILED, self.failure(job), internal=is_internal, error=error)

    def cancel(self, name: str) -> None:
        """Request a job's cancellation; no error if it has ended by itself."""
        from google.api_core import exceptions as api

        try:
            self.request_cancel(name)
        except api.BadRequest:  # FAILED_PRECONDITION, which comes over HTTP as 400
            if not has_ended(self.get(name)):
                raise

    def counts(self, job: Any) -> bool:
        """Return True if a job runs, or has succeeded and its result exists.

        One that succeeded in part counts too: only the option `again` pays for another. A
        WaitingError while it is being cancelled: what becomes of it is not known yet.
        """
        state = state_of(job)
        if state == "CANCELLING":
            raise WaitingError("an equal job is being cancelled", where=str(job.name))
        if state == "PARTIALLY_SUCCEEDED" or not has_ended(job):
            return True
        return has_succeeded(job) and self.result_exists(job)

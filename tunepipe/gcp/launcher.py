"""Starting a paid remote job once, and staying with it to its end.

What every remote backend shares. The order of things is what keeps a job from being paid twice:
what an earlier attempt of this step wrote down is read first; then a job with our label is looked
for; only then is one created, and its name is written down before anything waits for it.

The file of resources has the form that Google's own pipeline components use, so that the console
links to the job.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol, TypeVar

import tenacity

from tunepipe.errors import CloudError, UsageError
from tunepipe.files import replacing
from tunepipe.gcp.clients import advice, explained, host, is_transient, region_of
from tunepipe.progress import Progress


class Termination:
    """A block in which SIGTERM ends a wait instead of the process.

    A pipe and not an Event: setting an Event from a signal handler can deadlock with the wait
    that it interrupts. Outside the main thread, where Python takes no signals, it only waits.
    """

    def __init__(self) -> None:
        self.requested = False
        self._read, self._write = os.pipe()
        self._before: Any = None

    def __enter__(self) -> Termination:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._notice)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> bool:
        """Wait, at most until SIGTERM comes; returns whether it has come."""
        if not self.requested:
            select.select([self._read], [], [], seconds)
        return self.requested

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        os.write(self._write, b"x")


_Answer = TypeVar("_Answer")
_REFUSALS = 4


class State(Enum):
    """How far a remote job is."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Status:
    """What a look at a job shows.

    Args:
        state: How far it is.
        message: Why it failed, in Google's words, or "".
        internal: Whether it failed through Google's fault, so that another try may succeed.
        detail: What progress should tell beyond the state.
    """

    state: State
    message: str = ""
    internal: bool = False
    detail: str = ""


class Service(Protocol):
    """What a backend knows of its kind of job."""

    kind: str

    def find(self) -> str:
        """Name a job of ours that runs or has succeeded; "" where there is none."""

    def create(self) -> str:
        """Create a job and name it. Called again after a doubtful failure, find() comes first."""

    def status(self, name: str) -> Status:
        """Look at a job."""

    def cancel(self, name: str) -> None:
        """Ask for the end of a job; no error where it has ended already."""

    def mend_first_job(self) -> None:
        """Do what helps against the 500 of a project's first job."""


@dataclass(frozen=True)
class Pace:
    """How patiently a launcher waits, in seconds.

    Args:
        poll_seconds: Between two looks at the job.
        patience_seconds: How long Google may be out of reach before the step gives up; the job
            goes on, and a restarted step finds it.
        first_job_seconds: Google's wait between mending a project's first job and the next try.
        pause_seconds: The first pause after an error; it doubles each time, up to a minute.
    """

    poll_seconds: float = 20.0
    patience_seconds: float = 3600.0
    first_job_seconds: float = 300.0
    pause_seconds: float = 1.0


PACE = tuple(one.name for one in fields(Pace))


def pace(options: Mapping[str, Any]) -> Pace:
    """Read the pace out of a backend's options; what is not given is as it is by default.

    Raises:
        UsageError: A value is no number of seconds above 0.
    """
    return Pace(**{name: seconds(options, name, getattr(Pace, name)) for name in PACE})


def seconds(options: Mapping[str, Any], name: str, default: float) -> float:
    """Read a time out of a backend's options.

    Raises:
        UsageError: It is no number of seconds above 0.
    """
    given = options.get(name, default)
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if not (is_number and 0 < given < math.inf):
        raise UsageError(f"{given!r} is no time", where=name, fix="a number of seconds above 0")
    return float(given)


class UnreachableError(CloudError):
    """Not the user's fault; the exit code by which Google's components say so."""

    exit_code = 13


class CancelledError(CloudError):
    """The step was told to end, and has cancelled its job."""


def launch(service: Service, resources: str, pace: Pace, progress: Progress) -> str:
    """Bring a remote job to its end, creating it only where none of ours is found.

    Args:
        service: The kind of job.
        resources: The file that names the job (`gcp_resources`); written before the first poll.
        pace: How patiently to wait.
        progress: Told of each change of the job.

    Returns:
        The name of the job, which has succeeded.

    Raises:
        CloudError: Google refused, or the job failed.
        CancelledError: SIGTERM came; the job is cancelled.
        UnreachableError: Google could not be reached, or failed internally.
    """
    with Termination() as termination, explained(service.kind):
        run = _Launch(service, pace, progress, termination)
        name = read_resources(resources)
        if not name:
            name = run.attach()
            write_resources(resources, service.kind, name)
        return run.follow(name)


def start(service: Service, pace: Pace, progress: Progress) -> str:
    """Find or create a remote job, and leave it to itself; see `launch`."""
    with Termination() as termination, explained(service.kind):
        return _Launch(service, pace, progress, termination).attach()


def read_resources(path: str) -> str:
    """Read the name of the job that an earlier attempt wrote down; "" where there is none."""
    file = Path(path)
    if not file.is_file():
        return ""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["resources"][0]["resourceUri"]
    except (ValueError, LookupError, TypeError):
        return ""
    return str(found).partition("/v1/")[2]


def write_resources(path: str, kind: str, name: str) -> None:
    """Write a job's name down, in one piece."""
    uri = f"https://{host(region_of(name))}/v1/{name}"
    with replacing(path) as file:
        json.dump({"resources": [{"resourceType": kind, "resourceUri": uri}]}, file)


class _InterruptedError(Exception):
    """SIGTERM came while a call was being retried."""


@dataclass
class _Launch:
    service: Service
    pace: Pace
    progress: Progress
    termination: Termination
    mended: bool = False
    refusals: int = 0

    def attach(self) -> str:
        try:
            name = self._patiently(self._find_or_create)
        except _InterruptedError:
            name = self._briefly(self.service.find)
        if self.termination.requested:
            self._cancel(name)
        return name

    def follow(self, name: str) -> str:
        told: Status | None = None
        while True:
            try:
                status = self._patiently(lambda: self.service.status(name))
            except _InterruptedError:
                self._cancel(name)
            if status != told:
                self.progress({"job": name, "state": status.state.value, "detail": status.detail})
                told = status
            if status.state is State.SUCCEEDED:
                return name
            if status.state is not State.RUNNING:
                raise _ended(name, status)
            if self.termination.wait(self.pace.poll_seconds):
                self._cancel(name)

    def _find_or_create(self) -> str:
        from google.api_core.exceptions import InternalServerError, TooManyRequests

        found = self.service.find()
        if found or self.termination.requested:
            return found
        try:
            return self.service.create()
        except TooManyRequests as error:
            self._refused(error)
            raise
        except InternalServerError as error:
            self._mend(error)
        return self._find_or_create()

    def _refused(self, error: Any) -> None:
        """A rate limit passes, a quota does not: after a few refusals the user has to know."""
        self.refusals += 1
        if self.refusals >= _REFUSALS:
            raise CloudError(
                str(error.message), where=self.service.kind, fix=advice(f"429 {error.message}")
            ) from error

    def _mend(self, error: Exception) -> None:
        if self.mended:
            raise UnreachableError(
                f"Google failed again after its own remedy: {error}",
                where=self.service.kind,
                fix="run again later: nothing was started",
            ) from error
        self.service.mend_first_job()
        self.mended = True
        self.progress({"state": "waiting", "detail": "Google's remedy for a first job takes time"})
        self.termination.wait(self.pace.first_job_seconds)

    def _cancel(self, name: str) -> NoReturn:
        if name:
            self._briefly(lambda: self.service.cancel(name))
        raise CancelledError(
            "received SIGTERM; the job was cancelled"
            if name
            else "received SIGTERM before a job was created",
            where=name,
            fix="run again to start anew",
        )

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        """Call until it answers; connection errors and 5xx are waited out with growing pauses."""
        stop = tenacity.stop_after_delay(self.pace.patience_seconds)
        return self._retried(call, stop, self._pause)

    def _briefly(self, call: Callable[[], _Answer]) -> _Answer:
        """Call in the short time that is left between SIGTERM and the end."""
        return self._retried(call, tenacity.stop_after_attempt(5), time.sleep)

    def _retried(self, call: Callable[[], _Answer], stop: Any, sleep: Any) -> _Answer:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_transient),
            wait=tenacity.wait_random_exponential(multiplier=self.pace.pause_seconds, max=60),
            stop=stop,
            sleep=sleep,
        )
        try:
            return retrying(call)
        except tenacity.RetryError as error:
            last = error.last_attempt.exception()
            raise UnreachableError(
                f"Google could not be reached: {last}",
                where=self.service.kind,
                fix="run again: a job that was started goes on and is found",
            ) from last

    def _pause(self, seconds: float) -> None:
        if self.termination.wait(seconds):
            raise _InterruptedError


def _ended(name: str, status: Status) -> CloudError:
    if status.state is State.CANCELLED:
        return CancelledError("the job was cancelled", where=name, fix="run again to start anew")
    kind = UnreachableError if status.internal else CloudError
    message = status.message or "the job failed"
    return kind(message, where=name, fix=advice(message) or "read the job's log")

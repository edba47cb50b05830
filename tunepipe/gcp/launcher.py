"""Starts a paid remote job once, and follows it to its end; shared by all remote backends.

The order of the steps keeps a job from being paid twice. First the name that an earlier attempt of
this step noted is read; then a job with the same key is looked for; only then is one created, and
its name is noted before anything waits for it.

The file of resources has the form that Google's own pipeline components use, so that the console
links to the job.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal, NoReturn, Protocol, TypeVar

from msgspec import Meta, Struct

from tunepipe.decoding import decode
from tunepipe.errors import CloudError, UnreachableError, plural
from tunepipe.files import replacing
from tunepipe.gcp.clients import host, region_of
from tunepipe.gcp.explanations import advice, explained
from tunepipe.gcp.remote_jobs import JobState, RemoteJobs, Status
from tunepipe.gcp.retries import is_transient, retry
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

    def __exit__(self, *error: object) -> None:
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
# Above 0, to a year.
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
_REFUSALS = 4
# A container has about 30 seconds between SIGTERM and its end.
_GRACE_SECONDS = 15.0


class Waiting(Protocol):
    """The runs that wait for one job; see `claims.Waiters`."""

    def add(self) -> None:
        """Record that this run waits."""

    def others(self) -> list[str]:
        """Return the other runs that wait and have not ended."""


class StepOptions(Struct, frozen=True, kw_only=True):
    """The options of a step that waits for a paid job, whatever its kind.

    Args:
        poll_seconds: Between two looks at the job.
        patience_seconds: How long Google may be out of reach before the step gives up; the job
            goes on, and a restarted step finds it.
        first_job_seconds: Google's wait between the remedy for a project's first job and the next
            try.
        pause_seconds: The first pause after an error; it doubles each time, up to a minute.
        max_hours: How long a job may take from its creation; 0 sets no limit.
        at_max_hours: What becomes of a job that takes longer: "cancel" or "leave".
        lease_seconds: How long a run may take between claiming a job and sending its request.
        settle_seconds: How long after a request of unknown outcome its job may still appear. Only
            then is the job believed absent. Ten times the longest that the client waits for the
            answer to a creation: no document of Google's bounds how long a request may still take
            effect after its caller has given up.
        resources_path: Where `gcp_resources`, which names the job, is kept between two attempts;
            "" takes the output folder.
        again: Any text: a new job even where an equal one has succeeded.
    """

    poll_seconds: Seconds = 20.0
    patience_seconds: Seconds = 3600.0
    first_job_seconds: Seconds = 300.0
    pause_seconds: Seconds = 1.0
    max_hours: Annotated[float, Meta(ge=0, le=8760)] = 0.0
    at_max_hours: Literal["cancel", "leave"] = "cancel"
    lease_seconds: Seconds = 90.0
    settle_seconds: Seconds = 600.0
    resources_path: str = ""
    again: str | int = ""

    @classmethod
    def split(cls, options: Mapping[str, Any]) -> tuple[StepOptions, dict[str, Any]]:
        """Decode those of a backend's options that are the step's, and return the others."""
        names = cls.__struct_fields__
        own = decode({name: options[name] for name in names if name in options}, cls)
        return own, {name: value for name, value in options.items() if name not in names}

    def resources(self, output_dir: str) -> str:
        """Return the file that names the job."""
        return self.resources_path or os.path.join(output_dir, "gcp_resources")


class QuotaError(CloudError):
    """Creations were refused again and again, so waiting does not help."""

    final = True


class CancelledError(CloudError):
    """The step received SIGTERM, or its job was cancelled."""


def launch(
    service: RemoteJobs,
    resources: str,
    options: StepOptions,
    progress: Progress,
    waiting: Waiting | None = None,
) -> str:
    """Bring a remote job to its end, creating it only where none of this request is found.

    Args:
        resources: The file that names the job (`gcp_resources`); written before the first poll.
        waiting: The runs that share the job. A step that receives SIGTERM leaves the job to the
            others.

    Returns:
        The name of the job, which has succeeded.

    Raises:
        CloudError: Google refused, the job failed, or it took longer than `max_hours`.
        CancelledError: SIGTERM came; the job is cancelled.
        UnreachableError: Google could not be reached, or failed internally.
    """
    with Termination() as termination, explained(service.kind):
        run = _Launch(service, options, progress, termination, waiting)
        name = read_resources(resources)
        if not name:
            name = run.attach()
            if name.startswith("projects/"):  # the file is Google's; others are found by name
                uri = f"https://{host(region_of(name))}/v1/{name}"
                noted = {"resourceType": service.kind, "resourceUri": uri}
                with replacing(resources) as file:
                    json.dump({"resources": [noted]}, file)
        return run.follow(name)


def resume(
    service: RemoteJobs,
    resources: str,
    options: StepOptions,
    progress: Progress,
    waiting: Waiting | None = None,
) -> str:
    """Follow the job that an earlier attempt of this step noted; "" if none is; see `launch`.

    A restarted step calls this before it reads anything else: a dataset that cannot be read for a
    while does not part it from its job.
    """
    name = read_resources(resources)
    if not name:
        return ""
    with Termination() as termination, explained(service.kind):
        return _Launch(service, options, progress, termination, waiting).follow(name)


def start(service: RemoteJobs, options: StepOptions, progress: Progress) -> str:
    """Find or create a remote job, and leave it to itself; see `launch`."""
    with Termination() as termination, explained(service.kind):
        return _Launch(service, options, progress, termination, None).attach()


def read_resources(path: str) -> str:
    """Read the name of the job that an earlier attempt noted; "" if there is none."""
    file = Path(path)
    if not file.is_file():
        return ""
    try:
        uri = json.loads(file.read_text(encoding="utf-8"))["resources"][0]["resourceUri"]
    except (ValueError, LookupError, TypeError):
        return ""
    return str(uri).partition("/v1/")[2]


class _InterruptedError(Exception):
    """SIGTERM came while a call was being retried."""


@dataclass
class _Launch:
    service: RemoteJobs
    options: StepOptions
    progress: Progress
    termination: Termination
    waiting: Waiting | None
    applied_remedy: bool = False
    refusals: int = 0
    last_wait: str = ""

    def attach(self) -> str:
        try:
            if self.waiting:
                self._patiently(self.waiting.add)
            name = self._patiently(self._find_or_create)
        except _InterruptedError:
            name = self._look_briefly()
        if self.termination.requested:
            self._cancel(name)
        return name

    def follow(self, name: str) -> str:
        last: Status | None = None
        while True:
            try:
                status = self._patiently(lambda: self.service.status(name))
                if status.state is JobState.RUNNING:
                    self._check_age(name, status)
            except _InterruptedError:
                self._cancel(name)
            if status != last:
                self.progress({"job": name, "state": status.state.value, "detail": status.detail})
                last = status
            match status.state:
                case JobState.SUCCEEDED:
                    return name
                case JobState.CANCELLED:
                    fix = "run again to start over"
                    raise CancelledError("the job was cancelled", where=name, fix=fix)
                case JobState.FAILED if status.error:
                    raise status.error
                case JobState.FAILED:
                    kind = UnreachableError if status.internal else CloudError
                    message = status.message or "the job failed"
                    raise kind(message, where=name, fix=advice(message) or "read the job's log")
            if self.termination.wait(self.options.poll_seconds):
                self._cancel(name)

    def _find_or_create(self) -> str:
        from google.api_core.exceptions import InternalServerError, TooManyRequests

        name = self.service.find()
        if name or self.termination.requested:
            return name
        try:
            return self.service.create()
        except TooManyRequests as error:
            # A rate limit passes, a quota does not: after a few refusals the user has to know.
            self.refusals += 1
            if self.refusals < _REFUSALS:
                raise
            fix = advice(error.message) or advice("429")
            raise QuotaError(str(error.message), where=self.service.kind, fix=fix) from error
        except InternalServerError as error:
            if self.applied_remedy:
                raise UnreachableError(
                    f"Google failed again after its own remedy: {error}",
                    where=self.service.kind,
                    fix="run again later: a job that was started goes on and is found",
                ) from error
            self.service.remedy_first_job()
            self.applied_remedy = True
            self._report_wait("Google's remedy for a first job takes time")
            self.termination.wait(self.options.first_job_seconds)
        return self._find_or_create()

    def _check_age(self, name: str, status: Status) -> None:
        if not (self.options.max_hours and status.created):
            return
        hours = (datetime.now(UTC) - status.created).total_seconds() / 3600
        if hours <= self.options.max_hours:
            return
        outcome = "it was left running"
        if self.options.at_max_hours == "cancel":
            others = self._patiently(self.waiting.others) if self.waiting else []
            if others:
                outcome += f", other runs wait for it: {', '.join(others)}"
            else:
                self._patiently(lambda: self.service.cancel(name))
                outcome = "it was cancelled"
        raise CloudError(
            f"the job has not ended within {plural(self.options.max_hours, 'hour')}; {outcome}",
            where=name,
            fix="look at the job's page; raise max_hours if it needs longer",
        )

    def _cancel(self, name: str) -> NoReturn:
        if not name:
            raise CancelledError(
                "received SIGTERM; no job is known to have been created",
                where=self.service.kind,
                fix="tunepipe cancel RUN looks for one that appears later",
            )
        if self.waiting and (others := self._briefly(self.waiting.others)):
            raise CancelledError(
                f"received SIGTERM; the job goes on, other runs wait for it: {', '.join(others)}",
                where=name,
                fix="to end it for all of them: tunepipe cancel RUN --shared",
            )
        self._briefly(lambda: self.service.cancel(name))
        raise CancelledError(
            "received SIGTERM; the job was cancelled", where=name, fix="run again to start over"
        )

    def _look_briefly(self) -> str:
        """Look for a job whose creation was interrupted, in the time that is left."""
        end = time.monotonic() + _GRACE_SECONDS
        while True:
            name = self._briefly(self.service.find)
            if name or not self.service.in_doubt or time.monotonic() > end:
                return name
            time.sleep(self.options.pause_seconds)

    def _patiently(self, call: Callable[[], _Answer]) -> _Answer:
        """Call until it answers; failures that may pass are waited out, SIGTERM is not."""

        def pause(seconds: float) -> None:
            if self.termination.wait(seconds):
                raise _InterruptedError

        return self._reach(call, seconds=self.options.patience_seconds, sleep=pause)

    def _briefly(self, call: Callable[[], _Answer]) -> _Answer:
        """Call in the short time that is left between SIGTERM and the end."""
        return self._reach(call, attempts=5)

    def _reach(self, call: Callable[[], _Answer], **limits: Any) -> _Answer:
        def report(error: BaseException) -> None:
            self._report_wait(getattr(error, "found", f"{type(error).__name__}; trying again"))

        pause = self.options.pause_seconds
        try:
            return retry(call, first_pause_seconds=pause, on_pause=report, **limits)
        except Exception as error:
            if not is_transient(error):
                raise
            raise UnreachableError(
                f"Google could not be reached: {getattr(error, 'found', error)}",
                where=self.service.kind,
                fix="run again: a job that was started goes on and is found",
            ) from error

    def _report_wait(self, detail: str) -> None:
        if detail.partition(";")[0] != self.last_wait.partition(";")[0]:
            self.progress({"state": "waiting", "detail": detail})
        self.last_wait = detail

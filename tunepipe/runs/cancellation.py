"""Cancels a run on Vertex AI together with the paid jobs that it waits for.

A container runtime signals the first process of a step, and kills the rest after a while; a step
that is killed cannot end its job. So the command finds the run's jobs itself: by the notes that the
steps leave in the bucket, by the jobs' claims, and by their label.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tunepipe.backends.custom.jobs import CUSTOM_JOBS
from tunepipe.backends.managed.jobs import TUNING_JOBS, list_jobs
from tunepipe.errors import CloudError, plural
from tunepipe.gcp import clients, pipeline_jobs
from tunepipe.gcp.genai import translate_errors
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.pipeline_jobs import PIPELINE_JOBS
from tunepipe.gcp.remote_jobs import RemoteJobs, has_ended
from tunepipe.gcp.retries import retry
from tunepipe.runs.status import RunStatus
from tunepipe.runs.vertex import status
from tunepipe.stores.claims import CREATED, Claim, Waiters, claim_uri, keys_of

_POLL_SECONDS = 2.0
_reached = partial(retry, seconds=60.0)
_ENDED = {"succeeded", "failed", "cancelled", "expired", "partially_succeeded"}


@dataclass
class Cancellation:
    """The result of a cancellation.

    Args:
        run: The run as it is now.
        jobs: Each paid job that the run waited for, and its state: cancelled, succeeded, …
        left: The jobs that go on because other runs wait for them, and those runs.
        in_doubt: Whether a request to create a job got no clear answer: a job may yet appear.
    """

    run: RunStatus
    jobs: dict[str, str] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    in_doubt: bool = False


def cancel(
    name: str,
    *,
    shared: bool = False,
    wait_seconds: float = 660.0,  # longer than the job of a request may take to appear
    show: Callable[[str], None] = lambda line: None,
) -> Cancellation:
    """Cancel a run and its paid jobs, and wait until they have ended.

    What had ended before stays as it is, and so does a job that other runs wait for, unless
    `shared` is set. `show` receives lines about what is being waited for.

    Raises:
        CloudError: Google refused, or something still goes on after `wait_seconds`.
    """
    end, shown = time.monotonic() + wait_seconds, ""
    with translate_errors(name):
        job = _reached(lambda: pipeline_jobs.get(name))
        if not has_ended(job):
            _reached(lambda: PIPELINE_JOBS.cancel(name))
        look = _Look(name, str(job.runtime_config.gcs_output_directory), shared)
        while True:
            ending = look.once()
            line = _waiting_line(ending)
            if not line:
                return ending
            if line != shown:
                show(line)
                shown = line
            if time.monotonic() > end:
                raise CloudError(
                    f"not everything has ended within {plural(wait_seconds, 'second')}: {line}",
                    where=name,
                    fix="run the same command again: it goes on waiting",
                )
            time.sleep(_POLL_SECONDS)


@dataclass
class _Look:
    """The looks at a run and its jobs; `claims` are those of its keys, as seen so far."""

    name: str
    bucket: str
    shared: bool
    requested: set[str] = field(default_factory=set)
    claims: dict[str, Claim] = field(default_factory=dict)

    def once(self) -> Cancellation:
        """Look, and ask for the end of the jobs that have not been asked yet."""
        ending = Cancellation(status(self.name))
        for key in keys_of(self.bucket, self.name):
            others = [] if self.shared else _reached(Waiters(self.bucket, self.name, key).others)
            claim = self.claims.setdefault(key, Claim(claim_uri(self.bucket, key)))
            state, claimed = claim.look()
            requests = claim.requests()
            places = {self.name.rpartition("/pipelineJobs/")[0], *requests.places}
            jobs = dict(_jobs_of(key, places, claimed if state == CREATED else ""))
            # Each request made one job at most; those that have ended may be of earlier ones.
            known = {name.partition("/locations/")[2] for name in requests.jobs | jobs.keys()}
            is_missing = len(known) < requests.sent
            ending.in_doubt |= claim.is_settling and is_missing and not others
            for job_name, job_state in jobs.items():
                ending.jobs[job_name] = job_state
                if job_state in _ENDED:
                    continue
                if others:
                    ending.left[job_name] = others
                elif job_name not in self.requested:
                    _reached(partial(_service(job_name).cancel, job_name))
                    self.requested.add(job_name)
                    ending.jobs[job_name] = "cancelling"
        return ending


def _jobs_of(key: str, places: Iterable[str], claimed: str) -> Iterator[tuple[str, str]]:
    """Yield the jobs of a key that are at the places, each with its state in small letters."""
    from google.api_core import exceptions as api

    jobs = [job for place in sorted(places) for job in _jobs_at(place, key)]
    if claimed and claimed not in {str(job.name) for job in jobs}:
        with suppress(api.NotFound):  # it was deleted: what else the run waits for is cancelled
            jobs.append(_reached(lambda: _service(claimed).get(claimed)))
    for job in jobs:
        yield str(job.name), clients.state_of(job).lower()


def _jobs_at(place: str, key: str) -> list[Any]:
    project, region = place.split("/")[1::2]
    label = f'labels.{KEY_LABEL}="{key}"'
    tunings = _reached(partial(list_jobs, project, region))
    custom = clients.jobs(region).list_custom_jobs
    return [
        *_reached(partial(pipeline_jobs.list_jobs, place, label)),
        *(job for job in tunings if (job.labels or {}).get(KEY_LABEL) == key),
        *_reached(lambda: list(custom({"parent": place, "filter": label}))),
    ]


def _service(job: str) -> RemoteJobs:
    kinds = {"pipelineJobs": PIPELINE_JOBS, "tuningJobs": TUNING_JOBS, "customJobs": CUSTOM_JOBS}
    return kinds[job.split("/")[-2]]


def _waiting_line(ending: Cancellation) -> str:
    """Say what has not ended of all that is to be cancelled; "" if everything has."""
    parts = [] if ending.run.over else [f"the run is {ending.run.state}"]
    parts += [
        f"{name} is {state}"
        for name, state in ending.jobs.items()
        if state not in _ENDED and name not in ending.left
    ]
    if ending.in_doubt:
        parts.append("a job may have been created whose request got no clear answer")
    return "; ".join(parts)

"""Who may create a paid job, and who waits for it; records in the run's own bucket.

Tuning jobs have no id that a caller could choose, so two runs at once would each create one, and
the list of jobs shows a new one late. A claim is a ledger of what is known:

    claimed   a run is about to create the job; nothing has been sent
    creating  the request may be on its way; whether there is a job is not known
    created   there is one, and this is its name
    ended     the creation was refused; there is none

A run that was killed leaves its last record behind. No machine's clock is trusted: a record counts
as left behind when this process has seen it unchanged for long enough.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tunepipe.errors import plural
from tunepipe.gcp.labels import KEY_LABEL, run_id
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.remote_jobs import RemoteJobs, WaitingError
from tunepipe.gcp.retries import may_have_taken_effect
from tunepipe.stores import storage
from tunepipe.stores.ledger import NO_RECORD, Ledger, Record

CLAIMED, CREATING, CREATED, ENDED = "claimed", "creating", "created", "ended"
_FOLDER = "tunepipe"


@dataclass(frozen=True)
class Requests:
    """The requests for the job of a key.

    Args:
        sent: How many were sent and not refused: each may have made a job.
        jobs: The jobs that are known by name.
        places: Where they were sent; "" is left out where it was not recorded.
    """

    sent: int
    jobs: set[str]
    places: set[str]


@dataclass
class Claim:
    """The right to create the one job of a key; `times` says how long its records bind."""

    uri: str
    times: StepOptions = field(default_factory=StepOptions)
    _owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    _last: Record = NO_RECORD
    _last_seen: float = 0.0

    def look(self) -> tuple[str, str]:
        """Read the claim's state, "" before there is one, and the name of its job, or ""."""
        last = Ledger(self.uri).last()
        if self._last.number != last.number:
            self._last, self._last_seen = last, time.monotonic()
        return last.fields.get("state", ""), last.fields.get("job", "")

    def take(self) -> None:
        """Claim the right to create the job, from the state that `look` has seen last.

        A WaitingError where another run holds it, or an earlier request may take effect yet.
        """
        times, fields = self.times, self._last.fields
        state = fields.get("state", "")
        bind_seconds = {CREATING: times.settle_seconds, CREATED: 0.0, ENDED: 0.0, "": 0.0}
        binding = bind_seconds.get(state, times.lease_seconds)
        is_own = state == CLAIMED and fields["owner"] == self._owner
        left_seconds = 0.0 if is_own else self._last_seen + binding - time.monotonic()
        if left_seconds > 0:
            found = "another run is about to create this job"
            if state == CREATING:
                found = (
                    "it is not known yet whether the job was created: its request got no clear "
                    f"answer; looking for it for {plural(round(left_seconds), 'second')} more"
                )
            raise WaitingError(found, where=self.uri)
        self._append(CLAIMED)

    def begin(self, place: str = "") -> None:
        """Record that the request is about to be sent; a WaitingError if another run took over.

        Args:
            place: projects/P/locations/L that it is sent to, for who looks for its job.
        """
        self._append(CREATING, place=place)

    def created(self, job: str) -> None:
        """Record the job's name, for runs that look before the list shows it."""
        if self._last.fields.get("state") == CREATING:
            self._append(CREATED, job=job)

    def requests(self) -> Requests:
        """Read what all its records say of the jobs that were asked for."""
        records = [record.fields for record in Ledger(self.uri).records()]
        states = [fields["state"] for fields in records]
        return Requests(
            states.count(CREATING) - states.count(ENDED),
            {fields["job"] for fields in records if "job" in fields},
            {fields["place"] for fields in records if "place" in fields},
        )

    @property
    def is_settling(self) -> bool:
        """Whether a request of unknown outcome, as `look` saw, may have a job that appears yet."""
        age_seconds = time.monotonic() - self._last_seen
        is_open = self._last.fields.get("state") == CREATING
        return is_open and age_seconds < self.times.settle_seconds

    def end(self) -> None:
        """Record that the creation was refused, so that no other run waits."""
        self._append(ENDED)

    def _append(self, state: str, **more: str) -> None:
        number = self._last.number
        told = {name: text for name, text in more.items() if text}
        fields = {"state": state, "owner": self._owner, **told}
        if not Ledger(self.uri).append(number, fields):
            raise WaitingError("another run is about to create this job", where=self.uri)
        self._last, self._last_seen = Record(number + 1, fields), time.monotonic()


@dataclass
class ClaimedJobs(RemoteJobs):
    """The jobs of one request, labelled with its key; found, and created once by a claim."""

    claim: Claim
    key: str
    in_doubt: bool = field(default=False, init=False)

    @property
    def place(self) -> str:
        """projects/P/locations/L where a job is created."""
        raise NotImplementedError

    def jobs(self) -> Iterable[tuple[str, Mapping[str, str], Any]]:
        """Yield the name, the labels and the content of each job of the place, newest first."""
        raise NotImplementedError

    def request(self) -> str:
        """Ask for a job once, and name it."""
        raise NotImplementedError

    def find(self) -> str:
        """Return a job of this request that is running, or that has succeeded and has a result."""
        from google.api_core.exceptions import NotFound

        state, name = self.claim.look()
        if state == CREATED:
            job = None
            with suppress(NotFound):
                job = self.get(name)
            if job is not None and self.counts(job):
                return name
        for name, labels, job in self.jobs():
            if labels.get(KEY_LABEL) == self.key and self.counts(job):
                if state == CREATING:
                    self._note(name)
                return name
        return ""

    def create(self) -> str:
        """Create a job, from what find() has seen; a WaitingError while that is not ours to do."""
        self.claim.take()
        self.claim.begin(self.place)
        try:
            name = self.request()
        except Exception as error:
            self.in_doubt = may_have_taken_effect(error)
            if not self.in_doubt:
                self.claim.end()
            raise
        self._note(name)
        return name

    def _note(self, name: str) -> None:
        with suppress(WaitingError):  # another process has noted the same job
            self.claim.created(name)


@dataclass(frozen=True)
class Waiters:
    """The runs that wait for the job of a key.

    Args:
        bucket: gs://BUCKET of the runs' results.
        run: The resource name of the pipeline run that waits here; "" outside a pipeline.
        key: The job's key; "" for that of a job which an earlier attempt of the step has noted.
    """

    bucket: str
    run: str
    key: str = ""

    def add(self) -> None:
        """Record, before there is a job, that the run waits: a cancellation finds the key."""
        if self.bucket and self.run:
            uri = f"{_root(self.bucket)}/waiting/{self.key}/{self.run.rpartition('/')[2]}.run"
            storage.write_new(self.run.encode(), uri)

    def others(self) -> list[str]:
        """Return the other runs that wait for the job and have not ended."""
        from tunepipe.gcp.pipeline_jobs import goes_on

        if not self.bucket:
            return []
        keys = [self.key] if self.key else keys_of(self.bucket, self.run)
        patterns = [f"{_root(self.bucket)}/waiting/{key}/*.run" for key in keys]
        files = [file for pattern in patterns for file in storage.matching_files(pattern)]
        runs = [storage.read_bytes(file).decode() for file in files]
        return [run for run in runs if run != self.run and goes_on(run)]


def run_of_step(parent: str, resources: str) -> str:
    """Return the pipeline run that this step belongs to; "" outside a run on Vertex AI."""
    run = run_id(resources)
    return f"{parent}/pipelineJobs/{run}" if run else ""


def claim_uri(bucket: str, key: str) -> str:
    """Return the folder of a key's claim."""
    return f"{_root(bucket)}/claims/{key}"


def keys_of(bucket: str, run: str) -> list[str]:
    """Return the keys of the jobs that a run has waited for."""
    if not run:
        return []
    pattern = f"{_root(bucket)}/waiting/*/{run.rpartition('/')[2]}.run"
    return [file.split("/")[-2] for file in storage.matching_files(pattern)]


def _root(bucket: str) -> str:
    place = storage.parse(bucket)
    return f"{place.scheme}://{place.bucket}/{_FOLDER}"

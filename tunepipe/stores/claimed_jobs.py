"""Paid jobs without an id of the caller's choice: found by their claim and by a label.

Tuning jobs and custom jobs are numbered by Google, so that two runs at once could each create one.
What both kinds share is here; a kind says how a job is listed, read and created.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tunepipe.gcp.remote_jobs import RemoteJobs, WaitingError
from tunepipe.gcp.retries import may_have_taken_effect
from tunepipe.stores.claims import CREATED, CREATING, Claim


@dataclass
class ClaimedJobs(RemoteJobs):
    """The jobs of one request, labelled with its key; found, and created once by a claim."""

    claim: Claim
    key: str
    in_doubt: bool = field(default=False, init=False)

    def jobs(self) -> Iterable[tuple[str, Mapping[str, str], Any]]:
        """Yield the name, the labels and the content of each job of the place, newest first."""
        raise NotImplementedError

    def request(self) -> str:
        """Ask for a job once, and name it."""
        raise NotImplementedError

    def find(self) -> str:
        """Return a job of this request that is running, or that has succeeded and has a result."""
        from tunepipe.gcp.labels import KEY_LABEL

        state, name = self.claim.look()
        if state == CREATED and self._created_counts(name):
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
        self.claim.begin()
        try:
            name = self.request()
        except Exception as error:
            self.in_doubt = may_have_taken_effect(error)
            if not self.in_doubt:
                self.claim.end()
            raise
        self._note(name)
        return name

    def _created_counts(self, name: str) -> bool:
        from google.api_core.exceptions import NotFound

        try:
            job = self.get(name)
        except NotFound:
            return False
        return self.counts(job)

    def _note(self, name: str) -> None:
        with suppress(WaitingError):  # another process has noted the same job
            self.claim.created(name)

"""Lease object in Cloud Storage; it ensures that a single run creates the paid job.

Tuning jobs have no id that a caller could choose, so two runs at once would each create one. A run
first claims the key; the object's generation decides who was first. A run that was killed leaves
its claim behind. Nobody trusts another machine's clock: a claim counts as left behind when this
process has seen it unchanged for the lease.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from tunepipe.errors import UsageError
from tunepipe.gcp import storage

_FREE = b"free"


@dataclass
class Claim:
    """The right to create what a key stands for.

    Args:
        uri: The object that stands for the key.
        lease_seconds: Longer than a creation can take.
    """

    uri: str
    lease_seconds: float
    _owner: bytes = field(default_factory=lambda: uuid.uuid4().hex.encode())
    _seen: tuple[str, float] = ("", 0.0)

    def take(self) -> bool:
        """Try to take the claim; say whether it is ours now.

        Raises:
            CloudError: Cloud Storage refused.
        """
        if not storage.exists(self.uri):
            return self._write(self._owner, 0)
        generation = storage.stat(self.uri).generation
        held = storage.read_bytes(f"{self.uri}#{generation}")
        if held == self._owner:
            return True
        if self._seen[0] != generation:
            self._seen = (generation, time.monotonic())
        left_behind = time.monotonic() - self._seen[1] >= self.lease_seconds
        if held == _FREE or left_behind:
            return self._write(self._owner, int(generation))
        return False

    def free(self) -> None:
        """Give the claim back, so that nobody has to wait for it."""
        generation = storage.stat(self.uri).generation
        if storage.read_bytes(f"{self.uri}#{generation}") == self._owner:
            self._write(_FREE, int(generation))

    def _write(self, content: bytes, generation: int) -> bool:
        try:
            storage.write_bytes(content, self.uri, if_generation=generation)
        except UsageError:  # somebody wrote it meanwhile
            return False
        return True

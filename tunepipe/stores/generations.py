"""What exactly a dataset's address means at this moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunepipe.data.fingerprint import combined, fingerprint
from tunepipe.stores import storage


@dataclass(frozen=True)
class Identity:
    """A dataset's identity.

    Args:
        fingerprint: Hex SHA-256 of the bytes; of several files, over their own, sorted.
        generation: The generations in Cloud Storage, or times of change, joined by commas.
    """

    fingerprint: str
    generation: str
    files: int


def identity(dataset_uri: str) -> Identity:
    """Read a dataset, a path, a URI or a glob, to its end and say what it is."""
    uris = storage.list_files(dataset_uri)
    stats = [storage.stat(uri) for uri in uris]
    return Identity(
        fingerprint=combined(fingerprint_of(stat.uri) for stat in stats),
        generation=",".join(stat.generation or _changed(stat.uri) for stat in stats),
        files=len(stats),
    )


def guarded(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Put the guarded rows' fingerprint for their name: other rows under an old name are others."""
    source = str(parameters.get("guard_uri", ""))
    return {"guard_uri": identity(source).fingerprint} if source else {}


def fingerprint_of(uri: str) -> str:
    """Read one file to its end and return the hex SHA-256 of its bytes."""
    with storage.open_file(uri) as file:
        return fingerprint(file)


def _changed(path: str) -> str:
    return str(Path(path).stat().st_mtime_ns)

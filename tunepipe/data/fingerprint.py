"""SHA-256 as an identity: of a dataset's bytes, wherever they lie, and of plain values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, BinaryIO


def fingerprint(file: BinaryIO) -> str:
    """Read a file to its end and return the hex SHA-256 of its bytes (64 characters)."""
    # BinaryIO lacks readinto in its types alone.
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def digest_of(value: Any, digits: int = 64) -> str:
    """Return the hex SHA-256 of a plain value's JSON with sorted keys, cut to `digits`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:digits]


def combined(fingerprints: Iterable[str]) -> str:
    """Return one fingerprint for a set of files, whatever their order; of one file its own."""
    ordered = sorted(fingerprints)
    if len(ordered) == 1:
        return ordered[0]
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest()

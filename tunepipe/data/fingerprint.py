"""The identity of a dataset: SHA-256 over its bytes, the same wherever the bytes lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import BinaryIO


def fingerprint(file: BinaryIO) -> str:
    """Read a file to its end and return the hex SHA-256 of its bytes (64 characters)."""
    # BinaryIO lacks readinto in its types alone.
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def combined(fingerprints: Iterable[str]) -> str:
    """Return one fingerprint for a set of files, whatever their order; of one file its own."""
    ordered = sorted(fingerprints)
    if len(ordered) == 1:
        return ordered[0]
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest()

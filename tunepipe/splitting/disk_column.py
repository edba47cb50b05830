"""Columns of numbers that grow with the data: kept in an unlinked temporary file, not in memory."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import IO, Any

CHUNK = 1 << 16
IN_MEMORY = 1 << 19


class Column:
    """A column of 8-byte numbers that spills to disk; close it, or use it in a `with`.

    Args:
        kind: "Q" for whole numbers from 0 to 2**64 - 1, "d" for floats.
    """

    def __init__(self, kind: str = "Q") -> None:
        self._kind = kind
        self._length = 0
        self._fresh: array[Any] = array(kind)
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY
        )

    def __enter__(self) -> Column:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return self._length

    def extend(self, values: Iterable[float]) -> None:
        """Add values at the end."""
        before = len(self._fresh)
        self._fresh.extend(values)
        self._length += len(self._fresh) - before
        if len(self._fresh) >= CHUNK:
            self._flush()

    def chunks(self) -> Iterator[array[Any]]:
        """Yield all values in order, a bounded number at a time."""
        self._flush()
        at = 0
        while True:
            # Two readers may take turns, so each keeps its own place.
            self._spool.seek(at)
            data = self._spool.read(8 * CHUNK)
            if not data:
                return
            at += len(data)
            yield array(self._kind, data)

    def load(self) -> array[Any]:
        """Return all values as one array in memory."""
        whole = array(self._kind)
        for chunk in self.chunks():
            whole.extend(chunk)
        return whole

    def _flush(self) -> None:
        self._spool.seek(0, 2)
        self._spool.write(self._fresh.tobytes())
        self._fresh = array(self._kind)


def distinct(*columns: Column, few: int = 200_000, at_once: int = 1 << 20) -> int:
    """Count the different values in all the columns together, in bounded memory.

    The values must be hashes: each pass takes those with one remainder, so that the passes are of
    about equal size.

    Args:
        columns: Columns of hashes.
        few: Up to this many values a set is used; above, numpy.
        at_once: Values to hold in memory at a time, beyond the few.

    Returns:
        How many different values there are.
    """
    total = sum(map(len, columns))
    if total <= few:
        return len({value for column in columns for chunk in column.chunks() for value in chunk})
    passes = 1 + total // at_once
    return sum(_in_class(columns, passes, remainder) for remainder in range(passes))


def _in_class(columns: Iterable[Column], passes: int, remainder: int) -> int:
    import numpy as np

    parts = []
    for column in columns:
        for chunk in column.chunks():
            values = np.frombuffer(chunk, np.uint64)
            parts.append(values[values % np.uint64(passes) == remainder])
    # np.unique goes through a hash table and is ten times slower on hashes.
    ordered = np.sort(np.concatenate(parts))
    return len(ordered) and 1 + int(np.count_nonzero(ordered[1:] != ordered[:-1]))

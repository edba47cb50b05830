"""Numbers that do not fit into memory: an array in an unnamed temporary file."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import IO, Any

CHUNK = 1 << 16
IN_MEMORY_BYTES = 1 << 19


class DiskArray:
    """An array of numbers that spills to disk; close it, or use it in a `with`.

    `kind` is a type code of `array`: "Q" for whole numbers from 0 to 2**64 - 1, "H" up to
    2**16 - 1, "d" for floats.
    """

    def __init__(self, kind: str = "Q") -> None:
        self._kind = kind
        self._length = 0
        self._fresh: array[Any] = array(kind)
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            max_size=IN_MEMORY_BYTES
        )

    def __enter__(self) -> DiskArray:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        """Free the disk space."""
        self._spool.close()

    def extend(self, values: Iterable[float]) -> None:
        """Add values at the end."""
        before = len(self._fresh)
        self._fresh.extend(values)
        self._length += len(self._fresh) - before
        if len(self._fresh) >= CHUNK:
            self._flush()

    def read(self, start: int, stop: int) -> array[Any]:
        """Return the values from `start` to before `stop`."""
        self._flush()
        self._spool.seek(start * self._fresh.itemsize)
        return array(self._kind, self._spool.read((stop - start) * self._fresh.itemsize))

    def chunks(self) -> Iterator[array[Any]]:
        """Yield all values in order, a bounded number at a time."""
        for start in range(0, self._length, CHUNK):
            yield self.read(start, min(start + CHUNK, self._length))

    def load(self) -> array[Any]:
        """Return all values as one array in memory."""
        return self.read(0, self._length)

    def mapped(self) -> Any:
        """Return all values as a numpy array that the operating system reads from the file."""
        import numpy as np

        self._flush()
        self._spool.fileno()  # a spooled file moves to disk for it
        self._spool.flush()
        return np.memmap(self._spool, self._kind, "r", shape=(self._length,))

    def _flush(self) -> None:
        if self._fresh:
            self._spool.seek(0, 2)
            self._spool.write(self._fresh.tobytes())
            self._fresh = array(self._kind)

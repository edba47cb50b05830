"""Rows that say nearly the same: MinHash over runs of five characters, in 64 bins of one pass.

Li, Owen, Zhang: One Permutation Hashing (2012); empty bins borrow from a neighbour, as in
Shrivastava, Li (2014). Two rows are compared where four bins next to each other agree, and
reported where at least `SHARED_BINS` of the 64 do: about 80 % of their runs are then common.
A signature takes 128 bytes a row, in an unnamed file; 16 more bytes a row stay in memory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from tunepipe.disk_array import DiskArray
from tunepipe.validation.duplicates import Repeat, Repeats, run_starts

SHARED_BINS = 51
_BINS = 64
_RUN_CHARACTERS = 5
_COMPARED_AT_ONCE = 1 << 14


def signatures(texts: Sequence[str]) -> bytes:
    """Return 64 16-bit numbers for each text; all are 0 for a text of fewer than 5 characters."""
    plain = [" ".join(text.casefold().split()) for text in texts]
    codes = np.frombuffer("".join(plain).encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, plain), np.int64, len(plain))
    result = np.zeros((len(plain), _BINS), np.uint16)
    last = len(codes) - _RUN_CHARACTERS + 1
    if last < 1:
        return result.tobytes()
    value = codes[:last]
    for step in range(1, _RUN_CHARACTERS):
        value = value * np.uint64(0x100000001B3) + codes[step : last + step]
    value = _mixed(value)
    rows = np.repeat(np.arange(len(plain)), lengths)[:last]
    inside = np.arange(last) + _RUN_CHARACTERS <= np.cumsum(lengths)[rows]
    rows, value = rows[inside].astype(np.uint64), value[inside]
    places = rows * np.uint64(_BINS) + (value >> np.uint64(58))
    least = np.sort(places << np.uint64(32) | (value & np.uint64(0xFFFFFFFF)))
    places = least >> np.uint64(32)
    first = np.flatnonzero(np.diff(places, prepend=np.uint64((1 << 64) - 1)))
    filled = np.zeros(result.shape, bool)
    filled.ravel()[places[first]] = True
    result.ravel()[places[first]] = (least[first] & np.uint64(0xFFFF)).astype(np.uint16)
    for shift in (1, 2, 4, 8, 16, 32):
        result = np.where(filled, result, np.roll(result, -shift, axis=1))
        filled |= np.roll(filled, -shift, axis=1)
    return result.tobytes()


class NearDuplicates:
    """Collects the signatures of lines, then finds rows that are nearly the same."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._marks = DiskArray("H")
        self._starts: list[tuple[int, int, int]] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._lines = 0

    def add(self, file: int, first_line: int, marks: bytes, inputs: bytes, outputs: bytes) -> None:
        """Add lines that follow each other: signatures, and hashes as in RepeatFinder."""
        self._starts.append((self._lines, file, first_line))
        self._lines += len(inputs) // 8
        self._marks.extend(array("H", marks))
        self._inputs.append(inputs)
        self._outputs.append(outputs)

    def find(self) -> Repeats:
        """Return the rows that are nearly the same as an earlier one, and forget all lines."""
        if not self._lines:
            return Repeats({}, [])
        marks = self._marks.mapped().reshape(-1, _BINS)
        given = np.frombuffer(b"".join(self._inputs), np.uint64)
        wanted = np.frombuffer(b"".join(self._outputs), np.uint64)
        earlier = np.arange(self._lines)
        for band in range(_BINS // 4):
            keys = np.ascontiguousarray(marks[:, 4 * band : 4 * band + 4]).view(np.uint64)[:, 0]
            rows = np.flatnonzero((given != 0) & (keys != 0))
            firsts = _first_alike(keys[rows], rows)
            later, firsts = rows[firsts != rows], firsts[firsts != rows]
            # Identical rows are duplicates, and reported as such.
            differ = (given[later] != given[firsts]) | (wanted[later] != wanted[firsts])
            later, firsts = later[differ], firsts[differ]
            near = _agree(marks, later, firsts)
            earlier[later[near]] = np.minimum(earlier[later[near]], firsts[near])
        found = np.flatnonzero(earlier != np.arange(self._lines))
        first = [
            Repeat("near-duplicate", *self._place(int(row)), *self._place(int(earlier[row])))
            for row in found[: self._limit]
        ]
        self._marks.close()
        return Repeats({"near-duplicate": len(found)} if len(found) else {}, first)

    def _place(self, row: int) -> tuple[int, int]:
        start, file, line = self._starts[bisect_right(self._starts, (row, 1 << 62, 0)) - 1]
        return file, line + row - start


def _mixed(value: Any) -> Any:
    """Spread 64 bits over all places (the finalizer of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ (value >> np.uint64(33))) * np.uint64(factor)
    return value ^ (value >> np.uint64(33))


def _first_alike(keys: Any, rows: Any) -> Any:
    """Return for each row the first row that has the same key."""
    order = np.argsort(keys, kind="stable")
    firsts = np.empty_like(rows)
    firsts[order] = rows[order][run_starts(keys[order])]
    return firsts


def _agree(marks: Any, later: Any, firsts: Any) -> Any:
    parts = [
        (marks[later[n : n + _COMPARED_AT_ONCE]] == marks[firsts[n : n + _COMPARED_AT_ONCE]]).sum(1)
        for n in range(0, len(later), _COMPARED_AT_ONCE)
    ]
    return np.concatenate(parts) >= SHARED_BINS if parts else np.zeros(0, bool)

"""Duplicate rows, inputs with two outputs, and training rows that also occur in other files.

Every line adds two 64-bit hashes, of its input and of its output. Few lines are compared in a
dictionary. Many go to an unnamed file in sorted runs, and come back one slice of the hashes at a
time, so that memory stays the same however many there are. The chance that two different inputs
share a hash is 7e-7 for five million rows; a duplicate needs both hashes, 128 bits.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tunepipe.disk_array import DiskArray

# A row is one number: the file's above the line's; what a conversation begins with above these,
# and files to compare with above all.
_LINE_BITS = 40
_AGAINST = 1 << 62
_OPENING = 1 << 61
_FENCES = 4096
_COLUMNS = 4

DICTIONARY_LINES = 20_000
RUN_LINES = 1 << 17


# Input, row, output, and the number of rows that it stands for.
_Row = Sequence[int]
# Row, code and the earlier row.
_Found = tuple[int, str, int]


class Repeat(NamedTuple):
    """One repeated row: its code, its place, and the place of the earlier row."""

    code: str
    file: int
    line: int
    earlier_file: int
    earlier_line: int


@dataclass
class Repeats:
    """How many repeats there are, and the first of each code in order of file and line."""

    counts: dict[str, int]
    first: list[Repeat]


class RepeatFinder:
    """Collects the hashes of lines, then finds what repeats.

    Args:
        limit: How many repeats of each code are listed; the counts are never cut.
        dictionary_lines: Up to this many lines a dictionary is used.
        run_lines: Lines in a sorted run, and about as many in a slice.
    """

    def __init__(
        self, limit: int, dictionary_lines: int = DICTIONARY_LINES, run_lines: int = RUN_LINES
    ) -> None:
        self._limit = limit
        self._dictionary_lines = dictionary_lines
        self._run_lines = run_lines
        self._waiting: list[tuple[int, bytes, bytes]] = []
        self._waiting_lines = 0
        self._lines = 0
        self._runs: _Runs | None = None

    def add(
        self, file: int, first_line: int, inputs: bytes, outputs: bytes, against: bool = False
    ) -> None:
        """Add the 64-bit hashes of lines that follow each other; an input of 0 is an invalid row.

        Files are numbered from 0, those to compare with (`against`) apart.
        """
        start = (_AGAINST if against else 0) | file << _LINE_BITS | first_line
        self._waiting.append((start, inputs, outputs))
        self._waiting_lines += len(inputs) // 8
        self._lines += len(inputs) // 8
        limit = self._run_lines if self._runs else max(self._run_lines, self._dictionary_lines)
        if self._waiting_lines >= limit:
            self._spill()

    def add_openings(self, file: int, lines: bytes, inputs: bytes, lines_before: int) -> None:
        """Add what conversations begin with, to be compared with other files alone.

        These are 64-bit numbers: of each the line, less `lines_before`, and the hash.
        """
        for line, value in zip(array("Q", lines), array("Q", inputs), strict=True):
            self.add(
                file, _OPENING | line + lines_before, value.to_bytes(8, sys.byteorder), bytes(8)
            )

    def find(self) -> Repeats:
        """Return the repeats of all lines added, and forget them."""
        if self._runs is None and self._lines <= self._dictionary_lines:
            counts, first = _find(self._rows(), self._limit)
        else:
            self._spill()
            assert self._runs is not None
            counts, first = Counter(), []
            for part in self._runs.slices():
                more, rows = _find(_repeated_rows(part), self._limit)
                counts.update(more)
                first = _first_of_each(first + rows, self._limit)
            self._runs.close()
        self._waiting, self._runs = [], None
        listed = [Repeat(code, *_place(row), *_place(earlier)) for row, code, earlier in first]
        return Repeats(dict(counts), listed)

    def _rows(self) -> Iterator[_Row]:
        for start, inputs, outputs in sorted(self._waiting):
            pairs = zip(array("Q", inputs), array("Q", outputs), strict=True)
            for number, (given, wanted) in enumerate(pairs):
                if given:
                    yield given, start + number, wanted, 1

    def _spill(self) -> None:
        if self._runs is None:
            self._runs = _Runs(self._run_lines, self._limit)
        self._runs.write(self._waiting)
        self._waiting, self._waiting_lines = [], 0


def _find(rows: Iterable[_Row], limit: int) -> tuple[Counter[str], list[_Found]]:
    """Count what repeats among rows in order, and list the first of each code."""
    groups: dict[int, dict[int, int]] = {}
    against: dict[int, int] = {}
    repeats: list[tuple[_Found, int]] = []
    mine: list[tuple[int, int, int]] = []
    for given, row, wanted, weight in rows:
        if row >= _AGAINST:
            against.setdefault(given, row)
            continue
        mine.append((row, given, weight))
        if row >= _OPENING:
            continue
        group = groups.setdefault(given, {})
        if wanted in group:
            repeats.append(((row, "duplicate-row", group[wanted]), weight))
        elif group:
            repeats.append(((row, "conflicting-row", next(iter(group.values()))), weight))
        group.setdefault(wanted, row)
    for row, given, weight in mine if against else ():
        if given in against:
            code = "opening-leak" if row >= _OPENING else "eval-leak"
            repeats.append(((row % _OPENING, code, against[given]), weight))
    counts: Counter[str] = Counter()
    for (_, code, _), weight in repeats:
        counts[code] += weight
    return counts, _first_of_each([found for found, _ in repeats], limit)


def _first_of_each(found: list[_Found], limit: int) -> list[_Found]:
    """Sort repeats by their rows, and keep the first of each code."""
    counts: Counter[str] = Counter()
    kept = []
    for item in sorted(found):
        counts[item[1]] += 1
        if counts[item[1]] <= limit:
            kept.append(item)
    return kept


class _Runs:
    """Sorted runs of (input, row, output, weight) on disk, cut by the inputs.

    The weight is the number of rows that one represents: of identical rows only the first few
    of a run are kept, so that no slice grows with them.
    """

    def __init__(self, run_lines: int, limit: int) -> None:
        self.limit = limit
        self._numbers = DiskArray()
        self._run_lines = run_lines
        self._runs: list[tuple[int, Any]] = []

    def write(self, waiting: list[tuple[int, bytes, bytes]]) -> None:
        """Sort the waiting lines by input and append them as one run."""
        import numpy as np

        if not waiting:
            return
        inputs = np.frombuffer(b"".join(part for _, part, _ in waiting), np.uint64)
        outputs = np.frombuffer(b"".join(part for _, _, part in waiting), np.uint64)
        rows = np.concatenate(
            [np.arange(start, start + len(x) // 8, dtype=np.uint64) for start, x, _ in waiting]
        )
        order = np.argsort(inputs)
        order = order[int(np.searchsorted(inputs, 0, "right", sorter=order)) :]
        ones = np.ones(len(order), np.uint64)
        run = np.stack([inputs[order], rows[order], outputs[order], ones], axis=1)
        if len(run) > 2 * np.count_nonzero(run[1:, 0] != run[:-1, 0]) + self.limit:
            run = _thinned(run, max(2, self.limit + 1))
        lowest = np.arange(_FENCES, dtype=np.uint64) * np.uint64((1 << 64) // _FENCES)
        fences = np.append(np.searchsorted(run[:, 0], lowest), len(run))
        self._runs.append((len(self._numbers), fences))
        self._numbers.extend(array("Q", run.tobytes()))

    def slices(self) -> Iterator[Any]:
        """Yield every row once, all rows of one input together, in slices of bounded size."""
        import numpy as np

        rows = max(1, len(self._numbers) // _COLUMNS)
        width = max(1, _FENCES * self._run_lines // rows)
        for low in range(0, _FENCES, width):
            high = min(_FENCES, low + width)
            parts = [
                self._numbers.read(start + _COLUMNS * cut[low], start + _COLUMNS * cut[high])
                for start, cut in self._runs
            ]
            if any(parts):
                part = np.concatenate([np.frombuffer(part, np.uint64) for part in parts])
                yield part.reshape(-1, _COLUMNS)

    def close(self) -> None:
        """Free the disk space."""
        self._numbers.close()


def _thinned(run: Any, most: int) -> Any:
    """Keep the first rows of each pair of input and output; the last kept counts the rest."""
    import numpy as np

    run = run[np.lexsort((run[:, 1], run[:, 2], run[:, 0]))]
    starts = np.maximum(run_starts(run[:, 0]), run_starts(run[:, 2]))
    starts = np.maximum(starts, run_starts(run[:, 1] >= _AGAINST))
    rank = np.arange(len(run)) - starts
    pairs = np.unique(starts, return_counts=True)[1]
    last = np.flatnonzero(rank == most - 1)
    sizes = np.repeat(pairs, pairs)
    run[last, 3] = (sizes[last] - most + 1).astype(np.uint64)
    return run[rank < most]


def _repeated_rows(part: Any) -> list[_Row]:
    """Return the rows of a slice whose input occurs more than once, in order."""
    import numpy as np

    part = part[np.argsort(part[:, 0])]
    same = part[1:, 0] == part[:-1, 0]
    repeated = np.append(same, False) | np.append(False, same) | (part[:, 3] > 1)
    part = part[repeated]
    rows: list[_Row] = part[np.argsort(part[:, 1])].tolist()
    return rows


def run_starts(ordered: Any) -> Any:
    """Return, for every element, the index of the first of its run of equal neighbours."""
    import numpy as np

    index = np.arange(len(ordered))
    new = np.ones(len(ordered), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return np.maximum.accumulate(np.where(new, index, 0))


def _place(row: int) -> tuple[int, int]:
    plain = row % _OPENING
    return plain >> _LINE_BITS, plain & ((1 << _LINE_BITS) - 1)

"""Duplicate rows, inputs with two outputs, and training rows that also occur in other files.

Every line adds two 64-bit hashes, of its input and of its output. Few lines are compared in a
dictionary. Many go to an unnamed file in sorted runs, and come back one slice of the hashes at a
time, so that memory stays the same however many there are. The chance that two different inputs
share a hash is 7e-7 for five million rows; a duplicate needs both hashes, 128 bits.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
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
        """Add the hashes of lines that follow each other; an input of 0 means an invalid row.

        Args:
            file: The file's number, from 0.
            first_line: The number of the first of the lines.
            inputs: 64-bit hashes of the inputs, one a line.
            outputs: Those of the outputs.
            against: Whether the file is one to compare with, and not one of the dataset.
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

        Args:
            file: The file's number, from 0.
            lines: The number of each line as 64-bit numbers.
            inputs: The hashes of the inputs within it.
            lines_before: What the numbers of the lines do not count.
        """
        for line, value in zip(array("Q", lines), array("Q", inputs), strict=True):
            self.add(
                file, _OPENING | line + lines_before, value.to_bytes(8, sys.byteorder), bytes(8)
            )

    def find(self) -> Repeats:
        """Return the repeats of all lines added, and forget them."""
        if self._runs is None and self._lines <= self._dictionary_lines:
            found = _by_dictionary(self._rows(), self._limit)
        else:
            self._spill()
            assert self._runs is not None
            found = _by_slices(self._runs, self._limit)
            self._runs.close()
        self._waiting, self._runs = [], None
        return found

    def _rows(self) -> Iterator[tuple[int, int, int]]:
        for start, inputs, outputs in sorted(self._waiting):
            pairs = zip(array("Q", inputs), array("Q", outputs), strict=True)
            for number, (given, wanted) in enumerate(pairs):
                if given:
                    yield start + number, given, wanted

    def _spill(self) -> None:
        if self._runs is None:
            self._runs = _Runs(self._run_lines, self._limit)
        self._runs.write(self._waiting)
        self._waiting, self._waiting_lines = [], 0


def _by_dictionary(rows: Iterator[tuple[int, int, int]], limit: int) -> Repeats:
    groups: dict[int, dict[int, int]] = {}
    against: dict[int, int] = {}
    repeats: list[tuple[int, str, int]] = []
    mine: list[tuple[int, int]] = []
    for row, given, wanted in rows:
        if row >= _AGAINST:
            against.setdefault(given, row)
            continue
        mine.append((row, given))
        if row >= _OPENING:
            continue
        group = groups.setdefault(given, {})
        if wanted in group:
            repeats.append((row, "duplicate-row", group[wanted]))
        elif group:
            repeats.append((row, "conflicting-row", next(iter(group.values()))))
        group.setdefault(wanted, row)
    if against:
        repeats += [
            (row % _OPENING, "opening-leak" if row >= _OPENING else "eval-leak", against[given])
            for row, given in mine
            if given in against
        ]
    counts: dict[str, int] = {}
    first = []
    for row, code, earlier in sorted(repeats):
        counts[code] = counts.get(code, 0) + 1
        if counts[code] <= limit:
            first.append(_repeat(code, row, earlier))
    return Repeats(counts, first)


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


def _by_slices(runs: _Runs, limit: int) -> Repeats:
    counts: dict[str, int] = {}
    first: dict[str, list[tuple[int, int]]] = {}
    for part in runs.slices():
        for code, rows, earlier, weights in _repeats_of(part):
            counts[code] = counts.get(code, 0) + int(weights.sum())
            kept = first.setdefault(code, [])
            kept += _lowest(rows, earlier, limit)
            kept.sort()
            del kept[limit:]
    listed = sorted((row, code, earlier) for code, x in first.items() for row, earlier in x)
    counts = {code: number for code, number in counts.items() if number}
    return Repeats(counts, [_repeat(code, row, earlier) for row, code, earlier in listed])


def _repeats_of(part: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield code, rows, earlier rows and weights of one slice."""
    import numpy as np

    if len(part) < 2:
        return
    part = part[np.argsort(part[:, 0])]
    same = part[1:, 0] == part[:-1, 0]
    alone = ~(np.append(same, False) | np.append(False, same)) & (part[:, 3] == 1)
    part = part[~alone]
    others, openings, mine = (
        part[(low <= part[:, 1]) & (part[:, 1] < high)]
        for low, high in ((_AGAINST, 2 * _AGAINST), (_OPENING, _AGAINST), (0, _OPENING))
    )
    given, rows, wanted, weights = mine.T
    order = np.lexsort((rows, given))
    starts = run_starts(given[order])
    first_of_input = np.empty_like(rows)
    first_of_input[order] = rows[order][starts]
    order = np.lexsort((rows, wanted, given))
    starts = np.maximum(run_starts(given[order]), run_starts(wanted[order]))
    first_of_pair = np.empty_like(rows)
    first_of_pair[order] = rows[order][starts]
    repeated = rows != first_of_pair
    differs = ~repeated & (rows != first_of_input)
    yield "duplicate-row", rows[repeated], first_of_pair[repeated], weights[repeated]
    yield "conflicting-row", rows[differs], first_of_input[differs], weights[differs]
    if len(others):
        others = others[np.lexsort((others[:, 1], others[:, 0]))]
        keys, at = np.unique(others[:, 0], return_index=True)
        for code, some in (("eval-leak", mine), ("opening-leak", openings)):
            place = np.minimum(np.searchsorted(keys, some[:, 0]), len(keys) - 1)
            leaks = keys[place] == some[:, 0]
            earlier = others[at[place[leaks]], 1]
            yield code, some[leaks, 1] % np.uint64(_OPENING), earlier, some[leaks, 3]


def run_starts(ordered: Any) -> Any:
    """Return, for every element, the index of the first of its run of equal neighbours."""
    import numpy as np

    index = np.arange(len(ordered))
    new = np.ones(len(ordered), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return np.maximum.accumulate(np.where(new, index, 0))


def _lowest(rows: Any, earlier: Any, limit: int) -> list[tuple[int, int]]:
    order = rows.argsort()[:limit]
    return [(int(rows[n]), int(earlier[n])) for n in order]


def _repeat(code: str, row: int, earlier: int) -> Repeat:
    return Repeat(code, *_place(row), *_place(earlier))


def _place(row: int) -> tuple[int, int]:
    plain = row % _OPENING
    return plain >> _LINE_BITS, plain & ((1 << _LINE_BITS) - 1)

"""Proof that two files share no input: both are read again, and what they hold is compared."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tunepipe.data.source import Path
from tunepipe.disk_array import DiskArray
from tunepipe.splitting.row_keys import Key
from tunepipe.splitting.scan import Criteria, scan


@dataclass(frozen=True)
class LeakReport:
    """The different inputs of two files, and the inputs and groups they share: 0 in a valid split.

    `openings_in_both` are evaluation inputs that a conversation of the training file begins with:
    its answer to them is trained on. `rows` and `checksum` (in hex) are of both files together.
    """

    train_inputs: int
    eval_inputs: int
    inputs_in_both: int
    openings_in_both: int
    groups_in_both: int
    rows: int
    checksum: str


def leaks(train: Path, eval: Path, format: str, group: Key[str] | None = None) -> LeakReport:
    """Read both files and count what occurs in both, in bounded memory."""
    with ExitStack() as stack:
        ours = scan([train], Criteria(1, 0, format, group, openings=True), stack)
        held = scan([eval], Criteria(1, 0, format, group), stack)
        return LeakReport(
            train_inputs=count_distinct(ours.input),
            eval_inputs=count_distinct(held.input),
            inputs_in_both=_shared(ours.input, held.input),
            openings_in_both=_shared(ours.openings, held.input),
            groups_in_both=_shared(ours.group, held.group),
            rows=len(ours.input) + len(held.input),
            checksum=f"{(ours.checksum + held.checksum) % 2**64:016x}",
        )


def _shared(ours: DiskArray, theirs: DiskArray) -> int:
    return count_distinct(ours) + count_distinct(theirs) - count_distinct(ours, theirs)


def count_distinct(*columns: DiskArray, few: int = 200_000, at_once: int = 1 << 20) -> int:
    """Count the different hashes in all the columns together, in bounded memory.

    Up to `few` of them are put into a set; of more, numpy takes about `at_once` at a time.
    """
    total = sum(map(len, columns))
    chunks = (chunk for column in columns for chunk in column.chunks())
    if total <= few:
        return len({value for chunk in chunks for value in chunk})
    import numpy as np

    # Each pass takes the hashes with one remainder, so that passes are of about equal size.
    passes, count = 1 + total // at_once, 0
    for remainder in range(passes):
        parts = [
            values[values % np.uint64(passes) == remainder]
            for column in columns
            for values in (np.frombuffer(chunk, np.uint64) for chunk in column.chunks())
        ]
        # np.unique goes through a hash table and is ten times slower on hashes.
        ordered = np.sort(np.concatenate(parts))
        count += int(np.count_nonzero(ordered[1:] != ordered[:-1])) + bool(len(ordered))
    return count

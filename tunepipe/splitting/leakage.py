"""Proof that two files share no input: both are read again, and what they hold is compared."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from tunepipe.data.rows import blocks, checksum, inputs, key_of, present, rows
from tunepipe.data.source import Path
from tunepipe.splitting.disk_column import Column, distinct
from tunepipe.splitting.row_keys import Key


@dataclass(frozen=True)
class LeakReport:
    """The inputs and groups that two files have in common.

    Args:
        train_inputs: Different inputs in the training file.
        eval_inputs: Different inputs in the evaluation file.
        inputs_in_both: Inputs that occur in both; 0 in a valid split.
        groups_in_both: Groups that occur in both; 0 in a valid split, and without groups.
        rows: Rows of the two files together.
        checksum: Sum of the hashes of all their lines, 16 hex digits: the same for the same lines
            in any order.
    """

    train_inputs: int
    eval_inputs: int
    inputs_in_both: int
    groups_in_both: int
    rows: int
    checksum: str


def leaks(train: Path, eval: Path, format: str, group: Key | None = None) -> LeakReport:
    """Read both files and count what occurs in both, in bounded memory.

    Args:
        train: The training file.
        eval: The evaluation file.
        format: Their format's name.
        group: What a row is grouped by, if anything.

    Raises:
        DataError: A line is not of the format; it names file and line.
        UsageError: A file cannot be read.
    """
    with ExitStack() as stack:
        train_inputs, eval_inputs, train_groups, eval_groups = (
            stack.enter_context(Column()) for _ in range(4)
        )
        total = _read(train, format, group, train_inputs, train_groups)
        total += _read(eval, format, group, eval_inputs, eval_groups)
        in_train, in_eval = distinct(train_inputs), distinct(eval_inputs)
        return LeakReport(
            train_inputs=in_train,
            eval_inputs=in_eval,
            inputs_in_both=in_train + in_eval - distinct(train_inputs, eval_inputs),
            groups_in_both=_shared(train_groups, eval_groups),
            rows=len(train_inputs) + len(eval_inputs),
            checksum=f"{total % 2**64:016x}",
        )


def _shared(one: Column, other: Column) -> int:
    return distinct(one) + distinct(other) - distinct(one, other)


def _read(path: Path, format: str, group: Key | None, given: Column, groups: Column) -> int:
    from xxhash import xxh3_64_intdigest as digest

    total = 0
    for first, lines in blocks(path):
        if group is None:
            texts = inputs(path, first, lines, format)
        else:
            found = list(rows(path, first, lines, format))
            texts = [row.input.encode() for row in found]
            groups.extend(digest(key_of(path, row, group).encode()) for row in found)
        given.extend(map(digest, texts))
        total += checksum(present(lines, len(texts)))
    return total

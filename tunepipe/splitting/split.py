"""The split into training and evaluation: no leak, no chance, the service's limits kept.

A row's side depends on its decoded input, the seed and the fraction alone: xxh3_64 of the input,
keyed by the seed, against a threshold. So the order of the rows, the number of files and whatever
is added later move no row. Where a limit binds the smallest hashes win. `stratify_by` and `by_time`
compare rows with each other, and there a row may change side when the data grow.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import compress
from typing import Any

from tunepipe.arguments import check_fraction, check_whole
from tunepipe.catalog.catalog import Catalog
from tunepipe.data.formats import check_format
from tunepipe.data.rows import blocks
from tunepipe.data.source import Path, format_of
from tunepipe.disk_array import DiskArray
from tunepipe.errors import DataError, UsageError, plural
from tunepipe.files import refuse_same, replacing
from tunepipe.splitting.assignment import sides
from tunepipe.splitting.row_keys import Key, key, time_key
from tunepipe.splitting.sampling import allowance
from tunepipe.splitting.scan import NAMED_LABELS, Criteria, Scan, scan

OTHER_SIDE = bytes.maketrans(b"\0\1", b"\1\0")
LABEL_CHARACTERS = 64


@dataclass(frozen=True)
class LeakReport:
    """The different inputs of two files, and the inputs and groups they share: 0 in a valid split.

    `openings_in_both` are evaluation inputs that a conversation of the training file begins with:
    it trains on the answer to them. `rows` and `checksum` (in hex) are of both files together.
    """

    train_inputs: int
    eval_inputs: int
    inputs_in_both: int
    openings_in_both: int
    groups_in_both: int
    rows: int
    checksum: str


@dataclass(frozen=True)
class SplitReport:
    """The result of a split, and the proof that it leaks nothing.

    Args:
        train_rows: Rows of the training file.
        eval_rows: Rows of the evaluation file.
        duplicate_rows_kept_together: Rows whose input occurs in another row too, less one each.
        groups: Sets of rows that were kept together: by group, else by input.
        seed: The seed.
        format: The rows' format.
        limits: The model whose limits were kept, the fewest and the most evaluation rows that
            these and the options allow, and in words the limit that overruled the fraction.
        labels: Rows of each label on each side, where rows were stratified by few short labels.
        time: Where rows were cut by time: the cut, and the training rows at or after it (rows
            whose input or group had come before).
        leak: What the two files have in common, from reading them again.
    """

    train_rows: int
    eval_rows: int
    duplicate_rows_kept_together: int
    groups: int
    seed: int
    format: str
    limits: dict[str, Any]
    leak: LeakReport
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    time: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


def split(
    paths: Path | Sequence[Path],
    train: Path,
    eval: Path,
    *,
    eval_fraction: float = 0.1,
    eval_min: int = 10,
    eval_max: int = 0,
    seed: int = 0,
    group_by: str = "",
    stratify_by: str = "",
    by_time: str = "",
    format: str = "auto",
    model: str = "",
    catalog: Catalog | None = None,
) -> SplitReport:
    """Split datasets into a training and an evaluation file; rows are copied byte for byte.

    Each file is read twice, and blank lines are left out. The options are those of
    `tunepipe.split`; `catalog` holds the dated tables. Without `stratify_by` and `by_time` the size
    of the evaluation file is `eval_fraction` within chance; `stratify_by` gives each label its
    share to one row.

    Raises:
        DataError: A row is not of the format (file and line are named), or no split keeps the
            limits.
        UsageError: An option is wrong, or a file cannot be read.
    """
    sources = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    check_fraction(eval_fraction)
    check_whole(eval_min, "eval_min")
    check_whole(eval_max, "eval_max")
    if stratify_by and by_time:
        raise UsageError(
            "by_time and stratify_by cannot be combined",
            where="stratify_by, by_time",
            fix="give one of the two",
        )
    refuse_same([*sources, train, eval])
    format = format_of(sources) if format == "auto" else check_format(format)
    for path in sources:
        if not os.path.isfile(path):
            fix = "name a file that can be reread"
            raise UsageError("not a file", where=os.fspath(path), fix=fix)
    criteria = Criteria(
        fraction=eval_fraction,
        seed=seed % 2**64,
        format=format,
        group=key(group_by, "group_by") if group_by else None,
        label=key(stratify_by, "stratify_by") if stratify_by else None,
        time=time_key(by_time) if by_time else None,
    )
    with ExitStack() as stack:
        columns = scan(sources, criteria, stack)
        room = allowance(
            len(columns.size),
            sum(map(sum, columns.size.chunks())),
            eval_min=eval_min,
            eval_max=eval_max,
            format=format,
            model=model,
            catalog=catalog,
        )
        chosen = sides(columns, criteria, room)
        leak = _write(sources, chosen.marks, train, eval, columns, criteria)
        rows, eval_rows = len(chosen.marks), chosen.marks.count(1)
        inputs = leak.train_inputs + leak.eval_inputs
        return SplitReport(
            train_rows=rows - eval_rows,
            eval_rows=eval_rows,
            duplicate_rows_kept_together=rows - inputs,
            groups=chosen.units or inputs,
            seed=seed,
            format=format,
            limits={
                "model": room.model,
                "eval_min": room.least,
                "eval_max": room.most,
                "decided_by": room.decided_by(chosen.natural, eval_rows, os.path.getsize(eval)),
            },
            leak=leak,
            labels=_label_counts(columns, chosen.marks),
            time=_time_report(columns, chosen.marks),
        )


def _write(
    sources: Sequence[Path],
    marks: bytes,
    train: Path,
    eval: Path,
    columns: Scan,
    criteria: Criteria,
) -> LeakReport:
    """Write both files, if what they hold is proved."""
    at = 0
    with replacing(train, "wb") as train_file, replacing(eval, "wb") as eval_file:
        for path in sources:
            for _, lines in blocks(path):
                full = [line for line in lines if not line.isspace()]
                side = marks[at : at + len(full)]
                at += len(full)
                eval_file.writelines(compress(full, side))
                train_file.writelines(compress(full, side.translate(OTHER_SIDE)))
        if at != len(marks):
            raise DataError(
                "the data changed while they were read",
                where=", ".join(map(str, sources)),
                fix="split again when nothing writes to them",
            )
        for file in (train_file, eval_file):
            file.flush()
        leak = leaks(train_file.name, eval_file.name, criteria.format, criteria.group)
        _prove(leak, columns)
    return leak


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


def _prove(leak: LeakReport, scan: Scan) -> None:
    if leak.inputs_in_both or leak.groups_in_both:
        raise DataError(
            "the files written share inputs or groups", fix="report this as a defect of tunepipe"
        )
    if int(leak.checksum, 16) != scan.checksum or leak.rows != len(scan.input):
        raise DataError(
            "the dataset changed during the split",
            fix="nothing may write to the dataset or the outputs meanwhile; split again",
        )
    if leak.openings_in_both:
        raise DataError(
            f"training conversations begin with {plural(leak.openings_in_both, 'evaluation input')}"
            " and train on the answers",
            where="group_by",
            fix="name what the rows of one conversation share: a field, or a pattern that finds it "
            "in their inputs, such as the one for first questions in docs/validation.md",
        )


def _label_counts(scan: Scan, marks: bytes) -> dict[str, dict[str, int]]:
    names = scan.names
    longest = max(map(len, names.values()), default=0)
    if not names or len(names) > NAMED_LABELS or longest > LABEL_CHARACTERS:
        return {}
    counts = Counter(zip(scan.label.load(), marks, strict=True))
    ordered = sorted(names.items(), key=lambda item: item[1])
    return {name: {"train": counts[h, 0], "eval": counts[h, 1]} for h, name in ordered}


def _time_report(scan: Scan, marks: bytes) -> dict[str, Any]:
    if not len(scan.time):
        return {}
    times = scan.time.load()
    cut = min(compress(times, marks))
    late = sum(time >= cut for time in compress(times, marks.translate(OTHER_SIDE)))
    return {"cut": datetime.fromtimestamp(cut, UTC).isoformat(), "train_rows_at_or_after": late}

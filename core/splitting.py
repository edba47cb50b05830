"""The split into training and evaluation: no leak, no chance, the service's limits kept.

A row's side depends on its decoded input, the seed and the fraction alone: xxh3_64 of the input,
keyed by the seed, against a threshold. So the order of the rows, the number of files and whatever
is added later move no row. Where a limit binds the smallest hashes win. `stratify_by` and `by_time`
compare rows with each other, and there a row may change side when the data grow.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import compress, repeat
from typing import Any

from . import selection
from .columns import Column, distinct
from .errors import DataError, UsageError
from .files import replacing
from .keys import Key, key, moment
from .keys import field as field_of
from .leaks import LeakReport, leaks
from .reading import Path, blocks, checksum, format_of, inputs, keyed, present, rows
from .rooms import Binding, room_for
from .selection import SPAN, Room, Units
from .units import connect, gather

OTHER_SIDE = bytes.maketrans(b"\0\1", b"\1\0")
NAMED_LABELS = 50
LABEL_CHARACTERS = 64


@dataclass(frozen=True)
class SplitReport:
    """What a split did, and the proof that it leaks nothing.

    Args:
        train_rows: Rows of the training file.
        eval_rows: Rows of the evaluation file.
        duplicate_rows_kept_together: Rows whose input stands in another row too, less one each.
        groups: Sets of rows that were kept together: by group, else by input.
        seed: The seed.
        format: The rows' format.
        model: The model whose limits were kept.
        limits: What the evaluation file had to keep, and which limit decided its size, if any.
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
    model: str
    limits: Binding
    leak: LeakReport
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    time: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give the report as a JSON object."""
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
) -> SplitReport:
    """Split datasets into a training and an evaluation file; rows are copied byte for byte.

    Args:
        paths: The files to split, one or many. Each is read twice. Blank lines are left out.
        train: The training file to write.
        eval: The evaluation file to write.
        eval_fraction: Share of the rows for evaluation, above 0 and below 1. Without
            `stratify_by` and `by_time` the size is this share within chance.
        eval_min: Evaluation rows wanted at least; 0 for one.
        eval_max: Evaluation rows wanted at most; 0 for no limit but the service's.
        seed: Another seed gives another split.
        group_by: Rows of one group stay together: a field, or /PATTERN/ with one group that is
            searched in the input (see keys.py).
        stratify_by: Each label gets its share to one row: `output`, or a field.
        by_time: A field with a time: the latest rows are evaluation.
        format: The rows' format, or "auto".
        model: The model whose limits are kept; "" for the format's first.

    Returns:
        The report. Both files were read again for its proof.

    Raises:
        DataError: A row is not of the format (file and line are named), or no split keeps the
            limits.
        UsageError: An option is wrong, or a file cannot be read.
    """
    sources = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    _check(sources, train, eval, eval_fraction, stratify_by, by_time)
    format = format_of(sources) if format == "auto" else format
    options = _Options(
        fraction=eval_fraction,
        seed=seed % SPAN,
        group=key(group_by, "--group-by") if group_by else None,
        label=key(stratify_by, "--stratify-by") if stratify_by else None,
        time=by_time,
        format=format,
    )
    with ExitStack() as stack:
        scan = _scan(sources, options, stack)
        room, binding = room_for(
            len(scan.size),
            sum(map(sum, scan.size.chunks())),
            _natural(scan, options),
            eval_min=eval_min,
            eval_max=eval_max,
            format=format,
            model=model,
        )
        marks, groups = _marks(scan, options, room)
        _write(sources, marks, train, eval)
        leak = leaks(train, eval, format, options.group)
        _prove(leak, scan)
        return SplitReport(
            train_rows=marks.count(0),
            eval_rows=marks.count(1),
            duplicate_rows_kept_together=len(marks) - distinct(scan.given),
            groups=groups,
            seed=seed,
            format=format,
            model=binding.model,
            limits=binding,
            leak=leak,
            labels=_label_counts(scan, marks),
            time=_time_report(scan, marks),
        )


@dataclass(frozen=True)
class _Options:
    fraction: float
    seed: int
    group: Key | None
    label: Key | None
    time: str
    format: str

    @property
    def plain(self) -> bool:
        return not (self.group or self.label or self.time)


@dataclass
class _Scan:
    """A number a row in each column: keyed hashes of input, group and label, bytes, seconds."""

    given: Column
    size: Column
    group: Column
    label: Column
    time: Column
    names: dict[int, str] = field(default_factory=dict)
    checksum: int = 0


def _check(
    sources: Sequence[Path],
    train: Path,
    eval: Path,
    fraction: float,
    stratify_by: str,
    by_time: str,
) -> None:
    if not 0 < fraction < 1:
        raise UsageError(
            f"{fraction} is no share", where="--eval-fraction", fix="give one above 0 and below 1"
        )
    if stratify_by and by_time:
        raise UsageError(
            "a cut by time leaves no choice of labels",
            where="--stratify-by, --by-time",
            fix="give one of the two",
        )
    files = [os.path.realpath(path) for path in (*sources, train, eval)]
    for path, times in Counter(files).items():
        if times > 1:
            raise UsageError("the file is named twice", where=path, fix="give different files")


def _scan(sources: Sequence[Path], options: _Options, stack: ExitStack) -> _Scan:
    given, size, group, label, time = (stack.enter_context(Column(kind)) for kind in "QQQQd")
    scan = _Scan(given, size, group, label, time)
    for path in sources:
        for first, lines in blocks(path):
            if options.plain:
                texts = inputs(path, first, lines, options.format)
            else:
                texts = _keyed_block(path, first, lines, options, scan)
            scan.given.extend(_hashes(texts, options.seed))
            kept = present(lines, len(texts))
            scan.size.extend(map(len, kept))
            scan.checksum = (scan.checksum + checksum(kept)) % SPAN
    return scan


def _keyed_block(
    path: Path, first: int, lines: Sequence[bytes], options: _Options, scan: _Scan
) -> list[bytes]:
    found = list(rows(path, first, lines, options.format))
    if options.group:
        names = [keyed(path, row, options.group).encode() for row in found]
        scan.group.extend(_hashes(names, options.seed))
    if options.label:
        labels = [keyed(path, row, options.label) for row in found]
        hashes = list(_hashes([label.encode() for label in labels], 0))
        scan.label.extend(hashes)
        if len(scan.names) <= NAMED_LABELS:
            scan.names.update(zip(hashes, labels, strict=True))
    if options.time:
        name = options.time

        def read(fields: Mapping[str, Any], given: str, output: str) -> float:
            return moment(field_of(fields, name, "--by-time"))

        scan.time.extend([keyed(path, row, read) for row in found])
    return [row.given.encode() for row in found]


def _hashes(texts: Sequence[bytes], seed: int) -> Iterator[int]:
    from xxhash import xxh3_64_intdigest

    return map(xxh3_64_intdigest, texts, repeat(seed))


def _natural(scan: _Scan, options: _Options) -> int:
    """Count the evaluation rows that the fraction alone would give."""
    if not options.plain:
        return selection.share(len(scan.given), options.fraction)
    limit = selection.threshold(options.fraction)
    return sum(place < limit for chunk in scan.given.chunks() for place in chunk)


def _marks(scan: _Scan, options: _Options, room: Room) -> tuple[bytes, int]:
    """Mark each row 1 for evaluation or 0 for training, and count the units."""
    if options.plain:
        return _plain_marks(scan, options, room), distinct(scan.given)
    position = scan.given.load()
    if options.group:
        position = connect(position, scan.group.load())
    units = gather(position, scan.size.load(), scan.label.load(), scan.time.load())
    chosen = _choose(units, options, room)
    return _sides([position], _enough(units, chosen, room)), len(units.position)


def _choose(units: Units, options: _Options, room: Room) -> list[int]:
    total = sum(units.rows)
    target = min(max(selection.share(total, options.fraction), room.least), room.most)
    if options.time:
        return selection.latest(units, target, room)
    if options.label:
        return selection.stratified(units, target, room)
    return selection.below(units, selection.threshold(options.fraction), room)


def _plain_marks(scan: _Scan, options: _Options, room: Room) -> bytes:
    limit = selection.threshold(options.fraction)
    inside = inside_bytes = 0
    for places, sizes in zip(scan.given.chunks(), scan.size.chunks(), strict=True):
        below = bytes(place < limit for place in places)
        inside += sum(below)
        inside_bytes += sum(compress(sizes, below))
    if inside >= room.least and room.fits(inside, inside_bytes):
        return b"".join(bytes(place < limit for place in chunk) for chunk in scan.given.chunks())
    units, chosen = _smallest(scan, limit, room, min(max(inside, room.least), room.most))
    return _sides(scan.given.chunks(), _enough(units, chosen, room))


def _smallest(scan: _Scan, limit: int, room: Room, wanted: int) -> tuple[Units, list[int]]:
    """Choose where a limit binds, from no more units than the choice can depend on."""
    for bound in (_bound(scan.given, wanted + 1), SPAN):
        position, size = array("Q"), array("Q")
        for places, sizes in zip(scan.given.chunks(), scan.size.chunks(), strict=True):
            low = bytes(place < bound for place in places)
            position.extend(compress(places, low))
            size.extend(compress(sizes, low))
        units = gather(position, size, array("Q"), array("d"))
        chosen = selection.below(units, limit, room)
        unbroken = chosen == list(range(len(chosen))) and len(chosen) < len(units.position)
        if unbroken and sum(units.rows[i] for i in chosen) >= room.least:
            break
    return units, chosen


def _bound(places: Column, wanted: int) -> int:
    """Find a position that so many rows lie below, by a histogram of the leading 12 bits."""
    counts = [0] * 4096
    for chunk in places.chunks():
        for place in chunk:
            counts[place >> 52] += 1
    below = 0
    for bin, count in enumerate(counts):
        below += count
        if below >= wanted:
            return (bin + 1) << 52
    return SPAN


def _enough(units: Units, chosen: Sequence[int], room: Room) -> frozenset[int]:
    rows = sum(units.rows[i] for i in chosen)
    if rows < room.least:
        raise DataError(
            f"whole groups of rows give no evaluation file of {room.least} to {room.most} rows: "
            f"the largest group has {max(units.rows)}",
            fix="lower --eval-min, raise --eval-max, or group by something finer",
        )
    return frozenset(units.position[i] for i in chosen)


def _sides(chunks: Iterator[array[int]] | Sequence[array[int]], chosen: frozenset[int]) -> bytes:
    return b"".join(bytes(map(chosen.__contains__, chunk)) for chunk in chunks)


def _write(sources: Sequence[Path], marks: bytes, train: Path, eval: Path) -> None:
    at = 0
    with replacing(train, "wb") as train_file, replacing(eval, "wb") as eval_file:
        for path in sources:
            for _, lines in blocks(path):
                kept = [line for line in lines if not line.isspace()]
                side = marks[at : at + len(kept)]
                at += len(kept)
                eval_file.writelines(compress(kept, side))
                train_file.writelines(compress(kept, side.translate(OTHER_SIDE)))
        if at != len(marks):
            raise _changed(sources)


def _prove(leak: LeakReport, scan: _Scan) -> None:
    if leak.inputs_in_both or leak.groups_in_both:
        raise DataError(
            "the files written share inputs or groups", fix="report this as a defect of tunepipe"
        )
    if leak.checksum != scan.checksum or leak.rows != len(scan.given):
        raise DataError(
            "the files written do not hold the rows that were read",
            fix="nothing may write to the dataset or the outputs meanwhile; split again",
        )


def _changed(sources: Sequence[Path]) -> DataError:
    return DataError(
        "the data changed while they were read",
        where=", ".join(str(path) for path in sources),
        fix="split again when nothing writes to them",
    )


def _label_counts(scan: _Scan, marks: bytes) -> dict[str, dict[str, int]]:
    names = scan.names
    if (
        not names
        or len(names) > NAMED_LABELS
        or any(len(n) > LABEL_CHARACTERS for n in names.values())
    ):
        return {}
    counts = Counter(zip(scan.label.load(), marks, strict=True))
    ordered = sorted(names.items(), key=lambda item: item[1])
    return {name: {"train": counts[h, 0], "eval": counts[h, 1]} for h, name in ordered}


def _time_report(scan: _Scan, marks: bytes) -> dict[str, Any]:
    if not len(scan.time):
        return {}
    times = scan.time.load()
    cut = min(compress(times, marks))
    late = sum(time >= cut for time in compress(times, marks.translate(OTHER_SIDE)))
    return {"cut": datetime.fromtimestamp(cut, UTC).isoformat(), "train_rows_at_or_after": late}

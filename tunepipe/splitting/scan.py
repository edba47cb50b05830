"""One pass over a dataset: a number a row for everything that decides its side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat

from tunepipe.data.rows import PAIRS, blocks, checksum, inputs, key_of, present, rows
from tunepipe.data.source import Path
from tunepipe.disk_array import DiskArray
from tunepipe.splitting.row_keys import Key, moment
from tunepipe.splitting.row_keys import field as field_of

NAMED_LABELS = 50


@dataclass(frozen=True)
class Criteria:
    """The settings that decide a row's side.

    Args:
        fraction: Share of the rows for evaluation.
        seed: Key of the hash, 0 to 2**64 - 1.
        format: The rows' format.
        group: What rows are grouped by, if anything.
        label: What rows are stratified by, if anything.
        time: The field that holds a row's time, or "".
        openings: Whether the inputs that conversations begin with are kept too.
    """

    fraction: float
    seed: int
    format: str
    group: Key | None = None
    label: Key | None = None
    time: str = ""
    openings: bool = False

    @property
    def plain(self) -> bool:
        """Whether the input alone decides."""
        return not (self.group or self.label or self.time)


@dataclass
class Scan:
    """The columns of a dataset; a column that nothing asked for stays empty.

    Args:
        input: Keyed hash of the input.
        size: Bytes of the line.
        group: Keyed hash of the group.
        label: Hash of the label.
        time: Seconds since 1970.
        openings: Hashes of the inputs that conversations begin with; any number a row.
        names: The texts of the labels, of no more than somewhat above NAMED_LABELS.
        checksum: Sum of the hashes of the lines.
    """

    input: DiskArray
    size: DiskArray
    group: DiskArray
    label: DiskArray
    time: DiskArray
    openings: DiskArray
    names: dict[int, str] = field(default_factory=dict)
    checksum: int = 0


def scan(sources: Sequence[Path], criteria: Criteria, stack: ExitStack) -> Scan:
    """Read the files once; `stack` closes the columns.

    Raises:
        DataError: A row is not of the format, or lacks a key; file and line are named.
        UsageError: A file cannot be read.
    """
    columns = [stack.enter_context(DiskArray(kind)) for kind in "QQQQdQ"]
    result = Scan(*columns)  # type: ignore[arg-type]  # six columns
    plain = criteria.plain and not (criteria.openings and criteria.format not in PAIRS)
    for path in sources:
        for first, lines in blocks(path):
            if plain:
                texts = inputs(path, first, lines, criteria.format)
            else:
                texts = _keyed_block(path, first, lines, criteria, result)
            result.input.extend(_hashes(texts, criteria.seed))
            full = present(lines, len(texts))
            result.size.extend(map(len, full))
            result.checksum = (result.checksum + checksum(full)) % 2**64
    return result


def _keyed_block(
    path: Path, first: int, lines: Sequence[bytes], criteria: Criteria, scan: Scan
) -> list[bytes]:
    block = list(rows(path, first, lines, criteria.format))
    if criteria.group:
        names = [key_of(path, row, criteria.group).encode() for row in block]
        scan.group.extend(_hashes(names, criteria.seed))
    if criteria.label:
        labels = [key_of(path, row, criteria.label) for row in block]
        hashes = list(_hashes([label.encode() for label in labels], 0))
        scan.label.extend(hashes)
        if len(scan.names) <= NAMED_LABELS:
            scan.names.update(zip(hashes, labels, strict=True))
    if criteria.time:

        def read(fields: Mapping[str, object], input: str, output: str) -> float:
            return moment(field_of(fields, criteria.time, "by_time"))

        scan.time.extend([key_of(path, row, read) for row in block])
    if criteria.openings:
        openings = [text.encode() for row in block for text in row.openings()]
        scan.openings.extend(_hashes(openings, criteria.seed))
    return [row.input.encode() for row in block]


def _hashes(texts: Sequence[bytes], seed: int) -> Iterator[int]:
    from xxhash import xxh3_64_intdigest

    return map(xxh3_64_intdigest, texts, repeat(seed))

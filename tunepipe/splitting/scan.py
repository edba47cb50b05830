"""One pass over a dataset: a number a row for everything that decides its side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from tunepipe.data.conversations import Example
from tunepipe.data.rows import PAIRS, blocks, inputs, place, rows
from tunepipe.data.source import Path
from tunepipe.disk_array import DiskArray
from tunepipe.errors import TunepipeError
from tunepipe.splitting.row_keys import Key

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
        time: What dates rows, in seconds since 1970, if they are cut by time.
        openings: Whether the inputs that conversations begin with are kept too.
    """

    fraction: float
    seed: int
    format: str
    group: Key[str] | None = None
    label: Key[str] | None = None
    time: Key[float] | None = None
    openings: bool = False

    @property
    def plain(self) -> bool:
        """Whether the input alone decides."""
        return not (self.group or self.label or self.time)


@dataclass
class Scan:
    """The columns of a dataset; a column that nothing asked for stays empty.

    `input` and `group` are keyed hashes, `label` and `openings` (any number a row) plain ones,
    `size` is the bytes of the line. `names` are the texts of the labels, of no more than somewhat
    above NAMED_LABELS. `checksum` is the sum of the hashes of the lines: their order makes no
    difference, every byte does.
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
                block = list(rows(path, first, lines, criteria.format))
                texts = [row.input.encode() for row in block]
                _add_keys(path, block, criteria, result)
            full = lines
            if len(texts) < len(lines):
                full = [line for line in lines if not line.isspace()]
            result.input.extend(_hashes(texts, criteria.seed))
            result.size.extend(map(len, full))
            result.checksum = (result.checksum + sum(_hashes(full, 0))) % 2**64
    return result


def _add_keys(path: Path, block: Sequence[Example], criteria: Criteria, scan: Scan) -> None:
    def read(key: Key[Any]) -> list[Any]:
        values = []
        for row in block:
            try:
                values.append(key(row.fields, row.input, row.reference))
            except TunepipeError as error:
                error.where = place(path, row.line)
                raise
        return values

    if criteria.group:
        scan.group.extend(_hashes([name.encode() for name in read(criteria.group)], criteria.seed))
    if criteria.label:
        labels = read(criteria.label)
        hashes = list(_hashes([label.encode() for label in labels], 0))
        scan.label.extend(hashes)
        if len(scan.names) <= NAMED_LABELS:
            scan.names.update(zip(hashes, labels, strict=True))
    if criteria.time:
        scan.time.extend(read(criteria.time))
    if criteria.openings:
        openings = [text.encode() for row in block for text in row.openings()]
        scan.openings.extend(_hashes(openings, criteria.seed))


def _hashes(texts: Sequence[bytes], seed: int) -> Iterator[int]:
    from xxhash import xxh3_64_intdigest

    return map(xxh3_64_intdigest, texts, repeat(seed))

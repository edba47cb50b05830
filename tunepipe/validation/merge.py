"""Parts of a validation put together, and what a part looks like.

The report that `merge` makes of parts is the one that `validate` makes of all their files in one
process.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from tunepipe.errors import UsageError
from tunepipe.validation.duplicates import RepeatFinder
from tunepipe.validation.report import Report, Scanned, conclude
from tunepipe.validation.statistics import Tally

MAGIC = b"tunepipe-validation-3\n"
# Of a run of lines: file, first line, lines.
RUN = struct.Struct("<QQQ")
# The last: the length of what else was counted.
END = struct.Struct("<Q")


def merge(parts: Iterable[str | os.PathLike[str]]) -> Report:
    """Put parts together, in the order given.

    Raises:
        UsageError: A file is not a part, or the parts differ in format, model or settings.
    """
    paths = list(map(Path, parts))
    if not paths:
        raise UsageError(
            "no part is given", where="parts", fix="name the files that validate_shard wrote"
        )
    with open(paths[0], "rb") as file:
        first, _ = _facts(file, paths[0])
    whole = Scanned(first.rules, Tally(first.tally.limit))
    repeats = RepeatFinder(first.tally.limit)
    for path in paths:
        with open(path, "rb") as file:
            scanned, end = _facts(file, path)
            if scanned.rules != whole.rules:
                mine, others = scanned.rules, whole.rules
                raise UsageError(
                    f"the part is of {mine.format or 'no format'} for {mine.model}, "
                    f"the first of {others.format or 'no format'} for {others.model}",
                    where=str(path),
                    fix="name the same format, model and settings for all parts",
                )
            _add_runs(file, end, whole, repeats)
        whole.tally.merge(scanned.tally)
        whole.files += scanned.files
        whole.unread |= scanned.unread
        for uri, problem in scanned.file_problems.items():
            whole.file_problems.setdefault(uri, problem)
    return conclude(whole, repeats.find())


def _add_runs(file: BinaryIO, end: int, whole: Scanned, repeats: RepeatFinder) -> None:
    file.seek(len(MAGIC))
    while file.tell() < end:
        number, line, lines = RUN.unpack(file.read(RUN.size))
        inputs, outputs = file.read(8 * lines), file.read(8 * lines)
        repeats.add(len(whole.files) + number, line, inputs, outputs)


def _facts(file: BinaryIO, path: Path) -> tuple[Scanned, int]:
    """Return what else a part holds than hashes, and where the hashes end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(len(MAGIC)) != MAGIC:
        raise UsageError(
            "not a part of a validation",
            where=str(path),
            fix="name a file that validate_shard wrote",
        )
    file.seek(size - END.size)
    (length,) = END.unpack(file.read())
    end = size - END.size - length
    file.seek(end)
    # A Counter is the one type here that msgspec does not know.
    scanned: Scanned = msgspec.msgpack.decode(
        file.read(length), type=Scanned, dec_hook=lambda kind, value: kind(value)
    )
    return scanned, end

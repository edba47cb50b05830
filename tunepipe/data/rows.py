r"""Reading the rows of a dataset in blocks: raw lines beside what they say.

Lines end at b"\n" alone, and are numbered from 1 in each file. Blank lines are no rows.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any

from tunepipe.data import formats
from tunepipe.errors import DataError, TunepipeError, UsageError

Path = str | os.PathLike[str]

BLOCK = 1 << 20
SNIFFED_ROWS = 100
PAIRS = {"palm": ("input_text", "output_text"), "prompt-completion": ("prompt", "completion")}


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Args:
        line: Its line in its file, from 1.
        fields: The row as decoded.
        given: Its input.
        wanted: Its output.
    """

    line: int
    fields: Mapping[str, Any]
    given: str
    wanted: str


def blocks(path: Path, block_bytes: int = BLOCK) -> Iterator[tuple[int, list[bytes]]]:
    """Read a file some lines at a time.

    Args:
        path: The file, plain or gzip.
        block_bytes: About so many bytes at a time.

    Yields:
        The number of the block's first line, and its lines, each with its end (the last line of a
        file gets one where it has none).

    Raises:
        UsageError: The file cannot be read, or is none.
    """
    if not os.path.isfile(path):
        raise UsageError("not a file", where=os.fspath(path), fix="name a file that can be reread")
    try:
        with open(path, "rb") as file:
            line = 1
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            while lines := stream.readlines(block_bytes):
                if not lines[-1].endswith(b"\n"):
                    lines[-1] += b"\n"
                yield line, lines
                line += len(lines)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "its gzip data are broken"
        raise UsageError(
            f"cannot be read: {reason}",
            where=os.fspath(path),
            fix="check the file and its permissions",
        ) from None


def rows(path: Path, first: int, lines: Sequence[bytes], format: str) -> Iterator[Row]:
    """Read the lines of a block, one by one.

    Args:
        path: Where they come from, for messages.
        first: The number of the first of them.
        lines: The lines.
        format: Their format's name.

    Raises:
        DataError: A line is not of the format; it names file and line.
    """
    for line, raw in enumerate(lines, first):
        if not raw.isspace():
            try:
                fields = parse(raw)
                turns, wanted = formats.checked_conversation(fields, format, line)
            except TunepipeError as error:
                error.where = place(path, line)
                raise
            yield Row(line, fields, formats.prompt_text(turns), wanted)


def inputs(path: Path, first: int, lines: Sequence[bytes], format: str) -> list[bytes]:
    """Give the decoded input of each row of a block, in UTF-8; plain pairs go the fast way."""
    if format in PAIRS:
        import msgspec

        given, wanted = PAIRS[format]
        try:
            pairs = list(map(_decoder(given, wanted), lines))
            if all(map(attrgetter(wanted), pairs)):
                return list(map(str.encode, map(attrgetter(given), pairs)))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass  # a blank line, or something to name: row by row
    return [row.given.encode() for row in rows(path, first, lines, format)]


def keyed(path: Path, row: Row, key: Callable[[Mapping[str, Any], str, str], Any]) -> Any:
    """Read a row's key, and say where the row stands if it has none."""
    try:
        return key(row.fields, row.given, row.wanted)
    except TunepipeError as error:
        error.where = place(path, row.line)
        raise


def present(lines: Sequence[bytes], count: int) -> Sequence[bytes]:
    """Leave the blank lines out of a block that holds `count` rows."""
    return lines if len(lines) == count else [line for line in lines if not line.isspace()]


def checksum(lines: Sequence[bytes]) -> int:
    """Sum the hashes of lines: the order plays no part, every byte does."""
    from xxhash import xxh3_64_intdigest

    return sum(map(xxh3_64_intdigest, lines))


def format_of(paths: Sequence[Path]) -> str:
    """Tell the format that most of the first rows have.

    Raises:
        DataError: There is no row, or none of a known format.
    """
    sample = []
    for path in paths:
        for _, lines in blocks(path):
            sample += [_fields(raw) for raw in lines[:SNIFFED_ROWS] if not raw.isspace()]
            if len(sample) >= SNIFFED_ROWS:
                break
    where = ", ".join(str(path) for path in paths)
    if not sample:
        raise DataError("there is no row", where=where)
    format = formats.common_format(sample[:SNIFFED_ROWS])
    if format is None:
        raise DataError(
            "no row has the fields of a known format",
            where=where,
            fix=f"name the format: one of {', '.join(formats.FORMATS)}",
        )
    return format


def place(path: Path, line: int) -> str:
    """Write where a line stands, for messages."""
    return f"{os.fspath(path)}:{line}"


def parse(raw: bytes) -> Mapping[str, Any]:
    """Read a line as a JSON object.

    Raises:
        DataError: It is none; the caller adds the place.
    """
    fields = _fields(raw)
    if not isinstance(fields, dict):
        raise DataError(
            "the line is not a JSON object in UTF-8",
            fix="run tunepipe validate on the file: it lists every problem",
        )
    return fields


def _fields(raw: bytes) -> Any:
    import msgspec

    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


@cache
def _decoder(given: str, wanted: str) -> Any:
    import msgspec

    pair = msgspec.defstruct("Pair", [(given, str), (wanted, str)])
    return msgspec.json.Decoder(pair).decode

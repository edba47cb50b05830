r"""The rows of a dataset: an `Example` from any line of any file.

Lines end at b"\n" alone, and are numbered from 1 in each file. Blank lines are not rows. gzip is
decompressed and a byte-order mark is dropped; a field that is null counts as absent.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.conversations import Example, example, without_nulls
from tunepipe.data.encodings import BOM
from tunepipe.data.formats import check_format
from tunepipe.data.source import Opener, Path, Source, format_of, not_an_object, open_local
from tunepipe.data.turns import check_json
from tunepipe.errors import DataError, TunepipeError

BLOCK = 1 << 20
PAIRS = {"palm": ("input_text", "output_text"), "prompt-completion": ("prompt", "completion")}


def blocks(
    path: Path, block_bytes: int = BLOCK, opener: Opener = open_local
) -> Iterator[tuple[int, list[bytes]]]:
    """Read a file, plain or gzip, about `block_bytes` at a time.

    Yields:
        The number of the block's first line, and its lines, each with its end (the last line of a
        file gets one if it has none) and without a byte-order mark.

    Raises:
        DataError: The file is not JSONL, or a line is too long to be read.
        UsageError: The file cannot be read.
    """
    source = Source(path, opener)
    source.require_rows()
    line = 1
    for block in source.blocks(block_bytes):
        if isinstance(block, int):
            raise _overlong(block, path, line)
        lines = block.removesuffix(b"\n").split(b"\n")
        if len(block) > LINE_BYTES_MAX:
            for number, text in enumerate(lines, line):
                if len(text) > LINE_BYTES_MAX:
                    raise _overlong(len(text), path, number)
        if BOM in block:
            lines = [text.removeprefix(BOM) for text in lines]
        yield line, [text + b"\n" for text in lines]
        line += len(lines)


def numbered_lines(source: Source, encoding: str = "") -> Iterator[tuple[int, bytes | int]]:
    """Read a file line by line, from another `encoding` than UTF-8 if one is named.

    Yields:
        Each line's number, from 1, and its bytes as they are, without the newline; of a line too
        long to keep, its length in bytes.

    Raises:
        UsageError: The file cannot be read to its end.
    """
    first = 1
    for block in source.blocks(BLOCK, encoding):
        lines: list[bytes | int] = [block]
        if isinstance(block, bytes):
            cut = block.removesuffix(b"\n").split(b"\n")
            lines = [line if len(line) <= LINE_BYTES_MAX else len(line) for line in cut]
        yield from enumerate(lines, first)
        first += len(lines)


def rows(path: Path, first: int, lines: Sequence[bytes], format: str) -> Iterator[Example]:
    """Read the lines of a block, one by one; the first of them has the number `first`.

    Raises:
        DataError: A line is not of the format; it names file and line.
    """
    for line, raw in enumerate(lines, first):
        if not raw.isspace():
            try:
                row = example(parse(raw), format, line)
            except TunepipeError as error:
                error.where = place(path, line)
                raise
            yield row


def inputs(path: Path, first: int, lines: Sequence[bytes], format: str) -> list[bytes]:
    """Return the decoded input of each row of a block, in UTF-8; plain pairs take a fast path."""
    if format in PAIRS:
        import msgspec

        given, wanted = PAIRS[format]
        try:
            pairs = list(map(_decoder(given, wanted), lines))
            texts = list(map(attrgetter(given), pairs))
            again = msgspec.json.Encoder().encode_lines(pairs)
            is_whole = again.count(b'"') == sum(line.count(b'"') for line in lines)
            is_whole &= b"\\u0000" not in again
            told = all(map(str.strip, texts)) and all(
                map(str.strip, map(attrgetter(wanted), pairs))
            )
            if told and is_whole:
                return list(map(str.encode, texts))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            pass  # a blank line, or something to name: row by row
    return [row.input.encode() for row in rows(path, first, lines, format)]


def read_examples(
    path: Path, format: str = "auto", opener: Opener = open_local
) -> Iterator[Example]:
    """Read a dataset's file row by row, in its order; no two rows have the same id.

    Raises:
        DataError: The file is not JSONL, its format is not known, or a line is not of the format.
        UsageError: The file cannot be read.
    """
    chosen = format_of([path], opener) if format == "auto" else check_format(format)
    seen: Counter[str] = Counter()
    for first, lines in blocks(path, opener=opener):
        for row in rows(path, first, lines, chosen):
            seen[row.hash] += 1
            row.repeat = seen[row.hash]
            yield row


def place(path: Path, line: int) -> str:
    """Return a line's file and number, for messages."""
    return f"{os.fspath(path)}:{line}"


def overlong_message(line_bytes: int) -> str:
    """Return the message that a line is too long to be read."""
    return f"the line has {line_bytes} bytes; lines of up to {LINE_BYTES_MAX >> 20} MiB are read"


def parse(raw: bytes) -> Mapping[str, Any]:
    """Read a line as a JSON object; fields that are null are left out.

    Raises:
        DataError: It is none; the caller adds the place.
    """
    fields = decode(raw)
    return without_nulls(fields) if b"null" in raw else fields


def decode(raw: bytes) -> dict[str, Any]:
    """Read a line as a JSON object, as it is; see `parse`."""
    import msgspec

    text = raw.removeprefix(BOM)
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise not_an_object(text)
    check_json(text, fields)
    return fields


def _overlong(line_bytes: int, path: Path, line: int) -> DataError:
    return DataError(
        overlong_message(line_bytes), where=place(path, line), fix="shorten the row, or remove it"
    )


@cache
def _decoder(given: str, wanted: str) -> Any:
    import msgspec

    pair = msgspec.defstruct("Pair", [(given, str), (wanted, str)])
    return msgspec.json.Decoder(pair).decode

"""Tables as rows: separated values, Excel workbooks and Parquet, one row at a time."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from tunepipe.data.encodings import name_of
from tunepipe.data.source import NAMED_DELIMITER, FileKind, Source, find_delimiter
from tunepipe.errors import DataError, UsageError
from tunepipe.extras import missing

TableRow = dict[str, Any]

# Columns that hold lists or objects; a table of texts has them as JSON.
_NESTED = {
    *("messages", "conversations", "conversation", "contents", "systemInstruction", "tools"),
    *("functions", "completions"),
}
# Columns of texts, which may be JSON themselves, or of messages.
_TEXTS_OR_MESSAGES = {"chosen", "rejected", "prompt", "completion"}
_SAYING = {"content", "tool_calls"}
_BATCH_ROWS = 1000
# The csv module takes four bytes a character.
_CELL_CHARACTERS_MAX, _LINE_CHARACTERS_MAX = 8 << 20, 16 << 20


@dataclass(frozen=True)
class TableOptions:
    """Settings for reading a table; empty ones are detected.

    Args:
        delimiter: What separates the columns: one character, or "tab".
        encoding: How the text is written, as Python names encodings.
        skip_lines: Lines, or rows of a sheet, before the header.
        sheet: A workbook's sheet; "" takes the first.
    """

    delimiter: str = ""
    encoding: str = ""
    skip_lines: int = 0
    sheet: str = ""


def table_kind(source: Source, options: TableOptions) -> FileKind | None:
    """Return what kind of table a file is, by its contents, its name or an option; else None.

    The kind has the encoding and the delimiter that the options name, else those detected.

    Raises:
        UsageError: An option is wrong, or the file is not what its name says.
    """
    delimiter = {"tab": "\t", "\\t": "\t"}.get(options.delimiter, options.delimiter)
    if len(delimiter) > 1:
        found = f"{delimiter!r} is not one character"
        raise UsageError(found, where="delimiter", fix="; or | or tab")
    kind, name = source.kind, source.path.lower()
    if kind.name == "old-excel":
        return None
    kind = kind._replace(encoding=options.encoding or kind.encoding)
    try:
        "".encode(kind.encoding)
    except (LookupError, UnicodeError):  # no encoding, or none of texts
        raise UsageError(
            f"unknown encoding {options.encoding!r}", where="encoding", fix="such as cp932"
        ) from None
    if options.skip_lines and kind.name in ("table", "rows"):
        lines = source.head.split(b"\n")[options.skip_lines :]
        detected = find_delimiter([line for line in lines if line.strip()], kind.encoding)
        return kind._replace(name="table", delimiter=delimiter or detected or ",")
    if kind.name in ("table", "parquet", "excel"):
        return kind._replace(delimiter=delimiter or kind.delimiter or ",")
    for ending, expected in ((".parquet", "parquet"), (".xlsx", "excel")):
        if name.endswith(ending):
            source.close()
            found = "a workbook" if expected == "excel" else "Parquet"
            raise UsageError(
                f"cannot be read as a table: the file is not {found}",
                where=source.path,
                fix="check that the file is what its ending says",
            )
    return kind._replace(name="table", delimiter=delimiter) if delimiter else None


def read_table(
    source: Source, kind: FileKind, options: TableOptions, notes: list[str]
) -> Iterator[tuple[int, TableRow | DataError]]:
    """Read a table row by row; `notes` gets what a user should know of the reading.

    Yields:
        The number of each row (of a text file its first line) and its cells by the names of the
        columns, without the empty ones; or why the row cannot be read.

    Raises:
        UsageError: The file is not such a table.
    """
    try:
        if kind.name == "parquet":
            yield from _read_parquet(source)
        elif kind.name == "excel":
            yield from _read_lines(_sheet_rows(source, options, notes), source.path)
        else:
            yield from _read_lines(_text_rows(source, kind, options), source.path)
    except ImportError as error:
        raise missing(str(error.name)) from None
    finally:
        source.close()


class _Lines:
    """Lines with one after the last, which the csv module makes a row unless a quote is open."""

    END = "\x1e"

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.ended = lines, False

    def __iter__(self) -> Iterator[str]:
        yield from self._lines
        self.ended = True
        yield self.END


def _unclosed(last_line: int) -> DataError:
    return DataError(
        f"a cell has a quote before it, and none after it until the last line, {last_line}",
        fix="add the quote, or double it if it belongs to the text",
    )


def _text_rows(
    source: Source, kind: FileKind, options: TableOptions
) -> Iterator[tuple[int, Sequence[Any] | DataError]]:
    encoding = kind.encoding
    csv.field_size_limit(_CELL_CHARACTERS_MAX)
    with source.opened() as stream:
        codec = "utf-8-sig" if encoding == "utf-8" else encoding
        text = io.TextIOWrapper(stream, codec, newline="")
        lines = _Lines(_lines_from(options.skip_lines, text, source.path))
        reader = csv.reader(lines, delimiter=kind.delimiter)
        try:
            line = options.skip_lines + 1
            for row in reader:
                if lines.ended:
                    if row != [_Lines.END]:
                        yield line, _unclosed(options.skip_lines + reader.line_num - 1)
                    return
                yield line, row
                line = options.skip_lines + reader.line_num + 1
        except UnicodeError as error:
            raise DataError(
                f"the bytes after line {reader.line_num} are not {name_of(encoding)}",
                where=source.path,
                fix="name its encoding, such as euc-kr, gb18030 or cp1251",
            ) from error
        except csv.Error as error:
            raise DataError(
                f"cannot be read as a table: {error}",
                where=f"{source.path}:{reader.line_num}",
                fix="quote cells that hold the separator, a quote or a line end",
            ) from None


def _lines_from(header: int, text: io.TextIOBase, path: str) -> Iterator[str]:
    """Read the lines from the header on; Excel's line `sep=;` counts as blank."""
    for number in count():
        line = text.readline(_LINE_CHARACTERS_MAX)
        if len(line) == _LINE_CHARACTERS_MAX:
            raise DataError(
                f"the line has more than {_LINE_CHARACTERS_MAX:,} characters",
                where=f"{path}:{number + 1}",
                fix="shorten the row, or quote its line ends",
            )
        if number == header:
            line = line.removeprefix("\ufeff")
            line = "\n" if NAMED_DELIMITER.fullmatch(line) else line
        if not line:
            return
        if number >= header:
            yield line


def _sheet_rows(
    source: Source, options: TableOptions, notes: list[str]
) -> Iterator[tuple[int, Sequence[Any]]]:
    import openpyxl  # type: ignore[import-untyped]

    with source.opened() as stream:
        data = io.BytesIO(stream.read())
    try:
        book = openpyxl.load_workbook(data, read_only=True, data_only=True)
    except Exception as error:  # the package raises what its parsers raise
        raise UsageError(
            f"cannot be read as a workbook: {type(error).__name__}",
            where=source.path,
            fix="save it again as .xlsx",
        ) from error
    sheets = {sheet.title: sheet for sheet in book.worksheets}  # without those of a chart alone
    name = options.sheet or next(iter(sheets), "")
    if name not in sheets:
        fix = f"one of {', '.join(sheets)}"
        raise UsageError(f"no sheet {name!r}", where=source.path, fix=fix)
    if len(sheets) > 1 and not options.sheet:
        others = ", ".join(repr(other) for other in sheets if other != name)
        notes.append(f"the sheet {name!r} was read, and not {others}: --sheet NAME reads another")
    for number, cells in enumerate(sheets[name].iter_rows(values_only=True), 1):
        if number > options.skip_lines:
            whole = [int(x) if isinstance(x, float) and x.is_integer() else x for x in cells]
            yield number, [None if cell is None else str(cell) for cell in whole]


def _read_lines(
    rows: Iterator[tuple[int, Sequence[Any] | DataError]], path: str
) -> Iterator[tuple[int, TableRow | DataError]]:
    """Make rows by the names of the first line that is not blank."""
    header: list[str] = []
    for line, cells in rows:
        if isinstance(cells, DataError):
            if not header:
                cells.where = f"{path}:{line}"
                raise cells
            yield line, cells
            continue
        if all(cell in (None, "") for cell in cells):
            continue
        if not header:
            header = _header(cells, path)
            continue
        if any(cell not in (None, "") for cell in cells[len(header) :]):
            fix = "quote cells that hold the separator, and name every column in the header; "
            fix += "if the header is not the first line: --skip-lines N"
            yield line, DataError("the row has more cells than the header names", fix=fix)
            continue
        yield line, _named(zip(header, cells, strict=False))
    if not header:
        raise UsageError(
            "cannot be read as a table: there is no header",
            where=path,
            fix="name the columns in the first line",
        )


def _header(cells: Sequence[Any], path: str) -> list[str]:
    names = [str(cell or "").strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    names = [name or f"column {number}" for number, name in enumerate(names, 1)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UsageError(
            f"the header names a column twice: {', '.join(map(repr, repeated))}",
            where=path,
            fix="give every column its own name",
        )
    return names


def _named(cells: Any) -> TableRow:
    row = {}
    for name, cell in cells:
        if cell in (None, ""):
            continue
        row[name] = cell
        is_known = name in _NESTED or name in _TEXTS_OR_MESSAGES
        if is_known and isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
            with suppress(ValueError, RecursionError):
                value = json.loads(cell)
                row[name] = value if name in _NESTED or _are_messages(value) else cell
    return row


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(x, dict) and "role" in x and x.keys() & _SAYING for x in value)
    )


def _read_parquet(source: Source) -> Iterator[tuple[int, TableRow | DataError]]:
    from pyarrow import ArrowException, parquet

    if not os.path.isfile(source.path):
        raise UsageError(
            "Parquet is read from files alone", where=source.path, fix="write it to a file first"
        )
    number = 0
    content: Any = source.path
    if source.is_gzip:  # as an object that is stored with Content-Encoding: gzip
        with source.opened() as stream:
            content = io.BytesIO(stream.read())
    try:
        with parquet.ParquetFile(content) as file:
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _named(row.items())
    except (ArrowException, OSError, ValueError) as error:
        raise UsageError(
            f"cannot be read as a table: {type(error).__name__}",
            where=source.path,
            fix="check that the file is whole and is Parquet",
        ) from error


def flattened(row: Mapping[str, Any]) -> TableRow:
    """Return a row whose nested columns are columns of their own, such as `translation.en`."""
    flat: TableRow = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{key}": nested for key, nested in flattened(value).items()}
        else:
            flat[name] = value
    return flat


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of the columns of rows, in the order of their first use."""
    return list(dict.fromkeys(name for row in rows for name in row))

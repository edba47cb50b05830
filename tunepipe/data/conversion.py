"""One format as another, and tables as rows: what can be carried over exactly, and what cannot."""

from __future__ import annotations

import json
import os
import warnings
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from tunepipe.catalog.catalog import load_catalog
from tunepipe.data import conversations as conversation
from tunepipe.data import formats
from tunepipe.data.rows import blocks, decode, without_nulls
from tunepipe.data.source import Path, format_of
from tunepipe.data.turns import refusal
from tunepipe.errors import DataError, TunepipeError, UsageError
from tunepipe.files import refuse_same, replacing, separator

REFUSED_LISTED = 1000
TABLES = {".csv": ",", ".tsv": "\t", ".parquet": ""}
_HEAD_BYTES = 1 << 16
USUAL_COLUMNS = (("input_text", "output_text"), ("prompt", "completion"), ("input", "output"))


@dataclass
class ConversionReport:
    """What was written, and what was not.

    Args:
        format: The format read.
        to: The format written.
        rows: Rows read.
        written: Rows written.
        refused: The first 1,000 rows that cannot be carried over: line (of a table or a list of
            rows, the number from 1) and reason.
        left_out: What the new format has no place for, by name, with the number of rows.
    """

    format: str
    to: str
    rows: int = 0
    written: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def refused_total(self) -> int:
        """Rows that could not be carried over."""
        return self.rows - self.written

    def as_json(self) -> dict[str, Any]:
        """Give the report as a JSON object."""
        return asdict(self) | {"refused_total": self.refused_total}


def convert(
    source: Path,
    target: Path,
    to: str,
    *,
    format: str = "auto",
    input_column: str = "",
    output_column: str = "",
    system_column: str = "",
) -> ConversionReport:
    """Write a file in another format. A row that cannot be carried over is reported, not written.

    Args:
        source: JSONL, one JSON array of rows, or a table: .csv (commas), .tsv (tabs) or .parquet.
            A file of any other name is taken for what it holds.
        target: The JSONL file to write.
        to: One of formats.FORMATS; for preference, Gemini's shape. Rows that have it stay.
        format: The format of JSONL, or "auto".
        input_column: A table's column of inputs; "" to go by the usual names.
        output_column: A table's column of outputs; "" likewise.
        system_column: A table's column of system instructions; "" for none.

    Returns:
        The report.

    Raises:
        DataError: There is no row, or a table's cell holds no text.
        UsageError: The file cannot be read, is the target too, or a name is unknown.
    """
    _known(to)
    refuse_same([target], [source])
    if (mark := _separator(source)) is not None:
        frame = _table(source, mark)
        given, wanted = _columns([str(c) for c in frame.columns], input_column, output_column)
        rows = formats.from_dataframe(frame, given, wanted, system_column=system_column)
        return write_rows(rows, target, to)
    listed = _array(source)
    if listed is not None:
        return write_rows(listed, target, to, format)
    format = format_of([source]) if format == "auto" else _known(format)
    return _write(_lines(source), target, ConversionReport(format, to))


def write_rows(
    rows: Sequence[Mapping[str, Any]], target: Path, to: str, format: str = "auto"
) -> ConversionReport:
    """Write rows in a format, such as those that `formats.from_dataframe` gives.

    Args:
        rows: Rows of one format.
        target: The JSONL file to write.
        to: One of formats.FORMATS.
        format: The format of the rows, or "auto".

    Returns:
        The report.

    Raises:
        DataError: No row is of a known format.
        UsageError: A format is unknown.
    """
    found = formats.common_format(rows[:100]) if format == "auto" else _known(format)
    if found is None:
        raise DataError("no row has the fields of a known format")
    return _write(enumerate(rows, 1), target, ConversionReport(found, _known(to)))


def converted(row: Mapping[str, Any], format: str, to: str) -> tuple[Any, tuple[str, ...]]:
    """Carry one row over.

    Returns:
        The row in the other format, and the names of what that has no place for.

    Raises:
        DataError: The row is not of its format, or the other has no place for what it says.
    """
    if format == to and formats.detect_format(row) != format:
        raise refusal(f"it has not the fields of the format {format}")
    if format == to and "preferred_output" not in row:
        more = tuple(sorted(row.keys() - _fields(to)))
        return ({name: row[name] for name in row if name not in more} if more else row), more
    said = conversation.read(without_nulls(row), format)
    turned_down = said.rejected is not None and to != "preference"
    lost = ("the answer turned down",) if turned_down else ()
    return conversation.write(said, to), said.left_out + lost


@cache
def _fields(format: str) -> frozenset[str]:
    fields = load_catalog().service_table.formats[format]
    return frozenset(conversation.FIELDS[format]).union(fields.required, fields.optional)


def _write(
    items: Iterable[tuple[int, Mapping[str, Any] | bytes]], target: Path, report: ConversionReport
) -> ConversionReport:
    import msgspec

    left_out: Counter[str] = Counter()
    with replacing(target, "wb") as file:
        for line, item in items:
            report.rows += 1
            try:
                row = decode(item) if isinstance(item, bytes) else item
                fresh, more = converted(row, report.format, report.to)
                encoded = msgspec.json.encode(fresh)
            except (TunepipeError, UnicodeEncodeError) as error:
                if len(report.refused) < REFUSED_LISTED:
                    reason = getattr(error, "found", "a text holds half of a surrogate pair")
                    report.refused.append({"line": line, "reason": reason})
                continue
            file.write(encoded + b"\n")
            report.written += 1
            left_out.update(more)
    report.left_out = dict(left_out)
    return report


def _refuse_constant(word: str) -> None:
    raise DataError(
        f"the list of rows holds {word}, which is no JSON value",
        fix="null, or a text, where it stands",
    )


def _array(source: Path) -> list[Mapping[str, Any]] | None:
    """Read a file that is one JSON array of objects; None stands for any other file.

    Raises:
        DataError: A number that JSON lacks.
    """
    if not os.path.isfile(source):
        return None
    with open(source, "rb") as file:
        if file.read(64).lstrip()[:1] != b"[":
            return None
        file.seek(0)
        try:
            rows = json.load(file, parse_constant=_refuse_constant)
        except DataError:
            raise
        except (ValueError, RecursionError):
            return None
    return rows if rows and all(isinstance(row, dict) for row in rows) else None


def _lines(source: Path) -> Iterator[tuple[int, bytes]]:
    for first, lines in blocks(source):
        for line, raw in enumerate(lines, first):
            if not raw.isspace():
                yield line, raw


def _known(format: str) -> str:
    if format not in formats.FORMATS:
        raise UsageError(
            f"unknown format {format!r}", fix=f"use one of {', '.join(formats.FORMATS)}"
        )
    return format


def _separator(source: Path) -> str | None:
    """Return what separates a table's columns, "" for Parquet; None for what is no table."""
    name = os.fspath(source)
    for ending, mark in TABLES.items():
        if name.endswith(ending):
            return mark
    if not os.path.isfile(name):
        return None
    with open(name, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"PAR1"):
        return ""
    return separator(head.removeprefix(BOM_UTF8)) or None


def _table(source: Path, mark: str) -> Any:
    import pandas

    name = os.fspath(source)
    try:
        if not mark:
            return pandas.read_parquet(name)
        with warnings.catch_warnings():
            # Rows longer than the header are but warned of, and by default they are read with
            # their first cells as an index: every column would hold what belongs to the next.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            # Without the first two "NA" and "007" would not stay the texts that they are.
            return pandas.read_csv(
                name, sep=mark, dtype=str, keep_default_na=False, index_col=False
            )
    except pandas.errors.ParserWarning as error:
        raise UsageError(
            "its rows have more cells than its header names",
            where=name,
            fix="name every column in the first line, and quote cells that hold the separator",
        ) from error
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(
            f"cannot be read as a table: {type(error).__name__}",
            where=name,
            fix="check that it is UTF-8 and what its ending says; Parquet needs pyarrow",
        ) from error


def _columns(names: list[str], given: str, wanted: str) -> tuple[str, str]:
    if given and wanted:
        return given, wanted
    for pair in USUAL_COLUMNS:
        if set(pair) <= set(names) and not given and not wanted:
            return pair
    raise UsageError(
        f"which columns hold input and output? There are {', '.join(names)}",
        fix="name both with --input-column and --output-column",
    )

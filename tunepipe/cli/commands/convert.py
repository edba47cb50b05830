"""`tunepipe convert`: a dataset in another format."""

from __future__ import annotations

from dataclasses import dataclass

from tunepipe.cli import options
from tunepipe.cli.inputs import expanded, local_copy, written
from tunepipe.cli.output import Output
from tunepipe.errors import plural
from tunepipe.files import refuse_same

REFUSED_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How a file is read.

    Options:
        input_column (NAME): The field or column with the inputs.
        output_column (NAME): The field or column with the outputs.
        system_column (NAME): The field or column with system instructions.
        delimiter (CHAR): What separates a table's columns; or tab.
        encoding (NAME): The encoding of the text, such as cp932.
        skip_lines (N): Lines before a table's header.
        sheet (NAME): The sheet of a workbook. Default: the first.
    """

    format: str = "auto"
    input_column: str = ""
    output_column: str = ""
    system_column: str = ""
    delimiter: str = ""
    encoding: str = ""
    skip_lines: options.Whole = 0
    sheet: str = ""


def convert(
    source: str,
    target: str,
    *,
    to: str,
    reading: ReadingOptions,
    show_all: bool = False,
    user_project: options.UserProject = "",
    out: Output,
) -> int:
    """Write a dataset in another format.

    Rows of Alpaca, ShareGPT, TRL preferences and question-answer pairs are recognized. Rows that
    cannot be converted are listed and not written; exit code 1 where there are any.

    Options:
        source (IN): JSONL, JSON, CSV, TSV, Excel (.xlsx) or Parquet.
        target (OUT): The JSONL file to write.
        to (FORMAT): The format to write, such as gemini.
        show_all: Show every row that was not written.
    """
    from tunepipe.data import conversion

    refuse_same([target], expanded([source]))
    with local_copy(source) as path, written(target) as copy:
        report = conversion.convert(path, copy, to, **vars(reading))
    out.result(report.as_json())
    out.line(
        f"{report.written:,} of {plural(report.rows, 'row')} written as {to} to {target}", "bold"
    )
    for note in report.notes:
        out.line(f"  {note}", "dim")
    shown = report.refused if show_all else report.refused[:REFUSED_SHOWN]
    for row in shown:
        place = out.styled(f"line {row['line']}", "cyan")
        out.line(f"  {place}: {row['reason']}")
    if more := report.refused_total - len(shown):
        out.line(f"  {more:,} more: --show-all, or --json", "dim")
    out.warnings(
        f"left out of {plural(rows, 'row')}: {name}" for name, rows in report.left_out.items()
    )
    if report.written:
        out.line(f"next: tunepipe validate {target}")
    return int(report.refused_total > 0)

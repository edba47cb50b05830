"""`tunepipe convert`: a dataset in another format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tunepipe.cli import options
from tunepipe.cli.inputs import expanded, local_copy, written
from tunepipe.cli.output import Output
from tunepipe.files import refuse_same

if TYPE_CHECKING:
    pass


REFUSED_SHOWN = 10


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="JSONL, or a table: CSV, TSV or Parquet.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The JSONL file to write.")],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="The format to write, such as gemini.")],
    format: options.Format = "auto",
    input_column: Annotated[
        str, typer.Option(metavar="NAME", help="A table's column of inputs.")
    ] = "",
    output_column: Annotated[
        str, typer.Option(metavar="NAME", help="A table's column of outputs.")
    ] = "",
    system_column: Annotated[
        str, typer.Option(metavar="NAME", help="A table's column of system instructions.")
    ] = "",
    json: options.Json = False,
) -> int:
    """Write a dataset in another format.

    Rows that cannot be carried over are named and left out; exit code 1 where there are any.
    """
    from tunepipe.data import conversion

    refuse_same([target], expanded([source]))
    with local_copy(source) as path, written(target) as copy:
        found = conversion.convert(
            path,
            copy,
            to,
            format=format,
            input_column=input_column,
            output_column=output_column,
            system_column=system_column,
        )
    out = Output(json)
    out.result(found.as_json())
    out.line(f"{found.written:,} of {found.rows:,} rows written as {found.to} to {target}", "bold")
    for row in found.refused[:REFUSED_SHOWN]:
        place = out.styled(f"line {row['line']}", "cyan")
        out.line(f"  {place}: {row['reason']}")
    if found.refused_total > REFUSED_SHOWN:
        out.line(f"  and {found.refused_total - REFUSED_SHOWN:,} more", "dim")
    out.warnings(f"left out of {rows:,} rows: {name}" for name, rows in found.left_out.items())
    return int(found.refused_total > 0)

"""A result as a notebook shows it: a heading, tables and notes as one HTML fragment."""

from __future__ import annotations

from collections.abc import Sequence

from tunepipe.reporting.html_page import fill

# The head of a table (empty for none), and its rows of cells.
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def result_html(
    title: str, verdict: str = "", tables: Sequence[Table] = (), notes: Sequence[str] = ()
) -> str:
    """Return the fragment; every text is escaped.

    Args:
        title: What was done.
        verdict: How it ended, after the title.
        tables: Tables under the heading; one without rows is left out.
        notes: Paragraphs under the tables.
    """
    return fill("result.html.j2", title=title, verdict=verdict, tables=tables, notes=notes)

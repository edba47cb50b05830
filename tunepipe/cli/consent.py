"""Asking a person before something is changed."""

from __future__ import annotations

import sys

import typer

from tunepipe.cli.output import Output
from tunepipe.errors import UsageError


def agree(question: str, yes: bool, out: Output) -> None:
    """Go on where the user agrees.

    Args:
        question: What is asked, such as "Delete the schedule weekly?".
        yes: Whether the user has agreed already.
        out: Where people read.

    Raises:
        UsageError: Nobody is there to be asked.
        Abort: The answer was no.
    """
    if yes:
        return
    if out.as_json or not sys.stdin.isatty():
        raise UsageError("nobody can be asked", where=question, fix="add --yes")
    if not typer.confirm(question, err=True):
        raise typer.Abort

"""What a command prints: one JSON object, or human-readable lines and tables.

Programs read standard output, people standard error; with --json nothing but the object is printed.
The tables are laid out here and not by rich, whose import alone would take a third of the
time that a command may need to start.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any, TextIO

import typer

from tunepipe.errors import TunepipeError, UsageError
from tunepipe.progress import is_terminal, printable

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_STYLES = re.compile(r"(\x1b\[(?:0|1|2|31|32|33|36)(?:;(?:1|2|31|32|33|36))*m)")


class ReaderLeft(BaseException):
    """The reader of standard output closed it; what handles errors does not see it."""


class Output:
    """Where a command prints: the JSON object if `as_json`, else lines for people.

    Lines go to standard error unless another stream is named.
    """

    def __init__(self, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.as_json = as_json
        self._stream = stream or sys.stderr
        self._label_width = 0
        is_forced = bool(os.environ.get("FORCE_COLOR"))
        self._colours = not os.environ.get("NO_COLOR") and (is_forced or is_terminal(self._stream))

    def result(self, value: Mapping[str, Any]) -> None:
        """Print the one JSON object, if requested."""
        if self.as_json:
            print_json(value)

    def line(self, text: str = "", style: str = "") -> None:
        """Print one human-readable line; a stream that takes nothing stops nothing.

        File names, rows and services' messages are in it, so a terminal gets no control character
        but the styles.
        """
        if not self.as_json:
            with suppress(OSError):
                print(self._shown(self.styled(text, style)), file=self._stream)

    def answer(self, text: str) -> None:
        """Print a text on standard output, unless it is for the one JSON object."""
        if not self.as_json:
            is_shown = sys.stdout.isatty()
            print("\n".join(map(printable, text.splitlines())) if is_shown else text)

    def _shown(self, text: str) -> str:
        parts = _STYLES.split(text)
        styles = parts[1::2] if self._colours else [""] * (len(parts) // 2)
        texts = map(printable, parts[::2])
        return "".join(text + style for text, style in zip(texts, [*styles, ""], strict=True))

    def table(
        self,
        rows: Iterable[Sequence[str]],
        head: Sequence[str] = (),
        *,
        styles: Sequence[str] = ("bold",),
        empty: str = "",
    ) -> None:
        """Print rows of cells as a human-readable table, each column as wide as its widest cell.

        Each column may have a style; where there are no rows, `empty` is printed.
        """
        cells = [list(row) for row in rows]
        if not cells and empty:
            self.line(empty)
            return
        cells = [list(head), *cells] if head else cells
        widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            styled = (self.styled(*pair) for pair in zip_longest(row, styles, fillvalue=""))
            padded = [
                text + " " * (wide - width(cell))
                for text, cell, wide in zip(styled, row, widths, strict=True)
            ]
            self.line("  " + "  ".join(padded).rstrip())

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Print labels and values that are not empty; later blocks align with the first."""
        shown = [row for row in rows if row[1]]
        self._label_width = max([self._label_width, *(width(label) for label, _ in shown)])
        pad = self._label_width
        self.table((label.ljust(pad), value) for label, value in shown)

    def warnings(self, texts: Iterable[str]) -> None:
        """Print human-readable warnings."""
        for text in texts:
            self.line(f"{self.styled('warning', 'yellow')}: {text}")

    def styled(self, text: str, style: str) -> str:
        """Return a text in a style, one or more of _CODES, if the stream is a terminal."""
        if not (style and self._colours):
            return text
        codes = ";".join(_CODES[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output, whatever the locale."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate has no UTF-8; backslashreplace writes it as JSON escapes it.
    try:
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise ReaderLeft from None
    except OSError as error:
        raise not_written(error) from error


def fill_closed_streams() -> None:
    """Put the null device where the process was started without a standard stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def flush() -> OSError | None:
    """Write what is left in the standard streams; return why standard output took no more.

    What is left then is dropped, for the interpreter would stumble over it at its end.
    """
    _flushed(sys.stderr)
    return _flushed(sys.stdout)


def _flushed(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return error
    return None


def not_written(error: OSError) -> UsageError:
    """Return the error for a standard output that cannot be written."""
    return UsageError(
        f"cannot be written: {error.strerror}",
        where="standard output",
        fix="free space on the device, or write to another one",
    )


def print_error(error: TunepipeError, *, as_json: bool) -> None:
    """Print an error, as JSON or human-readable."""
    if as_json:
        fields = {"found": error.found, "where": error.where, "fix": error.fix}
        print_json({"error": fields | {"exit_code": error.exit_code}})
        return
    out = Output()
    place = f"{error.where}: " if error.where else ""
    out.line(f"{out.styled('error', 'red bold')}: {place}{error.found}")
    if error.fix:
        out.line(f"  {out.styled('fix', 'cyan')}: {error.fix}")


def width(text: str) -> int:
    """Count the columns that a text takes in a terminal; a wide East Asian character takes two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def agree(question: str, yes: bool, out: Output) -> None:
    """Ask the user to agree, such as "Delete the schedule weekly?"; `yes` if an option did.

    Raises:
        UsageError: No terminal can ask the question.
        Abort: The answer was no.
    """
    if yes:
        return
    if out.as_json or not sys.stdin.isatty():
        raise UsageError(
            "this needs a confirmation, and standard input is not a terminal",
            where=question,
            fix="add --yes",
        )
    if not typer.confirm(question, err=True):
        raise typer.Abort


def name_options(text: str, names: Collection[str], is_place: bool = False) -> str:
    """Write the parameters of a library function as the command's options: eval_min, --eval-min.

    The name of a tensor or a module that has such a part is left as it is. A place, which says
    where an error is, may be names alone: "epochs, train_steps".
    """

    def option(name: str) -> str:
        return f"--{name.replace('_', '-')}" if name in names else name

    places = text.split(", ")
    if is_place and any(place in names for place in places):
        return ", ".join(map(option, places))
    return re.sub(
        r"(?<![\w.])[a-z]+(?:_[a-z]+)+\b(?!\.\w)", lambda match: option(match.group()), text
    )

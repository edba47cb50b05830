"""The texts of rows, their inputs and outputs above all: how they are joined, and measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.catalog.limits import estimated_tokens

REPEATED_AFTER = 15
# From here on numpy is quicker, its import included.
_MANY_CHARACTERS = 1 << 16
_RUNS = re.compile(r"([\x00-\x7f])\1{15}\1*+")

# Controls that no valid text holds: they separate an input's turns, and a leading system turn.
TURN_MARK = "\x1e"
_TURN_MARKS = re.compile(TURN_MARK)
SYSTEM_MARK = "\x1d"


def joined(system: str | None, contents: Sequence[str]) -> str:
    """Return the input made of a system turn, if any, and of turns that alternate."""
    spoken = TURN_MARK.join(contents)
    return spoken if system is None else f"{SYSTEM_MARK}{system}{TURN_MARK}{spoken}"


def questions_within(text: str) -> Iterator[str]:
    """Yield the inputs that a conversation begins with: it also trains on their answers."""
    spoken, marks = text.removeprefix(SYSTEM_MARK), [m.start() for m in _TURN_MARKS.finditer(text)]
    first = int(len(spoken) < len(text))  # of a system turn, which asks nothing
    yield from (text[:end] for end in marks[first::2])


def characters(text: str) -> tuple[int, int]:
    """Count the ASCII characters and the others of an input or output, marks left out."""
    marks = text.count(TURN_MARK) + text.count(SYSTEM_MARK)
    if text.isascii():
        return len(text) - marks, 0
    plain = len(text.encode("ascii", "ignore"))
    return plain - marks, len(text) - plain


def repeated_characters(text: str) -> int:
    """Count the ASCII characters that follow 15 of the same: rules, padding, blank lines.

    A tokenizer has tokens for long runs, so these cost next to nothing.
    """
    return sum(len(run.group()) - REPEATED_AFTER for run in _RUNS.finditer(text))


def measure(texts: Sequence[str]) -> tuple[list[int], int, int]:
    """Count the characters of each text, the ASCII ones of all, and how many of these are repeated.

    Marks are left out; see `repeated_characters`.
    """
    # No text ends or begins with this mark, and no run goes beyond it.
    whole = "\x80".join(texts)
    marks = whole.count(TURN_MARK) + whole.count(SYSTEM_MARK)
    lengths = [sum(characters(text)) for text in texts] if marks else list(map(len, texts))
    plain = len(whole.encode("ascii", "ignore")) - marks
    if len(whole) < _MANY_CHARACTERS:
        return lengths, plain, repeated_characters(whole)
    import numpy as np

    # Every long run holds eight equal bytes at a place that eight divides.
    data = np.frombuffer(whole.encode("utf-8", "surrogatepass"), np.uint8)
    words = data[: len(data) // 8 * 8].view(np.uint64)
    if not np.any(words == (words & np.uint64(0x7F)) * np.uint64(0x0101010101010101)):
        return lengths, plain, 0
    same = data[1:] == data[:-1]
    for step in (1, 2, 4, 7):  # runs of 2, 4, 8 and 15 equal neighbours
        same = same[:-step] & same[step:]
    return lengths, plain, int(np.count_nonzero(same & (data[:-REPEATED_AFTER] < 0x80)))


def estimate_tokens(*texts: str) -> int:
    """Estimate the tokens of texts together, marks left out."""
    counted = [(*characters(text), repeated_characters(text)) for text in texts]
    plain, other, repeated = map(sum, zip(*counted, strict=True))
    return estimated_tokens(plain - repeated, other)


def texts_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return every text of a row after its path, and the names of fields that are not ASCII."""
    found: list[tuple[str, str]] = []
    _add_texts(row, "", found)
    return found


def _add_texts(value: Any, path: str, found: list[tuple[str, str]]) -> None:
    if isinstance(value, str):
        found.append((path, value))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _add_texts(item, f"{path}[{number}]", found)
    elif isinstance(value, dict):
        for name, item in value.items():
            if not name.isascii():
                found.append((path, name))
            _add_texts(item, f"{path}.{name}" if path else name, found)

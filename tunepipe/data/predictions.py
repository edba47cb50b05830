"""A predictions file: one JSON object a line with the input, the reference and a model's answer.

    {"id": "9f2c…", "input": "…", "reference": "…", "prediction": "…"}

A row that the model did not answer has `"prediction": null`, and `error` says why. Optional fields:
`group` (rows of one group are not independent), `hash` (of the row's content; equal hashes are
repeats), `answer` (0, 1, …, if a row has several answers), `seconds`, `input_tokens`,
`output_tokens`. Any other field can be used to group or to slice the rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tunepipe.data.conversations import Example
from tunepipe.data.encodings import BOM, describe_not_utf8
from tunepipe.data.rows import numbered_lines, overlong_message
from tunepipe.data.source import Source
from tunepipe.data.turns import DuplicateKeyError, without_repeats
from tunepipe.errors import UsageError
from tunepipe.files import replacing

_SHAPE = '{"id": "…", "input": "…", "reference": "…", "prediction": "…"}'
_FIX = f"write {_SHAPE}"
_TEXTS = ("id", "input", "reference", "prediction", "error", "group", "hash")
_NUMBERS = ("answer", "seconds", "input_tokens", "output_tokens")
# A longer text is content, and names no slice.
_MAX_FIELD_CHARACTERS = 100
_NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Prediction:
    """One held-out row and a model's answer.

    Args:
        id: The row's identity, the same in the files of all models that are compared.
        input: The prompt as one human-readable text.
        reference: The right answer.
        prediction: The model's answer; None if it gave none. An empty text is an answer.
        error: Why there is no answer; "" if there is one.
        group: Rows of one group are not independent; "" for none.
        hash: Of the row's whole content; "" if not known.
        answer: The answer's number, 0 and up, if a row has several.
        seconds: How long the answer took; None if not measured.
        input_tokens: Tokens of the prompt; None if not known.
        output_tokens: Tokens of the answer; None if not known.
        fields: All other fields, to group or to slice by.
    """

    id: str
    input: str
    reference: str
    prediction: str | None
    error: str = ""
    group: str = ""
    hash: str = ""
    answer: int = 0
    seconds: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    fields: Mapping[str, Any] = field(default_factory=lambda: _NO_FIELDS)

    @property
    def key(self) -> tuple[str, int]:
        """What tells this answer from all others of the file."""
        return self.id, self.answer

    @property
    def label(self) -> str:
        """How people tell it from others: its id, and which of several answers it is."""
        return f"{self.id}, answer {self.answer + 1}" if self.answer else self.id


def read(path: str | os.PathLike[str]) -> list[Prediction]:
    """Read a predictions file, in the order of its lines; blank lines are skipped.

    There is at least one row, and no two have the same id and answer number.

    Raises:
        UsageError: The file cannot be read, holds no row, or a line is not a prediction; `where`
            names the file and the line.
    """
    rows: list[Prediction] = []
    lines: dict[tuple[str, int], int] = {}
    for number, text in read_lines(path):
        where = f"{os.fspath(path)}, line {number}"
        row = decode(text, where=where)
        if row.key in lines:
            raise UsageError(
                f"this id is already used on line {lines[row.key]}",
                where=where,
                fix='give every row its own id, or number the answers of one row: "answer": 1',
            )
        lines[row.key] = number
        rows.append(row)
    if not rows:
        raise UsageError(
            "the predictions file holds no row",
            where=os.fspath(path),
            fix=f"write one object a line: {_SHAPE}",
        )
    return rows


def write(rows: Iterable[Prediction], path: str | os.PathLike[str]) -> int:
    """Write a predictions file, whole or not at all, and return the number of rows."""
    count = 0
    with replacing(path) as file:
        for row in rows:
            file.write(encode(row) + "\n")
            count += 1
    return count


def encode(row: Prediction) -> str:
    """Write one row as a line without its end; optional fields only where they have a value.

    Half a surrogate pair cannot be written as UTF-8, so it becomes U+FFFD.
    """
    fields = {name: getattr(row, name) for name in (*_TEXTS, *_NUMBERS)}
    for name in (*_TEXTS[4:], *_NUMBERS):
        if fields[name] in ("", None) or (name == "answer" and not row.answer):
            del fields[name]
    text = json.dumps({**row.fields, **fields}, ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def decode(line: str | bytes, *, where: str = "") -> Prediction:
    """Read one line; one that is not a prediction is a UsageError."""
    try:
        fields = json.loads(line, object_pairs_hook=without_repeats)
    except UnicodeDecodeError as error:
        message, _ = describe_not_utf8(line if isinstance(line, bytes) else b"", error)
        raise UsageError(message, where=where, fix="save the file as UTF-8") from None
    except DuplicateKeyError as error:
        raise UsageError(str(error), where=where, fix="keep one of the two values") from None
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise UsageError(f"the line is not JSON ({reason})", where=where, fix=_FIX) from None
    if not isinstance(fields, dict):
        raise UsageError("the line is not a JSON object", where=where, fix=_FIX)
    for name in ("id", "reference", "prediction"):
        if name not in fields:
            raise UsageError(f"the field {name} is missing", where=where, fix=_FIX)
    known: dict[str, Any] = {"input": ""}
    others: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _NUMBERS:
            if value is not None:
                known[name] = _number(name, value, where)
        elif name not in _TEXTS:
            others[name] = value
        elif value is None and name in _TEXTS[4:]:
            continue  # null is no value, as most tools write it
        elif type(value) is int and name in ("id", "group"):
            known[name] = str(value)  # a whole number, as many tools count rows
        elif isinstance(value, str) or (name == "prediction" and value is None):
            known[name] = value
        else:
            raise UsageError(
                f"the field {name} is not a string",
                where=where,
                fix="write it as a string; a JSON answer too is one string"
                + (", and no answer is null" if name == "prediction" else ""),
            )
    return Prediction(**known, fields=others or _NO_FIELDS)


def _number(name: str, value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        found = f"the field {name} is not a number of 0 or more"
        raise UsageError(found, where=where, fix="write a number")
    return int(value) if name == "answer" else value


def short_fields(example: Example) -> dict[str, Any]:
    """Return the fields that can name a slice: short texts, whole numbers and booleans."""
    # Many formats keep the last message of the prompt in a field of its own.
    question = str(example.messages[-1]["content"]) if example.messages else ""
    return {
        name: value
        for name, value in example.fields.items()
        if name not in (*_TEXTS, *_NUMBERS)
        and isinstance(value, (str, bool, int))
        and len(str(value)) <= _MAX_FIELD_CHARACTERS
        and value not in (question, example.reference)
    }


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a JSONL file that are not blank, with their numbers."""
    source = Source(path)
    try:
        source.require_rows(UsageError)
    except UsageError as error:
        if "tunepipe convert" in error.fix:  # which reads datasets alone
            error.fix = "write one JSON object a line, in UTF-8"
        raise
    for number, line in numbered_lines(source):
        if isinstance(line, int):
            where = f"{os.fspath(path)}, line {number}"
            raise UsageError(overlong_message(line), where=where, fix="shorten the row")
        if text := line.removeprefix(BOM).strip():
            yield number, text

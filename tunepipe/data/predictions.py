"""A predictions file: one JSON object a line, what was asked, what was wanted, what came back.

    {"id": "9f2c…", "input": "…", "reference": "…", "prediction": "…"}

A row that the model never answered has `"prediction": null` and says why in `error`; it is counted
as unanswered and is never a score of nought.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.errors import UsageError
from tunepipe.files import replacing

_SHAPE = '{"id": "…", "input": "…", "reference": "…", "prediction": "…"}'


@dataclass(frozen=True)
class Prediction:
    """One held-out row and what a model answered.

    Args:
        id: The row's identity, the same in the files of all models that are compared.
        input: The prompt as one text, for people to read.
        reference: The answer that was wanted.
        prediction: The model's answer; None where it gave none. An empty text is an answer.
        error: Why there is no answer; "" where there is one.
    """

    id: str
    input: str
    reference: str
    prediction: str | None
    error: str = ""


def read(path: str | os.PathLike[str]) -> list[Prediction]:
    """Read a predictions file, in the order of its lines.

    Args:
        path: A JSONL file; blank lines are passed over.

    Returns:
        The rows, at least one, no two with one id.

    Raises:
        UsageError: The file cannot be read, holds no row, or a line is not a prediction; `where`
            names the file and the line.
    """
    rows: list[Prediction] = []
    lines: dict[str, int] = {}
    for number, text in _lines(path):
        where = f"{os.fspath(path)}, line {number}"
        row = decode(text, where=where)
        if row.id in lines:
            raise UsageError(
                f"this id already stands on line {lines[row.id]}",
                where=where,
                fix="give every row its own id; a repeated row counts once",
            )
        lines[row.id] = number
        rows.append(row)
    if not rows:
        raise UsageError(
            "the predictions file holds no row",
            where=os.fspath(path),
            fix=f"write one object a line: {_SHAPE}",
        )
    return rows


def write(rows: Iterable[Prediction], path: str | os.PathLike[str]) -> int:
    """Write a predictions file, whole or not at all, and return how many rows it holds."""
    count = 0
    with replacing(path) as file:
        for row in rows:
            file.write(encode(row) + "\n")
            count += 1
    return count


def encode(row: Prediction) -> str:
    """Write one row as a line, without the line's end; `error` stands there only if there is one.

    Half a surrogate pair cannot be written as UTF-8, so it becomes U+FFFD.
    """
    fields = {
        "id": row.id,
        "input": row.input,
        "reference": row.reference,
        "prediction": row.prediction,
    }
    if row.error:
        fields["error"] = row.error
    return _well_formed(json.dumps(fields, ensure_ascii=False))


def decode(line: str | bytes, *, where: str = "") -> Prediction:
    """Read one line.

    Args:
        line: One JSON object; other fields than ours are passed over.
        where: The file and the line, for the error.

    Raises:
        UsageError: The line is not a prediction.
    """
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise UsageError(
            f"the line is not JSON ({reason})", where=where, fix=f"write {_SHAPE}"
        ) from None
    if not isinstance(fields, dict):
        raise UsageError("the line is not a JSON object", where=where, fix=f"write {_SHAPE}")
    return Prediction(
        id=_id(fields, where),
        input=_text({"input": "", **fields}, "input", where),
        reference=_text(fields, "reference", where),
        prediction=_answer(fields, where),
        error=_text({"error": "", **fields}, "error", where),
    )


def _id(fields: Mapping[str, Any], where: str) -> str:
    """Read an id; a whole number, as many tools count rows, is as good as its text."""
    found = fields.get("id")
    return str(found) if type(found) is int else _text(fields, "id", where)


def _answer(fields: Mapping[str, Any], where: str) -> str | None:
    if "prediction" in fields and fields["prediction"] is None:
        return None
    return _text(fields, "prediction", where)


def _text(fields: Mapping[str, Any], name: str, where: str) -> str:
    if name not in fields:
        raise UsageError(f"the field {name} is missing", where=where, fix=f"write {_SHAPE}")
    value = fields[name]
    if not isinstance(value, str):
        raise UsageError(
            f"the field {name} is not a text",
            where=where,
            fix="write it as a string; a JSON answer too is one string"
            + (", and no answer is null" if name == "prediction" else ""),
        )
    return value


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if text.strip():
                    yield number, text
    except OSError as error:
        raise UsageError(
            f"the predictions file cannot be read ({error.strerror})",
            where=os.fspath(path),
            fix="name a predictions file that exists",
        ) from None


def _well_formed(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

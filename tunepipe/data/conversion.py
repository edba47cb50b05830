"""Datasets in another format, from JSONL, JSON, tables and the shapes of public datasets."""

from __future__ import annotations

import codecs
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data import formats
from tunepipe.data.conversations import convert_row, without_nulls
from tunepipe.data.encodings import name_of
from tunepipe.data.rows import decode, numbered_lines, overlong_message
from tunepipe.data.shapes import SYSTEMS, Shape, detect_shape, pair_shape
from tunepipe.data.source import SNIFFED_LINES, Path, Source
from tunepipe.data.tables import TableOptions, columns_of, flattened, read_table, table_kind
from tunepipe.data.turns import DuplicateKeyError, check_text, is_blank, refusal, strict_json
from tunepipe.errors import DataError, TunepipeError, UsageError
from tunepipe.files import refuse_same, replacing

if TYPE_CHECKING:
    import pandas

REFUSED_LISTED = 100_000
# Texts that tools write into empty cells; they are kept as texts, and counted.
_NA_TEXTS = frozenset(("NA", "N/A", "#N/A", "NaN", "nan", "NULL", "null", "None", "none", "<NA>"))

# What is between the rows of a JSON array, and before and after them.
_JSON_BETWEEN = re.compile(r"[\s,\[\]]*")

# What the prompt of a preference is called, in the datasets that have one.
_PROMPTS = ("prompt", "question", "query", "instruction", "input")
_SHAREGPT_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_SHAREGPT_FIELDS = {"from", "role", "value", "content", "weight"}

# The number of a line or row, and what it holds, or why that cannot be read.
Item = tuple[int, Mapping[str, Any] | DataError]


class Reading(NamedTuple):
    """A row of a format, made from one of a shape.

    Args:
        row: The row.
        used: The fields that it was made from.
        lost: What was left out of them, by name.
    """

    row: dict[str, Any]
    used: set[str]
    lost: tuple[str, ...] = ()


@dataclass
class ConversionReport:
    """Counts of the rows that were written and of those that were not.

    Args:
        format: The format read, or the shape that was read as one.
        to: The format written.
        rows: Rows read.
        written: Rows written.
        refused: The first 100,000 rows that cannot be converted: line (of a workbook, Parquet or a
            JSON array, the number from 1) and reason.
        left_out: What the new format has no place for, by name, with the number of rows.
        notes: How the file was read: its encoding, its separator, texts that may mean nothing.
    """

    format: str
    to: str
    rows: int = 0
    written: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def refused_total(self) -> int:
        """Rows that could not be converted."""
        return self.rows - self.written

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self) | {"refused_total": self.refused_total}


def convert(
    source: Path | Iterable[Mapping[str, Any]] | pandas.DataFrame,
    target: Path,
    to: str,
    *,
    format: str = "auto",
    input_column: str = "",
    output_column: str = "",
    system_column: str = "",
    **table: Any,
) -> ConversionReport:
    """Write a dataset in another format. A row that cannot be converted is reported, not written.

    Args:
        source: JSONL, JSON (an array of rows, or rows over several lines), separated values, an
            Excel workbook or Parquet, by its contents. JSONL and tables are read row by row. Or
            the rows themselves, as mappings or a DataFrame, whose empty cells are null.
        target: The JSONL file to write.
        to: One of formats.FORMATS; for preference, Gemini's shape. Rows that have it stay.
        format: The format of the rows, or "auto". Rows of a known shape (see shapes.py) are read
            as what they mean.
        input_column: The field with the inputs, of rows of any other shape; `translation.en` is
            the field `en` of the field `translation`.
        output_column: The field with the outputs.
        system_column: The field with the system instructions; "" for none.
        table: How the file is read: the fields of TableOptions.

    Raises:
        DataError: There is no row, or none of a known format or shape.
        UsageError: The file cannot be read, is the target too, or an option is wrong.
    """
    formats.check_format(to, "to")
    if bool(input_column) != bool(output_column) or (system_column and not input_column):
        raise UsageError(
            "name both the input and the output",
            where="input_column, output_column",
            fix="give both names, or none",
        )
    notes: list[str] = []
    place, options = "", TableOptions(**table)
    if isinstance(source, (str, os.PathLike)):
        place = os.fspath(source)
        refuse_same([target], [source])
        items = _items(Source(source), options, notes)
    else:
        if hasattr(source, "columns"):
            frame: Any = source
            source = frame.astype(object).where(frame.notna(), None).to_dict("records")
        items = iter(enumerate(source, 1))
    if any("." in name for name in (input_column, output_column, system_column)):
        items = ((n, flattened(row) if isinstance(row, Mapping) else row) for n, row in items)
    head = list(islice(items, SNIFFED_LINES))
    shape = None
    try:
        if input_column:
            shape = pair_shape(input_column, output_column, system_column)
            _check_columns(shape, head)
            format = shape.format
        elif format == "auto":
            format, shape = _detect(head, place)
        else:
            formats.check_format(format)
    except TunepipeError as error:
        error.where = error.where or place
        raise
    report = ConversionReport(format, to, notes=notes)
    if shape and shape.format:
        notes.append(f"rows of the shape {shape.description} were read as {shape.format}")
    return _write(chain(head, items), target, report, shape)


def _check_columns(shape: Shape, head: Sequence[Item]) -> None:
    """Refuse names that no row has."""
    names = columns_of([row for _, row in head if isinstance(row, Mapping)])
    for name in shape.fields:
        if name not in names:
            shown = ", ".join(map(repr, names))
            raise UsageError(f"no column {name!r}", fix=f"name one of {shown}")


def _detect(head: Sequence[Item], place: str) -> tuple[str, Shape | None]:
    """Return the format or the shape that most of the first rows have."""
    rows = [row for _, row in head if isinstance(row, Mapping)]
    if not head:
        raise DataError("there is no row", fix="add rows, one JSON object a line")
    for line, item in head if not rows else ():
        if isinstance(item, DataError):
            where = f"{place}:{line}" if place else f"line {line}"
            raise DataError(item.found, where=where, fix=item.fix)
    counts: Counter[str] = Counter()
    shapes: dict[str, Shape] = {}
    for row in rows:
        if shape := detect_shape(row):
            counts[shape.description] += 1
            shapes[shape.description] = shape
        elif format := formats.detect_format(row):
            counts[format] += 1
    if not counts:
        lists = [k for row in rows[:2] for k, v in row.items() if isinstance(v, list) and v]
        if len(rows) == len(lists) == 1:
            raise DataError(
                f"the rows are in the field {lists[0]!r} of one object",
                fix=f"jq -c {shlex.quote(f'.[{json.dumps(lists[0])}][]')} IN > OUT",
            )
        columns = columns_of([flattened(row) for row in rows])
        names = ", ".join(map(repr, columns[:20]))
        if not names:
            raise DataError(
                "no row has the fields of a known format",
                fix=f"write the fields of one of {', '.join(formats.FORMATS)}",
            )
        fix = "name both with input_column and output_column"
        if len(columns) == 1:
            fix += "; if the header of a table is not the first line: --skip-lines N"
        raise UsageError(f"which columns hold input and output? There are {names}", fix=fix)
    ((found, _),) = counts.most_common(1)
    return (shapes[found].format, shapes[found]) if found in shapes else (found, None)


def _write(
    items: Iterable[Item], target: Path, report: ConversionReport, shape: Shape | None
) -> ConversionReport:
    import msgspec

    left_out: Counter[str] = Counter()
    empty_words: Counter[str] = Counter()
    with replacing(target, "wb") as file:
        for line, item in items:
            report.rows += 1
            try:
                if isinstance(item, DataError):
                    raise item
                fresh, more = _converted(item, report.format, report.to, shape)
                encoded = msgspec.json.encode(fresh)
                check_text(encoded)
            except (TunepipeError, UnicodeEncodeError) as error:
                if len(report.refused) < REFUSED_LISTED:
                    reason = getattr(error, "found", "a text holds half of a surrogate pair")
                    report.refused.append({"line": line, "reason": reason})
                continue
            file.write(encoded + b"\n")
            report.written += 1
            left_out.update(more)
            empty_words.update(
                name
                for name, value in item.items()
                if isinstance(value, str) and value in _NA_TEXTS
            )
    report.left_out = dict(left_out)
    for name, count in empty_words.items():
        rows = f"{count} row" + "s" * (count > 1)
        report.notes.append(f"{rows}: the field {name!r} says NA or null, and is kept as a text")
    return report


def _converted(
    row: Mapping[str, Any], format: str, to: str, shape: Shape | None
) -> tuple[Any, tuple[str, ...]]:
    if shape is None:
        return convert_row(row, format, to)
    try:
        reading = _read_shape(without_nulls(row), shape)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the row does not have the shape {shape.description}", fix="write its fields"
        ) from error
    fresh, more = convert_row(reading.row, shape.format, to)
    unused = row.keys() - reading.used
    others = (name for name in unused if row[name] not in (None, "", [], {}))
    return fresh, (*more, *reading.lost, *sorted(others))


def _read_shape(row: Mapping[str, Any], shape: Shape) -> Reading:
    """Make a row of the shape's format from one without fields that are null."""
    if reason := _REFUSALS.get(shape.name):
        raise DataError(reason, fix=shape.fix)
    reader = _READERS.get(shape.name)
    return reader(row) if reader else _pair(row, shape)


def _items(source: Source, options: TableOptions, notes: list[str]) -> Iterator[Item]:
    """Read a file of any kind row by row; what was detected is noted."""
    table = table_kind(source, options)
    encoding = table.encoding if table else options.encoding or source.kind.encoding
    is_text = table is None or table.name == "table"
    if is_text and encoding != "utf-8" and not options.encoding:
        notes.append(f"the file was read as {name_of(encoding)} ({encoding})")
    if table and is_text and table.delimiter != "," and not options.delimiter:
        notes.append(f"the columns are separated by {table.delimiter!r}")
    if table:
        return read_table(source, table, options, notes)
    if source.kind.name == "array":
        return _read_json(source, encoding)
    if source.kind.name != "rows":
        source.require_rows()
    return _read_lines(source, encoding)


def _read_lines(source: Source, encoding: str) -> Iterator[Item]:
    wide = encoding.startswith(("utf-16", "utf-32"))
    for line, raw in numbered_lines(source, encoding if wide else ""):
        if isinstance(raw, int):
            yield line, DataError(overlong_message(raw), fix="shorten the row")
        elif raw.strip():
            if not wide and encoding != "utf-8":
                with suppress(UnicodeError, LookupError):  # refused as bytes that are not UTF-8
                    raw = raw.decode(encoding).encode()
            try:
                yield line, decode(raw)
            except DataError as error:
                yield line, error


def _read_json(source: Source, encoding: str) -> Iterator[Item]:
    """Read one JSON array of rows, or rows that are written over several lines, one by one.

    Raises:
        DataError: It is neither, or holds a number that JSON lacks, or a row is too long.
    """
    decode = codecs.getincrementaldecoder("utf-8-sig" if encoding == "utf-8" else encoding)().decode
    number = at = 0
    text, ended, wanted_characters = "", False, 1
    first = last = ""
    with source.opened() as stream:
        while True:
            # A value may be cut: it is tried again when there is twice as much of it.
            text, at = text[at:], 0
            while len(text) < wanted_characters and not ended:
                data = stream.read(1 << 20)
                ended = not data
                try:
                    text += decode(data, ended)
                except UnicodeError as error:
                    raise _not_whole(source, number) from error
            solid = text.strip()
            first, last = first or solid[:1], solid[-1:] or last
            while (at := _JSON_BETWEEN.match(text, at).end()) < len(text):  # type: ignore[union-attr]
                try:
                    value, end = _row_at(text, at)
                except (ValueError, RecursionError) as error:
                    if not isinstance(error, (json.JSONDecodeError, RecursionError)):
                        what = f"row {number + 1}: {error}"
                        fix = "write null, a number or a text in its place"
                        raise DataError(what, where=source.path, fix=fix) from error
                    if (
                        ended
                        or len(text) - at > LINE_BYTES_MAX
                        or isinstance(error, RecursionError)
                    ):
                        raise _not_whole(source, number) from error
                    break
                at, number = end, number + 1
                if not isinstance(value, (dict, DataError)):
                    value = DataError("the row is not an object", fix="write {...}")
                yield number, value
            if ended and at >= len(text):
                if first == "[" and last != "]":
                    raise _not_whole(source, number)
                return
            wanted_characters = min(2 * (len(text) - at), LINE_BYTES_MAX) + 1


def _row_at(text: str, at: int) -> tuple[Any, int]:
    """Decode the value at a place; return it, or why it is no row, and where it ends."""
    try:
        return strict_json.raw_decode(text, at)
    except DuplicateKeyError as error:
        reason = DataError(str(error), fix="keep one of the two values")
        return reason, json.JSONDecoder().raw_decode(text, at)[1]


def _not_whole(source: Source, rows: int) -> DataError:
    return DataError(
        f"the file is not whole JSON after row {rows}, or the next row has more than"
        f" {LINE_BYTES_MAX >> 20} MiB",
        where=source.path,
        fix="write an array of objects",
    )


def gemini_request(fields: Mapping[str, Any], format: str) -> dict[str, Any]:
    """Return the prompt of a row as a GenerateContent request has it.

    These are `contents`, and `systemInstruction`, `tools` and `toolConfig` if the row has them.

    Raises:
        DataError: The row cannot be written in Gemini's shape.
    """
    native = format == "gemini" or "completions" in fields
    row = fields if native else convert_row(fields, format, "gemini")[0]
    has_answer = "completions" not in row
    request: dict[str, Any] = {"contents": row["contents"][:-1] if has_answer else row["contents"]}
    for name, other in (
        ("systemInstruction", "system_instruction"),
        ("tools", "tools"),
        ("toolConfig", "tool_config"),
    ):
        if value := row.get(name) or row.get(other):
            request[name] = value
    return request


def openai_request(fields: Mapping[str, Any], format: str) -> dict[str, Any]:
    """Return the prompt of a row as a chat completion's request has it: `messages` and `tools`.

    Raises:
        DataError: The row cannot be written in OpenAI's shape.
    """
    if format == "messages" and "functions" in fields:  # the older shape, in which calls have no id
        fields, format = convert_row(fields, format, "gemini")[0], "gemini"
    row = fields if format == "messages" else convert_row(fields, format, "messages")[0]
    request: dict[str, Any] = {"messages": row["messages"][:-1]}
    return request | ({"tools": row["tools"]} if row.get("tools") else {})


def _alpaca(row: Mapping[str, Any]) -> Reading:
    turns: list[tuple[str, str]] = []
    history = row.get("history", [])
    for item in history if isinstance(history, list) else [history]:
        if not (isinstance(item, list) and [type(text) for text in item] == [str, str]):
            raise refusal("the field history is not a list of pairs of texts")
        turns += [("user", item[0]), ("assistant", item[1])]
    turns += [("user", _instruction(row)), ("assistant", _text(row, "output"))]
    used = {"instruction", "input", "output", "system", "history"}
    return Reading(_messages(_optional_text(row, "system"), turns), used)


def _instruction(row: Mapping[str, Any]) -> str:
    question, more = _text(row, "instruction"), _optional_text(row, "input")
    return f"{question}\n\n{more}" if more else question


def _sharegpt(row: Mapping[str, Any]) -> Reading:
    field = "conversations" if "conversations" in row else "conversation"
    messages = _messages(_optional_text(row, "system"), [])["messages"]
    lost: set[str] = set()
    for number, turn in enumerate(row[field]):
        if not isinstance(turn, dict):
            raise refusal(f"{field}[{number}] is not an object")
        role = turn.get("from", turn.get("role"))
        said = turn.get("value", turn.get("content"))
        if role not in _SHAREGPT_ROLES:
            raise refusal(f"the role of {field}[{number}] is none of {', '.join(_SHAREGPT_ROLES)}")
        if not isinstance(said, str):
            raise refusal(f"{field}[{number}] holds no text")
        weight = {"weight": turn["weight"]} if "weight" in turn else {}
        messages.append({"role": _SHAREGPT_ROLES[role], "content": said, **weight})
        lost |= {name for name in turn.keys() - _SHAREGPT_FIELDS if turn[name] not in ("", [], {})}
    names = tuple(f"{field}[].{name}" for name in sorted(lost))
    return Reading({"messages": messages}, {field, "system"}, names)


def _trl_preference(row: Mapping[str, Any]) -> Reading:
    chosen, rejected = (_as_messages(row[name], "assistant") for name in ("chosen", "rejected"))
    question = next((name for name in _PROMPTS if name in row), "")
    asked = _instruction(row) if question == "instruction" else row.get(question, [])
    prompt, shared = _as_messages(asked, "user"), list[dict[str, Any]]()
    # What both begin with is the prompt, or ends with it.
    while len(chosen) > 1 and len(rejected) > 1 and chosen[0] == rejected[0]:
        shared.append(chosen.pop(0))
        rejected.pop(0)
    differs = shared and prompt and shared[-len(prompt) :] != prompt
    prompt = shared or prompt
    if differs or len(chosen) != 1 or len(rejected) != 1 or not prompt:
        raise refusal("chosen and rejected are not one answer each to the same prompt")
    system_field = next((name for name in SYSTEMS if name in row), "")
    system = _messages(_optional_text(row, system_field), [])["messages"]
    tools = {"tools": row["tools"]} if isinstance(row.get("tools"), list) else {}
    result = {
        "input": {"messages": [*system, *prompt], **tools},
        "preferred_output": chosen,
        "non_preferred_output": rejected,
    }
    used = {"chosen", "rejected", "tools", question, system_field}
    return Reading(result, used | ({"input"} if question == "instruction" else set()))


def _system_apart(row: Mapping[str, Any]) -> Reading:
    system = _messages(row["system"], [])["messages"]
    whole = {name: value for name, value in row.items() if name != "system"}
    return Reading(whole | {"messages": system + row["messages"]}, set(row))


def _pair(row: Mapping[str, Any], shape: Shape) -> Reading:
    question, answer = (_text(row, name) for name in shape.fields)
    system = _optional_text(row, shape.system) if shape.system else ""
    turns = [("user", question), ("assistant", answer)]
    return Reading(_messages(system, turns), {*shape.fields, shape.system})


def _as_messages(value: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
        raise refusal("prompt, chosen or rejected is neither a text nor a list of messages")
    return [dict(message) for message in value]


def _messages(system: str, turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    first = [("system", system)] if system else []
    return {"messages": [{"role": role, "content": text} for role, text in (*first, *turns)]}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # labels are often numbers, and a workbook has no other kind of digit
    if value is not None and not isinstance(value, str):
        raise refusal(f"the field {name!r} holds no text ({type(value).__name__})")
    if value is None or is_blank(value):
        raise refusal(f"the field {name!r} is empty")
    return value


def _optional_text(row: Mapping[str, Any], name: str) -> str:
    return "" if row.get(name) in (None, "") else _text(row, name)


# What is said of rows of a shape that no format holds.
_REFUSALS = {
    "text": "the row is one text without a question and an answer",
    "TRL unpaired preference": "the row has a label that says whether its completion is good",
}
_READERS = {
    "Alpaca": _alpaca,
    "ShareGPT": _sharegpt,
    "TRL preference": _trl_preference,
    "system apart": _system_apart,
}

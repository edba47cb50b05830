"""Everything wrong with one line: the only place that names errors of a row.

It is slow and exact. The fast path leaves to it every line that it does not accept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunepipe.catalog.limits import DEPTH_MAX, LINE_BYTES_MAX, Rules, fewest_tokens
from tunepipe.data.conversations import parse, view, without_nulls
from tunepipe.data.encodings import BOM, describe_not_utf8
from tunepipe.data.formats import FORMATS, detect_format
from tunepipe.data.parts import RowFile, files_of
from tunepipe.data.row_types import name_type
from tunepipe.data.rows import overlong_message
from tunepipe.data.shapes import detect_shape
from tunepipe.data.text_pairs import (
    TURN_MARK,
    characters,
    estimate_tokens,
    repeated_characters,
    texts_of,
)
from tunepipe.data.turns import (
    DEEP,
    DuplicateKeyError,
    RowError,
    lenient_json,
    nesting,
    refuse_constant,
    strict_json,
)
from tunepipe.validation.content_checks import content_problems
from tunepipe.validation.problems import BLANK_LINE, Problem
from tunepipe.validation.schema_checks import shape_problems
from tunepipe.validation.text_checks import personal_data_in, secrets_in, text_problems

Texts = Sequence[tuple[str, str]]

_BLANK = b" \t\r\n\v\f"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything wrong with one line, and the decoded row if it holds one.

    A row without an error has its input and output (text_pairs.py), and its files.
    """

    problems: tuple[Problem, ...]
    row: Mapping[str, Any] | None = None
    input: str | None = None
    output: str | None = None
    media: tuple[RowFile, ...] = ()

    @property
    def is_blank(self) -> bool:
        """Whether the line holds no row at all."""
        return any(problem.code == "blank-line" for problem in self.problems)


def diagnose(line: bytes, rules: Rules) -> Diagnosis:
    """Find everything wrong with one line, which lacks its newline."""
    if len(line) > LINE_BYTES_MAX:
        return Diagnosis((overlong(len(line)),))
    problems: list[Problem] = []
    if line.startswith(BOM):
        problems.append(Problem("bom", "the line begins with a byte-order mark (U+FEFF)"))
        line = line[len(BOM) :]
    if not line.strip(_BLANK):
        return Diagnosis((*problems, Problem("blank-line", BLANK_LINE)))
    if nesting(line) > DEPTH_MAX:
        return Diagnosis((*problems, Problem("nesting-too-deep", DEEP)))
    row, found = _decoded(line)
    problems += found
    if row is None:
        return Diagnosis(tuple(problems))
    row = without_nulls(row) if b"null" in line else row
    texts = texts_of(row)
    raw = any(problem.code == "control-character" for problem in found)
    problems += _row_problems(row, texts, rules)
    if raw:  # found before, as raw characters
        problems = [*found, *(x for x in problems if x.code != "control-character")]
    if any(problem.is_error for problem in problems if problem.code != "bom"):
        return Diagnosis(tuple(problems), row)
    try:
        conversation = parse(row, rules.format)
    except RowError as error:
        return Diagnosis((*problems, Problem(error.code, str(error), error.field)), row)
    media = tuple(files_of(row))
    problems += content_problems(row, conversation, media, rules)
    given, wanted = view(conversation, row, rules.format)
    problems += _whole_problems(texts, given, wanted, rules)
    if any(problem.is_error for problem in problems):
        return Diagnosis(tuple(problems), row)
    return Diagnosis(tuple(problems), row, given, wanted, media)


def overlong(line_bytes: int) -> Problem:
    """Return the problem for a line that is too long to check."""
    return Problem("too-long", overlong_message(line_bytes))


def _decoded(line: bytes) -> tuple[Mapping[str, Any] | None, list[Problem]]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        message, fix = describe_not_utf8(line, error)
        return None, [Problem("not-utf8", message, fix=fix)]
    found: list[Problem] = []
    try:
        row = strict_json.decode(text)
    except DuplicateKeyError as error:
        found.append(Problem("duplicate-key", str(error)))
        try:
            row = json.loads(text, parse_constant=refuse_constant)
        except ValueError:
            row = None
    except (ValueError, RecursionError) as error:
        return _repaired(text, error)
    if not isinstance(row, dict):
        return None, [*found, Problem("not-object", f"the line is {name_type(row)}, not an object")]
    return row, found


def _repaired(
    text: str, error: ValueError | RecursionError
) -> tuple[Mapping[str, Any] | None, list[Problem]]:
    """Find why a line is not JSON; with only raw controls wrong, the row is still checked."""
    try:
        row = lenient_json.decode(text)
    except (ValueError, RecursionError):
        return None, [_not_json(text, error)]
    raw = sorted({character for character in text if character < " "} - {"\r"})
    names = ", ".join(f"U+{ord(character):04X}" for character in raw)
    message = f"a text holds a raw control character ({names}), which JSON wants escaped"
    problem = Problem("control-character", message, fix='write it as an escape, such as "\\n"')
    return row if isinstance(row, dict) else None, [problem]


def _not_json(text: str, error: ValueError | RecursionError) -> Problem:
    if not isinstance(error, json.JSONDecodeError):
        reason = str(error) if isinstance(error, ValueError) else "the line is nested too deep"
        return Problem("not-json", reason[:60], fix="write null, a number or a text")
    start, rest = text.lstrip()[:2], text[error.pos :].lstrip()
    column = error.pos + 1
    if error.msg == "Extra data":
        two = rest[:1] in "{["
        what = "a second JSON value" if two else "more text"
        return Problem("not-json", f"{what} follows the object at character {column}")
    if start.startswith("{'") or rest.startswith("'"):
        return Problem(
            "not-json", "single quotes in place of double quotes", fix="use double quotes"
        )
    before = re.search(r",\s*$", text[: error.pos]) and rest[:1] in ("}", "]")
    if before or re.match(r",\s*[}\]]", rest):
        return Problem("not-json", f"a comma before a closing bracket, character {column}")
    if not rest or error.msg.startswith("Unterminated"):
        return Problem("not-json", "the line ends before its object does")
    return Problem("not-json", f"{error.msg[:1].lower()}{error.msg[1:]} at character {column}")


def _row_problems(row: Mapping[str, Any], texts: Texts, rules: Rules) -> Iterator[Problem]:
    if not rules.format:
        message = "the row has no field of a known format"
        fix = f"write the fields of one format: {', '.join(FORMATS)}"
        if shape := detect_shape(row):
            message, fix = shape.advice()
        yield Problem("missing-field", message, fix=fix)
        return
    other = detect_format(row)
    if other and other != rules.format:
        yield Problem("mixed-formats", f"the row is {other}, the file is {rules.format}")
        return
    yield from shape_problems(row, rules)
    for path, text in texts:
        if not (text.isascii() and text.isprintable()):
            yield from text_problems(text, path)


def _whole_problems(texts: Texts, given: str, wanted: str, rules: Rules) -> Iterator[Problem]:
    yield from _length_problems(given, wanted, rules)
    if given.rpartition(TURN_MARK)[2] == wanted:
        yield Problem("input-equals-output", "the output is the same text as the input")
    text = "\n".join(text for _, text in texts)
    for name in secrets_in(text):
        yield Problem("secret", f"the row holds what looks like a secret: {name}")
    if rules.pii:
        for name in personal_data_in(text):
            yield Problem("pii", f"the row holds what looks like personal data: {name}")


def _length_problems(given: str, wanted: str, rules: Rules) -> Iterator[Problem]:
    for name, texts, most in (
        ("input", (given,), rules.input_tokens),
        ("output", (wanted,), rules.output_tokens),
        ("row", (given, wanted), rules.example_tokens),
    ):
        # No text has more tokens, by estimate, than characters.
        if not 0 < most < sum(map(len, texts)) or (tokens := estimate_tokens(*texts)) <= most:
            continue
        plain, others = map(sum, zip(*map(characters, texts), strict=True))
        repeated = sum(map(repeated_characters, texts))
        sure = fewest_tokens(plain - repeated, others) > most
        yield Problem(
            "too-long",
            f"the {name} has about {tokens} tokens, and the limit is {most}",
            name if name != "row" else "",
            "the service cuts it there or refuses it: shorten it",
            "error" if sure else "warning",
        )

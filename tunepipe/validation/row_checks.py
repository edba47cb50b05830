"""Everything wrong with one line: the only place that names errors of a row.

It is slow and exact. The fast path leaves to it every line that it does not accept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunepipe.catalog.limits import (
    DEPTH_MAX,
    LINE_BYTES_MAX,
    Rules,
    fewest_tokens,
)
from tunepipe.data.conversations import parse, view, without_nulls
from tunepipe.data.encodings import BOM, describe_not_utf8
from tunepipe.data.formats import FORMATS, detect_format
from tunepipe.data.parts import RowFile, files_of
from tunepipe.data.row_types import name_type
from tunepipe.data.rows import (
    DEEP,
    DuplicateKeyError,
    lenient_json,
    nesting,
    overlong_message,
    refuse_constant,
    strict_json,
)
from tunepipe.data.shapes import detect_shape
from tunepipe.data.text_pairs import (
    TURN_MARK,
    characters,
    estimate_tokens,
    repeated_characters,
    texts_of,
)
from tunepipe.data.turns import RowError
from tunepipe.validation.content_checks import content_findings
from tunepipe.validation.problems import BLANK_LINE, Finding
from tunepipe.validation.schema_checks import shape_findings
from tunepipe.validation.text_checks import personal_data_in, secrets_in, text_findings

Texts = Sequence[tuple[str, str]]

_BLANK = b" \t\r\n\v\f"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one line is.

    Args:
        findings: Everything wrong with it.
        row: The decoded row, or None if the line holds none.
        input: The row's input (text_pairs.py), or None if the row has an error.
        output: The row's output, or None in the same case.
        media: The row's files; none if the row has an error.
    """

    findings: tuple[Finding, ...]
    row: Mapping[str, Any] | None = None
    input: str | None = None
    output: str | None = None
    media: tuple[RowFile, ...] = ()

    @property
    def is_blank(self) -> bool:
        """Whether the line holds no row at all."""
        return any(finding.code == "blank-line" for finding in self.findings)


def diagnose(line: bytes, rules: Rules) -> Diagnosis:
    """Find everything wrong with one line.

    Args:
        line: The line's bytes, with or without a carriage return, without the newline.
        rules: What the row may hold.
    """
    if len(line) > LINE_BYTES_MAX:
        return Diagnosis((overlong(len(line)),))
    findings: list[Finding] = []
    if line.startswith(BOM):
        findings.append(Finding("bom", "the line begins with a byte-order mark (U+FEFF)"))
        line = line[len(BOM) :]
    if not line.strip(_BLANK):
        return Diagnosis((*findings, Finding("blank-line", BLANK_LINE)))
    if nesting(line) > DEPTH_MAX:
        return Diagnosis((*findings, Finding("nesting-too-deep", DEEP)))
    row, found = _decoded(line)
    findings += found
    if row is None:
        return Diagnosis(tuple(findings))
    row = without_nulls(row) if b"null" in line else row
    texts = texts_of(row)
    raw = any(finding.code == "control-character" for finding in found)
    findings += _row_findings(row, texts, rules)
    if raw:  # found before, as raw characters
        findings = [*found, *(x for x in findings if x.code != "control-character")]
    if any(finding.stops for finding in findings if finding.code != "bom"):
        return Diagnosis(tuple(findings), row)
    try:
        conversation = parse(row, rules.format)
    except RowError as error:
        return Diagnosis((*findings, Finding(error.code, str(error), error.field)), row)
    media = tuple(files_of(row))
    findings += content_findings(row, conversation, media, rules)
    given, wanted = view(conversation, row, rules.format)
    findings += _whole_findings(texts, given, wanted, rules)
    if any(finding.stops for finding in findings):
        return Diagnosis(tuple(findings), row)
    return Diagnosis(tuple(findings), row, given, wanted, media)


def overlong(line_bytes: int) -> Finding:
    """Return the finding for a line that is too long to check."""
    return Finding("too-long", overlong_message(line_bytes))


def _decoded(line: bytes) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        message, fix = describe_not_utf8(line, error)
        return None, [Finding("not-utf8", message, fix=fix)]
    found: list[Finding] = []
    try:
        row = strict_json(text)
    except DuplicateKeyError as error:
        found.append(Finding("duplicate-key", str(error)))
        try:
            row = json.loads(text, parse_constant=refuse_constant)
        except ValueError:
            row = None
    except (ValueError, RecursionError) as error:
        return _repaired(text, error)
    if not isinstance(row, dict):
        return None, [*found, Finding("not-object", f"the line is {name_type(row)}, not an object")]
    return row, found


def _repaired(
    text: str, error: ValueError | RecursionError
) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    """Find why a line is not JSON; with only raw controls wrong, the row is still checked."""
    try:
        row = lenient_json(text)
    except (ValueError, RecursionError):
        return None, [_not_json(text, error)]
    raw = sorted({character for character in text if character < " "} - {"\r"})
    names = ", ".join(f"U+{ord(character):04X}" for character in raw)
    message = f"a text holds a raw control character ({names}), which JSON wants escaped"
    finding = Finding("control-character", message, fix='write it as an escape, such as "\\n"')
    return row if isinstance(row, dict) else None, [finding]


def _not_json(text: str, error: ValueError | RecursionError) -> Finding:
    if not isinstance(error, json.JSONDecodeError):
        reason = str(error) if isinstance(error, ValueError) else "the line is nested too deep"
        return Finding("not-json", reason[:60], fix="write null, a number or a text")
    start, rest = text.lstrip()[:2], text[error.pos :].lstrip()
    column = error.pos + 1
    if error.msg == "Extra data":
        two = rest[:1] in "{["
        what = "a second JSON value" if two else "more text"
        return Finding("not-json", f"{what} follows the object at character {column}")
    if start.startswith("{'") or rest.startswith("'"):
        return Finding(
            "not-json", "single quotes in place of double quotes", fix="use double quotes"
        )
    before = re.search(r",\s*$", text[: error.pos]) and rest[:1] in ("}", "]")
    if before or re.match(r",\s*[}\]]", rest):
        return Finding("not-json", f"a comma before a closing bracket, character {column}")
    if not rest or error.msg.startswith("Unterminated"):
        return Finding("not-json", "the line ends before its object does")
    return Finding("not-json", f"{error.msg[:1].lower()}{error.msg[1:]} at character {column}")


def _row_findings(row: Mapping[str, Any], texts: Texts, rules: Rules) -> Iterator[Finding]:
    if not rules.format:
        message = "the row has no field of a known format"
        fix = f"write the fields of one format: {', '.join(FORMATS)}"
        if shape := detect_shape(row):
            message, fix = shape.advice()
        yield Finding("missing-field", message, fix=fix)
        return
    other = detect_format(row)
    if other and other != rules.format:
        yield Finding("mixed-formats", f"the row is {other}, the file is {rules.format}")
        return
    yield from shape_findings(row, rules)
    for path, text in texts:
        if not (text.isascii() and text.isprintable()):
            yield from text_findings(text, path)


def _whole_findings(texts: Texts, given: str, wanted: str, rules: Rules) -> Iterator[Finding]:
    yield from _length_findings(given, wanted, rules)
    if given.rpartition(TURN_MARK)[2] == wanted:
        yield Finding("input-equals-output", "the output is the same text as the input")
    text = "\n".join(text for _, text in texts)
    for name in secrets_in(text):
        yield Finding("secret", f"the row holds what looks like a secret: {name}")
    if rules.pii:
        for name in personal_data_in(text):
            yield Finding("pii", f"the row holds what looks like personal data: {name}")


def _length_findings(given: str, wanted: str, rules: Rules) -> Iterator[Finding]:
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
        yield Finding(
            "too-long",
            f"the {name} has about {tokens} tokens, and the limit is {most}",
            name if name != "row" else "",
            "the service cuts it there or refuses it: shorten it",
            "error" if sure else "warning",
        )

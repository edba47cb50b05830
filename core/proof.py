"""The fast tier: which lines of a block are proved clean.

`prove` answers for a block of lines at once and names no error; what it cannot prove goes to the
diagnoser. A compiled kernel may take its place: the same question, the same answer.

A row is proved when a typed decoder accepts it, when the line holds exactly the quotes that its
decoded texts call for (a repeated key would add two), when its turns alternate, when no text is
blank, too long, or holds a trace of a character that the diagnoser looks for, and when nothing in
it looks like a secret. Most of this is asked of all texts of a block joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import numpy as np

from .characters import traces
from .rules import LINE_BYTES_MAX, Rules, estimated_tokens
from .secret_patterns import RUN_CHARACTERS, personal_data_in, secrets_in
from .views import SYSTEM_MARK, TURN_MARK, characters, joined

_ROW_MARK = "\x1c"
# A system turn that is a field of its own and no turn in the list.
_SYSTEM = "\x1d"
# Escapes that decode to the marks, to the quote, and to the controls that JSON wants escaped.
_MARK_ESCAPE, _QUOTE_ESCAPE = b"\\u001", b"\\u0022"
_CONTROL_ESCAPES = (b"\\u00", b"\\b", b"\\f")


@dataclass(slots=True)
class Proof:
    """What is known of a block: its clean rows as columns, and the lines left to the diagnoser.

    Args:
        lines: How many lines the block has.
        places: The indices of the clean rows in the block.
        inputs: Their inputs (views.py).
        outputs: Their outputs.
        input_characters: The inputs' characters, marks left out.
        output_characters: The outputs' characters.
        ascii_characters: How many of all these are ASCII, of the inputs and of the outputs.
        unproved: Index and bytes of every other line.
    """

    lines: int
    places: Sequence[int] = ()
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    input_characters: Sequence[int] = ()
    output_characters: Sequence[int] = ()
    ascii_characters: tuple[int, int] = (0, 0)
    unproved: list[tuple[int, bytes]] = field(default_factory=list)


class _Palm(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    input_text: str
    output_text: str


class _PromptCompletion(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt: str
    completion: str


class _Authored(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    author: str
    content: str


class _PalmChat(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Authored]
    context: str | None = None


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str


class _Messages(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Message]


class _Part(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: str


class _Content(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    parts: list[_Part]


class _System(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    parts: list[_Part]
    role: str | None = None


class _Gemini(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    contents: list[_Content]
    systemInstruction: _System | None = None  # noqa: N815


@dataclass(slots=True)
class _Columns:
    """Candidates: index, input, output, input characters, and the quotes that the row needs."""

    places: list[int]
    inputs: list[str]
    outputs: list[str]
    characters: list[int]
    quotes: list[int]

    def without(self, doubtful: set[int]) -> _Columns:
        """Return the columns without the rows at these positions (not places)."""
        if not doubtful:
            return self
        kept = [n for n in range(len(self.places)) if n not in doubtful]
        return _Columns(
            [self.places[n] for n in kept],
            [self.inputs[n] for n in kept],
            [self.outputs[n] for n in kept],
            [self.characters[n] for n in kept],
            [self.quotes[n] for n in kept],
        )


_SHAPES: dict[str, Any] = {
    "palm": _Palm,
    "prompt-completion": _PromptCompletion,
    "palm-chat": _PalmChat,
    "messages": _Messages,
    "gemini": _Gemini,
}


def prove(block: bytes, rules: Rules) -> Proof:
    """Say which rows of a block have no problem at all, and give their texts.

    Args:
        block: Whole lines; the last may lack its newline.
        rules: What a row may hold.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    shape = _SHAPES.get(rules.format)
    if shape is None:
        return Proof(len(lines), unproved=list(enumerate(lines)))
    rows = _decode(lines, shape)
    if len(block) > LINE_BYTES_MAX:
        rows = [
            None if len(x) > LINE_BYTES_MAX else row for x, row in zip(lines, rows, strict=True)
        ]
    columns = _columns(rows, rules)
    columns = columns.without(_escape_doubts(block, lines, columns))
    columns = columns.without(_plain_doubts(columns, rules))
    columns, ascii_characters = _scan(block, lines, columns, rules)
    proved = set(columns.places)
    complete = len(proved) == len(lines)
    return Proof(
        lines=len(lines),
        places=columns.places,
        inputs=columns.inputs,
        outputs=columns.outputs,
        input_characters=columns.characters,
        output_characters=list(map(len, columns.outputs)),
        ascii_characters=ascii_characters,
        unproved=[] if complete else [(n, x) for n, x in enumerate(lines) if n not in proved],
    )


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _decode(lines: Sequence[bytes], shape: Any) -> list[Any]:
    """Decode every line at the speed of one loop in C; None stands for what is refused."""
    decode = _decoder(shape).decode
    rows: list[Any] = []
    rest = iter(lines)
    while len(rows) < len(lines):
        try:
            rows.extend(map(decode, rest))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            rows.append(None)
    return rows


def _columns(rows: list[Any], rules: Rules) -> _Columns:
    places = [n for n, row in enumerate(rows) if row is not None]
    known = rows if len(places) == len(rows) else [rows[n] for n in places]
    match rules.format:
        case "palm":
            inputs = [row.input_text for row in known]
            outputs = [row.output_text for row in known]
        case "prompt-completion":
            inputs = [row.prompt for row in known]
            outputs = [row.completion for row in known]
        case "palm-chat":
            return _chats(places, [_palm_chat(row) for row in known], rules)
        case "messages":
            return _chats(places, [_messages(row) for row in known], rules)
        case _:
            return _chats(places, [_gemini(row) for row in known], rules)
    return _Columns(places, inputs, outputs, list(map(len, inputs)), [8] * len(places))


# A chat row before its turns are looked at: the roles, the contents, the quotes it needs.
_Chat = tuple[tuple[str, ...], list[str], int]


def _palm_chat(row: _PalmChat) -> _Chat:
    roles = tuple([message.author for message in row.messages])
    contents = [message.content for message in row.messages]
    if row.context is None:
        return roles, contents, 2 + 8 * len(roles)
    # An empty context stands for none; the diagnoser reads such a row.
    return (_SYSTEM, *roles), [row.context, *contents], 6 + 8 * len(roles)


def _messages(row: _Messages) -> _Chat:
    messages = row.messages
    roles = tuple([message.role for message in messages])
    return roles, [message.content for message in messages], 2 + 8 * len(messages)


def _gemini(row: _Gemini) -> _Chat:
    contents, system = row.contents, row.systemInstruction
    if any(len(content.parts) != 1 for content in contents):
        return (), [], 0
    roles = tuple([content.role for content in contents])
    texts = [content.parts[0].text for content in contents]
    quotes = 2 + 10 * len(contents)
    if system is None:
        return roles, texts, quotes
    if len(system.parts) != 1:
        return (), [], 0
    quotes += 8 if system.role is None else 12
    return (_SYSTEM, *roles), [system.parts[0].text, *texts], quotes


def _chats(places: list[int], chats: list[_Chat], rules: Rules) -> _Columns:
    columns = _Columns([], [], [], [], [])
    sides: dict[tuple[str, ...], bool] = {}
    for place, (roles, contents, quotes) in zip(places, chats, strict=True):
        ordered = sides.get(roles)
        if ordered is None:
            ordered = sides[roles] = _alternates(roles, rules)
        if not ordered or not all(map(str.strip, contents)) or contents[-1] == contents[-2]:
            continue
        *spoken, answer = contents
        system = spoken.pop(0) if len(roles) % 2 else None
        columns.places.append(place)
        columns.inputs.append(joined(system, spoken))
        columns.outputs.append(answer)
        columns.characters.append(sum(map(len, contents)) - len(answer))
        columns.quotes.append(quotes)
    return columns


def _alternates(roles: tuple[str, ...], rules: Rules) -> bool:
    systems = {_SYSTEM} | ({"system", "developer"} & set(rules.roles))
    spoken = roles[1:] if roles and roles[0] in systems else roles
    answers = {"assistant", "model", "bot"} & set(rules.roles)
    return (
        len(spoken) >= 2
        and len(spoken) % 2 == 0
        and all(role == "user" for role in spoken[::2])
        and all(role in answers for role in spoken[1::2])
    )


def _escape_doubts(block: bytes, lines: Sequence[bytes], columns: _Columns) -> set[int]:
    """Rows whose line may hold an escape that would blur the counts below."""
    if b"\\u00" not in block or not (_MARK_ESCAPE in block or _QUOTE_ESCAPE in block):
        return set()
    return {
        n
        for n, place in enumerate(columns.places)
        if _MARK_ESCAPE in lines[place] or _QUOTE_ESCAPE in lines[place]
    }


def _plain_doubts(columns: _Columns, rules: Rules) -> set[int]:
    inputs, outputs = columns.inputs, columns.outputs
    doubts: set[int] = set()
    for texts in (inputs, outputs):
        if not all(map(str.strip, texts)):
            doubts.update(n for n, text in enumerate(texts) if not text.strip())
    doubts.update(n for n, (a, b) in enumerate(zip(inputs, outputs, strict=True)) if a == b)
    doubts |= _long(inputs, rules.input_tokens) | _long(outputs, rules.output_tokens)
    if rules.example_tokens:
        lengths = map(int.__add__, map(len, inputs), map(len, outputs))
        long = [n for n, length in enumerate(lengths) if length > rules.example_tokens]
        rows = [f"{inputs[n]}{outputs[n]}" for n in long]
        doubts.update(long[n] for n in _long(rows, rules.example_tokens))
    if rules.pii:
        rows = [f"{a}\n{b}" for a, b in zip(inputs, outputs, strict=True)]
        doubts.update(n for n, text in enumerate(rows) if personal_data_in(text))
    return doubts


def _long(texts: Sequence[str], most: int) -> set[int]:
    if not most or max(map(len, texts), default=0) <= most:
        return set()
    return {
        n
        for n, text in enumerate(texts)
        if len(text) > most and estimated_tokens(*characters(text)) > most
    }


def _scan(
    block: bytes, lines: Sequence[bytes], columns: _Columns, rules: Rules
) -> tuple[_Columns, tuple[int, int]]:
    """Look through all texts joined; if anything is found, drop its rows and count anew."""
    while columns.places:
        given, wanted = (_Joined(texts) for texts in (columns.inputs, columns.outputs))
        doubts = _quote_doubts(block, lines, columns, given, wanted)
        escaped = any(escape in block for escape in _CONTROL_ESCAPES)
        for text in (given, wanted):
            doubts.update(text.rows_of(text.suspects(escaped)))
        runs = set(given.rows_of(given.runs())) | set(wanted.rows_of(wanted.runs()))
        doubts.update(n for n in runs if secrets_in(f"{columns.inputs[n]}\n{columns.outputs[n]}"))
        if not doubts:
            return columns, (given.ascii_characters(), wanted.ascii_characters())
        columns = columns.without(doubts)
    return columns, (0, 0)


def _quote_doubts(
    block: bytes, lines: Sequence[bytes], columns: _Columns, given: _Joined, wanted: _Joined
) -> set[int]:
    """Rows whose line has other quotes than its texts call for: a key stands there twice."""
    if len(lines) == len(columns.places):
        quotes = block.count(b'"')
    else:
        quotes = sum([lines[place].count(b'"') for place in columns.places])
    inside = given.text.count(b'"') + wanted.text.count(b'"')
    if quotes == sum(columns.quotes) + inside:
        return set()
    rows = zip(columns.places, columns.quotes, columns.inputs, columns.outputs, strict=True)
    return {
        n
        for n, (place, needed, a, b) in enumerate(rows)
        if lines[place].count(b'"') != needed + a.count('"') + b.count('"')
    }


class _Joined:
    """The texts of many rows as one run of bytes, and the way back from a byte to its row."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.text = _ROW_MARK.join(texts).encode()
        self.rows = len(texts)
        self.bytes = np.frombuffer(self.text, np.uint8)

    def suspects(self, escaped: bool) -> list[int]:
        """Return the places of characters that the diagnoser may have something to say of."""
        found = traces(self.text)
        if escaped:
            low = (self.bytes < 9) | ((self.bytes > 10) & (self.bytes < 32))
            marks = {13, ord(_ROW_MARK), ord(TURN_MARK), ord(SYSTEM_MARK)}
            found += [int(n) for n in np.flatnonzero(low) if self.text[n] not in marks]
        return found

    def runs(self) -> Any:
        """Return where a run of RUN_CHARACTERS or more bytes out of `+` to `~` begins."""
        # Doubling: after each step a byte tells whether a run of twice the length begins there.
        run = (self.bytes - np.uint8(0x2B)) < 0x54
        have = 1
        while have < RUN_CHARACTERS and run.size > have:
            step = min(have, RUN_CHARACTERS - have)
            run = run[:-step] & run[step:]
            have += step
        return np.flatnonzero(run) if have == RUN_CHARACTERS and run.any() else ()

    def rows_of(self, places: Iterable[int]) -> list[int]:
        """Return the rows, each once, that these bytes belong to."""
        found = np.asarray(places, dtype=np.int64)
        if not found.size:
            return []
        ends = np.flatnonzero(self.bytes == ord(_ROW_MARK))
        return [int(row) for row in np.unique(np.searchsorted(ends, found))]

    def ascii_characters(self) -> int:
        """Count the ASCII characters of the rows, marks left out."""
        plain = int(np.count_nonzero(self.bytes < 0x80))
        marks = self.text.count(TURN_MARK.encode()) + self.text.count(SYSTEM_MARK.encode())
        return plain - marks - (self.rows - 1)

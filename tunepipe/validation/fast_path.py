"""The fast tier: which lines of a block are proved clean.

`prove` answers for a block of lines at once and names no error; what it cannot prove goes to the
diagnoser. A compiled kernel may take its place: the same question, the same answer.

A row is proved when a typed decoder accepts it, or skeletons.py its shape, when the line holds
exactly the quotes that its decoded texts call for (a repeated key would add two), when its turns
alternate, when no text is blank, too long, or holds a trace of a character that the diagnoser looks
for, and when nothing in it looks like a secret. Most of this is asked of a block's texts joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import add, attrgetter, eq
from typing import Any, Literal

import msgspec
import numpy as np
import xxhash

from tunepipe.catalog.limits import DEPTH_MAX, LINE_BYTES_MAX, Rules
from tunepipe.data.formats import detect_format
from tunepipe.data.text_pairs import (
    REPEATED_AFTER,
    SYSTEM_MARK,
    TURN_MARK,
    characters,
    estimate_tokens,
    everything,
    repeated_characters,
    view,
)
from tunepipe.validation.content_checks import content_findings
from tunepipe.validation.schema_checks import shape_findings
from tunepipe.validation.text_checks import RUN_CHARACTERS, personal_data_in, secrets_in, traces

# Escapes that may decode to a control.
CONTROLS = re.compile(rb"\\(?:u00|b|f)")

# A value of compact JSON that is a text, but for a blank one and for the words that shapes know.
# Possessive, for a repeat that may step back keeps memory for every escape of a long text.
_TEXT = re.compile(
    r':"(?!(?:\s|\\[nrt])*+"|(?:system|developer|user|assistant|model|bot|tool|function'
    r'|text|image_url|input_audio|file)")[^"\\]*+(?:\\.[^"\\]*+)*+"'
)
_MARK = ':"~"'
# No secret is shorter, and an escape only makes a run longer.
_RUN = re.compile(rb"[+-~]{%d}" % RUN_CHARACTERS)
_SKELETONS_MAX = 4096
# Keys of rows whose check depends on more than their shape.
_FILES = re.compile(rb'"(?:inlineData|inline_data|fileData|file_data|image_url|input_audio|file)":')
_CALLS = re.compile(
    rb'"(?:tool_calls|tool_call_id|function_?[cC]all|function_?[rR]esponse|tools)":'
)


def proved(lines: Iterable[tuple[int, bytes]], rules: Rules) -> Iterator[tuple[int, str, str, int]]:
    """Yield place, input, output and needed quotes (proof.py) of rows whose shape is proved.

    Whether the line has those quotes, and no escape that blurs them, is left to the caller.

    Args:
        lines: Place and bytes of each line.
        rules: What a row may hold.
    """
    known = _verdicts(rules)
    for place, line in lines:
        row, plain = _decoded(line)
        if _FILES.search(plain):
            continue  # what files a row holds is counted where its every check is made
        skeleton = _TEXT.sub(_MARK, plain.decode())
        mark = xxhash.xxh3_128_digest(skeleton.encode())
        if mark not in known:
            if len(known) >= _SKELETONS_MAX:
                known.clear()
            known[mark] = bool(plain) and _is_clean(skeleton, rules)
        if known[mark] and not (CONTROLS.search(plain) or traces(plain)):
            if _CALLS.search(plain) and not _is_consistent(row, rules):
                continue
            given, wanted = view(row, rules.format)
            if given.rpartition(TURN_MARK)[2] != wanted and not _hides(row, plain, rules):
                inside = given.count('"') + wanted.count('"')
                yield place, given, wanted, plain.count(b'"') - inside


@cache
def _verdicts(rules: Rules) -> dict[bytes, bool]:
    return {}


def _hides(row: Any, plain: bytes, rules: Rules) -> bool:
    """Return True if a text in any field of the row may be a secret or personal data."""
    if not (rules.pii or _RUN.search(plain)):
        return False
    text = everything(row)
    return bool(secrets_in(text) or (rules.pii and personal_data_in(text)))


def _is_clean(skeleton: str, rules: Rules) -> bool:
    try:
        row = json.loads(skeleton)
    except ValueError:
        return False  # a key that ends in a colon misleads the pattern
    if detect_format(row) != rules.format:
        return False
    if _CALLS.search(skeleton.encode()):
        return True  # whether such a row is clean depends on its texts
    return not (any(shape_findings(row, rules)) or any(content_findings(row, (), rules)))


def _is_consistent(row: Any, rules: Rules) -> bool:
    """Check a row with calls: its arguments, ids and names."""
    return not (any(shape_findings(row, rules)) or any(content_findings(row, (), rules)))


def _decoded(line: bytes) -> tuple[Any, bytes]:
    """Return a row and its compact JSON, which is empty where the diagnoser must look."""
    if line.count(b"{") + line.count(b"[") > DEPTH_MAX:
        return None, b""
    try:
        row = _json_decoder().decode(line.decode())
        plain = msgspec.json.encode(row)
    except (ValueError, RecursionError, OverflowError):
        return None, b""
    return (None, b"") if not isinstance(row, dict) or b'"~":' in plain else (row, plain)


@cache
def _json_decoder() -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refused)


def _refused(word: str) -> Any:
    raise ValueError(word)


_ROW_MARK = "\x1c"
# Escapes that may decode to the marks or to the quote.
_BLURRING = re.compile(rb"\\u00(?:1|22)")


@dataclass(slots=True)
class Proof:
    """What is known of a block: its clean rows as columns, and the lines left to the diagnoser.

    Args:
        lines: How many lines the block has.
        places: The indices of the clean rows in the block.
        inputs: Their inputs (views.py).
        outputs: Their outputs.
        input_hashes: The inputs' 64-bit hashes, an array.
        output_hashes: The outputs' hashes.
        input_characters: The inputs' characters, marks left out.
        output_characters: The outputs' characters.
        ascii_characters: How many of all these are ASCII, of the inputs and of the outputs.
        repeated_characters: How many of these are in long runs of one character.
        unproved: Index and bytes of every other line.
    """

    lines: int
    places: Sequence[int] = ()
    inputs: Sequence[str] = ()
    outputs: Sequence[str] = ()
    input_hashes: Any = field(default_factory=lambda: np.empty(0, np.uint64))
    output_hashes: Any = field(default_factory=lambda: np.empty(0, np.uint64))
    input_characters: Sequence[int] = ()
    output_characters: Sequence[int] = ()
    ascii_characters: tuple[int, int] = (0, 0)
    repeated_characters: tuple[int, int] = (0, 0)
    unproved: list[tuple[int, bytes]] = field(default_factory=list)

    def columns(self) -> tuple[Any, Any]:
        """Return the hashes of inputs and outputs, one a line; 0 if the line is not proved."""
        if not self.unproved:
            return self.input_hashes, self.output_hashes
        inputs, outputs = np.zeros((2, self.lines), np.uint64)
        places = np.asarray(self.places, np.intp)
        inputs[places], outputs[places] = self.input_hashes, self.output_hashes
        return inputs, outputs


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


class _WeighedMessage(_Message, gc=False):
    weight: Literal[0, 1] | msgspec.UnsetType = msgspec.UNSET


class _Weighed(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_WeighedMessage]


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

    places: Sequence[int]
    inputs: list[str]
    outputs: list[str]
    characters: list[int]
    quotes: list[int]

    def extend(self, other: _Columns) -> None:
        """Append another's rows."""
        self.places = [*self.places, *other.places]
        self.inputs += other.inputs
        self.outputs += other.outputs
        self.characters += other.characters
        self.quotes += other.quotes

    def in_order(self) -> _Columns:
        """Return the rows in the order of their places."""
        return self.taking(sorted(range(len(self.places)), key=self.places.__getitem__))

    def without(self, doubtful: set[int]) -> _Columns:
        """Return the columns without the rows at these positions (not places)."""
        if not doubtful:
            return self
        return self.taking([n for n in range(len(self.places)) if n not in doubtful])

    def taking(self, kept: Sequence[int]) -> _Columns:
        """Return the rows at these positions, in this order."""
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
    """Find the rows of a block that have no problem at all, and their texts.

    Args:
        block: Whole lines; the last may lack its newline.
        rules: What a row may hold.
    """
    lines = block.split(b"\n")
    if not lines[-1]:
        lines.pop()
    shape = _SHAPES.get(rules.format)
    weighed = "weight" in rules.message_fields and not rules.convert_to
    if shape is _Messages and weighed and b'"weight"' in block:
        shape = _Weighed
    # Blank lines take one comparison each; there may be very many.
    full = range(len(lines))
    if b"\n\n" in block or not all(lines):
        full = [n for n in full if lines[n]]  # type: ignore[assignment]
    columns = _Columns([], [], [], [], [])
    if shape:
        places, rows = _decode([lines[n] for n in full], shape)
        columns = _columns([full[n] for n in places], rows, rules)
    more = _by_skeleton([x for x in _others(lines, columns.places) if x[1]], rules)
    if more.places:
        columns.extend(more)
        columns = columns.in_order()
    doubts = _plain_doubts(columns, rules)
    if b"\\" in block:
        doubts |= _escape_doubts(block, lines, columns)
    if len(block) > LINE_BYTES_MAX:
        doubts |= {n for n, at in enumerate(columns.places) if len(lines[at]) > LINE_BYTES_MAX}
    columns = columns.without(doubts)
    given, wanted = _Joined(columns.inputs), _Joined(columns.outputs)
    doubts = _scan(block, lines, columns, given, wanted)
    columns = columns.without(doubts)
    return Proof(
        lines=len(lines),
        places=columns.places,
        inputs=columns.inputs,
        outputs=columns.outputs,
        input_hashes=given.hashes(doubts),
        output_hashes=wanted.hashes(doubts),
        input_characters=columns.characters,
        output_characters=list(map(len, columns.outputs)),
        ascii_characters=(given.ascii_characters(doubts), wanted.ascii_characters(doubts)),
        repeated_characters=(given.repeated(doubts), wanted.repeated(doubts)),
        unproved=_others(lines, columns.places),
    )


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _others(lines: Sequence[bytes], places: Sequence[int]) -> list[tuple[int, bytes]]:
    if len(places) == len(lines):
        return []
    return [(n, lines[n]) for n in sorted(set(range(len(lines))).difference(places))]


def _by_skeleton(lines: list[tuple[int, bytes]], rules: Rules) -> _Columns:
    found = list(proved(lines, rules))
    places, inputs, outputs, quotes = map(list, zip(*found, strict=True)) if found else ([],) * 4
    return _Columns(places, inputs, outputs, [sum(characters(x)) for x in inputs], quotes)


def _decode(lines: Sequence[bytes], shape: Any) -> tuple[Sequence[int], list[Any]]:
    """Decode every line at the speed of one loop in C; leave out what is refused."""
    decode = _decoder(shape).decode
    rows: list[Any] = []
    refused: set[int] = set()
    rest = iter(lines)
    while len(rows) + len(refused) < len(lines):
        try:
            rows.extend(map(decode, rest))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            refused.add(len(rows) + len(refused))
    places = range(len(lines))
    return [n for n in places if n not in refused] if refused else places, rows


def _columns(places: Sequence[int], known: list[Any], rules: Rules) -> _Columns:
    match rules.format:
        case "palm":
            inputs = [row.input_text for row in known]
            outputs = [row.output_text for row in known]
        case "prompt-completion":
            inputs = [row.prompt for row in known]
            outputs = [row.completion for row in known]
        case "palm-chat":
            turns = [row.messages for row in known]
            return _chats(places, turns, [row.context for row in known], "author", rules)
        case "messages":
            turns = [row.messages for row in known]
            columns = _chats(places, turns, [None] * len(turns), "role", rules)
            if known and isinstance(known[0], _Weighed):
                columns.quotes = _with_weights(columns, dict(zip(places, turns, strict=True)))
            return columns
        case _:
            return _gemini(places, known, rules)
    return _Columns(places, inputs, outputs, list(map(len, inputs)), [8] * len(places))


def _with_weights(columns: _Columns, turns: dict[int, list[_WeighedMessage]]) -> list[int]:
    """Count two quotes more for the key of every weight."""
    return [
        quotes + 2 * sum([turn.weight is not msgspec.UNSET for turn in turns[place]])
        for place, quotes in zip(columns.places, columns.quotes, strict=True)
    ]


def _gemini(places: Sequence[int], rows: list[Any], rules: Rules) -> _Columns:
    """Take the rows whose every turn is one text; the diagnoser reads the others."""
    plain = [
        n
        for n, row in enumerate(rows)
        if all([len(turn.parts) == 1 for turn in row.contents])  # noqa: C419 (faster)
        and (row.systemInstruction is None or len(row.systemInstruction.parts) == 1)
    ]
    known = [rows[n] for n in plain]
    columns = _chats(
        [places[n] for n in plain],
        [row.contents for row in known],
        [row.systemInstruction and row.systemInstruction.parts[0].text for row in known],
        "role",
        rules,
    )
    # A system turn that names its role has one key and one text more.
    named = {
        places[n]
        for n in plain
        if (system := rows[n].systemInstruction) and system.role is not None
    }
    if named:
        pairs = zip(columns.places, columns.quotes, strict=True)
        columns.quotes = [quotes + 4 * (place in named) for place, quotes in pairs]
    return columns


def _chats(
    places: Sequence[int], turns: list[Any], systems: list[str | None], role: str, rules: Rules
) -> _Columns:
    """Turn chats into columns, all of one length at a time.

    Args:
        places: The rows' indices in the block.
        turns: Each row's list of turns.
        systems: Each row's system turn if that is a field of its own, else None.
        role: The field of a turn that names its side.
        rules: What a row may hold.
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for n, kind in enumerate(zip([x is None for x in systems], map(len, turns), strict=True)):
        groups.setdefault(kind, []).append(n)
    whole = _Columns([], [], [], [], [])
    for (alone, length), members in groups.items():
        if length >= 2:
            columns = [[turns[n][k] for n in members] for k in range(length)]
            first = None if alone else [systems[n] or "" for n in members]
            whole.extend(_group([places[n] for n in members], columns, first, role, rules))
    return whole.in_order() if len(groups) > 1 else whole


def _group(
    places: list[int], turns: list[list[Any]], systems: list[str] | None, role: str, rules: Rules
) -> _Columns:
    """Make columns of chats of one length; `turns` has a list for each turn, not for each row."""
    roles = list(zip(*(map(attrgetter(role), turn) for turn in turns), strict=True))
    kept = [pattern for pattern in set(roles) if _alternates(pattern, systems is not None, rules)]
    if len(kept) != 1 or len(set(roles)) != 1:
        parts = [[n for n, pattern in enumerate(roles) if pattern == one] for one in kept]
        whole = _Columns([], [], [], [], [])
        for part in parts:
            chosen = [[turn[n] for n in part] for turn in turns]
            first = None if systems is None else [systems[n] for n in part]
            whole.extend(_group([places[n] for n in part], chosen, first, role, rules))
        return whole.in_order()
    *spoken, outputs = [list(map(_text_of(rules.format), turn)) for turn in turns]
    quotes = 2 + (10 if rules.format == "gemini" else 8) * len(turns)
    own = systems is None and len(turns) % 2 == 1
    if systems is not None:
        spoken.insert(0, systems)
        quotes += 8 if rules.format == "gemini" else 4
    blank = {n for text in spoken if not all(map(str.strip, text)) for n in _blanks(text)}
    echoed = {n for n, (a, b) in enumerate(zip(spoken[-1], outputs, strict=True)) if a == b}
    inputs = spoken[0] if len(spoken) == 1 else list(map(TURN_MARK.join, zip(*spoken, strict=True)))
    marks = len(spoken) - 1
    if own or systems is not None:
        inputs = [SYSTEM_MARK + text for text in inputs]
        marks += 1
    lengths = [len(text) - marks for text in inputs]
    return _Columns(places, inputs, outputs, lengths, [quotes] * len(places)).without(
        blank | echoed
    )


def _text_of(format: str) -> Callable[[Any], str]:
    return _gemini_part if format == "gemini" else attrgetter("content")


def _gemini_part(turn: Any) -> str:
    text: str = turn.parts[0].text
    return text


def _blanks(texts: Sequence[str]) -> list[int]:
    return [n for n, text in enumerate(texts) if not text.strip()]


def _alternates(roles: tuple[str, ...], has_system: bool, rules: Rules) -> bool:
    systems = {"system", "developer"} & set(rules.roles)
    spoken = roles[1:] if roles[0] in systems and not has_system else roles
    answers = {"assistant", "model", "bot"} & set(rules.roles)
    return (
        len(spoken) >= 2
        and len(spoken) % 2 == 0
        and all(role == "user" for role in spoken[::2])
        and all(role in answers for role in spoken[1::2])
    )


def _escape_doubts(block: bytes, lines: Sequence[bytes], columns: _Columns) -> set[int]:
    """Rows whose line may hold an escape that would blur the counts below."""
    if not _BLURRING.search(block):
        return set()
    return {n for n, place in enumerate(columns.places) if _BLURRING.search(lines[place])}


def _plain_doubts(columns: _Columns, rules: Rules) -> set[int]:
    inputs, outputs = columns.inputs, columns.outputs
    doubts: set[int] = set()
    for texts in (inputs, outputs):
        if not all(map(str.strip, texts)):
            doubts.update(n for n, text in enumerate(texts) if not text.strip())
    if any(map(eq, inputs, outputs)):
        doubts.update(n for n, (a, b) in enumerate(zip(inputs, outputs, strict=True)) if a == b)
    doubts |= _long(inputs, rules.input_tokens) | _long(outputs, rules.output_tokens)
    if rules.example_tokens:
        lengths = map(add, map(len, inputs), map(len, outputs))
        long = [n for n, length in enumerate(lengths) if length > rules.example_tokens]
        doubts.update(
            n for n in long if estimate_tokens(inputs[n], outputs[n]) > rules.example_tokens
        )
    if rules.pii:
        rows = [f"{a}\n{b}" for a, b in zip(inputs, outputs, strict=True)]
        doubts.update(n for n, text in enumerate(rows) if personal_data_in(text))
    return doubts


def _long(texts: Sequence[str], most: int) -> set[int]:
    if not most or max(map(len, texts), default=0) <= most:
        return set()
    return {n for n, text in enumerate(texts) if len(text) > most and estimate_tokens(text) > most}


def _scan(
    block: bytes, lines: Sequence[bytes], columns: _Columns, given: _Joined, wanted: _Joined
) -> set[int]:
    """Look through all texts joined, and return the rows that need a closer look."""
    escaped = b"\\" in block and bool(CONTROLS.search(block))
    doubts = _quote_doubts(block, lines, columns, given, wanted)
    for text in (given, wanted):
        doubts.update(text.rows_of(text.suspects(escaped)))
    runs = set(given.rows_of(given.runs())) | set(wanted.rows_of(wanted.runs()))
    doubts.update(n for n in runs if secrets_in(f"{columns.inputs[n]}\n{columns.outputs[n]}"))
    return doubts


def _quote_doubts(
    block: bytes, lines: Sequence[bytes], columns: _Columns, given: _Joined, wanted: _Joined
) -> set[int]:
    """Rows whose line has other quotes than its texts call for: a key stands there twice."""
    quotes = _count(np.frombuffer(block, np.uint8), '"')
    if len(lines) != len(columns.places):
        candidates = set(columns.places)
        quotes -= sum(x.count(b'"') for n, x in enumerate(lines) if n not in candidates)
    inside = _count(given.bytes, '"') + _count(wanted.bytes, '"')
    if quotes == sum(columns.quotes) + inside:
        return set()
    rows = zip(columns.places, columns.quotes, columns.inputs, columns.outputs, strict=True)
    return {
        n
        for n, (place, needed, a, b) in enumerate(rows)
        if lines[place].count(b'"') != needed + a.count('"') + b.count('"')
    }


def _count(data: Any, character: str) -> int:
    return int(np.count_nonzero(data == ord(character)))


class _Joined:
    """The texts of many rows as one run of bytes, and the way back from a byte to its row."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(map(str.encode, texts))
        self.text = _ROW_MARK.encode().join(self.texts)
        self.bytes = np.frombuffer(self.text, np.uint8)

    def hashes(self, without: set[int]) -> Any:
        """Hash each text to 64 bits (XXH3), but for these rows."""
        texts = self.texts
        if without:
            texts = [text for n, text in enumerate(texts) if n not in without]
        return np.fromiter(map(xxhash.xxh3_64_intdigest, texts), np.uint64, len(texts))

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
        while have < RUN_CHARACTERS and run.any():
            step = min(have, RUN_CHARACTERS - have)
            run = run[:-step] & run[step:]
            have += step
        return np.flatnonzero(run)

    def rows_of(self, places: Iterable[int]) -> list[int]:
        """Return the rows, each once, that these bytes belong to."""
        found = np.asarray(places, dtype=np.int64)
        if not found.size:
            return []
        ends = np.flatnonzero(self.bytes == ord(_ROW_MARK))
        return [int(row) for row in np.unique(np.searchsorted(ends, found))]

    def repeated(self, without: set[int]) -> int:
        """Count the characters in long runs of the rows, but for these; see text_pairs."""
        # Every such run holds eight equal bytes at a place that eight divides.
        words = self.bytes[: len(self.bytes) // 8 * 8].view(np.uint64)
        if not np.any(words == (words & np.uint64(0x7F)) * np.uint64(0x0101010101010101)):
            return 0
        same = self.bytes[1:] == self.bytes[:-1]
        for step in (1, 2, 4, 7):  # runs of 2, 4, 8 and 15 equal neighbours
            same = same[:-step] & same[step:]
        count = int(np.count_nonzero(same & (self.bytes[:-REPEATED_AFTER] < 0x80)))
        return count - sum(repeated_characters(self.texts[n].decode()) for n in without)

    def ascii_characters(self, without: set[int]) -> int:
        """Count the ASCII characters of the rows, but for these, marks left out."""
        marks = (_ROW_MARK, TURN_MARK, SYSTEM_MARK)
        low = self.bytes[self.bytes < 32]
        plain = int(np.count_nonzero(self.bytes < 0x80)) - sum(_count(low, x) for x in marks)
        return plain - sum(characters(self.texts[n].decode())[0] for n in without)

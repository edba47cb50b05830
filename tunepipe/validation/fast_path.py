"""The fast path: accepts the rows of a block that surely have no problem at all.

It names no problem: `row_checks.diagnose` looks at every line that is not accepted. A row is
accepted if a typed decoder takes it and its roles alternate, and if none of its texts is blank,
too long, or holds a character, a secret or personal data that the row checks may report.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Literal

import msgspec
import numpy as np

from tunepipe.catalog.limits import LINE_BYTES_MAX, Rules
from tunepipe.data.text_pairs import estimate_tokens, joined, texts_of
from tunepipe.validation.text_checks import (
    RUN_CHARACTERS,
    SECRETS,
    personal_data_in,
    secrets_in,
    traces,
)

# The escapes of control characters, in a text without escaped backslashes.
_CONTROLS = re.compile(rb"\\(?:[bf]|u00)")
_SECRET_PARTS = tuple(dict.fromkeys(part.encode() for _, part, _ in SECRETS))

Pair = tuple[str, str]
_Scalar = str | bool | int | float | None


class _Strict(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What is left unset stays out when it is encoded, so that quotes can be compared."""


class _Palm(_Strict):
    input_text: str
    output_text: str


class _Part(_Strict):
    text: str


class _OpenAIPart(_Part):
    type: Literal["text"]


class _Message(_Strict):
    role: str
    content: str | list[_OpenAIPart]
    weight: Literal[0, 1] | msgspec.UnsetType = msgspec.UNSET


class _Messages(_Strict):
    messages: list[_Message]
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class _PromptCompletion(_Strict):
    prompt: str | list[_Message]
    completion: str | list[_Message]


class _Authored(_Strict):
    role: str = msgspec.field(name="author")
    content: str


class _PalmChat(_Strict):
    messages: list[_Authored]
    context: str | msgspec.UnsetType | None = msgspec.UNSET


class _Content(_Strict):
    content: list[_Part] = msgspec.field(name="parts")
    role: str | msgspec.UnsetType = msgspec.UNSET


class _Gemini(_Strict):
    contents: list[_Content]
    systemInstruction: _Content | msgspec.UnsetType | None = msgspec.UNSET  # noqa: N815
    labels: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    generationConfig: dict[str, _Scalar] | msgspec.UnsetType = msgspec.UNSET  # noqa: N815


class _Completion(_Strict):
    score: float
    completion: _Content


class _Preference(_Strict):
    contents: list[_Content]
    completions: list[_Completion]
    systemInstruction: _Content | msgspec.UnsetType | None = msgspec.UNSET  # noqa: N815


def accept(lines: Sequence[bytes], rules: Rules) -> tuple[list[int], list[str], list[str]]:
    """Return the indices of the rows that have no problem, their inputs and their outputs."""
    shape, read = _FORMATS[rules.format]
    pairs = [(n, row, pair) for n, row in _decode(lines, shape) if (pair := read(row, rules))]
    rows = [row for _, row, _ in pairs]
    doubtful = _suspect_rows([lines[place] for place, _, _ in pairs], rows)
    doubtful |= _long_rows([pair for _, _, pair in pairs], rules)
    if rules.pii:
        doubtful |= {n for n, row in enumerate(rows) if personal_data_in(_texts_of(row))}
    if doubtful:
        pairs = [item for n, item in enumerate(pairs) if n not in doubtful]
    return [n for n, _, _ in pairs], [x for _, _, (x, _) in pairs], [x for _, _, (_, x) in pairs]


def _decode(lines: Sequence[bytes], shape: Any) -> Iterable[tuple[int, Any]]:
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
    return zip((n for n in range(len(lines)) if n not in refused), rows, strict=True)


@cache
def _decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(shape)


def _read_prompt(row: _PromptCompletion, rules: Rules) -> Pair | None:
    prompt, completion = row.prompt, row.completion
    if isinstance(prompt, str):
        return _pair(None, [prompt], completion) if isinstance(completion, str) else None
    return None if isinstance(completion, str) else _read_messages([*prompt, *completion], rules)


def _read_messages(messages: list[_Message], rules: Rules) -> Pair | None:
    if rules.convert_to and any(message.weight is not msgspec.UNSET for message in messages):
        return None
    return _read_turns(messages, None, rules.roles)


def _read_gemini(row: _Gemini | _Preference, rules: Rules, *answer: _Content) -> Pair | None:
    system = _said(row.systemInstruction.content) if row.systemInstruction else None
    return _read_turns([*row.contents, *answer], system, rules.roles)


def _read_preference(row: _Preference, rules: Rules) -> Pair | None:
    answers = {scored.score: scored.completion for scored in row.completions}
    are_answers = all(
        answer.role in (msgspec.UNSET, "model") and _said(answer.content).strip()
        for answer in answers.values()
    )
    if len(row.completions) != 2 or answers.keys() != {0, 1} or not are_answers:
        return None
    return _read_gemini(row, rules, _Content(answers[1].content, "model"))


def _said(parts: Sequence[_Part]) -> str:
    """Join the texts of a turn; "" leaves a turn with a blank text to the row checks."""
    if len(parts) == 1:
        return parts[0].text
    texts = [part.text for part in parts]
    return "\n".join(texts) if all(map(str.strip, texts)) else ""


def _read_turns(
    turns: Sequence[_Message | _Authored | _Content], system: str | None, known: tuple[str, ...]
) -> Pair | None:
    """Return the pair of a chat whose turns alternate; None for any other."""
    roles = [turn.role for turn in turns]
    if msgspec.UNSET in roles:
        roles = ["user" if role is msgspec.UNSET else role for role in roles]
    texts = [x if isinstance(x := turn.content, str) else _said(x) for turn in turns]
    if system is None and roles and roles[0] in ("system", "developer") and roles[0] in known:
        system, texts = texts[0], texts[1:]
        roles = roles[1:]
    if len(roles) < 2 or not _is_alternating(tuple(roles), known):
        return None
    return _pair(system, texts[:-1], texts[-1])


@cache
def _is_alternating(roles: tuple[str, ...], known: tuple[str, ...]) -> bool:
    answers = {"assistant", "model", "bot"}.intersection(known)
    return len(roles) % 2 == 0 and set(roles[::2]) == {"user"} and answers.issuperset(roles[1::2])


def _pair(system: str | None, turns: list[str], output: str) -> Pair | None:
    """Return input and output; None if a text is blank, or the output repeats the last turn."""
    blank = not output.strip() or not all(map(str.strip, turns))
    if blank or turns[-1] == output or (system is not None and not system.strip()):
        return None
    return joined(system, turns), output


_FORMATS: dict[str, tuple[Any, Callable[[Any, Rules], Pair | None]]] = {
    "palm": (_Palm, lambda row, _: _pair(None, [row.input_text], row.output_text)),
    "prompt-completion": (_PromptCompletion, _read_prompt),
    "palm-chat": (
        _PalmChat,
        lambda row, rules: _read_turns(row.messages, row.context or None, rules.roles),
    ),
    "messages": (_Messages, lambda row, rules: _read_messages(row.messages, rules)),
    "gemini": (_Gemini, _read_gemini),
    "preference": (_Preference, _read_preference),
}


def _long_rows(pairs: list[Pair], rules: Rules) -> set[int]:
    limits = rules.input_tokens, rules.output_tokens, rules.example_tokens
    least = min(filter(None, limits), default=0)
    if not least:
        return set()
    # No text has more tokens, by estimate, than characters.
    long = [n for n, (given, wanted) in enumerate(pairs) if len(given) + len(wanted) > least]
    return {
        n
        for n in long
        for most, texts in zip(limits, (pairs[n][:1], pairs[n][1:], pairs[n]), strict=True)
        if 0 < most < estimate_tokens(*texts)
    }


def _suspect_rows(lines: list[bytes], rows: list[Any]) -> set[int]:
    """Return the rows with a repeated key, a secret, or a character that may be reported."""
    # All rows again as compact JSON: the decoder has dropped whatever else a line holds.
    text = msgspec.json.Encoder().encode_lines(rows)
    plain = text.split(b"\n")[:-1]
    doubtful = {
        n
        for n, (line, again) in enumerate(zip(lines, plain, strict=True))
        if line.count(b'"') != again.count(b'"') or b"\\u0022" in line or len(line) > LINE_BYTES_MAX
    }
    data = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    places = traces(text)
    places += [match.start() for match in _CONTROLS.finditer(text.replace(b"\\\\", b"  "))]
    doubtful.update(map(int, np.searchsorted(ends, np.asarray(places, np.int64))))
    runs = _rows_with_long_runs(data, ends)
    likely = (n for n in runs if any(map(plain[n].__contains__, _SECRET_PARTS)))
    doubtful.update(n for n in likely if secrets_in(_texts_of(rows[n])))
    return doubtful


def _rows_with_long_runs(data: Any, ends: Any) -> list[int]:
    """Return the rows with a run of RUN_CHARACTERS or more bytes out of `+` to `~`."""
    # Doubling: after each step a byte tells whether a run of twice the length begins there.
    run = (data - np.uint8(0x2B)) < 0x54
    have = 1
    while have < RUN_CHARACTERS and run.any():
        step = min(have, RUN_CHARACTERS - have)
        run = run[:-step] & run[step:]
        have += step
    starts = np.concatenate(([0], ends[:-1] + 1))
    starts = starts[starts < len(run)]
    rows: list[int] = np.flatnonzero(np.bitwise_or.reduceat(run, starts)).tolist()
    return rows


def _texts_of(row: Any) -> str:
    return "\n".join(text for _, text in texts_of(msgspec.to_builtins(row)))

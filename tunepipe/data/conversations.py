"""A row of any format as one conversation, read strictly, and written again.

In between a turn holds parts in Gemini's shape: text, a function call, its response, a file by URI
or inline. What a conversation cannot hold, or a format has no place for, is refused with its
reason, so that nothing is flattened or dropped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from tunepipe.catalog.tables import load
from tunepipe.data import openai_messages
from tunepipe.data.formats import SIDES, detect_format
from tunepipe.data.gemini_types import type_problems
from tunepipe.data.rows import without_nulls
from tunepipe.data.turns import (
    Part,
    Turn,
    is_blank,
    just_text,
    refusal,
    text,
    text_of,
)
from tunepipe.errors import DataError

Row = dict[str, Any]

_TOOLS = {"tools", "functions"}
BINDING = {"toolConfig", "tool_config", "tool_choice", "function_call", "response_format"}

_AUTHORS = {"user": "user", **dict.fromkeys(("assistant", "model", "bot"), "assistant")}
_BORDER = "the border between turns of one role"

PART_NAMES = {
    "function_call": "functionCall",
    "function_response": "functionResponse",
    "file_data": "fileData",
    "inline_data": "inlineData",
    "executable_code": "executableCode",
    "code_execution_result": "codeExecutionResult",
}
# The fields that may be next to a part's data.
_PART_SETTINGS = {
    *("thought", "thoughtSignature", "thought_signature", "videoMetadata", "video_metadata"),
    *("mediaResolution", "media_resolution", "partMetadata", "part_metadata"),
}
PART_KINDS = {"text", *PART_NAMES.values()}
FILE_NAMES = {"mime_type": "mimeType", "file_uri": "fileUri"}


@dataclass(frozen=True)
class Conversation:
    """The content of a row.

    Args:
        system: The system instruction; "" for none.
        turns: The turns of user, assistant and tool; the last is the assistant's answer.
        tools: The functions declared, in Gemini's shape.
        rejected: The rejected answer of a preference row; None in other rows.
        left_out: What else the row holds, by name: labels, settings, a user's own fields.
    """

    system: str
    turns: tuple[Turn, ...]
    tools: tuple[Row, ...] = ()
    rejected: Turn | None = None
    left_out: tuple[str, ...] = ()


def read(row: Mapping[str, Any], format: str) -> Conversation:
    """Read a row.

    Args:
        row: The row, as decoded from JSON.
        format: One of formats.FORMATS.

    Raises:
        DataError: The row is not of that format, or says what cannot be carried over.
    """
    bound = sorted(BINDING & row.keys())
    if bound:
        raise refusal(f"it sets {', '.join(bound)}")
    try:
        turns, rejected = _FORMATS[format].read(row)
        tools, more = _declared(row, format)
        turns, dropped = _without_thoughts(turns)
        system = text_of(turns.pop(0)) if turns and turns[0].role == "system" else ""
        if system and is_blank(system):
            raise refusal("the system instruction has no text")
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the row is not of the format {format}",
            fix="run tunepipe validate on the file: it lists every problem",
        ) from error
    _check_turns(turns, rejected)
    merged = _merged(turns)
    if len(merged) < len(turns):
        dropped.add(_BORDER)
    other = {*(row.keys() - _FORMATS[format].fields), *more, *dropped}
    turns = merged
    return Conversation(system, tuple(turns), tuple(tools), rejected, tuple(sorted(other)))


def _declared(row: Mapping[str, Any], format: str) -> tuple[list[Row], list[str]]:
    if not _TOOLS & _FORMATS[format].fields:
        return [], []
    is_openai = format == "messages" or "input" in row
    given = row["input"] if format == "preference" and "input" in row else row
    return openai_messages.read_declarations(given, not is_openai)


def write(conversation: Conversation, format: str) -> Row:
    """Write a conversation as a row.

    Raises:
        DataError: The format has no place for something it says.
    """
    return _FORMATS[format].write(conversation)


def _without_thoughts(turns: Sequence[Turn]) -> tuple[list[Turn], set[str]]:
    """Leave out thoughts and what only the model that made a part can read; name what was there."""
    dropped: set[str] = set()
    result = []
    for turn in turns:
        parts = []
        for part in turn.parts:
            if part.get("thought") is True:
                dropped.add("thoughts")
                continue
            extra = part.keys() & _PART_SETTINGS
            dropped |= extra
            parts.append({k: v for k, v in part.items() if k not in extra} if extra else part)
        result.append(Turn(turn.role, tuple(parts)))
    return result, dropped


def _check_turns(turns: Sequence[Turn], rejected: Turn | None) -> None:
    if any(turn.role == "system" for turn in turns):
        raise refusal("a system instruction is within the turns")
    if not turns or turns[-1].role != "assistant":
        raise refusal("the last turn is not the assistant's")
    if rejected and rejected.role != "assistant":
        raise refusal("the rejected answer is not the assistant's")
    if turns[0].role != "user":
        raise refusal("the first turn is not the user's")
    for before, turn in pairwise(turns):
        calls = [part["functionCall"]["name"] for part in before.parts if "functionCall" in part]
        answers = turn.parts if turn.role == "tool" else ()
        if sorted(calls) != sorted(part["functionResponse"]["name"] for part in answers):
            raise refusal("the answers of tools are not one for each call of the turn before")
    for turn in (*turns, *([rejected] if rejected else ())):
        if all("text" in part and is_blank(part["text"]) for part in turn.parts):
            raise refusal(f"a turn of the {turn.role} has no text")


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Join turns of one role that follow each other: services want the roles to alternate."""
    result: list[Turn] = []
    for turn in turns:
        if result and result[-1].role == turn.role and turn.role != "tool":
            result[-1] = Turn(turn.role, (*result[-1].parts, *turn.parts))
        else:
            result.append(turn)
    return result


def convert_row(row: Mapping[str, Any], format: str, to: str) -> tuple[Row, tuple[str, ...]]:
    """Convert one row.

    Returns:
        The row in the other format, and the names of what that has no place for.

    Raises:
        DataError: The row is not of its format, or the other has no place for what it says.
    """
    clean = without_nulls(row)
    if format == to and detect_format(clean) != format:
        raise refusal(f"it has not the fields of the format {format}")
    if format == to and "preferred_output" not in row:
        conversation = read(_without_settings(clean, format), format)
        more = tuple(sorted(clean.keys() - known_fields(to)))
        result = {name: value for name, value in row.items() if name not in more}
        if _BORDER in conversation.left_out:
            return {**result, **write(conversation, to)}, (*more, _BORDER)
        return result, more
    conversation = read(clean, format)
    loses_answer = conversation.rejected is not None and to != "preference"
    lost = ("the rejected answer",) if loses_answer else ()
    try:
        return write(conversation, to), conversation.left_out + lost
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise refusal(f"the format {to} cannot hold a part of it") from error


def _without_settings(row: Row, format: str) -> Row:
    """Leave out what a row of the same format keeps as it is."""
    result = {name: value for name, value in row.items() if name not in BINDING}
    if format == "gemini" and isinstance(row.get("tools"), list):
        for tool in row["tools"]:
            for problem in type_problems(tool, "Tool", "tools"):
                raise refusal(f"{problem.field}: {problem.message}")
        own = openai_messages.DECLARATIONS
        result["tools"] = [tool for tool in row["tools"] if tool.keys() <= own]
    if format == "messages" and isinstance(row.get("messages"), list):
        result["messages"] = [
            openai_messages.without_settings(message) if isinstance(message, dict) else message
            for message in row["messages"]
        ]
    return result


@cache
def known_fields(format: str) -> frozenset[str]:
    """Return the fields that a row of a format may have."""
    shape = load("catalog/services.toml")["formats"][format]
    return _FORMATS[format].fields.union(shape["required"], shape["optional"])


def _from_pair(given: str, wanted: str) -> Callable[[Mapping[str, Any]], Any]:
    def read(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
        if isinstance(row[given], list):
            return openai_messages.read([*row[given], *row[wanted]]), None
        return [just_text("user", row[given]), just_text("assistant", row[wanted])], None

    return read


def _from_palm_chat(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
    context = text(row.get("context", ""))
    system = [] if is_blank(context) else [just_text("system", context)]
    return system + [just_text(_AUTHORS[m["author"]], m["content"]) for m in row["messages"]], None


def _from_gemini(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
    if not isinstance(row.get("generationConfig", {}), dict):
        raise TypeError("generationConfig is no object")
    system = row.get("systemInstruction") or row.get("system_instruction")
    first = [Turn("system", _parts(system["parts"]))] if system else []
    return first + [_content(content) for content in row["contents"]], None


def _content(content: Mapping[str, Any]) -> Turn:
    parts, role = _parts(content["parts"]), text(content.get("role", "user"))
    if role not in SIDES:
        raise refusal("a turn has a role that is not known")
    answers = ["functionResponse" in part for part in parts]
    if any(answers):
        if not all(answers):
            raise refusal("a turn holds a function's response and something else")
        return Turn("tool", parts)
    if role in ("function", "tool"):
        raise refusal("a turn of a function holds no function's response")
    if role == "user" and any("functionCall" in part for part in parts):
        raise refusal("a turn of the user holds a function call")
    return Turn(SIDES[role], parts)


def _parts(parts: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    if not parts:
        raise ValueError("no part")
    return tuple(_part(part) for part in parts)


def _part(part: Mapping[str, Any]) -> Part:
    for problem in type_problems(part, "Part", "a part"):
        if problem.code != "extra-field" or problem.field != "a part":
            raise refusal(f"{problem.field}: {problem.message}")
    named = {
        PART_NAMES.get(name, name): value for name, value in part.items() if value not in ([], {})
    }
    settings = {name: named[name] for name in named.keys() & _PART_SETTINGS}
    (kind,) = named.keys() - settings.keys() if len(named) - len(settings) == 1 else ("",)
    if kind not in PART_KINDS:
        raise refusal(f"a part holds {', '.join(sorted(part)) or 'nothing'}")
    value = named[kind]
    if kind in ("fileData", "inlineData"):
        value = {FILE_NAMES.get(name, name): v for name, v in value.items()}
    return {kind: value, **settings}


def _from_preference(row: Mapping[str, Any]) -> tuple[list[Turn], Turn]:
    if "completions" in row:
        ranked = sorted(row["completions"], key=lambda one: float(one["score"]))
        if any(isinstance(one["score"], bool) for one in ranked):
            raise refusal("a score is not a number")
        if len(ranked) != 2 or float(ranked[0]["score"]) == float(ranked[1]["score"]):
            raise refusal("it has not two completions with different scores")
        if any(one["completion"].get("role", "model") != "model" for one in ranked):
            raise refusal("an answer is not the model's")
        worse, better = (_content({**one["completion"], "role": "model"}) for one in ranked)
        return [*_from_gemini(row)[0], better], worse
    if len(row["preferred_output"]) != 1 or len(row["non_preferred_output"]) != 1:
        raise refusal("an answer has several messages")
    turns = openai_messages.read([*row["input"]["messages"], *row["preferred_output"]])
    return turns, openai_messages.read(row["non_preferred_output"])[0]


def _to_pair(given: str, wanted: str) -> Callable[[Conversation], Row]:
    def write(conversation: Conversation) -> Row:
        if conversation.system:
            raise refusal("it has a system instruction, and a pair has no place for one")
        if [turn.role for turn in conversation.turns] != [
            "user",
            "assistant",
        ] or conversation.tools:
            raise refusal("it has more turns than a pair, or tools")
        return {given: text_of(conversation.turns[0]), wanted: text_of(conversation.turns[1])}

    return write


def _to_palm_chat(conversation: Conversation) -> Row:
    if conversation.tools:
        raise refusal("it declares tools")
    turns = [{"author": turn.role, "content": text_of(turn)} for turn in conversation.turns]
    return ({"context": conversation.system} if conversation.system else {}) | {"messages": turns}


def _to_messages(conversation: Conversation) -> Row:
    system = [{"role": "system", "content": conversation.system}] if conversation.system else []
    row: Row = {"messages": system + openai_messages.write(conversation.turns)}
    return row | openai_messages.as_openai(conversation.tools)


def _to_gemini(conversation: Conversation) -> Row:
    system = {"systemInstruction": {"role": "system", "parts": [{"text": conversation.system}]}}
    row = (system if conversation.system else {}) | {"contents": _contents(conversation.turns)}
    return row | openai_messages.as_gemini(conversation.tools)


def _to_preference(conversation: Conversation) -> Row:
    if conversation.rejected is None:
        raise refusal("it has no rejected answer")
    row = _to_gemini(Conversation(conversation.system, conversation.turns[:-1], conversation.tools))
    answers = _contents([conversation.turns[-1], conversation.rejected])
    scored = zip((1.0, 0.0), answers, strict=True)
    return row | {"completions": [{"score": s, "completion": answer} for s, answer in scored]}


def _contents(turns: Iterable[Turn]) -> list[Row]:
    roles = {"user": "user", "tool": "user", "assistant": "model"}
    return [{"role": roles[turn.role], "parts": list(turn.parts)} for turn in turns]


class _Format(NamedTuple):
    """How rows of a format are read, as turns and the rejected answer, and written."""

    fields: frozenset[str]
    read: Callable[[Mapping[str, Any]], tuple[list[Turn], Turn | None]]
    write: Callable[[Conversation], Row]


_FORMATS = {
    "palm": _Format(
        frozenset(("input_text", "output_text")),
        _from_pair("input_text", "output_text"),
        _to_pair("input_text", "output_text"),
    ),
    "prompt-completion": _Format(
        frozenset(("prompt", "completion")),
        _from_pair("prompt", "completion"),
        _to_pair("prompt", "completion"),
    ),
    "palm-chat": _Format(frozenset(("context", "messages")), _from_palm_chat, _to_palm_chat),
    "messages": _Format(
        frozenset(("messages", *_TOOLS)),
        lambda row: (openai_messages.read(row["messages"]), None),
        _to_messages,
    ),
    "gemini": _Format(
        frozenset(("systemInstruction", "system_instruction", "contents", "tools")),
        _from_gemini,
        _to_gemini,
    ),
    "preference": _Format(
        frozenset(
            (
                *("systemInstruction", "system_instruction", "contents", "completions", "tools"),
                *("input", "preferred_output", "non_preferred_output"),
            )
        ),
        _from_preference,
        _to_preference,
    ),
}

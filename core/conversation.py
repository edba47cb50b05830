"""A row of any format as a conversation in text alone, read strictly, and written again.

What a conversation cannot hold (a picture, a tool call, a weight) is refused with its reason, so
that nothing is flattened or dropped unsaid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .errors import DataError
from .formats import SIDES

Turn = tuple[str, str]
Row = dict[str, Any]

FIELDS = {
    "palm": {"input_text", "output_text"},
    "prompt-completion": {"prompt", "completion"},
    "palm-chat": {"context", "messages"},
    "messages": {"messages"},
    "gemini": {"systemInstruction", "system_instruction", "contents"},
    "preference": {
        *("systemInstruction", "system_instruction", "contents", "completions"),
        *("input", "preferred_output", "non_preferred_output"),
    },
}
BINDING = {"tools", "functions", "toolConfig", "tool_config", "parallel_tool_calls"}


@dataclass(frozen=True)
class Conversation:
    """What a row says.

    Args:
        system: The system instruction; "" for none.
        turns: Role (user or assistant) and text; the last is the assistant's answer.
        rejected: The answer that a preference row turns down; None in other rows.
        left_out: What the row holds besides, by name: labels, settings, a user's own fields.
    """

    system: str
    turns: tuple[Turn, ...]
    rejected: str | None = None
    left_out: tuple[str, ...] = ()


def read(row: Mapping[str, Any], format: str) -> Conversation:
    """Read a row.

    Args:
        row: The row, as decoded from JSON.
        format: One of formats.FORMATS.

    Raises:
        DataError: The row is not of that format, or says more than text.
    """
    bound = sorted(BINDING & row.keys())
    if bound:
        raise _refusal(f"it declares {', '.join(bound)}")
    try:
        turns, rejected = READERS[format](row)
        system, *rest = turns if turns[0][0] == "system" else [("", ""), *turns]
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the row is not of the format {format}",
            fix="run tunepipe validate on the file: it lists every problem",
        ) from error
    if any(role == "system" for role, _ in rest):
        raise _refusal("a system instruction stands within the turns")
    if not rest or rest[-1][0] != "assistant":
        raise _refusal("the last turn is not the assistant's")
    other = sorted(row.keys() - FIELDS[format])
    return Conversation(system[1], tuple(rest), rejected, tuple(other))


def write(said: Conversation, format: str) -> Row:
    """Write a conversation as a row.

    Raises:
        DataError: The format has no place for something it says.
    """
    return WRITERS[format](said)


def _refusal(reason: str) -> DataError:
    return DataError(
        f"cannot be carried over: {reason}", fix="leave the row as it is, or take it out"
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _side(role: str) -> str:
    if role in ("tool", "function"):
        raise _refusal("a tool answers in it")
    return SIDES[role]


def _message(message: Mapping[str, Any]) -> Turn:
    if message.get("tool_calls") or message.get("function_call"):
        raise _refusal("the assistant calls a tool")
    if message.get("weight", 1) != 1:
        raise _refusal("a message has a weight")
    content = message["content"]
    if isinstance(content, list):
        content = _only_text(content)
    return _side(message["role"]), _text(content)


def _only_text(parts: Sequence[Mapping[str, Any]]) -> str:
    if len(parts) != 1 or set(parts[0]) - {"type"} != {"text"}:
        raise _refusal("a turn has several parts, or one that is not text")
    return _text(parts[0]["text"])


def _content(content: Mapping[str, Any]) -> Turn:
    return _side(content.get("role", "user")), _only_text(content["parts"])


def _from_pair(given: str, wanted: str) -> Callable[[Mapping[str, Any]], Any]:
    def read(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
        if isinstance(row[given], list):
            return [_message(message) for message in [*row[given], *row[wanted]]], None
        return [("user", _text(row[given])), ("assistant", _text(row[wanted]))], None

    return read


def _from_palm_chat(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
    system = [("system", _text(row["context"]))] if row.get("context") else []
    return system + [(_side(m["author"]), _text(m["content"])) for m in row["messages"]], None


def _from_messages(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
    return [_message(message) for message in row["messages"]], None


def _from_gemini(row: Mapping[str, Any]) -> tuple[list[Turn], None]:
    system = row.get("systemInstruction") or row.get("system_instruction")
    first = [("system", _only_text(system["parts"]))] if system else []
    return first + [_content(content) for content in row["contents"]], None


def _from_preference(row: Mapping[str, Any]) -> tuple[list[Turn], str]:
    if "completions" in row:
        ranked = sorted(row["completions"], key=lambda one: float(one["score"]))
        worse, better = (_content(one["completion"]) for one in (ranked[0], ranked[-1]))
        if len(ranked) != 2:
            raise _refusal("it has not two completions")
        return [*_from_gemini(row)[0], better], worse[1]
    turns = [_message(message) for message in row["input"]["messages"]]
    better, worse = row["preferred_output"], row["non_preferred_output"]
    if len(better) != 1 or len(worse) != 1:
        raise _refusal("an answer has several messages")
    return [*turns, _message(better[0])], _message(worse[0])[1]


READERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "palm": _from_pair("input_text", "output_text"),
    "prompt-completion": _from_pair("prompt", "completion"),
    "palm-chat": _from_palm_chat,
    "messages": _from_messages,
    "gemini": _from_gemini,
    "preference": _from_preference,
}


def _to_pair(given: str, wanted: str) -> Callable[[Conversation], Row]:
    def write(said: Conversation) -> Row:
        if said.system:
            raise _refusal("it has a system instruction, and a pair has no place for one")
        if [role for role, _ in said.turns] != ["user", "assistant"]:
            raise _refusal("it has more turns than a pair")
        return {given: said.turns[0][1], wanted: said.turns[1][1]}

    return write


def _to_palm_chat(said: Conversation) -> Row:
    turns = [{"author": role, "content": text} for role, text in said.turns]
    return ({"context": said.system} if said.system else {}) | {"messages": turns}


def _to_messages(said: Conversation) -> Row:
    system = [("system", said.system)] if said.system else []
    return {"messages": [{"role": role, "content": text} for role, text in (*system, *said.turns)]}


def _to_gemini(said: Conversation) -> Row:
    system = {"systemInstruction": {"role": "system", "parts": [{"text": said.system}]}}
    return (system if said.system else {}) | {"contents": _contents(said.turns)}


def _to_preference(said: Conversation) -> Row:
    if said.rejected is None:
        raise _refusal("it has no answer that is turned down")
    *turns, (_, better) = said.turns
    row = _to_gemini(Conversation(said.system, tuple(turns)))
    answers = _contents([("assistant", better), ("assistant", said.rejected)])
    scored = zip((1.0, 0.0), answers, strict=True)
    return row | {"completions": [{"score": s, "completion": answer} for s, answer in scored]}


def _contents(turns: Iterable[Turn]) -> list[Row]:
    roles = {"user": "user", "assistant": "model"}
    return [{"role": roles[role], "parts": [{"text": text}]} for role, text in turns]


WRITERS: Mapping[str, Callable[[Conversation], Row]] = {
    "palm": _to_pair("input_text", "output_text"),
    "prompt-completion": _to_pair("prompt", "completion"),
    "palm-chat": _to_palm_chat,
    "messages": _to_messages,
    "gemini": _to_gemini,
    "preference": _to_preference,
}

"""Rows as people bring them: the shapes of public datasets, read as one of our formats.

| shape | fields | becomes |
|---|---|---|
| Alpaca | instruction, input, output (system, history) | messages |
| ShareGPT | conversations of from and value | messages |
| TRL preference | prompt, chosen, rejected | preference |
| pair | a name of the question and one of the answer, such as prompt and response | messages |
| text | text alone | nothing: it has no answer to learn |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunepipe.data.formats import detect_format
from tunepipe.data.turns import is_blank, refusal
from tunepipe.errors import DataError

Fields = Mapping[str, Any]

QUESTIONS = (
    *("input_text", "prompt", "question", "query", "instruction", "input", "user"),
    *("document", "article", "text", "質問", "入力"),
)
ANSWERS = (
    *("output_text", "completion", "response", "answer", "output", "target", "assistant"),
    *("summary", "highlights", "label", "回答", "出力"),
)
_SYSTEMS = ("system", "system_prompt")
_SHAREGPT_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}


@dataclass(frozen=True)
class Shape:
    """A shape of rows that is none of the formats.

    Args:
        name: What people call it.
        fields: The fields that identify it.
        format: The format that its rows become; "" if there is none.
        read: Makes a row of that format, and names the fields it has used.
    """

    name: str
    fields: tuple[str, ...]
    format: str
    read: Callable[[Fields], tuple[dict[str, Any], set[str]]]

    @property
    def description(self) -> str:
        """The name with the fields, for messages."""
        return f"{self.name} ({', '.join(self.fields)})"

    def advice(self) -> tuple[str, str]:
        """Return what to say of such a row where rows of the formats are read, and the fix."""
        message = f"the row has the shape {self.description}, which no service reads"
        if self.format:
            return message, f"tunepipe convert IN OUT --to {self.format} reads it"
        return (
            message,
            "write what is asked and what is answered into two fields: prompt, completion",
        )


def detect_shape(row: Fields) -> Shape | None:
    """Return the shape of a row that is of none of the formats; None if it has no known one."""
    keys = row.keys()
    if {"chosen", "rejected"} <= keys:
        return _TRL_PREFERENCE
    if detect_format(row) not in (None, "prompt-completion"):
        return None
    if isinstance(row.get("conversations", row.get("conversation")), list):
        return _SHAREGPT
    if {"instruction", "output"} <= keys:
        return _ALPACA
    if {"prompt", "completion"} <= keys:
        return None
    # People write Question and Answer into the first line of a workbook.
    by_name = {str(key).lower(): key for key in keys}
    question, answer, system = (
        next((by_name[name] for name in names if name in by_name), "")
        for names in (QUESTIONS, ANSWERS, _SYSTEMS)
    )
    is_alpaca = {"instruction", "output"} <= by_name.keys()  # its input would be lost
    if question and answer and not is_alpaca:
        return pair_shape(question, answer, system)
    return _TEXT if "text" in keys else None


def pair_shape(input_column: str, output_column: str, system_column: str = "") -> Shape:
    """Return the shape of rows with a field for the question and one for the answer."""

    def read(row: Fields) -> tuple[dict[str, Any], set[str]]:
        question, answer = (_text(row, name) for name in (input_column, output_column))
        system = _optional_text(row, system_column) if system_column else ""
        return _messages(system, [("user", question), ("assistant", answer)]), used

    used = {name for name in (input_column, output_column, system_column) if name}
    return Shape("pairs", (input_column, output_column), "messages", read)


def _alpaca(row: Fields) -> tuple[dict[str, Any], set[str]]:
    question = _text(row, "instruction")
    if more := _optional_text(row, "input"):
        question = f"{question}\n\n{more}"
    turns: list[tuple[str, str]] = []
    history = row.get("history", [])
    for item in history if isinstance(history, list) else [history]:
        if not (isinstance(item, list) and [type(text) for text in item] == [str, str]):
            raise refusal("the field history is not a list of pairs of texts")
        turns += [("user", item[0]), ("assistant", item[1])]
    turns += [("user", question), ("assistant", _text(row, "output"))]
    used = {"instruction", "input", "output", "system", "history"}
    return _messages(_optional_text(row, "system"), turns), used


def _sharegpt(row: Fields) -> tuple[dict[str, Any], set[str]]:
    field = "conversations" if "conversations" in row else "conversation"
    turns = []
    for number, message in enumerate(row[field]):
        if not isinstance(message, dict):
            raise refusal(f"{field}[{number}] is not an object")
        role = message.get("from", message.get("role"))
        said = message.get("value", message.get("content"))
        if role not in _SHAREGPT_ROLES:
            raise refusal(f"the role of {field}[{number}] is none of {', '.join(_SHAREGPT_ROLES)}")
        if not isinstance(said, str):
            raise refusal(f"{field}[{number}] holds no text")
        turns.append((_SHAREGPT_ROLES[role], said))
    system = _optional_text(row, "system")
    return _messages(system, turns), {field, "system"}


def _trl_preference(row: Fields) -> tuple[dict[str, Any], set[str]]:
    chosen, rejected = (_as_messages(row[name], "assistant") for name in ("chosen", "rejected"))
    prompt = _as_messages(row["prompt"], "user") if "prompt" in row else []
    if not prompt:  # what both have in common is the prompt
        while chosen and rejected and chosen[0] == rejected[0]:
            prompt.append(chosen.pop(0))
            rejected.pop(0)
    if len(chosen) != 1 or len(rejected) != 1 or not prompt:
        raise refusal("chosen and rejected are not one answer each to the same prompt")
    tools = {"tools": row["tools"]} if isinstance(row.get("tools"), list) else {}
    result = {
        "input": {"messages": prompt, **tools},
        "preferred_output": chosen,
        "non_preferred_output": rejected,
    }
    return result, {"prompt", "chosen", "rejected", "tools"}


def _as_messages(value: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
        raise refusal("prompt, chosen or rejected is neither a text nor a list of messages")
    return [dict(message) for message in value]


def _no_answer(row: Fields) -> tuple[dict[str, Any], set[str]]:
    raise DataError(
        "the row is one text without a question and an answer",
        fix=_TEXT.advice()[1],
    )


def _messages(system: str, turns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    first = [("system", system)] if system else []
    return {"messages": [{"role": role, "content": text} for role, text in (*first, *turns)]}


def _text(row: Fields, name: str) -> str:
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # labels are often numbers, and a workbook has no other kind of digit
    if value is not None and not isinstance(value, str):
        raise refusal(f"the field {name!r} holds no text ({type(value).__name__})")
    if value is None or is_blank(value):
        raise refusal(f"the field {name!r} is empty")
    return value


def _optional_text(row: Fields, name: str) -> str:
    return "" if row.get(name) in (None, "") else _text(row, name)


_ALPACA = Shape("Alpaca", ("instruction", "output"), "messages", _alpaca)
_SHAREGPT = Shape("ShareGPT", ("conversations",), "messages", _sharegpt)
_TRL_PREFERENCE = Shape("TRL preference", ("chosen", "rejected"), "preference", _trl_preference)
_TEXT = Shape("text", ("text",), "", _no_answer)

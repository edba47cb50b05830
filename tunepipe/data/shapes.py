"""Rows as people bring them: the shapes of public datasets, read as one of our formats.

| shape | fields | becomes |
|---|---|---|
| Alpaca | instruction, input, output (system, history) | messages |
| ShareGPT | conversations of from and value | messages |
| TRL preference | chosen, rejected, prompt or another name of a question (system) | preference |
| pair | a name of the question and one of the answer, such as prompt and response | messages |
| system apart | messages, and a system instruction next to them | messages |
| text | text alone | nothing: it has no answer to learn |
| TRL unpaired preference | prompt, completion, label | nothing: some answers are bad |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

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
# What the prompt of a preference is called, in the datasets that have one.
_PROMPTS = ("prompt", "question", "query", "instruction", "input")
_SHAREGPT_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "chatgpt", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_SHAREGPT_FIELDS = {"from", "role", "value", "content", "weight"}


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


@dataclass(frozen=True)
class Shape:
    """A shape of rows that is none of the formats.

    Args:
        name: What people call it.
        fields: The fields that identify it.
        format: The format that its rows become; "" if there is none.
        read: Makes a row of that format from one without fields that are null.
        fix: What to do where there is no format.
    """

    name: str
    fields: tuple[str, ...]
    format: str
    read: Callable[[Fields], Reading]
    fix: str = ""

    @property
    def description(self) -> str:
        """The name with the fields, for messages."""
        return f"{self.name} ({', '.join(self.fields)})"

    def advice(self) -> tuple[str, str]:
        """Return what to say of such a row where rows of the formats are read, and the fix."""
        message = f"the row has the shape {self.description}, which no service reads"
        return message, self.fix or f"tunepipe convert IN OUT --to {self.format} reads it"


def detect_shape(row: Fields) -> Shape | None:
    """Return the shape of a row that is of none of the formats; None if it has no known one."""
    keys = {name for name, value in row.items() if value is not None}
    if {"chosen", "rejected"} <= keys:
        return _TRL_PREFERENCE
    has_system = isinstance(row.get("system"), str) and not is_blank(row["system"])
    format = detect_format(row)
    if format not in (None, "prompt-completion"):
        return _SYSTEM_APART if format == "messages" and has_system else None
    if isinstance(row.get("conversations", row.get("conversation")), list):
        return _SHAREGPT
    if {"instruction", "output"} <= keys:
        return _ALPACA
    if {"prompt", "completion"} <= keys:
        if isinstance(row.get("label"), bool):
            return _TRL_UNPAIRED
        is_pair = has_system and isinstance(row["prompt"], str)
        return pair_shape("prompt", "completion", "system") if is_pair else None
    # People write Question and Answer into the first line of a workbook.
    by_name = {str(key).lower(): key for key in row if key in keys}
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

    def read(row: Fields) -> Reading:
        question, answer = (_text(row, name) for name in (input_column, output_column))
        system = _optional_text(row, system_column) if system_column else ""
        return Reading(_messages(system, [("user", question), ("assistant", answer)]), used)

    used = {name for name in (input_column, output_column, system_column) if name}
    return Shape("pairs", (input_column, output_column), "messages", read)


def _alpaca(row: Fields) -> Reading:
    turns: list[tuple[str, str]] = []
    history = row.get("history", [])
    for item in history if isinstance(history, list) else [history]:
        if not (isinstance(item, list) and [type(text) for text in item] == [str, str]):
            raise refusal("the field history is not a list of pairs of texts")
        turns += [("user", item[0]), ("assistant", item[1])]
    turns += [("user", _instruction(row)), ("assistant", _text(row, "output"))]
    used = {"instruction", "input", "output", "system", "history"}
    return Reading(_messages(_optional_text(row, "system"), turns), used)


def _instruction(row: Fields) -> str:
    question, more = _text(row, "instruction"), _optional_text(row, "input")
    return f"{question}\n\n{more}" if more else question


def _sharegpt(row: Fields) -> Reading:
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


def _trl_preference(row: Fields) -> Reading:
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
    system_field = next((name for name in _SYSTEMS if name in row), "")
    system = _messages(_optional_text(row, system_field), [])["messages"]
    tools = {"tools": row["tools"]} if isinstance(row.get("tools"), list) else {}
    result = {
        "input": {"messages": [*system, *prompt], **tools},
        "preferred_output": chosen,
        "non_preferred_output": rejected,
    }
    used = {"chosen", "rejected", "tools", question, system_field}
    return Reading(result, used | ({"input"} if question == "instruction" else set()))


def _system_apart(row: Fields) -> Reading:
    system = _messages(row["system"], [])["messages"]
    whole = {name: value for name, value in row.items() if name != "system"}
    return Reading(whole | {"messages": system + row["messages"]}, set(row))


def _as_messages(value: Any, role: str) -> list[dict[str, Any]]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
        raise refusal("prompt, chosen or rejected is neither a text nor a list of messages")
    return [dict(message) for message in value]


def _refuse_text(row: Fields) -> NoReturn:
    raise DataError("the row is one text without a question and an answer", fix=_TEXT.fix)


def _refuse_unpaired(row: Fields) -> NoReturn:
    found = "the row has a label that says whether its completion is good"
    raise DataError(found, fix=_TRL_UNPAIRED.fix)


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
_SYSTEM_APART = Shape("system apart", ("system", "messages"), "messages", _system_apart)
_TEXT = Shape(
    "text",
    ("text",),
    "",
    _refuse_text,
    "write what is asked and what is answered into two fields: prompt, completion",
)
_TRL_UNPAIRED = Shape(
    "TRL unpaired preference",
    ("prompt", "completion", "label"),
    "",
    _refuse_unpaired,
    "keep the good completions: jq -c 'select(.label) | del(.label)' IN > OUT",
)

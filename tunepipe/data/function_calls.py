"""Function calls in an answer: how they are written as text, and read back.

An answer is text, one line a part. A call is a line of JSON, in Gemini's shape
`{"functionCall": {"name": "f", "args": {…}}}` or as OpenAI's list of tool calls; all other lines
are what the model says besides. References are written so by `data.formats`, and answers by the
backends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunepipe.data.formats import canonical

_GEMINI = ("functionCall", "function_call")


@dataclass(frozen=True)
class Call:
    """A call of a function.

    Args:
        name: The function.
        arguments: Its arguments by name.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Write the call as people do, such as `weather(city="Oslo")`."""
        arguments = ", ".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}"
            for name, value in self.arguments.items()
        )
        return f"{self.name}({arguments})"


def write_answer(text: str, calls: Sequence[Call]) -> str:
    """Write an answer's text and its calls as one text."""
    lines = [
        canonical({"functionCall": {"args": dict(call.arguments), "name": call.name}})
        for call in calls
    ]
    return "\n".join([text, *lines] if text else lines)


def read_calls(answer: str) -> list[Call]:
    """Return the calls of an answer, in their order; [] for an answer without any."""
    return [call for line in answer.split("\n") for call in _calls_of(line)]


def readable(answer: str) -> str:
    """Return an answer with its calls written as people do."""
    lines = []
    for line in answer.split("\n"):
        calls = _calls_of(line)
        lines += [str(call) for call in calls] if calls else [line]
    return "\n".join(lines)


def _calls_of(line: str) -> list[Call]:
    if not line.startswith(("{", "[")):
        return []
    try:
        value = json.loads(line)
        return list(_calls(value))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return []


def _calls(value: Any) -> Iterator[Call]:
    if isinstance(value, list):
        # OpenAI's tool_calls: each is a call, or the line is no list of calls.
        for item in value:
            yield _openai_call(item["function"])
    elif value.keys() == {"name", "arguments"} and isinstance(value["arguments"], str):
        yield _openai_call(value)
    else:
        (name,) = [name for name in _GEMINI if name in value]
        call = value[name]
        yield Call(str(call["name"]), dict(call.get("args") or {}))


def _openai_call(function: Mapping[str, Any]) -> Call:
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments or "{}")
    return Call(str(function["name"]), dict(arguments))

"""The six shapes a training row may have, and the one view that the rest of tunepipe takes of them.

| format | a row |
|---|---|
| palm | input_text, output_text |
| palm-chat | context, messages of author and content |
| gemini | systemInstruction, contents of role and parts, tools |
| messages | messages of role and content (OpenAI chat) |
| prompt-completion | prompt, completion |
| preference | contents and completions with scores (Gemini), or input, preferred_output and non_preferred_output (OpenAI) |

Which fields and roles a service takes is in services.toml; here a row is only read.
"""  # noqa: E501

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunepipe.errors import DataError, UsageError

FORMATS = ("palm", "palm-chat", "gemini", "messages", "prompt-completion", "preference")

Turn = dict[str, str]

# The names that the services give to the three sides of a conversation.
SIDES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "tool": "user",
    "function": "user",
    "assistant": "assistant",
    "model": "assistant",
    "bot": "assistant",
}

# The parts that hold a file, by address or written out; no address is longer.
_FILES = frozenset(("inlineData", "inline_data", "image_url", "input_audio", "file"))
_ADDRESS_CHARACTERS = 2048
_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True)
class Example:
    """One training row, whatever its format.

    Args:
        line: Its line in the file, counted from 1; 0 if there is no file.
        id: 16 hex digits made from the prompt and the reference; "-2", "-3"... follow on repeats.
        messages: The prompt as {"role", "content"}; the roles are system, user and assistant.
        reference: The answer wanted: the last assistant turn.
        rejected: The rejected answer of a preference row; "" in other rows.
        fields: The row as decoded, for models that take more than text.
        format: The row's format.
    """

    line: int
    id: str
    messages: tuple[Mapping[str, str], ...]
    reference: str
    rejected: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    format: str = ""


def detect_format(row: Mapping[str, Any]) -> str | None:
    """Return the format of one row by the fields it has, or None if no field is known."""
    keys = row.keys()
    if keys & {"chosen", "rejected"} and "completion" not in keys:
        return None  # TRL's preferences; shapes.py reads them
    if keys & {"completions", "preferred_output", "non_preferred_output"}:
        return "preference"
    if keys & {"input_text", "output_text"}:
        return "palm"
    if keys & {"contents", "systemInstruction", "system_instruction"}:
        return "gemini"
    if "messages" in keys:
        return "palm-chat" if _has_authors(row) else "messages"
    if keys & {"prompt", "completion"}:
        return "prompt-completion"
    return None


def common_format(rows: Sequence[Any]) -> str | None:
    """Return the format that most of these rows have; of equals, the one that comes first."""
    found = [detect_format(row) for row in rows if isinstance(row, Mapping)]
    known = Counter(format for format in found if format)
    return known.most_common(1)[0][0] if known else None


def example(row: Mapping[str, Any], format: str, line: int = 0) -> Example:
    """Read one row.

    Args:
        row: The row, as decoded from JSON.
        format: One of FORMATS.
        line: Its line in the file, for the error's sake.

    Raises:
        DataError: The row is not of that format.
    """
    prompt, reference = checked_conversation(row, format, line)
    rejected = _rejected(row) if format == "preference" else ""
    identity = _identity(prompt, reference)
    return Example(line, identity, tuple(prompt), reference, rejected, row, format)


def checked_conversation(
    row: Mapping[str, Any], format: str, line: int = 0
) -> tuple[list[Turn], str]:
    """Do what `conversation` does, with one kind of error; an example without its id.

    Raises:
        DataError: The row is not of that format.
    """
    try:
        prompt, reference = conversation(row, format)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise _not_of(format, line) from error
    if not prompt or not reference:
        raise _not_of(format, line)
    return prompt, reference


def with_unique_id(example: Example, seen: Counter[str]) -> Example:
    """Number the id of an example that was seen before: -2, -3 and so on."""
    seen[example.id] += 1
    if seen[example.id] == 1:
        return example
    return replace(example, id=f"{example.id}-{seen[example.id]}")


def check_format(format: str) -> str:
    """Return a format's name.

    Raises:
        UsageError: It is not one of FORMATS.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}", fix=f"use one of {', '.join(FORMATS)}")
    return format


def input_text(example: Example) -> str:
    """Return the prompt as one text: a lone question as it is, else each turn after its role."""
    return prompt_text(example.messages)


def prompt_text(turns: Sequence[Mapping[str, str]]) -> str:
    """Return turns as one text, as `input_text` does."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def conversation(row: Mapping[str, Any], format: str) -> tuple[list[Turn], str]:
    """Return a row's prompt, as turns, and the answer wanted.

    Raises:
        KeyError, TypeError, ValueError: The row is not of that format.
    """
    match format:
        case "palm":
            return [_turn("user", row["input_text"])], _string(row["output_text"])
        case "prompt-completion":
            return _prompt_completion(row)
        case "palm-chat":
            context = row.get("context")
            turns = [_turn(_side(m["author"]), m["content"]) for m in row["messages"]]
            return _last_answer(([_turn("system", context)] if context else []) + turns)
        case "messages":
            return _last_answer(_openai_turns(row["messages"]))
        case "gemini":
            return _last_answer(_gemini_turns(row))
        case "preference":
            return _preference(row)
    raise UsageError(f"unknown format {format!r}", fix=f"use one of {', '.join(FORMATS)}")


def _openai_turns(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Return messages as turns; results of tools that follow each other are one, as in Gemini."""
    turns: list[Turn] = []
    after_result = False
    for message in messages:
        is_result = message["role"] in ("tool", "function")
        turn = openai_turn(message)
        if is_result and after_result:
            turns[-1]["content"] += f"\n{turn['content']}"
        else:
            turns.append(turn)
        after_result = is_result
    return turns


def openai_turn(message: Mapping[str, Any]) -> Turn:
    """Return a message of the OpenAI shape as a turn; calls are written as in Gemini's shape."""
    text = openai_text(message.get("content"))
    if message["role"] in ("tool", "function"):
        return _turn(SIDES[message["role"]], _result_text(text))
    if not text and isinstance(message.get("refusal"), str):
        text = message["refusal"]
    calls = list(message.get("tool_calls") or ())
    calls += [{"function": message["function_call"]}] if message.get("function_call") else []
    lines = [_openai_call(call) for call in calls]
    return _turn(SIDES[message["role"]], "\n".join([text, *lines] if text else lines))


def _openai_call(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, dict) or "name" not in function:
        return canonical(call)
    arguments = function.get("arguments") or "{}"
    try:
        return call_text(function["name"], json.loads(arguments))
    except (ValueError, TypeError, RecursionError):
        return call_text(function["name"], arguments)  # validation names what is wrong


def call_text(name: str, arguments: Any) -> str:
    """Return a function call as one line of JSON, the same for Gemini's and OpenAI's rows."""
    return canonical({"functionCall": {"args": arguments or {}, "name": name}})


def _result_text(response: Any) -> str:
    """Return what a function gave, the same for Gemini's and OpenAI's rows."""
    if isinstance(response, str):
        try:
            value = json.loads(response)
        except (ValueError, RecursionError):
            return response
        if not isinstance(value, dict):
            return response
        response = value
    if response.keys() == {"output"} and isinstance(response["output"], str):
        return str(response["output"])
    return canonical(response)


def openai_text(content: Any) -> str:
    """Return a message's content as text: a string as it is, a list of parts one by one."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "\n".join(
        _string(part["text"]) if part.get("type", "text") == "text" else part_text(part)
        for part in content
    )


def gemini_text(content: Mapping[str, Any]) -> str:
    """Return the parts of a Gemini content as text, without thoughts; see `part_text`."""
    parts = content["parts"]
    if isinstance(parts, str):
        raise TypeError("parts is a text")
    return "\n".join(
        _string(part["text"]) if "text" in part else part_text(part)
        for part in parts
        if part.get("thought") is not True
    )


def part_text(part: Mapping[str, Any]) -> str:
    """Return a part that is not text as canonical JSON; a file's bytes are shown by their hash."""
    call = part.get("functionCall") or part.get("function_call")
    if call:
        return call_text(call["name"], call.get("args"))
    result = part.get("functionResponse") or part.get("function_response")
    if result:
        return _result_text(result.get("response", {}))
    return canonical(
        {key: _without_bytes(value) if key in _FILES else value for key, value in part.items()}
    )


def _without_bytes(file: Any) -> Any:
    if isinstance(file, Mapping):
        return {key: _without_bytes(value) for key, value in file.items()}
    if isinstance(file, str) and len(file) > _ADDRESS_CHARACTERS:
        import xxhash

        return f"xxh3:{xxhash.xxh3_128_hexdigest(file.encode())}"
    return file


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal texts."""
    return _CANONICAL(value)


def _prompt_completion(row: Mapping[str, Any]) -> tuple[list[Turn], str]:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str):
        return [_turn("user", prompt)], _string(completion)
    return _openai_turns(prompt), openai_turn(completion[-1])["content"]


def _preference(row: Mapping[str, Any]) -> tuple[list[Turn], str]:
    if "completions" in row:
        best = max(row["completions"], key=lambda completion: float(completion["score"]))
        return _gemini_turns(row), gemini_text(best["completion"])
    return _openai_turns(row["input"]["messages"]), openai_turn(row["preferred_output"][-1])[
        "content"
    ]


def _rejected(row: Mapping[str, Any]) -> str:
    """Return the rejected answer of a preference row."""
    if "completions" in row:
        worst = min(row["completions"], key=lambda completion: float(completion["score"]))
        return gemini_text(worst["completion"])
    return openai_turn(row["non_preferred_output"][-1])["content"]


def _gemini_turns(row: Mapping[str, Any]) -> list[Turn]:
    system = row.get("systemInstruction") or row.get("system_instruction")
    first = [_turn("system", gemini_text(system))] if system else []
    return first + [
        _turn(_side(content.get("role", "user")), gemini_text(content))
        for content in row["contents"]
    ]


def _last_answer(turns: list[Turn]) -> tuple[list[Turn], str]:
    *prompt, answer = turns
    if answer["role"] != "assistant":
        raise ValueError("the last turn is not the assistant's")
    return prompt, answer["content"]


def _turn(role: str, content: Any) -> Turn:
    return {"role": role, "content": _string(content)}


def _side(role: str) -> str:
    return SIDES[role]


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _has_authors(row: Mapping[str, Any]) -> bool:
    messages = row["messages"]
    first = messages[0] if isinstance(messages, list) and messages else None
    authored = isinstance(first, Mapping) and "author" in first
    return authored or ("context" in row and not (isinstance(first, Mapping) and "role" in first))


def _identity(prompt: list[Turn], reference: str) -> str:
    import xxhash

    text = canonical([prompt, reference]).encode("utf-8", "surrogatepass")
    return xxhash.xxh3_64_hexdigest(text)


def _not_of(format: str, line: int) -> DataError:
    return DataError(
        f"the row is not of the format {format}",
        where=f"line {line}" if line else "",
        fix="run tunepipe validate on the file: it lists every problem",
    )

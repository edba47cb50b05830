"""OpenAI's messages as turns and back, and its declarations of functions as Gemini's."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tunepipe.data.formats import SIDES, canonical
from tunepipe.data.gemini_types import type_problems
from tunepipe.data.turns import Part, Turn, is_blank, refusal, text, words

Message = dict[str, Any]
Schema = dict[str, Any]

# The fields that may be next to a message's contents, and their types.
_SETTINGS: dict[str, Any] = {"weight": (int, float), "name": str, "refusal": str, "audio": dict}
KNOWN = {"role", "content", "tool_calls", "tool_call_id", "function_call", "weight"}


def read(messages: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Read messages; answers of tools that follow each other are one turn.

    Raises:
        DataError: A message says what a turn cannot hold.
        KeyError, TypeError, ValueError: These are not messages.
    """
    turns: list[Turn] = []
    open_calls: dict[str, str] = {}
    for answers, run in groupby(messages, lambda message: message["role"] in ("tool", "function")):
        if answers:
            turns.append(Turn("tool", _answers(run, open_calls)))
            open_calls = {}
            continue
        for message in run:
            open_calls = {}
            turns.append(_said(message, open_calls))
    return turns


def without_settings(message: Message) -> Message:
    """Leave out what a message has next to its contents: weight, name, refusal, audio."""
    weight = message.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1):
        raise refusal("a message has a weight that is neither 0 nor 1")
    for name, kind in _SETTINGS.items():
        value = message.get(name)
        if value is not None and (not isinstance(value, kind) or (kind is str and is_blank(value))):
            raise refusal(f"a message has a {name} of another type, or a blank one")
    result = {name: value for name, value in message.items() if name not in _SETTINGS}
    if not result.get("content") and isinstance(message.get("refusal"), str):
        result["content"] = message["refusal"]
    elif not result.get("content") and isinstance(message.get("audio"), dict):
        result["content"] = canonical(message["audio"])
    return result


def write(turns: Iterable[Turn]) -> list[Message]:
    """Write turns as messages; calls are numbered call_1, call_2 and so on.

    Raises:
        DataError: A turn holds what a message cannot.
    """
    messages: list[Message] = []
    open_calls: list[tuple[str, str]] = []
    made = 0
    for turn in turns:
        if turn.role == "tool":
            messages += [_tool_message(part["functionResponse"], open_calls) for part in turn.parts]
            continue
        calls = [part["functionCall"] for part in turn.parts if "functionCall" in part]
        numbered = [(f"call_{made + k}", call) for k, call in enumerate(calls, 1)]
        made += len(calls)
        open_calls = [(number, call["name"]) for number, call in numbered]
        messages.append(_spoken(turn, numbered))
    return messages


def _said(message: Mapping[str, Any], names: dict[str, str]) -> Turn:
    _refuse_weight(message)
    others = sorted(name for name in message.keys() - KNOWN if message[name] not in ([], {}, ""))
    if others:
        raise refusal(f"a message has {', '.join(others)}")
    parts = (*_contents(message.get("content")), *_calls(message, names))
    if not parts:
        raise ValueError("a message says nothing")
    return Turn(SIDES[message["role"]], parts)


def _refuse_weight(message: Mapping[str, Any]) -> None:
    if message.get("weight", 1) != 1:
        raise refusal("a message has the weight 0")


def _contents(content: Any) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content else []
    return [_part(part) for part in content]


def _part(part: Mapping[str, Any]) -> Part:
    kind = part["type"]
    if kind == "text":
        return {"text": text(part["text"])}
    if kind == "image_url" and isinstance(part["image_url"], Mapping):
        if part["image_url"].get("detail", "auto") != "auto":
            raise refusal("a picture sets its detail")
        return _picture(text(part["image_url"]["url"]))
    raise refusal("a turn has a part that is neither text nor a plain picture")


def mime_type_of(url: str) -> str:
    """Return the MIME type of a picture by its address, or ""."""
    if url.startswith("data:"):
        return url.removeprefix("data:").partition(";")[0]
    return mimetypes.guess_type(url.partition("?")[0])[0] or ""


def _picture(url: str) -> Part:
    kind = mime_type_of(url)
    if not kind:
        raise refusal("the address of a picture does not show its type, such as .png")
    if not url.startswith("data:"):
        return {"fileData": {"mimeType": kind, "fileUri": url}}
    _, mark, data = url.partition(";base64,")
    if not mark:
        raise refusal("a picture is not written in base64")
    return {"inlineData": {"mimeType": kind, "data": data}}


def _calls(message: Mapping[str, Any], names: dict[str, str]) -> list[Part]:
    calls = [(text(call["id"]), call["function"]) for call in message.get("tool_calls") or ()]
    if message.get("function_call"):
        calls.append((message["function_call"]["name"], message["function_call"]))
    parts: list[Part] = []
    for number, function in calls:
        try:
            arguments = json.loads(text(function["arguments"]) or "{}")
        except (ValueError, RecursionError):
            raise refusal("a call's arguments are not JSON") from None
        if not isinstance(arguments, dict):
            raise refusal("a call's arguments are not an object")
        if number in names:
            raise refusal("two calls of a turn have the same id")
        names[number] = words(function["name"])
        parts.append({"functionCall": {"name": function["name"], "args": arguments}})
    return parts


def _answers(messages: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> tuple[Part, ...]:
    """Put answers in the order of their calls: Gemini matches them by order only."""
    found: dict[str, Part] = {}
    for message in messages:
        _refuse_weight(message)
        if message.get("tool_calls") or message.get("function_call"):
            raise refusal("the answer of a tool calls a function")
        number = message.get("tool_call_id", message.get("name"))
        if number not in names or number in found:
            raise refusal("a tool answers a call that was not made, or that has its answer")
        said = "".join(text(part["text"]) for part in _contents(message["content"]))
        response = {"name": names[number], "response": _response(said)}
        found[number] = {"functionResponse": response}
    if len(found) < len(names):
        raise refusal("a call has no answer")
    return tuple(found[number] for number in names)


def _response(said: str) -> dict[str, Any]:
    """Gemini takes an object: one that it is, or the text under "output"."""
    try:
        value = json.loads(said)
    except ValueError:
        value = None
    return value if isinstance(value, dict) and set(value) != {"output"} else {"output": said}


def _tool_message(answer: Mapping[str, Any], open_calls: list[tuple[str, str]]) -> Message:
    for place, (number, name) in enumerate(open_calls):
        if name == answer["name"]:
            del open_calls[place]
            response = answer.get("response", {})
            plain = set(response) == {"output"} and isinstance(response["output"], str)
            said = response["output"] if plain else canonical(response)
            return {"role": "tool", "tool_call_id": number, "content": said}
    raise refusal("a function responds that was not called")


def _spoken(turn: Turn, calls: Sequence[tuple[str, Mapping[str, Any]]]) -> Message:
    spoken = [part for part in turn.parts if "functionCall" not in part]
    if turn.role == "assistant" and any("text" not in part for part in spoken):
        raise refusal("the assistant shows a file")
    content: Any = [_shown(part) for part in spoken] or None
    if len(spoken) == 1 and "text" in spoken[0]:
        content = spoken[0]["text"]
    message = {"role": turn.role, "content": content}
    if not calls:
        return message
    return message | {
        "tool_calls": [
            {
                "id": number,
                "type": "function",
                "function": {"name": call["name"], "arguments": canonical(call.get("args", {}))},
            }
            for number, call in calls
        ]
    }


def _shown(part: Part) -> Message:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    file = part.get("fileData") or part.get("inlineData")
    if not file:
        raise refusal(f"a part holds {', '.join(part)}")
    kind = file["mimeType"]
    if not kind.startswith("image/"):
        raise refusal("a file is not a picture")
    url = file["fileUri"] if "fileData" in part else f"data:{kind};base64,{file['data']}"
    return {"type": "image_url", "image_url": {"url": url}}


# The keywords that both have and that mean the same. Source: the type Schema of the Vertex AI API,
# read 2026-11.
KEYWORDS = {
    *("type", "title", "description", "default", "example", "format", "nullable", "enum"),
    *("properties", "required", "items", "anyOf", "minItems", "maxItems", "minimum", "maximum"),
    *("minLength", "maxLength", "pattern", "minProperties", "maxProperties"),
}
DECLARATIONS = {"functionDeclarations", "function_declarations"}
# Any JSON Schema, if the dialect above does not hold it.
_WHOLE_SCHEMA = ("parametersJsonSchema", "parameters_json_schema")
LEFT_OUT = {"additionalProperties", "strict", "propertyOrdering", "$schema"}


def read_declarations(row: Mapping[str, Any], is_gemini: bool) -> tuple[list[Schema], list[str]]:
    """Read a row's declarations.

    Args:
        row: What has the fields `tools` and `functions`.
        is_gemini: Whether they are in Gemini's shape, and not in OpenAI's.

    Returns:
        The functions in Gemini's shape, and the names of what was left out: keywords that only
        make a schema stricter or order it.

    Raises:
        DataError: A tool is not a function, or a schema has what the other format cannot express.
    """
    left_out: set[str] = set()
    declared = row.get("functions", []), row.get("tools", [])
    if not all(isinstance(names, list) for names in declared):
        raise TypeError("tools that are no list")
    functions = list(declared[0])
    for tool in declared[1]:
        if not is_gemini and tool.get("type") == "function":
            functions.append(tool["function"])
        elif is_gemini and tool.keys() <= DECLARATIONS and tool:
            for problem in type_problems(tool, "Tool", "tools"):
                raise refusal(f"{problem.field}: {problem.message}")
            (names,) = tool.values()
            functions += names
        else:
            raise refusal("it declares a tool that is no function")
    return [_function(function, left_out) for function in functions], sorted(left_out)


def as_openai(functions: Sequence[Schema]) -> dict[str, Any]:
    """Write declarations as a row of messages has them; nothing if there is none."""
    tools = [
        {"type": "function", "function": _cased(function, str.lower)} for function in functions
    ]
    return {"tools": tools} if tools else {}


def as_gemini(functions: Sequence[Schema]) -> dict[str, Any]:
    """Write declarations as a Gemini row has them; nothing if there is none."""
    return {"tools": [{"functionDeclarations": list(functions)}]} if functions else {}


def _function(function: Mapping[str, Any], left_out: set[str]) -> Schema:
    left_out.update(LEFT_OUT & function.keys())
    result = {name: function[name] for name in ("name", "description") if name in function}
    words(result["name"])
    text(result.get("description", ""))
    whole = function.get("parametersJsonSchema", function.get("parameters_json_schema"))
    known = {"parameters", *_WHOLE_SCHEMA, *result, *LEFT_OUT}
    more = [name for name in function if name not in known and function[name] not in ([], {})]
    if more:
        raise refusal(f"a function declares {', '.join(sorted(more))}")
    parameters = function.get("parameters", whole)
    if parameters is None:
        return result
    if not isinstance(parameters, dict):
        raise TypeError("parameters that are no object")
    lost: set[str] = set()
    try:
        schema = _cased(_schema(parameters, lost), str.upper)
        if any(type_problems(schema, "Schema", "parameters")):
            raise _NotOfTheDialectError
        result["parameters"] = schema
        left_out |= lost
    except (_NotOfTheDialectError, AttributeError, TypeError):
        result["parametersJsonSchema"] = parameters
    return result


class _NotOfTheDialectError(ValueError):
    """A schema uses a keyword of JSON Schema that Gemini's own dialect lacks."""


def _schema(schema: Mapping[str, Any], left_out: set[str]) -> Schema:
    left_out.update(LEFT_OUT & schema.keys())
    unknown = schema.keys() - KEYWORDS - LEFT_OUT
    if unknown or isinstance(schema.get("type"), list):
        raise _NotOfTheDialectError
    kept = {name: value for name, value in schema.items() if name in KEYWORDS}
    if "properties" in kept:
        kept["properties"] = {
            name: _schema(below, left_out) for name, below in kept["properties"].items()
        }
    if "items" in kept:
        kept["items"] = _schema(kept["items"], left_out)
    if "anyOf" in kept:
        kept["anyOf"] = [_schema(below, left_out) for below in kept["anyOf"]]
    return kept


def _cased(schema: Mapping[str, Any], case: Any) -> Schema:
    """Write the types in Gemini's capitals or in JSON Schema's small letters."""
    kept = dict(schema)
    if "parametersJsonSchema" in kept:
        kept["parameters"] = kept.pop("parametersJsonSchema")
        return kept
    if isinstance(kept.get("type"), str):
        kept["type"] = case(kept["type"])
    for name in ("parameters", "items"):
        if name in kept:
            kept[name] = _cased(kept[name], case)
    if "properties" in kept:
        kept["properties"] = {k: _cased(below, case) for k, below in kept["properties"].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [_cased(below, case) for below in kept["anyOf"]]
    return kept

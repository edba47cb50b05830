"""OpenAI's messages as turns and back, and its declarations of functions as Gemini's."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from tunepipe.data.formats import canonical
from tunepipe.data.row_types import fields_of, type_problems
from tunepipe.data.turns import (
    Part,
    RowError,
    Turn,
    numbered,
    object_in,
    refusal,
    response_of,
    response_text,
    side_of,
    text,
)

Message = dict[str, Any]
Schema = dict[str, Any]

_KNOWN = {"role", "content", "tool_calls", "tool_call_id", "function_call", "weight"}


def read(messages: Iterable[tuple[str, Mapping[str, Any]]], bound: list[str]) -> list[Turn]:
    """Read messages, each after its path; answers of tools that follow each other are one turn.

    `bound` gets the reasons why no other format can hold them.

    Raises:
        RowError, KeyError, TypeError, ValueError: These are not messages.
    """
    turns: list[Turn] = []
    open_calls: dict[str, str] = {}
    for answers, run in groupby(messages, lambda item: item[1]["role"] in ("tool", "function")):
        if answers:
            turns.append(_read_answers(list(run), open_calls, bound))
            open_calls = {}
            continue
        for field, message in run:
            open_calls = {}
            turns.append(_read_message(message, field, open_calls, bound))
    return turns


def _read_message(
    message: Mapping[str, Any], field: str, open_calls: dict[str, str], bound: list[str]
) -> Turn:
    role, content = side_of(message["role"], field), message.get("content")
    if content and isinstance(content, str) and len(message) == 2:
        return Turn(role, ({"text": content},), field)
    _read_settings(message, bound)
    parts = (*_read_content(content, field, bound), *_read_calls(message, field, open_calls))
    if not parts:
        audio = message.get("audio")
        said = message.get("refusal") or (canonical(audio) if audio else "")
        if not said:
            raise RowError("a message says nothing", "missing-field", field)
        parts = ({"text": text(said)},)
    return Turn(role, parts, field)


def _read_settings(message: Mapping[str, Any], bound: list[str]) -> None:
    """Check the weight, and note what else a message has next to its content."""
    weight = message.get("weight", 1)
    if isinstance(weight, bool) or weight not in (0, 1):
        raise RowError("a message has a weight that is neither 0 nor 1", "wrong-type")
    if weight == 0:
        bound.append("a message has the weight 0")
    others = sorted(name for name in message.keys() - _KNOWN if message[name] not in ([], {}, ""))
    if others:
        bound.append(f"a message has {', '.join(others)}")


def _read_content(content: Any, field: str, bound: list[str]) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"text": content}] if content else []
    if not content:
        raise RowError("a message has a list of no parts", "empty-text")
    parts = numbered(content, f"{field}.content")
    return [_read_part(part, path, bound) for path, part in parts]


def _read_part(part: Mapping[str, Any], field: str, bound: list[str]) -> Part:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in part:
        raise RowError("the part has no field of its type", "missing-field", field)
    others = sorted(name for name in part.keys() - {"type", kind} if part[name] not in ([], {}, ""))
    if others:
        bound.append(f"a part has {', '.join(others)}")
    if kind == "text":
        return {"text": text(part["text"])}
    if kind != "image_url":
        bound.append("a turn has a part that is neither text nor a plain picture")
        return {"other": {**part, kind: part[kind]}}
    for problem in type_problems(part["image_url"], "ImageUrl", f"{field}.image_url"):
        raise RowError(problem.message, problem.code, problem.field)
    url = part["image_url"]["url"]
    if part["image_url"].get("detail", "auto") != "auto":
        bound.append("a picture sets its detail")
    mime_type, (_, base64, data) = mime_type_of(url), url.partition(";base64,")
    if not mime_type:
        bound.append("the address of a picture does not show its type, such as .png")
    if url.startswith("data:") and base64:
        return {"inlineData": {"mimeType": mime_type, "data": data}}
    if url.startswith("data:"):
        bound.append("a picture is not written in base64")
    return {"fileData": {"mimeType": mime_type, "fileUri": url}}


def mime_type_of(url: str) -> str:
    """Return the MIME type of a picture by its address, or ""."""
    if url.startswith("data:"):
        return url.removeprefix("data:").partition(";")[0]
    return mimetypes.guess_type(url.partition("#")[0].partition("?")[0])[0] or ""


def _read_calls(message: Mapping[str, Any], field: str, open_calls: dict[str, str]) -> list[Part]:
    calls = [(call["id"], call["function"]) for call in message.get("tool_calls") or ()]
    if message.get("function_call"):
        calls.append((message["function_call"]["name"], message["function_call"]))
    parts: list[Part] = []
    for number, function in calls:
        arguments = object_in(function["arguments"] or "{}")
        if number in open_calls:
            raise RowError("two calls of the turn have the same id", "call-mismatch", field)
        open_calls[number] = function["name"]
        parts.append({"functionCall": {"name": function["name"], "args": arguments}})
    return parts


def _read_answers(
    messages: Sequence[tuple[str, Mapping[str, Any]]], calls: Mapping[str, str], bound: list[str]
) -> Turn:
    """Put answers in the order of their calls: Gemini matches them by order only."""
    answers: dict[str, Part] = {}
    for field, message in messages:
        _read_settings({**message, "name": ""}, bound)
        if message.get("tool_calls") or message.get("function_call"):
            raise RowError("the answer of a tool calls a function", "call-mismatch", field)
        number = message.get("tool_call_id", message.get("name"))
        if number not in calls or number in answers:
            reason = "a tool answers a call that was not made, or that has its answer"
            raise RowError(reason, "call-mismatch", field)
        parts = _read_content(message["content"], field, bound)
        if not all("text" in part for part in parts):
            raise RowError("the answer of a tool is not text alone", "wrong-type", field)
        said = "".join(part["text"] for part in parts)
        response = {"name": calls[number], "response": response_of(said)}
        answers[number] = {"functionResponse": response}
    if len(answers) < len(calls):
        raise RowError("a call has no answer", "call-mismatch", messages[0][0])
    return Turn("tool", tuple(answers[number] for number in calls), messages[0][0])


def write(turns: Iterable[Turn]) -> list[Message]:
    """Write turns as messages; calls are numbered call_1, call_2 and so on.

    What a message cannot hold is a DataError.
    """
    messages: list[Message] = []
    open_calls: list[tuple[str, str]] = []
    made = 0
    for turn in turns:
        if turn.role == "tool":
            messages += [_tool_message(part["functionResponse"], open_calls) for part in turn.parts]
            continue
        calls = turn.parts_of("functionCall")
        open_calls = [(f"call_{made + k}", call["name"]) for k, call in enumerate(calls, 1)]
        made += len(calls)
        spoken = [part for part in turn.parts if "functionCall" not in part]
        if turn.role == "assistant" and any("text" not in part for part in spoken):
            raise refusal("the assistant shows a file")
        content: Any = [_shown(part) for part in spoken] or None
        if len(spoken) == 1 and "text" in spoken[0]:
            content = spoken[0]["text"]
        message = {"role": turn.role, "content": content}
        if calls:
            message["tool_calls"] = [
                {
                    "id": number,
                    "type": "function",
                    "function": {"name": name, "arguments": canonical(call.get("args", {}))},
                }
                for (number, name), call in zip(open_calls, calls, strict=True)
            ]
        messages.append(message)
    return messages


def _tool_message(answer: Mapping[str, Any], open_calls: list[tuple[str, str]]) -> Message:
    for place, (number, name) in enumerate(open_calls):
        if name == answer["name"]:
            del open_calls[place]
            said = response_text(answer.get("response", {}))
            return {"role": "tool", "tool_call_id": number, "content": said}
    raise refusal("a function responds that was not called")


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
    if not mime_type_of(url):
        raise refusal("the address of a picture does not show its type, such as .png")
    return {"type": "image_url", "image_url": {"url": url}}


# The keywords of Gemini's type Schema that JSON Schema lacks, or writes in another way. Source: the
# Vertex AI API, read 2026-11.
_OWN_KEYWORDS = {"propertyOrdering", "additionalProperties", "ref", "defs"}
_DECLARATIONS = {"functionDeclarations", "function_declarations"}
# Any JSON Schema, if the dialect above does not hold it.
_WHOLE_SCHEMA = ("parametersJsonSchema", "parameters_json_schema")
_LEFT_OUT = {"additionalProperties", "strict", "propertyOrdering", "$schema"}


def read_declarations(row: Mapping[str, Any], bound: list[str]) -> tuple[list[Schema], list[str]]:
    """Read the `tools` and `functions` of a row, in Gemini's shape or in OpenAI's.

    Returns:
        The functions in Gemini's shape, and the names of what was left out: keywords that only
        make a schema stricter or order it.
    """
    left_out: set[str] = set()
    functions = list(row.get("functions", ()))
    for tool in row.get("tools", ()):
        if tool.get("type") == "function":
            functions.append(tool["function"])
        elif len(tool) == 1 and tool.keys() <= _DECLARATIONS:
            (declared,) = tool.values()
            functions += declared
        elif tool:
            bound.append("it declares a tool that is not a function")
    return [_function(function, left_out, bound) for function in functions], sorted(left_out)


def write_declarations(functions: Sequence[Schema]) -> list[Schema]:
    """Write declarations as a row of messages has them."""

    def lower(schema: Mapping[str, Any]) -> Schema:
        return {**schema, "type": schema["type"].lower()} if "type" in schema else {**schema}

    tools = []
    for function in functions:
        declared = dict(function)
        if "parametersJsonSchema" in declared:
            declared["parameters"] = declared.pop("parametersJsonSchema")
        else:
            declared = _map(declared, lower)
        tools.append({"type": "function", "function": declared})
    return tools


def _function(function: Mapping[str, Any], left_out: set[str], bound: list[str]) -> Schema:
    left_out.update(_LEFT_OUT & function.keys())
    result = {name: function[name] for name in ("name", "description") if name in function}
    whole = function.get("parametersJsonSchema", function.get("parameters_json_schema"))
    known = {"parameters", *_WHOLE_SCHEMA, *result, *_LEFT_OUT}
    more = [name for name in function if name not in known and function[name] not in ([], {})]
    if more:
        bound.append(f"a function declares {', '.join(sorted(more))}")
    if "parameters" in function and whole is not None:
        bound.append("a function declares its parameters twice")
    parameters = function.get("parameters", whole)
    if parameters is None:
        return result
    lost: set[str] = set()
    shared = fields_of("Schema") - _OWN_KEYWORDS

    def in_dialect(schema: Mapping[str, Any]) -> Schema:
        lost.update(_LEFT_OUT & schema.keys())
        if schema.keys() - shared - _LEFT_OUT or isinstance(schema.get("type"), list):
            raise TypeError("a schema that Gemini's own dialect lacks")
        kept = {name: value for name, value in schema.items() if name in shared}
        return kept | ({"type": kept["type"].upper()} if "type" in kept else {})

    try:
        schema = _map(parameters, in_dialect)
        if type_problems(schema, "Schema", "parameters"):
            raise TypeError("a schema of other types")
    except (AttributeError, TypeError):
        return result | {"parametersJsonSchema": parameters}
    left_out |= lost
    return result | {"parameters": schema}


def _map(schema: Mapping[str, Any], change: Callable[[Mapping[str, Any]], Schema]) -> Schema:
    """Change a schema, and every schema that it holds."""
    result = change(schema)
    for name in ("parameters", "items"):
        if name in result:
            result[name] = _map(result[name], change)
    if "properties" in result:
        properties = result["properties"].items()
        result["properties"] = {name: _map(below, change) for name, below in properties}
    if "anyOf" in result:
        result["anyOf"] = [_map(below, change) for below in result["anyOf"]]
    return result

"""The parts of a row besides text: pictures, sound, video, documents, tools, function calls.

An answer is text, one line a part. A call is a line of JSON, in Gemini's shape
`{"functionCall": {"name": "f", "args": {…}}}` or as OpenAI's list of tool calls; all other lines
are the rest of what the model says. References are written so by `data.formats`, and answers by the
backends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunepipe.data.formats import canonical

# The kinds of content that a model has to be able to take.
IMAGE, AUDIO, VIDEO, DOCUMENT, TOOLS, CODE = "image", "audio", "video", "document", "tools", "code"
MEDIA = frozenset((IMAGE, AUDIO, VIDEO, DOCUMENT))

_FILES = ("fileData", "file_data", "inlineData", "inline_data")
_TOOLS = frozenset(
    (
        *("tools", "functions", "functionCall", "function_call"),
        *("functionResponse", "function_response", "tool_calls"),
    )
)
_CODE = frozenset(
    ("executableCode", "executable_code", "codeExecutionResult", "code_execution_result")
)
_OPENAI = {"image_url": IMAGE, "input_audio": AUDIO, "file": DOCUMENT, "video_url": VIDEO}
# Inline data larger than this is not copied into a predictions file.
_COPIED_CHARACTERS = 64 << 10


def kinds_of(fields: Mapping[str, Any]) -> frozenset[str]:
    """Return what else than text a row holds, in any of the formats."""
    return frozenset(_kinds(fields))


def kind_of_type(mime_type: str) -> str:
    """Return the kind of a MIME type: image, audio, video or document."""
    family = mime_type.partition("/")[0].lower()
    return family if family in (IMAGE, AUDIO, VIDEO) else DOCUMENT


def media_of(fields: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the files of a row for a report.

    Returns:
        For each its `mime_type` and its `uri`, or its `data` in base64 if it is inline and at most
        64 Ki characters long.
    """
    return [
        media | ({} if len(media.get("data", "")) <= _COPIED_CHARACTERS else {"data": ""})
        for media in _media(fields)
    ]


def readable_prompt(text: str) -> str:
    """Return a prompt with its files named instead of written out, one line a part."""
    return "\n".join(_readable_line(line) for line in text.split("\n"))


def _kinds(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for below in value:
            yield from _kinds(below)
    if not isinstance(value, Mapping):
        return
    for name, item in value.items():
        if name in _FILES and isinstance(item, Mapping):
            yield kind_of_type(str(item.get("mimeType") or item.get("mime_type") or ""))
        elif name in _TOOLS and item:
            yield TOOLS
        elif name in _CODE:
            yield CODE
        elif name == "type" and item in _OPENAI:
            yield _OPENAI[str(item)]
        elif name not in ("labels", "generationConfig", "generation_config"):
            yield from _kinds(item)


def _media(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, list):
        for below in value:
            yield from _media(below)
    if not isinstance(value, Mapping):
        return
    for name, item in value.items():
        if name in _FILES and isinstance(item, Mapping):
            kind = str(item.get("mimeType") or item.get("mime_type") or "")
            uri = str(item.get("fileUri") or item.get("file_uri") or "")
            place = {"uri": uri} if uri else {"data": str(item.get("data", ""))}
            yield {"mime_type": kind, **place}
        elif name == "image_url" and isinstance(item, Mapping):
            yield _image(str(item.get("url", "")))
        else:
            yield from _media(item)


def _image(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"mime_type": "image/*", "uri": url}
    head, _, data = url.removeprefix("data:").partition(";base64,")
    return {"mime_type": head, "data": data}


def _readable_line(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        files = list(_media(json.loads(line)))
    except (ValueError, RecursionError):
        return line
    return " ".join(map(_name_file, files)) or line


def _name_file(media: Mapping[str, str]) -> str:
    place = media.get("uri") or f"{len(media.get('data', '')) * 3 // 4:,} bytes"
    return f"[{media['mime_type']}: {place}]"


_CALLS = ("functionCall", "function_call")


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


def readable_answer(answer: str) -> str:
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
        # OpenAI's tool_calls: each is a call, or the line is not a list of calls.
        for item in value:
            yield _openai_call(item["function"])
    elif value.keys() == {"name", "arguments"} and isinstance(value["arguments"], str):
        yield _openai_call(value)
    else:
        (name,) = [name for name in _CALLS if name in value]
        call = value[name]
        yield Call(str(call["name"]), dict(call.get("args") or {}))


def _openai_call(function: Mapping[str, Any]) -> Call:
    arguments = function["arguments"]
    if isinstance(arguments, str):
        arguments = json.loads(arguments or "{}")
    return Call(str(function["name"]), dict(arguments))

"""The parts of a row besides text: pictures, sound, video, documents, tools, function calls.

An answer is text, one line a part. A call is a line of JSON, in Gemini's shape
`{"functionCall": {"name": "f", "args": {…}}}` or as OpenAI's list of tool calls; all other lines
are the rest of what the model says. References are written so by `data.turns`, and answers by the
backends.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import wave
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from tunepipe.catalog.tables import load
from tunepipe.data.openai_messages import mime_type_of
from tunepipe.data.row_types import camel
from tunepipe.data.turns import call_text

# The kinds of content that a model has to be able to take.
IMAGE, AUDIO, VIDEO, DOCUMENT, TOOLS, CODE = "image", "audio", "video", "document", "tools", "code"
MEDIA = frozenset((IMAGE, AUDIO, VIDEO, DOCUMENT))

_CALLING = frozenset(("tools", "functions", "functionCall", "functionResponse", "toolCalls"))
_CODE = frozenset(("executableCode", "codeExecutionResult"))
_FILES = frozenset(
    (
        *("fileData", "file_data", "inlineData", "inline_data"),
        *("image_url", "input_audio", "file"),
    )
)
# What holds no part of a turn.
_ASIDE = _CALLING | {"labels", "generationConfig"}
_OPENAI = {"image_url": IMAGE, "input_audio": AUDIO, "file": DOCUMENT, "video_url": VIDEO}
# Inline data larger than this is not copied into a predictions file.
_COPIED_CHARACTERS = 64 << 10
# Of a file's base64, where a header ends that holds no more than the sound's form.
_HEAD_CHARACTERS = 4096


class RowFile(NamedTuple):
    """A file in a row.

    Args:
        kind: image, audio, video or document; "" if the MIME type tells none.
        mime_type: Its MIME type; "" if the row names none.
        uri: Its address; "" for a file that is written into the row.
        data: A file that is written into the row, in base64.
        field: Its path in the row.
        resolution: Its media resolution, such as LOW; "" if none is set.
        seconds: The length of a clip, by its offsets or its header; 0 if it is not known.
    """

    kind: str
    mime_type: str
    uri: str
    data: str
    field: str
    resolution: str = ""
    seconds: float = 0

    @property
    def bytes(self) -> int:
        """The size of a file that is written into the row."""
        return len(self.data) * 3 // 4


def kinds_of(fields: Mapping[str, Any]) -> frozenset[str]:
    """Return what else than text a row holds, in any of the formats."""
    found: set[str] = set()
    for _, node in _nodes(fields, ""):
        names = {camel(name) for name, value in node.items() if value}
        found.update((TOOLS,) if names & _CALLING else (), (CODE,) if names & _CODE else ())
        found.update(file.kind or DOCUMENT for file in _files_at(node, "", ""))
        if node.get("type") in _OPENAI:
            found.add(_OPENAI[node["type"]])
    return frozenset(found)


def files_of(fields: Mapping[str, Any]) -> Iterator[RowFile]:
    """List the files of a row, in any of the formats."""
    config = fields.get("generationConfig") or fields.get("generation_config") or {}
    resolution = _resolution(config)
    for path, node in _nodes(fields, ""):
        if not _FILES.isdisjoint(node):
            yield from _files_at(node, path, resolution)


def _nodes(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every object that may hold a part, with its path."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, (dict, list)):
                yield from _nodes(item, f"{path}[{number}]")
    elif isinstance(value, dict):
        yield path, value
        for name, item in value.items():
            if isinstance(item, (dict, list)) and camel(name) not in _ASIDE:
                yield from _nodes(item, f"{path}.{name}" if path else name)


def _files_at(part: Mapping[str, Any], path: str, resolution: str) -> Iterator[RowFile]:
    for name, item in part.items():
        field, known = f"{path}.{name}", camel(name)
        if known in ("fileData", "inlineData") and isinstance(item, dict):
            file = {camel(key): str(value) for key, value in item.items()}
            mime_type, data = file.get("mimeType", ""), file.get("data", "")
            clip = part.get("videoMetadata") or part.get("video_metadata") or {}
            seconds = _clip_seconds(clip) or _seconds_of(data)
            own = _resolution(part) or resolution
            uri = file.get("fileUri", "")
            yield RowFile(kind_of(mime_type), mime_type, uri, data, field, own, seconds)
        elif name == "image_url" and isinstance(item, dict):
            url = str(item.get("url", ""))
            inline = url.startswith("data:")
            data = url.partition(";base64,")[2] if inline else ""
            yield RowFile(IMAGE, mime_type_of(url), "" if inline else url, data, field)
        elif name in ("input_audio", "file") and part.get("type") == name:
            yield RowFile(_OPENAI[name], "", "", str(item), field)


def _resolution(fields: Mapping[str, Any]) -> str:
    value = fields.get("mediaResolution", fields.get("media_resolution"))
    if isinstance(value, dict):
        value = value.get("level")
    return str(value or "").removeprefix("MEDIA_RESOLUTION_")


def _clip_seconds(clip: Mapping[str, Any]) -> float:
    offsets = {camel(name): value for name, value in clip.items()}
    try:
        start, end = (
            float(str(offsets.get(name) or "0s").rstrip("s"))
            for name in ("startOffset", "endOffset")
        )
    except ValueError:
        return 0
    return max(0.0, end - start)


def _seconds_of(data: str) -> float:
    """Return how long a clip of WAV, or of MP4 and its family, lasts by its header; else 0."""
    letters = b"-_" if "-" in data or "_" in data else None
    try:
        head = base64.b64decode(data[:_HEAD_CHARACTERS], altchars=letters)
        if head.startswith(b"RIFF"):
            with wave.open(io.BytesIO(head)) as file:
                return float(file.getnframes() / file.getframerate())
        if head[4:8] != b"ftyp":
            return 0
        # ISO/IEC 14496-12: mvhd, version, flags, two dates, time scale, duration.
        file_bytes = base64.b64decode(data + "==", altchars=letters)
        at = file_bytes.index(b"mvhd") + 4
        layout = ">4x16xIQ" if file_bytes[at] else ">4x8xII"
        scale, duration = struct.unpack_from(layout, file_bytes, at)
        return float(duration / scale)
    except (ValueError, ZeroDivisionError, IndexError, struct.error):
        return 0
    except (wave.Error, EOFError, RuntimeError):  # the last where a chunk leaves the file
        return 0


@cache
def media_kinds() -> dict[str, Any]:
    """Return the MIME types of each kind of file."""
    return dict(load("catalog/media.toml")["kinds"])


@cache
def kind_of(mime_type: str) -> str:
    """Return the kind of file that a MIME type means: image, audio, video, document, or ""."""
    kinds = media_kinds()
    for name, kind in kinds.items():
        if mime_type in kind["types"]:
            return str(name)
    return next((name for name, kind in kinds.items() if mime_type.startswith(kind["family"])), "")


def media_of(fields: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the files of a row for a report: the `mime_type` of each and its `uri` or its `data`.

    Inline data are in base64, and "" above 64 Ki characters.
    """
    listed = []
    for file in files_of(fields):
        if file.uri:
            listed.append({"mime_type": file.mime_type or "image/*", "uri": file.uri})
        elif file.mime_type:
            data = file.data if len(file.data) <= _COPIED_CHARACTERS else ""
            listed.append({"mime_type": file.mime_type, "data": data})
    return listed


def readable_prompt(text: str) -> str:
    """Return a prompt with its files named instead of written out, one line a part."""
    return "\n".join(map(_readable_line, text.split("\n")))


def _readable_line(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        files = list(files_of(json.loads(line)))
    except (ValueError, RecursionError):
        return line
    names = (
        f"[{file.mime_type or 'image/*'}: {file.uri or f'{file.bytes:,} bytes'}]" for file in files
    )
    return " ".join(names) or line


_CALLS = ("functionCall", "function_call")


@dataclass(frozen=True)
class Call:
    """A call of a function, with its arguments by name."""

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
    lines = [call_text(call.name, dict(call.arguments)) for call in calls]
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

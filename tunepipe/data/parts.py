"""What a row holds besides text: pictures, sound, video, documents, tools and calls of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

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
    """Name what a row holds besides text, in any of the formats."""
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


def readable(text: str) -> str:
    """Return a prompt with its files named instead of written out, one line a part."""
    return "\n".join(_readable_line(line) for line in text.split("\n"))


def _kinds(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _kinds(item)
    if not isinstance(value, Mapping):
        return
    for name, field in value.items():
        if name in _FILES and isinstance(field, Mapping):
            yield kind_of_type(str(field.get("mimeType") or field.get("mime_type") or ""))
        elif name in _TOOLS and field:
            yield TOOLS
        elif name in _CODE:
            yield CODE
        elif name == "type" and field in _OPENAI:
            yield _OPENAI[str(field)]
        elif name not in ("labels", "generationConfig", "generation_config"):
            yield from _kinds(field)


def _media(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, list):
        for item in value:
            yield from _media(item)
    if not isinstance(value, Mapping):
        return
    for name, field in value.items():
        if name in _FILES and isinstance(field, Mapping):
            kind = str(field.get("mimeType") or field.get("mime_type") or "")
            uri = str(field.get("fileUri") or field.get("file_uri") or "")
            place = {"uri": uri} if uri else {"data": str(field.get("data", ""))}
            yield {"mime_type": kind, **place}
        elif name == "image_url" and isinstance(field, Mapping):
            yield _image(str(field.get("url", "")))
        else:
            yield from _media(field)


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

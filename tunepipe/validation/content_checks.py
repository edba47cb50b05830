"""What a row holds besides text: files, function calls, and what cannot be sent to the model."""

from __future__ import annotations

import base64
import io
import math
import wave
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from tunepipe.catalog.limits import Rules
from tunepipe.catalog.schema import FileLimits, MediaLimits
from tunepipe.catalog.tables import load
from tunepipe.data.conversations import convert_row
from tunepipe.errors import DataError
from tunepipe.validation.problems import Finding

Findings = Iterator[Finding]

_CONTENTS = ("contents", "systemInstruction", "system_instruction")
# Of a file's base64, where a header ends that holds no more than the sound's form.
_HEAD_CHARACTERS = 4096
_RESOLUTIONS = ("mediaResolution", "media_resolution")


@dataclass(frozen=True, slots=True)
class RowFile:
    """A file in a row.

    Args:
        kind: image, audio, video or document; "" if the MIME type tells none.
        mime_type: Its MIME type; "" if the row names none.
        uri: Its address; "" for a file that is written into the row.
        bytes: The size of a file that is written into the row.
        field: Its path in the row.
        resolution: Its media resolution, such as LOW; "" if none is set.
        seconds: The length of a clip, by its offsets or its header; 0 if it is not known.
    """

    kind: str
    mime_type: str
    uri: str
    bytes: int
    field: str
    resolution: str = ""
    seconds: float = 0


def media_of(row: Mapping[str, Any], format: str) -> tuple[RowFile, ...]:
    """List the files of a row whose shape is valid."""
    if format in ("gemini", "preference") and "input" not in row:
        return tuple(_gemini_media(row))
    if format == "palm" or format == "palm-chat":
        return ()
    return tuple(_openai_media(row))


def content_findings(row: Mapping[str, Any], media: Sequence[RowFile], rules: Rules) -> Findings:
    """Check the contents of a row whose shape is valid."""
    yield from _media_findings(media, rules)
    yield from call_findings(row, rules.format)
    to = rules.convert_to
    if rules.format == "preference" and "preferred_output" in row:
        to = "preference"
    if to:
        try:
            convert_row(row, rules.format, to)
        except DataError as error:
            message = f"the row cannot be sent to {rules.model}: {error.found}"
            yield Finding("not-convertible", message, fix=error.fix)


def call_findings(row: Mapping[str, Any], format: str) -> Findings:
    """Check that every function call is answered, and that every called function is declared."""
    open_calls: list[str] = []
    names: set[str] = set()
    is_gemini = format in ("gemini", "preference") and "input" not in row
    for field, calls, answers in _gemini_calls(row) if is_gemini else _openai_calls(row):
        ids = [id for id, _ in calls]
        if answers and sorted(answers) != sorted(open_calls):
            message = "the answers of tools are not one for each call of the turn before"
            yield Finding("call-mismatch", message, field)
        if len(set(ids)) < len(ids) and not is_gemini:
            yield Finding("call-mismatch", "two calls of the turn have the same id", field)
        open_calls = ids
        names.update(name for _, name in calls)
    if names := names - _declared(row):
        message = f"the row calls {len(names)} functions that it does not declare"
        if len(names) == 1:
            message = "the row calls a function that it does not declare"
        fix = "declare every function in tools"
        yield Finding("call-mismatch", message, "tools", fix, "warning")


def dataset_findings(media: Mapping[str, int], valid_rows: int, rules: Rules) -> Findings:
    """Check what a service wants of the files of all rows together.

    Args:
        media: Rows with files under "rows", and rows by media resolution.
        valid_rows: Rows without an error.
        rules: What the rows may hold.
    """
    limits, model, rows = rules.media, rules.model, media.get("rows", 0)
    if not limits or not rows:
        return
    if 0 < limits.rows_max < rows:
        what = f"{rows} rows hold files, and {model} takes {limits.rows_max} such rows"
        yield Finding("too-many-rows", what)
    resolutions = sorted(name for name in media if name != "rows")
    if limits.one_media_resolution and len(resolutions) > 1:
        what = f"the rows set several media resolutions: {', '.join(resolutions)}"
        yield Finding("media-limit", what, fix="set one mediaResolution in all rows")
    if limits.drops_text_rows and rows < valid_rows:
        what = f"{valid_rows - rows} rows have no picture; {model} drops them without a word"
        yield Finding("media-limit", what, fix="keep text rows and picture rows in files apart")


def file_tokens(media: RowFile, limits: MediaLimits | None) -> int | None:
    """Return the tokens that a file costs, at most; None if they are not known."""
    own = _limits_of(media, limits)
    if own and own.tokens_per_second and media.seconds:
        return math.ceil(media.seconds * own.tokens_per_second)
    if not own or not own.tokens:
        return None
    return {"LOW": own.tokens_low, "MEDIUM": own.tokens_medium}.get(media.resolution) or own.tokens


def kind_of(mime_type: str) -> str:
    """Return the kind of file that a MIME type means: image, audio, video, document, or ""."""
    kinds = _kinds()
    for name, kind in kinds.items():
        if mime_type in kind["types"]:
            return str(name)
    return next((name for name, kind in kinds.items() if mime_type.startswith(kind["family"])), "")


def bytes_limit(media: RowFile, limits: MediaLimits | None) -> int:
    """Return how many bytes a file may have; 0 if no limit is known."""
    own = _limits_of(media, limits)
    return own.bytes if own else 0


def _limits_of(media: RowFile, limits: MediaLimits | None) -> FileLimits | None:
    return getattr(limits, media.kind, None) if limits and media.kind else None


def _media_findings(media: Sequence[RowFile], rules: Rules) -> Findings:
    if not media:
        return
    if rules.format == "preference" and rules.service.startswith("gemini"):
        yield Finding("media-type", "preference tuning takes text alone", media[0].field)
        return
    limits = rules.media
    if limits is None:
        return
    for item in media:
        yield from _file_findings(item, limits, rules.model)
    for kind, count in Counter(item.kind for item in media).items():
        own: FileLimits | None = getattr(limits, kind, None) if kind else None
        if own and 0 < own.count < count:
            message = f"the row has {count} files of the kind {kind}, and the limit is {own.count}"
            yield Finding("media-limit", message)
    if limits.one_media_resolution and len({x.resolution for x in media if x.resolution}) > 1:
        yield Finding("media-limit", "the row sets several media resolutions")


def _file_findings(item: RowFile, limits: MediaLimits, model: str) -> Findings:
    own = _limits_of(item, limits)
    if not own:
        what = f"files of the kind {item.kind}" if item.kind else "files of this type"
        taken = [kind for kind in _kinds() if getattr(limits, kind)]
        fix = f"use files of the kind {', '.join(taken)}" if taken else "take text alone"
        yield Finding("media-type", f"{model} is not tuned on {what}", item.field, fix)
        return
    if item.mime_type not in _kinds()[item.kind]["types"]:
        message = f"the MIME type is not among those known for {item.kind} files"
        yield Finding("media-type", message, item.field, level="warning")
    if item.uri and not item.uri.startswith(limits.schemes):
        message = f"the address begins with none of {', '.join(limits.schemes)}"
        yield Finding("media-type", message, item.field, "upload the file to Cloud Storage")
    if 0 < own.bytes < item.bytes:
        message = f"the file has {item.bytes} bytes, and the limit is {own.bytes}"
        yield Finding("media-limit", message, item.field)
    seconds = own.seconds_low if item.resolution.endswith("LOW") else own.seconds
    if 0 < seconds < item.seconds:
        message = f"the clip has {item.seconds:g} seconds, and the limit is {seconds}"
        yield Finding("media-limit", message, item.field, "shorten the clip: the row is dropped")


def _gemini_media(row: Mapping[str, Any]) -> Iterator[RowFile]:
    config = row.get("generationConfig") or row.get("generation_config") or {}
    common = _resolution(config)
    for path, content in _gemini_contents(row):
        for number, part in enumerate(content["parts"]):
            data = part.get("inlineData") or part.get("inline_data")
            file = part.get("fileData") or part.get("file_data")
            if not (data or file):
                continue
            name = next(name for name in part if name.lower().replace("_", "").endswith("data"))
            mime_type = str(_either(data or file, "mimeType", "mime_type") or "")
            clip = part.get("videoMetadata") or part.get("video_metadata") or {}
            yield RowFile(
                kind_of(mime_type),
                mime_type,
                str(_either(file, "fileUri", "file_uri") or "") if file else "",
                len(data["data"]) * 3 // 4 if data else 0,
                f"{path}.parts[{number}].{name}",
                _resolution(part) or common,
                _seconds(clip) or (_wav_seconds(data["data"]) if data else 0),
            )


def _gemini_contents(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in _CONTENTS:
        if isinstance(row.get(name), list):
            yield from ((f"{name}[{n}]", content) for n, content in enumerate(row[name]))
        elif name in row:
            yield name, row[name]
    for number, completion in enumerate(row.get("completions", ())):
        yield f"completions[{number}].completion", completion["completion"]


def _resolution(fields: Mapping[str, Any]) -> str:
    value = _either(fields, *_RESOLUTIONS)
    if isinstance(value, Mapping):
        value = value.get("level")
    return str(value or "").removeprefix("MEDIA_RESOLUTION_")


def _seconds(clip: Mapping[str, Any]) -> float:
    try:
        start, end = (
            float(str(_either(clip, camel, snake) or "0s").rstrip("s"))
            for camel, snake in (("startOffset", "start_offset"), ("endOffset", "end_offset"))
        )
    except ValueError:
        return 0
    return max(0.0, end - start)


def _wav_seconds(data: str) -> float:
    """Return how long a WAV file lasts, by its header; 0 for another file."""
    try:
        head = base64.b64decode(data[:_HEAD_CHARACTERS], altchars=b"-_" if "-" in data else None)
        with wave.open(io.BytesIO(head)) as file:
            return float(file.getnframes() / file.getframerate())
    except (ValueError, wave.Error, EOFError, ZeroDivisionError):
        return 0


def _either(fields: Mapping[str, Any], camel: str, snake: str) -> Any:
    return fields.get(camel, fields.get(snake))


def _openai_media(row: Mapping[str, Any]) -> Iterator[RowFile]:
    from tunepipe.data.openai_messages import mime_type_of

    for path, message in _openai_messages(row):
        content = message.get("content")
        for number, part in enumerate(content if isinstance(content, list) else ()):
            kind, field = part.get("type"), f"{path}.content[{number}]"
            if kind == "image_url":
                url = str(part["image_url"]["url"])
                inline = url.startswith("data:")
                yield RowFile(
                    "image",
                    mime_type_of(url),
                    "" if inline else url,
                    len(url) * 3 // 4 if inline else 0,
                    f"{field}.image_url",
                )
            elif kind in ("input_audio", "file"):
                kind_name = "audio" if kind == "input_audio" else "document"
                yield RowFile(kind_name, "", "", len(str(part[kind])) * 3 // 4, f"{field}.{kind}")


def _openai_messages(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    given = row.get("input")
    if isinstance(given, Mapping):
        for number, message in enumerate(given["messages"]):
            yield f"input.messages[{number}]", message
    for name in ("messages", "prompt", "completion", "preferred_output", "non_preferred_output"):
        messages = row.get(name)
        for number, message in enumerate(messages if isinstance(messages, list) else ()):
            yield f"{name}[{number}]", message


# Of a turn: its path, the id and the name of each call, and the ids that its results answer.
CallTurns = Iterator[tuple[str, list[tuple[str, str]], list[str]]]


def _gemini_calls(row: Mapping[str, Any]) -> CallTurns:
    """Yield the calls of each turn; in Gemini's rows the name is the id."""
    for path, content in _gemini_contents(row):
        calls, answers = (
            [str(part[name]["name"]) for part in content["parts"] for name in names if name in part]
            for names in (
                ("functionCall", "function_call"),
                ("functionResponse", "function_response"),
            )
        )
        yield path, [(name, name) for name in calls], answers


def _openai_calls(row: Mapping[str, Any]) -> CallTurns:
    """Yield the calls of each turn; results that follow each other are one turn."""
    answers: list[str] = []
    field = ""
    for path, message in _openai_messages(row):
        if message.get("role") in ("tool", "function"):
            field = field or path
            answers.append(str(message.get("tool_call_id", message.get("name"))))
            continue
        if answers:
            yield field, [], answers
            answers, field = [], ""
        calls = [
            (str(call.get("id")), str(call["function"]["name"]))
            for call in message.get("tool_calls") or ()
        ]
        if message.get("function_call"):
            calls += [(str(message["function_call"].get("name")),) * 2]
        yield path, calls, []
    if answers:
        yield field, [], answers


def _declared(row: Mapping[str, Any]) -> set[str]:
    given = row.get("input")
    tools = [*row.get("tools", ()), *(given.get("tools", ()) if isinstance(given, dict) else ())]
    functions = list(row.get("functions", ()))
    for tool in tools:
        if "function" in tool:
            functions.append(tool["function"])
        for name in ("functionDeclarations", "function_declarations"):
            functions += tool.get(name, ())
    return {str(function.get("name")) for function in functions if isinstance(function, dict)}


@cache
def _kinds() -> dict[str, Any]:
    return dict(load("catalog/media.toml")["kinds"])

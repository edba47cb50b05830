"""What a row holds besides text: files, function calls, and what cannot be sent to the model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tunepipe.catalog.limits import Rules
from tunepipe.catalog.schema import FileLimits, MediaLimits
from tunepipe.data.conversations import Conversation, with_tools, write
from tunepipe.data.parts import RowFile, media_kinds
from tunepipe.errors import DataError
from tunepipe.validation.problems import Problem

Problems = Iterator[Problem]


def content_problems(
    row: Mapping[str, Any], conversation: Conversation, media: Sequence[RowFile], rules: Rules
) -> Problems:
    """Check the contents of a row whose shape is valid."""
    yield from _media_problems(media, rules)
    conversation, _ = with_tools(conversation, row, rules.format)
    parts = (part for turn in conversation.turns for part in turn.parts)
    called = {part["functionCall"]["name"] for part in parts if "functionCall" in part}
    if names := called - {tool["name"] for tool in conversation.tools}:
        message = f"the row calls {len(names)} functions that it does not declare"
        if len(names) == 1:
            message = "the row calls a function that it does not declare"
        fix = "declare every function in tools"
        yield Problem("call-mismatch", message, "tools", fix, "warning")
    to = rules.convert_to or ("preference" if "preferred_output" in row else "")
    if to:
        try:
            write(conversation, to)
        except DataError as error:
            reason = error.found.removeprefix("cannot be carried over: ")
            message = f"the row cannot be sent to {rules.model}: {reason}"
            yield Problem("not-convertible", message, fix=error.fix)


def file_tokens(media: RowFile, limits: MediaLimits | None) -> int | None:
    """Return the tokens that a file costs, at most; None if they are not known."""
    own = _limits_of(media, limits)
    if own and own.tokens_per_second and media.seconds:
        return math.ceil(media.seconds * own.tokens_per_second)
    if not own or not own.tokens:
        return None
    return {"LOW": own.tokens_low, "MEDIUM": own.tokens_medium}.get(media.resolution) or own.tokens


def bytes_limit(media: RowFile, limits: MediaLimits | None) -> int:
    """Return how many bytes a file may have; 0 if no limit is known."""
    own = _limits_of(media, limits)
    return own.bytes if own else 0


def _limits_of(media: RowFile, limits: MediaLimits | None) -> FileLimits | None:
    return getattr(limits, media.kind, None) if limits and media.kind else None


def _media_problems(media: Sequence[RowFile], rules: Rules) -> Problems:
    if not media:
        return
    if rules.format == "preference" and rules.service.startswith("gemini"):
        yield Problem("media-type", "preference tuning takes text alone", media[0].field)
        return
    limits = rules.media
    if limits is None:
        return
    for item in media:
        yield from _file_problems(item, limits, rules.model)
    for kind, count in Counter(item.kind for item in media).items():
        own: FileLimits | None = getattr(limits, kind, None) if kind else None
        if own and 0 < own.count < count:
            message = f"the row has {count} files of the kind {kind}, and the limit is {own.count}"
            yield Problem("media-limit", message)
    if limits.one_media_resolution and len({x.resolution for x in media if x.resolution}) > 1:
        yield Problem("media-limit", "the row sets several media resolutions")


def _file_problems(item: RowFile, limits: MediaLimits, model: str) -> Problems:
    own = _limits_of(item, limits)
    if not own:
        what = f"files of the kind {item.kind}" if item.kind else "files of this type"
        taken = [kind for kind in media_kinds() if getattr(limits, kind)]
        fix = f"use files of the kind {', '.join(taken)}" if taken else "take text alone"
        yield Problem("media-type", f"{model} is not tuned on {what}", item.field, fix)
        return
    if item.mime_type not in media_kinds()[item.kind]["types"]:
        message = f"the MIME type is not among those known for {item.kind} files"
        yield Problem("media-type", message, item.field, level="warning")
    if item.uri and not item.uri.startswith(limits.schemes):
        message = f"the address begins with none of {', '.join(limits.schemes)}"
        yield Problem("media-type", message, item.field, "upload the file to Cloud Storage")
    if 0 < own.bytes < item.bytes:
        message = f"the file has {item.bytes} bytes, and the limit is {own.bytes}"
        yield Problem("media-limit", message, item.field)
    seconds = own.seconds_low if item.resolution.endswith("LOW") else own.seconds
    if 0 < seconds < item.seconds:
        message = f"the clip has {item.seconds:g} seconds, and the limit is {seconds}"
        yield Problem("media-limit", message, item.field, "shorten the clip: the row is dropped")

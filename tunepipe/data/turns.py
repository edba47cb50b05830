"""A turn of a conversation, between one format and another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.errors import DataError

Part = Mapping[str, Any]

# The standard alphabet or the one for URLs, padded or not; both are JSON of protocol buffers.
BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]{4})*+(?:[A-Za-z0-9+/_-]{2,3}={0,2})?")

# Soft hyphen, zero-width characters, marks of direction and the byte-order mark.
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")


@dataclass(frozen=True)
class Turn:
    """One turn.

    Args:
        role: system, user, assistant or tool.
        parts: What it says, in Gemini's shape: {"text": ...}, {"functionCall": ...} and so on.
    """

    role: str
    parts: tuple[Part, ...]


def just_text(role: str, value: Any) -> Turn:
    """Make a turn of one text.

    Raises:
        TypeError: The value is not a text.
    """
    return Turn(role, ({"text": text(value)},))


def text_of(turn: Turn) -> str:
    """Return a turn's one text.

    Raises:
        DataError: It says more than one text.
    """
    if len(turn.parts) != 1 or "text" not in turn.parts[0]:
        raise refusal("a turn has several parts, or one that is not text")
    return str(turn.parts[0]["text"])


def is_blank(value: str) -> bool:
    """Return True if a text shows nothing: only spaces and characters without width."""
    return not value.strip() or not _UNSEEN.sub("", value).strip()


def text(value: Any) -> str:
    """Return a text as it is.

    Raises:
        TypeError: The value is not a text.
    """
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def words(value: Any) -> str:
    """Return a text that says something.

    Raises:
        TypeError, ValueError: The value is not a text, or blank.
    """
    if is_blank(text(value)):
        raise ValueError("a blank text")
    return str(value)


def refusal(reason: str) -> DataError:
    """Return the error for a row that cannot be converted."""
    return DataError(f"cannot be carried over: {reason}", fix="change the row, or remove it")

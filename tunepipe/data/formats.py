"""The formats that a training row may have, and how to tell them.

| format | a row |
|---|---|
| palm | input_text, output_text |
| palm-chat | context, messages of author and content |
| gemini | systemInstruction, contents of role and parts, tools |
| messages | messages of role and content (OpenAI chat) |
| prompt-completion | prompt, completion |
| preference | contents and completions with scores (Gemini), or input, preferred_output and non_preferred_output (OpenAI) |

The types of all fields are in row_types.toml, and the roles that a service takes in services.toml.
"""  # noqa: E501

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tunepipe.errors import UsageError

FORMATS = ("palm", "palm-chat", "gemini", "messages", "prompt-completion", "preference")

_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def detect_format(row: Mapping[str, Any]) -> str | None:
    """Return the format of one row by the fields it has, or None if no field is known."""
    keys = {name for name, value in row.items() if value is not None}
    if keys & {"chosen", "rejected"} and "completion" not in keys:
        return None  # TRL's preferences; shapes.py reads them
    if {"prompt", "completion"} <= keys and isinstance(row.get("label"), bool):
        return None  # and those without pairs
    if keys & {"completions", "preferred_output", "non_preferred_output"}:
        return "preference"
    if keys & {"input_text", "output_text"}:
        return "palm"
    if keys & {"contents", "systemInstruction", "system_instruction"}:
        return "gemini"
    if "messages" in keys:
        messages = row["messages"]
        first = messages[0] if isinstance(messages, list) and messages else None
        turn = first if isinstance(first, Mapping) else {}
        authored = "author" in turn or ("context" in keys and "role" not in turn)
        return "palm-chat" if authored else "messages"
    if keys & {"prompt", "completion"}:
        return "prompt-completion"
    return None


def check_format(format: str, where: str = "format") -> str:
    """Return a format's name.

    Raises:
        UsageError: It is not one of FORMATS; `where` is the parameter that named it.
    """
    if format not in FORMATS:
        raise UsageError(
            f"unknown format {format!r}", where=where, fix=f"use one of {', '.join(FORMATS)}"
        )
    return format


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal texts."""
    return _CANONICAL(value)

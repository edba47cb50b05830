"""A row without its answer, as a service takes a request: files, tools and settings as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.data.conversations import convert_row

Fields = Mapping[str, Any]


def gemini_request(fields: Fields, format: str) -> dict[str, Any]:
    """Return the prompt of a row as a GenerateContent request has it.

    Args:
        fields: The row as decoded.
        format: Its format.

    Returns:
        `contents`, and `systemInstruction`, `tools` and `toolConfig` as far as the row has them.

    Raises:
        DataError: The row cannot be written in Gemini's shape.
    """
    native = format == "gemini" or "completions" in fields
    row = fields if native else convert_row(fields, format, "gemini")[0]
    has_answer = "completions" not in row
    request: dict[str, Any] = {"contents": row["contents"][:-1] if has_answer else row["contents"]}
    for name, other in (
        ("systemInstruction", "system_instruction"),
        ("tools", "tools"),
        ("toolConfig", "tool_config"),
    ):
        if value := row.get(name) or row.get(other):
            request[name] = value
    return request


def openai_request(fields: Fields, format: str) -> dict[str, Any]:
    """Return the prompt of a row as a chat completion's request has it.

    Returns:
        `messages`, and `tools` if the row has any.

    Raises:
        DataError: The row cannot be written in OpenAI's shape.
    """
    native = format == "messages" and "functions" not in fields
    row = fields if native else convert_row(fields, format, "messages")[0]
    request: dict[str, Any] = {"messages": row["messages"][:-1]}
    return request | ({"tools": row["tools"]} if row.get("tools") else {})

"""What a task asks of the references that answers are scored against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tunepipe.errors import UsageError
from tunepipe.evaluation.tokenization import normalized

TASKS = ("text", "classification", "json")
MAX_LABELS = 200
MAX_OUTPUT_TOKENS = 256  # the pipelines' own default
MAX_DEPTH = 64
Object = dict[str, Any]


def check_task(name: Any) -> None:
    """Refuse a task that is neither one of TASKS nor "auto".

    Raises:
        UsageError: Names those that there are.
    """
    if name not in (*TASKS, "auto"):
        raise UsageError(
            f"there is no task {name}", where="task", fix=f"name one of {', '.join(TASKS)}, auto"
        )


def check_references(task: str, references: Sequence[str]) -> None:
    """Refuse references that a task cannot be scored against; any suit "text" and "auto".

    Raises:
        UsageError: One is not a JSON object, or there are more than 200 labels.
    """
    if task == "json":
        for text in references:
            object_of(text)
    if task == "classification":
        labels_of(references)


def cut_answers(longest_tokens: int, max_output_tokens: int) -> tuple[str, ...]:
    """Warn where answers as long as the references would be cut, and judged by their beginning.

    Args:
        longest_tokens: About so many has the longest reference.
        max_output_tokens: So many an answer may have.
    """
    if longest_tokens <= max_output_tokens:
        return ()
    return (
        f"the longest answer of the rows has about {longest_tokens:,} tokens, and at "
        f"{max_output_tokens:,} a model's answer is cut and judged by its beginning: raise "
        "max_output_tokens",
    )


def labels_of(references: Sequence[str]) -> dict[str, str]:
    """Return the labels of a classification as first written, by what they come to normalised.

    Raises:
        UsageError: There are more than 200.
    """
    shown = {normalized(text): text.strip() for text in reversed(references)}
    if len(shown) > MAX_LABELS:
        raise UsageError(
            f"the references hold {len(shown):,} different labels, more than {MAX_LABELS}",
            where="task",
            fix="score these rows with --task text",
        )
    return shown


def object_of(text: str) -> Object:
    """Read a reference as a JSON object.

    Raises:
        UsageError: It is none.
    """
    value = parse(text)
    if value is None:
        raise UsageError(
            "a reference is not a JSON object",
            where="task",
            fix="score these rows with --task text, or mend the references",
        )
    return value


def parse(text: str) -> Object | None:
    """Read a text as a JSON object; None if it is none, or nested more than 64 deep."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not _deeper(value, MAX_DEPTH) else None


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deeper(item, levels - 1) for item in inner)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)

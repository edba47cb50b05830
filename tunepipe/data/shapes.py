"""Rows as people bring them: the shapes of public datasets, which conversion reads.

| shape | fields | becomes |
|---|---|---|
| Alpaca | instruction, input, output (system, history) | messages |
| ShareGPT | conversations of from and value | messages |
| TRL preference | chosen, rejected, prompt or another name of a question (system) | preference |
| pair | a name of the question and one of the answer, such as prompt and response | messages |
| system apart | messages, and a system instruction next to them | messages |
| text | text alone | nothing: it has no answer to learn |
| TRL unpaired preference | prompt, completion, label | nothing: some answers are bad |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunepipe.data.formats import detect_format
from tunepipe.data.turns import is_blank

Fields = Mapping[str, Any]

QUESTIONS = (
    *("input_text", "prompt", "question", "query", "instruction", "input", "user"),
    *("document", "article", "text", "質問", "入力"),
)
ANSWERS = (
    *("output_text", "completion", "response", "answer", "output", "target", "assistant"),
    *("summary", "highlights", "label", "回答", "出力"),
)
SYSTEMS = ("system", "system_prompt")


@dataclass(frozen=True)
class Shape:
    """A shape of rows that is none of the formats.

    Args:
        name: What people call it.
        fields: The fields that identify it.
        format: The format that its rows become; "" if there is none.
        fix: What to do where there is no format.
        system: The field of the system instruction of a pair; "" for none.
    """

    name: str
    fields: tuple[str, ...]
    format: str
    fix: str = ""
    system: str = ""

    @property
    def description(self) -> str:
        """The name with the fields, for messages."""
        return f"{self.name} ({', '.join(self.fields)})"

    def advice(self) -> tuple[str, str]:
        """Return what to say of such a row where rows of the formats are read, and the fix."""
        message = f"the row has the shape {self.description}, which no service reads"
        return message, self.fix or f"tunepipe convert IN OUT --to {self.format} reads it"


def detect_shape(row: Fields) -> Shape | None:
    """Return the shape of a row that is of none of the formats; None if it has no known one."""
    keys = {name for name, value in row.items() if value is not None}
    if {"chosen", "rejected"} <= keys:
        return _TRL_PREFERENCE
    has_system = isinstance(row.get("system"), str) and not is_blank(row["system"])
    format = detect_format(row)
    if format not in (None, "prompt-completion"):
        return _SYSTEM_APART if format == "messages" and has_system else None
    if isinstance(row.get("conversations", row.get("conversation")), list):
        return _SHAREGPT
    if {"instruction", "output"} <= keys:
        return _ALPACA
    if {"prompt", "completion"} <= keys:
        if isinstance(row.get("label"), bool):
            return _TRL_UNPAIRED
        is_pair = has_system and isinstance(row["prompt"], str)
        return pair_shape("prompt", "completion", "system") if is_pair else None
    # People write Question and Answer into the first line of a workbook.
    by_name = {str(key).lower(): key for key in row if key in keys}
    question, answer, system = (
        next((by_name[name] for name in names if name in by_name), "")
        for names in (QUESTIONS, ANSWERS, SYSTEMS)
    )
    is_alpaca = {"instruction", "output"} <= by_name.keys()  # its input would be lost
    if question and answer and not is_alpaca:
        return pair_shape(question, answer, system)
    return _TEXT if "text" in keys else None


def pair_shape(input_column: str, output_column: str, system_column: str = "") -> Shape:
    """Return the shape of rows with a field for the question and one for the answer."""
    return Shape("pairs", (input_column, output_column), "messages", system=system_column)


_ALPACA = Shape("Alpaca", ("instruction", "output"), "messages")
_SHAREGPT = Shape("ShareGPT", ("conversations",), "messages")
_TRL_PREFERENCE = Shape("TRL preference", ("chosen", "rejected"), "preference")
_SYSTEM_APART = Shape("system apart", ("system", "messages"), "messages")
_TEXT = Shape(
    "text",
    ("text",),
    "",
    "write what is asked and what is answered into two fields: prompt, completion",
)
_TRL_UNPAIRED = Shape(
    "TRL unpaired preference",
    ("prompt", "completion", "label"),
    "",
    "keep the good completions: jq -c 'select(.label) | del(.label)' IN > OUT",
)

"""The codes of what can be wrong with a row or a file, each with its fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLANK_LINE = "the line is blank"

# Each code with its level and the remedy that holds if a problem names no better one.
CODES: dict[str, tuple[str, str]] = {
    "not-utf8": ("error", "save the file as UTF-8"),
    "bom": ("error", "remove the byte-order mark; --fix does it"),
    "blank-line": ("warning", "remove the line; --fix does it"),
    "not-json": ("error", "write one complete JSON object on the line"),
    "duplicate-key": ("error", "keep one of the two values"),
    "not-object": ("error", "write a JSON object: {...}"),
    "missing-field": ("error", "add the field"),
    "extra-field": ("error", "remove the field: the service does not know it"),
    "wrong-type": ("error", "write a value of the type wanted"),
    "empty-text": ("error", "write a text, or remove the row"),
    "control-character": ("error", "remove the character; --fix --control-characters does it"),
    "lone-surrogate": ("error", "write the whole pair of escapes, or the character itself"),
    "invisible-character": ("warning", "remove the character if it carries no meaning"),
    "replacement-character": ("warning", "take the text again from its source: it was broken"),
    "mojibake": ("warning", "decode the text again: it is UTF-8 that was read as Latin-1"),
    "input-equals-output": ("warning", "check the row: the answer repeats the question"),
    "nesting-too-deep": ("error", "flatten the row"),
    "too-long": ("error", "shorten the text, or split the row"),
    "unknown-role": ("error", "use a role that the format has"),
    "role-order": ("error", "let user and assistant take turns, the assistant last"),
    "no-turns": ("error", "add at least a question and its answer"),
    "call-mismatch": ("error", "give every call one answer, right after it"),
    "media-limit": ("error", "split the row, or use smaller or fewer files"),
    "media-type": ("error", "use a type of file that the model is tuned on"),
    "missing-file": ("error", "upload the file, or correct its address"),
    "not-convertible": ("error", "change the row: it cannot be sent to this model"),
    "duplicate-row": ("warning", "keep one of the rows; --fix does it where nothing differs"),
    "near-duplicate": ("warning", "keep one of the rows if they say the same"),
    "conflicting-row": ("warning", "decide on one answer for this input"),
    "mixed-formats": ("error", "keep each format in a file of its own, or convert one"),
    "too-few-rows": ("error", "add rows"),
    "too-many-rows": ("error", "take fewer rows"),
    "file-too-large": ("error", "split the file, or take fewer rows"),
    "compressed-file": ("error", "decompress the file: the service reads plain JSONL"),
    "not-jsonl": ("error", "write one JSON object a line, in UTF-8"),
    "lfs-pointer": ("error", "git lfs pull"),
    "eval-leak": ("error", "take the row out of one of the two files"),
    "secret": ("warning", "revoke the secret and remove it from the row"),
    "pii": ("error", "remove or mask the personal data"),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one line of one file.

    Args:
        code: A key of CODES.
        message: What was found; it quotes no text of the row.
        field: The path of the field, such as "messages[2].content", or "".
        fix: How to fix it; "" means the code's own remedy.
        level: "error" or "warning"; "" means the code's own level.
        line: Its line from 1; 0 while only the row is known.
        path: Its file.
    """

    code: str
    message: str
    field: str = ""
    fix: str = ""
    level: str = ""
    line: int = 0
    path: str = ""

    def __post_init__(self) -> None:
        level, fix = CODES[self.code]
        object.__setattr__(self, "level", self.level or level)
        object.__setattr__(self, "fix", self.fix or fix)

    @property
    def is_error(self) -> bool:
        """Whether it makes its row unfit."""
        return self.level == "error"

    def as_json(self) -> dict[str, Any]:
        """Return it as the design's object, with the file's path added."""
        names = ("line", "code", "level", "field", "message", "fix", "path")
        return {name: getattr(self, name) for name in names}

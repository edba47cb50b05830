"""A turn of a conversation, whatever its row's format, and the JSON of rows and of their texts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from tunepipe.catalog.limits import DEPTH_MAX
from tunepipe.data.formats import canonical
from tunepipe.errors import DataError

Part = Mapping[str, Any]

# The names that the services give to the sides of a conversation.
SIDES = {
    **dict.fromkeys(("system", "developer"), "system"),
    "user": "user",
    **dict.fromkeys(("tool", "function"), "tool"),
    **dict.fromkeys(("assistant", "model", "bot"), "assistant"),
}

# What a part of Gemini's may hold.
PART_KINDS = frozenset(
    (
        *("text", "functionCall", "functionResponse", "fileData", "inlineData"),
        *("executableCode", "codeExecutionResult"),
    )
)

# The standard alphabet or the one for URLs, padded or not; both are JSON of protocol buffers.
BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]{4})*+(?:[A-Za-z0-9+/_-]{2,3}={0,2})?")

# Not a space, a soft hyphen, of no width, a mark of direction or a byte-order mark.
_SEEN = re.compile("[^\\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
# The parts that hold a file, by address or written out; no address is longer.
_FILES = frozenset(("inlineData", "image_url", "input_audio", "file"))
_ADDRESS_CHARACTERS = 2048

DEEP = f"objects and lists are nested more than {DEPTH_MAX} levels deep"
# Levels of a row, at most, around an object that one of its texts holds.
_LEVELS_AROUND = 10
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_TEXTS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


@dataclass(slots=True)
class Turn:
    """One turn of the system, user, assistant or tool, with its path in the row.

    Its parts have Gemini's shape: {"text": ...}, {"functionCall": ...} and so on. A part that
    Gemini does not have is {"other": ...}.
    """

    role: str
    parts: tuple[Part, ...]
    field: str = field(default="", compare=False)

    @property
    def is_text(self) -> bool:
        """Whether it says one text, and nothing else."""
        return len(self.parts) == 1 and "text" in self.parts[0]

    def text(self) -> str:
        """Return what it says as text, a line or more a part."""
        if self.is_text:
            return str(self.parts[0]["text"])
        return "\n".join(map(_part_text, self.parts))

    def parts_of(self, kind: str) -> list[dict[str, Any]]:
        """Return what its parts of a kind hold, such as its function calls."""
        return [part[kind] for part in self.parts if kind in part]

    def one_text(self) -> str:
        """Return its one text; a turn that says more is a DataError."""
        if not self.is_text:
            raise refusal("a turn has several parts, or one that is not text")
        return str(self.parts[0]["text"])


class RowError(ValueError):
    """A row that is not valid in its own format: the reason, its code in validation, and where."""

    def __init__(self, reason: str, code: str = "not-convertible", field: str = "") -> None:
        super().__init__(reason)
        self.code, self.field = code, field

    @property
    def located(self) -> str:
        """The reason after its place in the row."""
        reason = str(self)
        return f"{self.field}: {reason}" if self.field and self.field not in reason else reason


def side_of(role: Any, field: str = "") -> str:
    """Return who says what a role says: system, user, tool or assistant."""
    if role not in SIDES:
        raise RowError("a turn has a role that is not known", "unknown-role", field)
    return SIDES[role]


def just_text(role: str, value: Any, field: str = "") -> Turn:
    """Make a turn of one text; any other value is a TypeError."""
    return Turn(role, ({"text": text(value)},), field)


def call_text(name: str, arguments: Mapping[str, Any] | None) -> str:
    """Return a function call as one line of JSON, the same for every format."""
    return canonical({"functionCall": {"args": arguments or {}, "name": name}})


def response_of(said: str) -> dict[str, Any]:
    """Return what a function answered as Gemini has it: an object, or the text as "output"."""
    value = object_in(said)
    return {"output": said} if value is None or set(value) == {"output"} else value


def object_in(said: str) -> dict[str, Any] | None:
    """Return the JSON object that a text holds; None for any other text, and for what no row takes.

    No row takes NaN, a key that occurs twice, NUL, or more than DEPTH_MAX levels with its own.
    """
    import msgspec

    try:
        value = msgspec.json.decode(said)
        if isinstance(value, dict):
            check_json(said.encode(), value, DEPTH_MAX - _LEVELS_AROUND)
            return value
    except (msgspec.MsgspecError, UnicodeError, RecursionError, DataError):
        pass
    return None


def check_json(text: bytes, value: Any, depth_max: int = DEPTH_MAX) -> None:
    """Refuse JSON, as written and as decoded, that validation does not take; see `check_text`."""
    import msgspec

    # A key that is repeated is lost, and its quotes with it; an escaped quote is counted too.
    if text.count(b'"') != msgspec.json.encode(value).count(b'"'):
        try:
            strict_json.decode(text.decode())
        except DuplicateKeyError as error:
            raise DataError(str(error), fix="keep one of the two values") from error
    check_text(text, depth_max)


def check_text(text: bytes, depth_max: int = DEPTH_MAX) -> None:
    """Refuse JSON that holds NUL, or is nested too deep."""
    if b"\\u0000" in text and _NUL.search(text):
        raise DataError("a text holds the character NUL", fix="remove the character")
    if nesting(text) > depth_max:
        raise DataError(DEEP, fix="flatten the row")


def nesting(line: bytes) -> int:
    """Return how deep objects and lists of a line are nested; 0 if that is surely no problem."""
    if line.count(b"{") + line.count(b"[") <= DEPTH_MAX - _LEVELS_AROUND:
        return 0
    brackets = _TEXTS.sub(b"", line).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


class DuplicateKeyError(ValueError):
    """An object that has a key twice."""


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a decoded object from its fields; one that occurs twice is a DuplicateKeyError."""
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        name = shown_name(next(name for name in names if names.count(name) > 1))
        what = f"the key {name}" if name else "a key"
        raise DuplicateKeyError(f"{what} occurs twice in an object")
    return result


def shown_name(name: str) -> str:
    """Return a key for a message if it reads like a field's name, else ""."""
    return name if name.isidentifier() and name.isascii() and len(name) <= 40 else ""


def refuse_constant(word: str) -> Any:
    """Refuse NaN and Infinity, which the standard library takes for JSON."""
    raise ValueError(f"{word} is not a JSON value")


def _fraction(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _whole(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:
        raise ValueError("a number has too many digits") from None


strict_json, lenient_json = (
    json.JSONDecoder(
        strict=strict,
        object_pairs_hook=without_repeats,
        parse_constant=refuse_constant,
        parse_float=_fraction,
        parse_int=_whole,
    )
    for strict in (True, False)
)


def response_text(response: Mapping[str, Any]) -> str:
    """Return what a function answered as text; see `response_of`."""
    if response.keys() == {"output"} and isinstance(response["output"], str):
        return str(response["output"])
    return canonical(response)


def _part_text(part: Part) -> str:
    """Return a part as text: what is not text as JSON, the bytes of a file by their hash."""
    if "text" in part:
        return str(part["text"])
    if call := part.get("functionCall"):
        return call_text(call["name"], call.get("args"))
    if result := part.get("functionResponse"):
        return response_text(result.get("response", {}))
    fields = part.get("other", part).items()
    return canonical({k: _without_bytes(v) if k in _FILES else v for k, v in fields})


def _without_bytes(file: Any) -> Any:
    if isinstance(file, Mapping):
        return {key: _without_bytes(value) for key, value in file.items()}
    if isinstance(file, str) and len(file) > _ADDRESS_CHARACTERS:
        import xxhash

        return f"xxh3:{xxhash.xxh3_128_hexdigest(file.encode())}"
    return file


def numbered(turns: Iterable[Any], field: str) -> list[tuple[str, Any]]:
    """Return each of a list of turns after its path."""
    return [(f"{field}[{number}]", turn) for number, turn in enumerate(turns)]


def is_blank(value: str) -> bool:
    """Return True if a text shows nothing: only spaces and characters without width."""
    return not _SEEN.search(value)


def text(value: Any) -> str:
    """Return a text as it is; any other value is a TypeError."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def refusal(reason: str) -> DataError:
    """Return the error for a row that cannot be converted."""
    return DataError(f"cannot be carried over: {reason}", fix="change the row, or remove it")

"""Checks rows by their types: validation names every error, conversion stops at the first."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from tunepipe.catalog.tables import load
from tunepipe.data.turns import BASE64, is_blank, object_in, shown_name

SCALARS: dict[str, tuple[Any, str]] = {
    "string": (str, "a text"),
    "boolean": (bool, "true or false"),
    "number": ((int, float), "a number"),
    "integer": ((int, str), "a whole number"),
    "object": (dict, "an object"),
    "bytes": (str, "base64 text"),
    "json": (str, "a text"),
    "url": (str, "a text"),
}
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
_NO_FIELD = "does not have a field of this name"


class TypeProblem(NamedTuple):
    """A value that does not fit its type, with the code that validation gives it.

    Of an unknown field, `field` is the path of the object that holds it, and `known` are the names
    that its `name` may be a misspelling of.
    """

    code: str
    field: str
    message: str
    name: str = ""
    known: tuple[str, ...] = ()


def row_problems(row: Mapping[str, Any], format: str) -> list[TypeProblem]:
    """Check a row, without fields that are null, against the types of its format."""
    return type_problems(row, row_type(row, format), "")


def row_type(row: Mapping[str, Any], format: str) -> str:
    """Return the name of a row's type."""
    openai = {"input", "preferred_output", "non_preferred_output"} & row.keys()
    return "openai-preference" if format == "preference" and openai else format


def type_problems(value: Any, kind: str, path: str) -> list[TypeProblem]:
    """Check a value, without fields that are null, against a type of row_types.toml."""
    problems: list[TypeProblem] = []
    _check(value, kind, path, problems)
    return problems


def _check(value: Any, kind: str, path: str, problems: list[TypeProblem]) -> None:
    if kind == "any":
        return
    if "|" in kind:
        scalar, _, listed = kind.partition("|")
        kind = listed if isinstance(value, list) else scalar
    if kind in SCALARS:
        types, words = SCALARS[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
            problems.append(wrong_type(value, words, path))
        elif kind in ("bytes", "url") and not _is_base64(value, kind):
            problems.append(TypeProblem("wrong-type", path, "the data are not base64"))
        elif kind == "json" and value and object_in(value) is None:
            problems.append(TypeProblem("wrong-type", path, "the text is not a JSON object"))
    elif kind.endswith("[]"):
        if not isinstance(value, list):
            problems.append(wrong_type(value, "a list", path))
            return
        for number, item in enumerate(value):
            _check(item, kind[:-2], f"{path}[{number}]", problems)
    elif kind.endswith("{}"):
        if not isinstance(value, dict):
            problems.append(wrong_type(value, "an object", path))
            return
        for name, item in value.items():
            _check(item, kind[:-2], ".".join(filter(None, (path, shown_name(name)))), problems)
    elif names := _table()["enums"].get(kind):
        if not isinstance(value, str):
            problems.append(wrong_type(value, "a text", path))
        elif value not in names and value.upper() not in names:
            message = f"the value is none of {', '.join(names)}"
            problems.append(TypeProblem("wrong-type", path, message))
    else:
        _check_fields(value, kind, path, problems)


def _is_base64(value: str, kind: str) -> bool:
    """Check bytes, or those that an address itself holds; any other address is right."""
    if kind == "bytes":
        return bool(BASE64.fullmatch(value))
    start, mark, data = value.partition(";base64,")
    return not (mark and start.startswith("data:")) or bool(data and BASE64.fullmatch(data))


def wrong_type(value: Any, wanted: str, path: str) -> TypeProblem:
    """Describe a value whose type is wrong; no text of the row is quoted."""
    return TypeProblem("wrong-type", path, f"expected {wanted}, got {name_type(value)}")


def name_type(value: Any) -> str:
    """Return what kind of value this is, for messages."""
    return "null" if value is None else _NAMES.get(type(value), "a number")


def fields_of(kind: str) -> frozenset[str]:
    """Return the fields of a type."""
    return frozenset(_table()["types"][kind])


def _check_fields(value: Any, kind: str, path: str, problems: list[TypeProblem]) -> None:
    if not isinstance(value, dict):
        problems.append(wrong_type(value, "an object", path))
        return
    fields, required = _table()["types"][kind], _table()["required"].get(kind, ())
    names = {name: name if name in fields else camel(name) for name in value}
    before = f"{path}." if path else ""
    missing = [name for name in required if name not in value and name not in names.values()]
    for name in missing:
        message = f"the field {name} is missing"
        problems.append(TypeProblem("missing-field", before + name, message))
    spelt = list(names.values())
    for known in sorted({known for known in spelt if known in fields and spelt.count(known) > 1}):
        message = f"the field {known} occurs in camel case and in snake case"
        problems.append(TypeProblem("duplicate-key", before + known, message))
    for name, known in names.items():
        item, own = value[name], fields.get(known)
        if own == "any":
            continue
        if own is None:
            if item not in (None, [], {}):
                shown = shown_name(name)
                message = "the format " + (f"has no field {shown}" if shown else _NO_FIELD)
                unused = tuple(missing or fields.keys() - names.values())
                problems.append(TypeProblem("extra-field", path, message, name, unused))
        elif own != "string" or not isinstance(item, str):
            _check(item, own, before + name, problems)
        if known in required and isinstance(item, str) and own != "json" and is_blank(item):
            problems.append(TypeProblem("empty-text", before + name, blank_message(item)))


def blank_message(text: str) -> str:
    """Describe how a text is blank."""
    if not text:
        return "the text is empty"
    unseen = "" if not text.strip() else " and characters without width"
    return f"the text is only of spaces{unseen}"


@cache
def camel(name: str) -> str:
    """Return a field's name in camel case."""
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


@cache
def _table() -> dict[str, Any]:
    return load("catalog/row_types.toml")

"""Checks rows by Gemini's own types: validation names every error, conversion stops at one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from tunepipe.catalog.tables import load
from tunepipe.data.turns import BASE64, is_blank

SCALARS: dict[str, tuple[Any, str]] = {
    "string": (str, "a text"),
    "boolean": (bool, "true or false"),
    "number": ((int, float), "a number"),
    "integer": ((int, str), "a whole number"),
    "object": (dict, "an object"),
}
_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}


class TypeProblem(NamedTuple):
    """A value that does not fit its type.

    Args:
        code: wrong-type, missing-field, empty-text or extra-field, as in validation.
        field: Its path; of an unknown field the path of the object that holds it.
        message: What is wrong.
        name: The name of an unknown field.
        known: The names that it may be a misspelling of.
    """

    code: str
    field: str
    message: str
    name: str = ""
    known: tuple[str, ...] = ()


def type_problems(value: Any, kind: str, path: str) -> Iterator[TypeProblem]:
    """Check a value against a type of gemini_types.toml.

    Args:
        value: The value, as decoded from JSON, without fields that are null.
        kind: The type's name; "T[]" for a list of T, "T{}" for an object of T.
        path: The value's path in the row.
    """
    if kind == "any":
        return
    if kind.endswith("[]"):
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from type_problems(item, kind[:-2], f"{path}[{number}]")
        else:
            yield wrong_type(value, "a list", path)
    elif kind.endswith("{}"):
        if isinstance(value, dict):
            for item in value.values():
                yield from type_problems(item, kind[:-2], path)
        else:
            yield wrong_type(value, "an object", path)
    elif kind == "bytes":
        if not isinstance(value, str):
            yield wrong_type(value, "base64 text", path)
        elif not BASE64.fullmatch(value):
            yield TypeProblem("wrong-type", path, "the data are not base64")
    elif kind in SCALARS:
        types, words = SCALARS[kind]
        if not isinstance(value, types) or (isinstance(value, bool) and kind != "boolean"):
            yield wrong_type(value, words, path)
    elif names := _table()["enums"].get(kind):
        if not isinstance(value, str):
            yield wrong_type(value, "a text", path)
        elif value.upper() not in names:
            yield TypeProblem("wrong-type", path, f"the value is none of {', '.join(names)}")
    else:
        yield from _message_problems(value, kind, path)


def wrong_type(value: Any, wanted: str, path: str) -> TypeProblem:
    """Describe a value whose type is wrong; no text of the row is quoted."""
    found = "null" if value is None else _NAMES.get(type(value), "a number")
    return TypeProblem("wrong-type", path, f"expected {wanted}, got {found}")


def fields_of(kind: str) -> frozenset[str]:
    """Return the fields of a type, in camel case."""
    return frozenset(_table()["types"][kind])


def _message_problems(value: Any, kind: str, path: str) -> Iterator[TypeProblem]:
    if not isinstance(value, dict):
        yield wrong_type(value, "an object", path)
        return
    fields, required = _table()["types"][kind], _table()["required"].get(kind, ())
    names = {name: camel(name) for name in value}
    missing = tuple(name for name in required if name not in names.values())
    for name in missing:
        yield TypeProblem("missing-field", f"{path}.{name}", f"the field {name} is missing")
    for name, known in names.items():
        if known not in fields:
            if value[name] not in (None, [], {}):
                message = "the format does not have this field"
                yield TypeProblem("extra-field", path, message, name, missing or tuple(fields))
            continue
        yield from type_problems(value[name], fields[known], f"{path}.{name}")
        if known in required and isinstance(value[name], str) and is_blank(value[name]):
            yield TypeProblem("empty-text", f"{path}.{name}", "the text is empty")


@cache
def camel(name: str) -> str:
    """Return a field's name in camel case."""
    first, *others = name.split("_")
    return first + "".join(other[:1].upper() + other[1:] for other in others)


@cache
def _table() -> dict[str, Any]:
    return load("catalog/gemini_types.toml")

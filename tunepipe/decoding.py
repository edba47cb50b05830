"""Typed values from plain data: what users write into options, settings and tables, checked once.

The types are msgspec structures, so that a range is part of a field's type:

    class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
        lora_rank: Annotated[int, Meta(ge=1)] = 16
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from tunepipe.arguments import A_SHARE, hint, nearest
from tunepipe.errors import UsageError

Decoded = TypeVar("Decoded")
Share = Annotated[float, msgspec.Meta(ge=0, le=1, description=A_SHARE)]

_SHOWN_CHARACTERS = 60
# The types of JSON Schema.
_NAMES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text in quotes",
    "object": "a table of values",
    "null": "none",
}


def decode(value: Any, kind: type[Decoded], where: str = "") -> Decoded:
    """Convert plain data (TOML, JSON, a pipeline's parameter) into a typed value.

    Args:
        value: Mappings, lists, texts, numbers and dates. A whole number may be 16.0, as KFP and
            protocol buffers write it.
        kind: What it must be, usually a msgspec.Struct with `forbid_unknown_fields`. A
            `Meta(description=…)` says in error messages what is wanted; without one the type does.
        where: The place of the value for error messages, such as "tables"; "" adds none.

    Raises:
        UsageError: The first field that does not fit: its place, its value, what is wanted, and
            the known name that an unknown one resembles.
    """
    plain = whole(msgspec.to_builtins(value))
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        raise _first_error(plain, kind, where, error) from None


def whole(value: Any) -> Any:
    """Return the value with 8 for each 8.0 in it: JSON numbers leave a pipeline as floats."""
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _first_error(
    value: Any,
    kind: Any,
    where: str,
    error: msgspec.ValidationError,
    name: str = "",
    siblings: Sequence[str] = (),
) -> UsageError:
    """Describe the first place where plain data, which msgspec refused, does not fit its type.

    `name` is the value's own name in its table, and one of its siblings may have been meant.
    """
    chosen = _branch(kind, value)
    if not isinstance(value, Mapping) or not (_is_struct(chosen) or get_origin(chosen) is dict):
        text = repr(value)
        if len(text) > _SHOWN_CHARACTERS:
            text = f"{text[: _SHOWN_CHARACTERS - 3]}..."
        return UsageError(f"{text} is not valid", where=where or "value", fix=_expectation(kind))
    if _is_struct(chosen):
        fields = _fields(chosen)
        if fault := _wrong_names(value, chosen, where, nearest(name, siblings)):
            return fault
    else:
        keys, item_kind = get_args(chosen)
        known = get_args(keys) if get_origin(keys) is Literal else value
        for name in value:
            if name not in known:
                return UsageError(f"unknown name {name}", where=where, fix=hint(name, known))
        fields = dict.fromkeys(value, item_kind)
    for key in [name for name in value if name in fields]:  # a type may let other names be
        item = value[key]
        try:
            msgspec.convert(item, fields[key])
        except msgspec.ValidationError as below:
            others = [other for other in value if other != key]
            return _first_error(item, fields[key], _join(where, key), below, key, others)
    # Each field fits: the type's own __post_init__ refused how they go together.
    cause = error.__cause__
    if isinstance(cause, UsageError):
        return UsageError(cause.found, where=_join(where, cause.where), fix=cause.fix)
    return UsageError(str(cause or error), where=where)


def _expectation(kind: Any) -> str:
    """Describe the values of a type, such as "a whole number from 1 to 16"."""
    (schema,), _ = msgspec.json.schema_components([kind])
    return _describe(schema)


def _describe(schema: Mapping[str, Any]) -> str:
    if "description" in schema:
        return str(schema["description"])
    if "anyOf" in schema:
        return " or ".join(map(_describe, schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if schema.get("type") == "array":
        return f"a list, each item {_describe(schema['items'])}"
    low = f" from {schema['minimum']}" if "minimum" in schema else ""
    low += f" above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else ""
    high = f" to {schema['maximum']:,}" if "maximum" in schema else ""
    high += f" below {schema['exclusiveMaximum']}" if "exclusiveMaximum" in schema else ""
    return (
        _NAMES[schema.get("type", "object")]
        + low
        + (high or " up" if "minimum" in schema else high)
    )


def _wrong_names(value: Mapping[str, Any], kind: Any, where: str, near: str) -> UsageError | None:
    """Describe a field that is unknown, or those that are missing."""
    fields = msgspec.structs.fields(kind)
    names = [field.encode_name for field in fields]
    for name in value:
        if name not in names and kind.__struct_config__.forbid_unknown_fields:
            return UsageError(f"unknown name {name}", where=where or name, fix=hint(name, names))
    required = [field.encode_name for field in fields if field.required]
    if missing := [name for name in required if name not in value]:
        instead = f", or did you mean {near}?" if near else ""
        return UsageError(
            "values are missing",
            where=where or missing[0],
            fix=f"add {', '.join(missing)}{instead}",
        )
    return None


def _branch(kind: Any, value: Any) -> Any:
    """Strip annotations, and choose the member of a union by whether the value is a table."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, types.UnionType):
        members = [_branch(member, value) for member in get_args(kind)]
        tables = [member for member in members if _is_struct(member) or get_origin(member) is dict]
        return tables[0] if tables and isinstance(value, Mapping) else kind
    return kind


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _fields(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.encode_name: hints[field.name] for field in msgspec.structs.fields(kind)}


def _join(where: str, name: str) -> str:
    return ".".join(filter(None, (where, name)))

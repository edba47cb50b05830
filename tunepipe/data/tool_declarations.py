"""Declarations of functions: OpenAI's JSON Schema and Gemini's, one as the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunepipe.data.gemini_types import type_problems
from tunepipe.data.turns import refusal, text, words

Schema = dict[str, Any]

# The keywords that both have and that mean the same. Source: the type Schema of the Vertex AI API,
# read 2026-11.
KEYWORDS = {
    *("type", "title", "description", "default", "example", "format", "nullable", "enum"),
    *("properties", "required", "items", "anyOf", "minItems", "maxItems", "minimum", "maximum"),
    *("minLength", "maxLength", "pattern", "minProperties", "maxProperties"),
}
DECLARATIONS = {"functionDeclarations", "function_declarations"}
# Any JSON Schema, where the dialect above does not hold it.
_WHOLE_SCHEMA = ("parametersJsonSchema", "parameters_json_schema")
LEFT_OUT = {"additionalProperties", "strict", "propertyOrdering", "$schema"}


def read(row: Mapping[str, Any], is_gemini: bool) -> tuple[list[Schema], list[str]]:
    """Read a row's declarations.

    Args:
        row: What has the fields `tools` and `functions`.
        is_gemini: Whether they are in Gemini's shape, and not in OpenAI's.

    Returns:
        The functions in Gemini's shape, and the names of what was left out: keywords that only
        make a schema stricter or order it.

    Raises:
        DataError: A tool is no function, or a schema says what the other side has no word for.
    """
    left_out: set[str] = set()
    declared = row.get("functions", []), row.get("tools", [])
    if not all(isinstance(names, list) for names in declared):
        raise TypeError("tools that are no list")
    functions = list(declared[0])
    for tool in declared[1]:
        if not is_gemini and tool.get("type") == "function":
            functions.append(tool["function"])
        elif is_gemini and tool.keys() <= DECLARATIONS and tool:
            for problem in type_problems(tool, "Tool", "tools"):
                raise refusal(f"{problem.field}: {problem.message}")
            (names,) = tool.values()
            functions += names
        else:
            raise refusal("it declares a tool that is no function")
    return [_function(function, left_out) for function in functions], sorted(left_out)


def as_openai(functions: Sequence[Schema]) -> dict[str, Any]:
    """Write declarations as a row of messages has them; nothing where there is none."""
    tools = [
        {"type": "function", "function": _cased(function, str.lower)} for function in functions
    ]
    return {"tools": tools} if tools else {}


def as_gemini(functions: Sequence[Schema]) -> dict[str, Any]:
    """Write declarations as a Gemini row has them; nothing where there is none."""
    return {"tools": [{"functionDeclarations": list(functions)}]} if functions else {}


def _function(function: Mapping[str, Any], left_out: set[str]) -> Schema:
    left_out.update(LEFT_OUT & function.keys())
    result = {name: function[name] for name in ("name", "description") if name in function}
    words(result["name"])
    text(result.get("description", ""))
    whole = function.get("parametersJsonSchema", function.get("parameters_json_schema"))
    known = {"parameters", *_WHOLE_SCHEMA, *result, *LEFT_OUT}
    more = [name for name in function if name not in known and function[name] not in ([], {})]
    if more:
        raise refusal(f"a function declares {', '.join(sorted(more))}")
    parameters = function.get("parameters", whole)
    if parameters is None:
        return result
    if not isinstance(parameters, dict):
        raise TypeError("parameters that are no object")
    lost: set[str] = set()
    try:
        schema = _cased(_schema(parameters, lost), str.upper)
        if any(type_problems(schema, "Schema", "parameters")):
            raise _NotOfTheDialectError
        result["parameters"] = schema
        left_out |= lost
    except (_NotOfTheDialectError, AttributeError, TypeError):
        result["parametersJsonSchema"] = parameters
    return result


class _NotOfTheDialectError(ValueError):
    """A schema uses a keyword of JSON Schema that Gemini's own dialect lacks."""


def _schema(schema: Mapping[str, Any], left_out: set[str]) -> Schema:
    left_out.update(LEFT_OUT & schema.keys())
    unknown = schema.keys() - KEYWORDS - LEFT_OUT
    if unknown or isinstance(schema.get("type"), list):
        raise _NotOfTheDialectError
    kept = {name: value for name, value in schema.items() if name in KEYWORDS}
    if "properties" in kept:
        kept["properties"] = {
            name: _schema(below, left_out) for name, below in kept["properties"].items()
        }
    if "items" in kept:
        kept["items"] = _schema(kept["items"], left_out)
    if "anyOf" in kept:
        kept["anyOf"] = [_schema(below, left_out) for below in kept["anyOf"]]
    return kept


def _cased(schema: Mapping[str, Any], case: Any) -> Schema:
    """Write the types in Gemini's capitals or in JSON Schema's small letters."""
    kept = dict(schema)
    if "parametersJsonSchema" in kept:
        kept["parameters"] = kept.pop("parametersJsonSchema")
        return kept
    if isinstance(kept.get("type"), str):
        kept["type"] = case(kept["type"])
    for name in ("parameters", "items"):
        if name in kept:
            kept[name] = _cased(kept[name], case)
    if "properties" in kept:
        kept["properties"] = {k: _cased(below, case) for k, below in kept["properties"].items()}
    if "anyOf" in kept:
        kept["anyOf"] = [_cased(below, case) for below in kept["anyOf"]]
    return kept

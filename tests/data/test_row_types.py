"""The table of Gemini's types, against Google's own packages; a wrong value for each field."""

import re

import pytest
from google.cloud.aiplatform_v1 import types as service
from google.genai import types as sdk
from google.protobuf import json_format

from tests.validation.test_agreement import errors
from tunepipe.catalog.tables import load
from tunepipe.data.conversations import convert_row, example
from tunepipe.data.row_types import blank_message, camel, name_type, type_problems
from tunepipe.errors import DataError

TABLE = load("catalog/row_types.toml")
# Of the first the tuning service takes more than its own types of this release name.
SHARED = ("Content", "Part", "FunctionCall", "FunctionResponse", "FunctionDeclaration", "Blob",
          "FileData", "VideoMetadata", "Tool", "Schema")  # fmt: skip


@pytest.mark.parametrize("kind", SHARED)
def test_every_field_of_the_table_is_one_of_googles(kind):
    known = {camel(name) for name in getattr(sdk, kind).model_fields}
    if hasattr(service, kind):
        known |= {camel(field.rstrip("_")) for field in getattr(service, kind).meta.fields}
    known |= {"ref", "defs"} if kind == "Schema" else set()
    assert set(TABLE["types"][kind]) <= known


@pytest.mark.parametrize("kind", sorted(TABLE["enums"].keys() - {"ToolKind"}))
def test_the_values_of_an_enum_are_googles(kind):
    assert TABLE["enums"][kind] == [value.name for value in getattr(sdk, kind)]


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ({"type": "OBJECT", "properties": {"a": {"type": "string"}}}, "Schema", []),
        ({"type": "OBJECT", "properties": {"a": {"type": "str"}}}, "Schema",
         [("wrong-type", "x.properties.a.type")]),
        ({"type": "OBJECT", "properties": {"é": {"type": "str"}}}, "Schema",
         [("wrong-type", "x.properties.type")]),
        ({"type": ["STRING", "NULL"]}, "Schema", [("wrong-type", "x.type")]),
        ({"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}}, "ToolConfig",
         []),
        ({"functionCallingConfig": {"mode": "required"}}, "ToolConfig",
         [("wrong-type", "x.functionCallingConfig.mode")]),
        ({"properties": ["a"]}, "Schema", [("wrong-type", "x.properties")]),
        ({"code": "1", "language": "RUST"}, "ExecutableCode", [("wrong-type", "x.language")]),
    ],
)  # fmt: skip
def test_a_value_outside_its_enum_is_an_error(value, kind, found):
    assert [(x.code, x.field) for x in type_problems(value, kind, "x")] == found


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ({"nam": "f"}, "FunctionCall",
         [("missing-field", "x.name", "the field name is missing", "", ()),
          ("extra-field", "x", "the format has no field nam", "nam", ("name",))]),
        ({"nam": [], "other": {}}, "FunctionCall",
         [("missing-field", "x.name", "the field name is missing", "", ())]),
        ({"file_uri": "gs://b/c", "mimeType": " ", "size": 3}, "FileData",
         [("empty-text", "x.mimeType", "the text is only of spaces", "", ()),
          ("extra-field", "x", "the format has no field size", "size", ("displayName",))]),
        ({"name": "f", "id": "1", "é": 1}, "FunctionCall",
         [("extra-field", "x", "the format does not have a field of this name", "é", ("args",))]),
        ({"file_uri": "gs://b/c", "fileUri": "gs://b/d", "mimeType": "image/png"}, "FileData",
         [("duplicate-key", "x.fileUri", "the field fileUri occurs in camel case and in snake case",
           "", ())]),
        ({"file_uri": "gs://b/c", "file__uri": "gs://b/d", "mimeType": "image/png"}, "FileData",
         [("duplicate-key", "x.fileUri", "the field fileUri occurs in camel case and in snake case",
           "", ())]),
    ],
)  # fmt: skip
def test_a_wrong_field_is_told_with_those_it_may_be_meant_for(value, kind, found):
    assert list(map(tuple, type_problems(value, kind, "x"))) == found


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), ({}, "an object"), ([], "a list"), ("", "a text"), (True, "a truth value"),
     (1, "a number"), (0.5, "a number")],
)  # fmt: skip
def test_the_name_of_a_type(value, name):
    assert name_type(value) == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        (" \n", "the text is only of spaces"),
        (" \u200b", "the text is only of spaces and characters without width"),
    ],
)
def test_how_a_text_is_blank(text, message):
    assert blank_message(text) == message


@pytest.mark.parametrize("kind", ["Content", "Part", "FunctionDeclaration", "Tool"])
def test_no_field_of_the_services_own_type_is_missing(kind):
    fields = {camel(name.rstrip("_")) for name in getattr(service, kind).meta.fields}
    assert fields <= set(TABLE["types"][kind])


QUESTION = {"role": "user", "parts": [{"text": "q"}]}
ANSWER = {"role": "model", "parts": [{"text": "a"}]}
WRONG = [
    *(({"contents": contents}) for contents in ("x", 3, {}, ["x"], [None, ANSWER], [[QUESTION]])),
    *({"contents": [QUESTION, turn]} for turn in (
        "x", {}, {"role": "model"}, {"role": 3, "parts": [{"text": "a"}]},
        {"role": "robot", "parts": [{"text": "a"}]}, {"parts": [{"text": "a"}]},
        {"role": "model", "parts": [{"text": "a"}], "name": "x"})),
    *({"contents": [QUESTION, {"role": "model", "parts": parts}]}
      for parts in ("x", 3, {}, ["x"], [3], [[]], [{}], [{"text": 3}], [{"text": ["a"]}],
                    [{"functionCall": 3}], [{"functionCall": {}}], [{"functionCall": {"name": 3}}],
                    [{"functionCall": {"name": "f", "args": "{}"}}],
                    [{"functionCall": {"name": "f", "args": []}}],
                    [{"functionCall": {"name": "f", "id": 3}}], [{"functionCall": ["f"]}],
                    [{"functionResponse": {"name": "f"}}], [{"executableCode": "x"}],
                    [{"executableCode": {}}], [{"executableCode": {"code": 3}}],
                    [{"executableCode": {"code": "1", "language": 3}}], [{"executableCode": [1]}],
                    [{"codeExecutionResult": []}], [{"codeExecutionResult": 3}],
                    [{"codeExecutionResult": {"outcome": "OK"}}],
                    [{"codeExecutionResult": {"output": 3}}], [{"unknown": {"a": 1}}],
                    [{"text": "a", "thoughtSignature": "a b"}], [{"text": "a", "thought": 1}],
                    [{"text": "a", "partMetadata": 3}], [{"text": "a", "thought": "yes"}],
                    [{"text": "a", "videoMetadata": 3}], [{"text": "a", "functionCall": {}}])),
    *({"contents": [{"role": "user", "parts": [part]}, ANSWER]}
      for part in ({"functionCall": {"name": "f"}}, {"functionResponse": 3}, {"inlineData": [1]},
                   {"functionResponse": {}}, {"functionResponse": {"name": 3}}, {"fileData": []},
                   {"functionResponse": {"name": "f", "response": "x"}}, {"inlineData": 3},
                   {"inlineData": {}},
                   {"inlineData": {"data": "AAAA"}}, {"inlineData": {"mimeType": "image/png"}},
                   {"inlineData": {"mimeType": "image/png", "data": "a b"}}, {"fileData": "gs://b"},
                   {"fileData": {"fileUri": "gs://b/c"}}, {"fileData": {"mimeType": "image/png"}},
                   {"fileData": {"mimeType": "image/png", "fileUri": 3}})),
    *({"contents": [QUESTION, ANSWER], "tools": tools}
      for tools in ("x", {"a": 1}, ["x"], [{"functionDeclarations": {"a": 1}}],
                    [{"functionDeclarations": [{}]}], [{"functionDeclarations": ["f"]}],
                    [{"functionDeclarations": [{"name": "f", "parameters": "x"}]}],
                    [{"type": "function", "function": {"name": "f"}}])),
    *({"contents": [QUESTION, ANSWER], "systemInstruction": value}
      for value in ("be kind", {"parts": "be kind"}, {"parts": []}, {"parts": [{"text": " "}]})),
]  # fmt: skip


@pytest.mark.parametrize("row", WRONG, ids=repr)
def test_a_wrong_value_of_each_field_is_an_error_and_never_a_crash(row):
    assert errors(row, "gemini")
    with pytest.raises(DataError):
        convert_row(row, "gemini", "messages")


CALLS = [{"functionCall": {"name": "f", "id": "1"}}, {"functionCall": {"name": "f", "id": "2"}}]


@pytest.mark.parametrize(
    ("names", "codes"),
    [
        ([("f", "1"), ("f", "2")], []),
        ([("f", "2"), ("f", "1")], []),
        ([("f", ""), ("f", "")], []),  # without ids the order tells
        ([("f", "1"), ("f", "3")], ["call-mismatch"]),
        ([("f", "1"), ("g", "2")], ["call-mismatch"]),
        ([("f", "1")], ["call-mismatch"]),
    ],
)
def test_every_call_has_one_answer_of_its_name_and_id(names, codes):
    answers = [
        {"functionResponse": {"name": name, **({"id": id} if id else {})}} for name, id in names
    ]
    turns = [{"role": "model", "parts": CALLS}, {"role": "user", "parts": answers}]
    row = {"contents": [QUESTION, *turns, ANSWER]}
    assert [(x.code, x.field) for x in errors(row, "gemini")] == [(c, "contents[2]") for c in codes]


def test_what_the_services_type_takes_the_table_takes():
    declaration = {
        "name": "f", "description": "d", "parameters": {
            "type": "OBJECT", "properties": {"a": {"type": "STRING", "enum": ["x"]}},
            "required": ["a"], "propertyOrdering": ["a"], "anyOf": [{"type": "STRING"}],
        },
    }  # fmt: skip
    tool = {"functionDeclarations": [declaration], "googleSearch": {}}
    json_format.ParseDict(tool, service.Tool.pb(service.Tool()))
    assert list(type_problems(tool, "Tool", "tools[0]")) == []
    part = {"functionCall": {"name": "f", "args": {"a": None, "b": [1]}}}
    json_format.ParseDict(part, service.Part.pb(service.Part()))
    assert list(type_problems(part, "Part", "p")) == []


def test_a_tool_of_the_service_stays_within_the_format():
    row = {"contents": [QUESTION, ANSWER], "tools": [{"googleSearch": {}}]}
    assert errors(row, "gemini") == []
    assert convert_row(row, "gemini", "gemini") == (row, ())
    with pytest.raises(DataError, match="a tool that is not a function"):
        convert_row(row, "gemini", "messages")


def test_the_tools_of_a_preference_are_carried():
    tool = {"type": "function", "function": {"name": "f"}}
    said = {"role": "assistant", "content": "a"}
    row = {
        "input": {"messages": [{"role": "user", "content": "q"}], "tools": [tool]},
        "preferred_output": [said],
        "non_preferred_output": [{**said, "content": "b"}],
    }
    fresh, _ = convert_row(row, "preference", "preference")
    assert fresh["tools"] == [{"functionDeclarations": [{"name": "f"}]}]


def test_an_answer_of_thoughts_alone_is_none():
    row = {"contents": [QUESTION, {"role": "model", "parts": [{"text": "hm", "thought": True}]}]}
    assert [problem.code for problem in errors(row, "gemini")] == ["empty-text"]
    with pytest.raises(DataError, match=re.escape("not of the format gemini")):
        example(row, "gemini")

"""Messages as turns: what each part becomes, and why no other format can hold some."""

import pytest

from tunepipe.data.openai_messages import mime_type_of, read, read_declarations, write
from tunepipe.data.turns import RowError, Turn
from tunepipe.errors import DataError

Q, A = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "3"}
CALLED = {"functionCall": {"name": "f", "args": {}}}
ANSWERED = {"functionResponse": {"name": "f", "response": {"output": "3"}}}
FILE = {"type": "file", "file": {"file_id": "x"}}


def picture(url, **more):
    return {"type": "image_url", "image_url": {"url": url, **more}}


def in_file(mime_type, url):
    return {"fileData": {"mimeType": mime_type, "fileUri": url}}


def numbered(messages):
    return [(f"m[{number}]", message) for number, message in enumerate(messages)]


@pytest.mark.parametrize(
    ("message", "parts", "bound"),
    [
        (A, [{"text": "a"}], []),
        (A | {"weight": 1, "name": ""}, [{"text": "a"}], []),
        (A | {"weight": 0}, [{"text": "a"}], ["a message has the weight 0"]),
        (A | {"name": "x", "audio": {"id": "1"}}, [{"text": "a"}], ["a message has audio, name"]),
        ({"role": "bot", "refusal": "no"}, [{"text": "no"}], ["a message has refusal"]),
        ({"role": "bot", "audio": {"id": "1"}}, [{"text": '{"id":"1"}'}],
         ["a message has audio"]),
        ({"role": "bot", "content": "", "function_call": {"name": "f", "arguments": ""}},
         [CALLED], []),
        (A | {"content": [picture("gs://b/a.png")]}, [in_file("image/png", "gs://b/a.png")], []),
        (A | {"content": [picture("gs://b/a.png", detail="auto")]},
         [in_file("image/png", "gs://b/a.png")], []),
        (A | {"content": [picture("gs://b/a.png", detail="low")]},
         [in_file("image/png", "gs://b/a.png")], ["a picture sets its detail"]),
        (A | {"content": [picture("https://x/a")]}, [in_file("", "https://x/a")],
         ["the address of a picture does not show its type, such as .png"]),
        (A | {"content": [picture("data:image/png;base64,AAAA")]},
         [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}], []),
        (A | {"content": [picture("data:image/png;x,AA")]},
         [in_file("image/png", "data:image/png;x,AA")], ["a picture is not written in base64"]),
        (A | {"content": [{"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}}]},
         [{"text": "q"}], ["a part has cache_control"]),
        (A | {"content": [{"type": "text", "text": "q", "annotations": [], "id": ""}]},
         [{"text": "q"}], []),
        (A | {"content": [{**picture("gs://b/a.png"), "cache": 1}]},
         [in_file("image/png", "gs://b/a.png")], ["a part has cache"]),
        (A | {"content": [{"type": "text", "text": "q"}, FILE]},
         [{"text": "q"}, {"other": FILE}],
         ["a turn has a part that is neither text nor a plain picture"]),
    ],
)  # fmt: skip
def test_a_message_is_one_turn(message, parts, bound):
    reasons: list[str] = []
    assert read(numbered([message]), reasons) == [Turn("assistant", tuple(parts))]
    assert reasons == bound


def test_answers_of_tools_that_follow_each_other_are_one_turn():
    calls = [CALL, {**CALL, "id": "2", "function": {"name": "g", "arguments": '{"x":1}'}}]
    second = {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "4"}]}
    turns = read(numbered([Q, CALLING | {"tool_calls": calls}, second, RESULT, A]), [])
    assert turns == [
        Turn("user", ({"text": "q"},)),
        Turn("assistant", (CALLED, {"functionCall": {"name": "g", "args": {"x": 1}}})),
        Turn("tool", (ANSWERED, {"functionResponse": {"name": "g", "response": {"output": "4"}}})),
        Turn("assistant", ({"text": "a"},)),
    ]
    assert [turn.field for turn in turns] == ["m[0]", "m[1]", "m[2]", "m[4]"]
    back = write(turns)
    assert [message.get("tool_call_id") for message in back] == [
        None,
        None,
        "call_1",
        "call_2",
        None,
    ]
    old = {"role": "bot", "function_call": {"name": "f", "arguments": "{}"}}
    named = {"role": "function", "name": "f", "content": "3"}
    assert read(numbered([old, named]), [])[1] == Turn("tool", (ANSWERED,))


@pytest.mark.parametrize(
    ("messages", "reason", "field"),
    [
        ([A | {"weight": 2}], "a message has a weight that is neither 0 nor 1", ""),
        ([A | {"weight": True}], "a message has a weight that is neither 0 nor 1", ""),
        ([A | {"content": []}], "a message has a list of no parts", ""),
        ([Q, {"role": "assistant"}], "a message says nothing", "m[1]"),
        ([Q | {"content": [{"type": "input_text", "text": "q"}]}],
         "the part has no field of its type", "m[0].content[0]"),
        ([Q | {"content": [{"text": "q"}]}], "the part has no field of its type",
         "m[0].content[0]"),
        *(([Q | {"content": [{"type": "text", "text": "q"}, picture(url)]}], reason,
           "m[0].content[1].image_url.url") for url, reason in (
            ("data:image/png;base64,AA AA", "the data are not base64"),
            ("data:image/png;base64,", "the data are not base64"),
            ("", "the text is empty"), (3, "expected a text, got a number"))),
        ([Q | {"content": [picture("gs://b/a.png", size=3)]}], "the format has no field size",
         "m[0].content[0].image_url"),
        ([CALLING | {"tool_calls": [CALL, CALL]}], "two calls of the turn have the same id",
         "m[0]"),
        ([CALLING, RESULT | {"tool_calls": [CALL]}], "the answer of a tool calls a function",
         "m[1]"),
        ([CALLING, RESULT | {"function_call": {"name": "f"}}],
         "the answer of a tool calls a function", "m[1]"),
        ([CALLING, RESULT | {"content": [picture("gs://b/a.png")]}],
         "the answer of a tool is not text alone", "m[1]"),
        ([CALLING | {"tool_calls": [CALL, CALL | {"id": "2"}]}, RESULT], "a call has no answer",
         "m[1]"),
        ([CALLING, RESULT | {"tool_call_id": "2"}],
         "a tool answers a call that was not made, or that has its answer", "m[1]"),
        ([CALLING, RESULT, Q, RESULT],
         "a tool answers a call that was not made, or that has its answer", "m[3]"),
        ([CALLING, Q, RESULT],
         "a tool answers a call that was not made, or that has its answer", "m[2]"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_says_why(messages, reason, field):
    with pytest.raises(RowError) as caught:
        read(numbered(messages), [])
    assert (str(caught.value), caught.value.field) == (reason, field)


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (Turn("assistant", ({"text": "a"}, in_file("image/png", "gs://b/a.png"))),
         "the assistant shows a file"),
        (Turn("tool", (ANSWERED,)), "a function responds that was not called"),
        (Turn("user", ({"executableCode": {"code": "1"}},)), "a part holds executableCode"),
        (Turn("user", (in_file("video/mp4", "gs://b/a.mp4"),)), "a file is not a picture"),
        (Turn("user", (in_file("image/png", "gs://b/a"),)),
         "the address of a picture does not show its type, such as .png"),
    ],
)  # fmt: skip
def test_what_messages_have_no_place_for_says_why(turn, reason):
    with pytest.raises(DataError) as caught:
        write([turn])
    assert caught.value.found == f"cannot be carried over: {reason}"


@pytest.mark.parametrize(
    ("url", "mime_type"),
    [
        ("data:image/webp;base64,AA", "image/webp"),
        ("https://x/a.jpg?size=2.gif", "image/jpeg"),
        ("https://x/a.jpg#b.gif", "image/jpeg"),
        ("gs://b/a", ""),
    ],
)
def test_the_type_of_a_picture(url, mime_type):
    assert mime_type_of(url) == mime_type


@pytest.mark.parametrize(
    ("function", "expected", "left_out", "bound"),
    [
        ({"name": "f", "strict": True}, {"name": "f"}, ["strict"], []),
        ({"name": "f", "response": {}}, {"name": "f"}, [], []),
        ({"name": "f", "response": {"type": "STRING"}, "behavior": "x"}, {"name": "f"}, [],
         ["a function declares behavior, response"]),
        ({"name": "f", "parameters": {"anyOf": [{"type": "string"}], "$schema": "x"}},
         {"name": "f", "parameters": {"anyOf": [{"type": "STRING"}]}}, ["$schema"], []),
        ({"name": "f", "parameters": {"type": "string", "minLength": {}, "strict": 1}},
         {"name": "f", "parametersJsonSchema": {"type": "string", "minLength": {}, "strict": 1}},
         [], []),
        ({"name": "f", "parameters": {"type": "STRING"}, "parametersJsonSchema": {"oneOf": []}},
         {"name": "f", "parameters": {"type": "STRING"}}, [],
         ["a function declares its parameters twice"]),
        ({"name": "f", "parameters_json_schema": {"oneOf": []}},
         {"name": "f", "parametersJsonSchema": {"oneOf": []}}, [], []),
    ],
)  # fmt: skip
def test_a_declaration_in_geminis_shape(function, expected, left_out, bound):
    reasons: list[str] = []
    assert read_declarations({"functions": [function]}, reasons) == ([expected], left_out)
    assert reasons == bound


def test_a_tool_whose_fields_are_all_unset_declares_nothing():
    reasons: list[str] = []
    assert read_declarations({"tools": [{}, {"functionDeclarations": []}]}, reasons) == ([], [])
    assert reasons == []

"""What a row holds besides text, and a row's prompt as a service takes it."""

import base64

import pytest
import xxhash

from tests.recordings import wav
from tunepipe.data.conversion import gemini_request, openai_request
from tunepipe.data.parts import (
    Call,
    RowFile,
    files_of,
    kind_of,
    kinds_of,
    media_of,
    read_calls,
    readable_answer,
    readable_prompt,
    write_answer,
)
from tunepipe.data.turns import Turn, response_of, response_text

IMAGE = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
CLIP = {"file_data": {"mime_type": "video/mp4", "file_uri": "gs://b/v.mp4"}}
CALL = {"functionCall": {"name": "f", "args": {"image_url": "x"}}}
ANSWER = {"role": "model", "parts": [{"text": "a"}]}
URL = {"type": "image_url", "image_url": {"url": "https://x/i.png"}}
SAID = {"role": "user", "content": [{"type": "text", "text": "q"}, URL]}


def row(*parts, **more):
    return {"contents": [{"role": "user", "parts": list(parts)}, ANSWER], **more}


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"input_text": "tools", "output_text": "image"}, set()),
        (row({"text": "q"}), set()),
        (row({"text": "q"}, tools=[], labels={"tools": "x"}), set()),
        (row(IMAGE), {"image"}),
        (row(CLIP, {"fileData": {"mimeType": "application/pdf"}}), {"video", "document"}),
        (row({"text": "q"}, tools=[{}]), {"tools"}),
        (row(CALL), {"tools"}),
        (row({"executableCode": {"code": "1"}}), {"code"}),
        ({"messages": [SAID, {"role": "assistant", "content": "a"}]}, {"image"}),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, {"audio"}),
    ],
)
def test_kinds_of_parts(fields, kinds):
    assert kinds_of(fields) == kinds


def test_files_are_listed_and_named_for_people():
    assert media_of(row(IMAGE, CLIP)) == [
        {"mime_type": "image/png", "data": "AAAA"},
        {"mime_type": "video/mp4", "uri": "gs://b/v.mp4"},
    ]
    large = {"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}}
    assert media_of(row(large)) == [{"mime_type": "image/png", "data": ""}]
    text = 'q\n{"inlineData":{"data":"AAAA","mimeType":"image/png"}}\n{"a":1}'
    assert readable_prompt(text) == 'q\n[image/png: 3 bytes]\n{"a":1}'


def test_a_gemini_row_is_asked_as_it_is():
    system = {"parts": [{"text": "s"}]}
    more = {"system_instruction": system, "tools": [{"x": 1}], "toolConfig": {"y": 2}, "labels": {}}
    assert gemini_request(row(IMAGE, {"text": "q"}, **more), "gemini") == {
        "contents": [{"role": "user", "parts": [IMAGE, {"text": "q"}]}],
        "systemInstruction": system,
        "tools": [{"x": 1}],
        "toolConfig": {"y": 2},
    }


def test_other_formats_are_asked_as_they_are_tuned_on():
    messages = [{"role": "system", "content": "s"}, SAID, {"role": "assistant", "content": "a"}]
    request = gemini_request({"messages": messages}, "messages")
    picture = {"fileData": {"mimeType": "image/png", "fileUri": "https://x/i.png"}}
    assert request["contents"] == [{"role": "user", "parts": [{"text": "q"}, picture]}]
    assert request["systemInstruction"]["parts"] == [{"text": "s"}]
    assert openai_request({"messages": messages}, "messages") == {"messages": messages[:-1]}


def test_a_model_is_asked_with_the_functions_of_the_older_shape():
    declared = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    called = {"name": "weather", "arguments": '{"city": "Rome"}'}
    messages = [
        {"role": "user", "content": "How is it in Rome?"},
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "weather", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
    request = openai_request({"messages": messages, "functions": [declared]}, "messages")
    function = {"name": "weather", "arguments": '{"city":"Rome"}'}
    assert request == {
        "messages": [
            messages[0],
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ],
        "tools": [{"type": "function", "function": declared}],
    }
    first = {"messages": messages[:2], "functions": [declared]}
    assert openai_request(first, "messages") == {
        "messages": messages[:1],
        "tools": [{"type": "function", "function": declared}],
    }


def test_a_preferences_prompt_has_no_answer_to_leave_out():
    fields = {"contents": [{"role": "user", "parts": [IMAGE]}], "completions": []}
    assert gemini_request(fields, "preference")["contents"] == fields["contents"]


def sound(seconds: int) -> str:
    """A recording in the base64 of URLs, some of whose characters no other has."""
    return base64.urlsafe_b64encode(wav(seconds, b"\xff\xfb")).decode()


FILM = base64.urlsafe_b64encode(
    b"\0\0\0\x10ftypisom\0\0\0\0mvhd" + bytes(12) + b"\0\0\0\x01\0\xff\xff\xff"
).decode()
CUT = base64.b64encode(b"\0\0\0\x10ftypisom").decode()
DRAWN = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("part", "file"),
    [
        (IMAGE, RowFile("image", "image/png", "", "AAAA", ".inlineData", "LOW", 0)),
        ({"file_data": {"mime_type": "video/mp4", "file_uri": "gs://b/v"},
          "video_metadata": {"end_offset": "9s"}, "media_resolution": {"level": "X_HIGH"}},
         RowFile("video", "video/mp4", "gs://b/v", "", ".file_data", "X_HIGH", 9.0)),
        ({"fileData": {"mimeType": "x/y", "fileUri": "gs://b/w"},
          "videoMetadata": {"startOffset": "5s", "endOffset": "2s"}},
         RowFile("", "x/y", "gs://b/w", "", ".fileData", "LOW", 0)),
        ({"fileData": {"mimeType": "audio/ogg"}, "videoMetadata": {"startOffset": "x"}},
         RowFile("audio", "audio/ogg", "", "", ".fileData", "LOW", 0)),
        ({"inlineData": {"mimeType": "video/mp4", "data": CUT}},
         RowFile("video", "video/mp4", "", CUT, ".inlineData", "LOW", 0)),
        ({"inlineData": {"mimeType": "audio/wav", "data": sound(2)}},
         RowFile("audio", "audio/wav", "", sound(2), ".inlineData", "LOW", 2.0)),
        ({"inlineData": {"mimeType": "video/mp4", "data": FILM}},
         RowFile("video", "video/mp4", "", FILM, ".inlineData", "LOW", float(0xFFFFFF))),
        (URL, RowFile("image", "image/png", "https://x/i.png", "", ".image_url")),
        ({"type": "image_url", "image_url": {"url": DRAWN}},
         RowFile("image", "image/png", "", "AAAA", ".image_url")),
        ({"type": "input_audio", "input_audio": "AA"},
         RowFile("audio", "", "", "AA", ".input_audio")),
        ({"type": "file", "file": {}}, RowFile("document", "", "", "{}", ".file")),
        ({"type": "text", "file": 3}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
def test_a_file_with_its_place_its_resolution_and_its_length(part, file, config):
    fields = row({"text": "q"}, part, **{config: {"mediaResolution": "MEDIA_RESOLUTION_LOW"}})
    place = "contents[0].parts[1]"
    expected = [file._replace(field=place + file.field)] if file else []
    assert list(files_of(fields)) == expected


def test_inline_data_are_copied_up_to_a_size():
    assert RowFile("image", "", "", "A" * 8, "").bytes == 6
    for length, copied in ((65_536, 65_536), (65_537, 0)):
        part = {"inlineData": {"mimeType": "image/png", "data": "A" * length}}
        assert media_of(row(part)) == [{"mime_type": "image/png", "data": "A" * copied}]
    nameless = {"fileData": {"fileUri": "gs://b/x"}}
    assert media_of(row(nameless, {"type": "file", "file": {}})) == [
        {"mime_type": "image/*", "uri": "gs://b/x"}
    ]


@pytest.mark.parametrize(
    ("mime_type", "kind"),
    [("image/png", "image"), ("image/xx", "image"), ("audio/xx", "audio"), ("video/x", "video"),
     ("application/pdf", "document"), ("application/zip", "")],
)  # fmt: skip
def test_the_kind_of_a_file(mime_type, kind):
    assert kind_of(mime_type) == kind


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"fileData":{"fileUri":"gs://b/x"}}', "[image/*: gs://b/x]"),
        ('{"inlineData":{"mimeType":"image/png","data":"%s"}}' % ("A" * 8000),
         "[image/png: 6,000 bytes]"),
        ("{", "{"),
        ("[1]", "[1]"),
    ],
)  # fmt: skip
def test_a_prompt_for_people(line, shown):
    assert readable_prompt(f"q\n{line}") == f"q\n{shown}"


@pytest.mark.parametrize(
    ("line", "calls", "shown"),
    [
        ('{"functionCall":{"name":"f","args":{"x":"é","y":1}}}', [Call("f", {"x": "é", "y": 1})],
         'f(x="é", y=1)'),
        ('{"function_call":{"name":"f"}}', [Call("f")], "f()"),
        ('[{"function":{"name":"g","arguments":"{\\"y\\":1}"}},'
         '{"id":"2","function":{"name":"h","arguments":{}}}]', [Call("g", {"y": 1}), Call("h")],
         "g(y=1)\nh()"),
        ('{"name":"f","arguments":""}', [Call("f")], "f()"),
        *((line, [], line) for line in (
            "a", "[", "[1]", '{"a":1}', '{"functionCall":3}', '{"name":"f","arguments":3}',
            '{"functionCall":{"name":"f"},"function_call":{"name":"g"}}',
        )),
    ],
)  # fmt: skip
def test_calls_are_read_from_answers_and_shown_as_people_write_them(line, calls, shown):
    answer = f"so\n{line}\n"
    assert read_calls(answer) == calls
    assert readable_answer(answer) == f"so\n{shown}\n"
    assert read_calls(write_answer("so", calls)) == calls


def test_an_answer_is_its_text_and_a_line_for_each_call():
    call = '{"functionCall":{"args":{"x":1},"name":"f"}}'
    assert write_answer("", [Call("f", {"x": 1})]) == call
    assert write_answer("so", [Call("f", {"x": 1})]) == f"so\n{call}"
    assert write_answer("so", []) == "so"


@pytest.mark.parametrize(
    ("said", "response"),
    [
        ("3", {"output": "3"}),
        ("[1]", {"output": "[1]"}),
        ('{"a":NaN}', {"output": '{"a":NaN}'}),
        ('{"a":1}', {"a": 1}),
        ('{"output":3}', {"output": '{"output":3}'}),  # it would read as the text 3
        ('{"a":1,"output":"x"}', {"a": 1, "output": "x"}),
    ],
)
def test_what_a_tool_answers_stays_the_same_text(said, response):
    assert response_of(said) == response
    assert response_text(response) == said


def test_a_response_of_another_type_is_json():
    assert response_text({"output": 3}) == '{"output":3}'


def test_the_bytes_of_a_file_are_told_by_their_hash():
    call = {"functionCall": {"name": "f"}}
    parts = [{"text": "q"}, call, {"functionResponse": {"name": "f"}}]
    for length in (2048, 2049):
        parts.append({"inlineData": {"data": "A" * length}})
    parts += [{"other": {"type": "x", "x": 1}}, {"executableCode": {"code": "B" * 3000}}]
    assert Turn("user", tuple(parts)).text().split("\n") == [
        "q",
        '{"functionCall":{"args":{},"name":"f"}}',
        "{}",
        '{"inlineData":{"data":"%s"}}' % ("A" * 2048),
        '{"inlineData":{"data":"xxh3:' + xxhash.xxh3_128_hexdigest(b"A" * 2049) + '"}}',
        '{"type":"x","x":1}',
        '{"executableCode":{"code":"%s"}}' % ("B" * 3000),
    ]

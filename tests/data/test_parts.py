"""What a row holds besides text, and a row's prompt as a service takes it."""

import pytest

from tunepipe.data.conversion import gemini_request, openai_request
from tunepipe.data.parts import kinds_of, media_of, readable_prompt

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


def test_a_preferences_prompt_has_no_answer_to_leave_out():
    fields = {"contents": [{"role": "user", "parts": [IMAGE]}], "completions": []}
    assert gemini_request(fields, "preference")["contents"] == fields["contents"]

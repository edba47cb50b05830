import json

import pytest

from tunepipe.data import conversations, formats, text_pairs
from tunepipe.data.conversations import convert_row
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, UsageError
from tunepipe.validation.validate import validate

QUESTION = {"role": "user", "content": "q"}
GEMINI_QUESTION = {"role": "user", "parts": [{"text": "q"}]}

ROWS = {
    "palm": {"input_text": "q", "output_text": "a"},
    "prompt-completion": {"prompt": "q", "completion": "a"},
    "palm-chat": {
        "messages": [{"author": "user", "content": "q"}, {"author": "assistant", "content": "a"}]
    },
    "messages": {"messages": [QUESTION, {"role": "model", "content": "a"}]},
    "gemini": {"contents": [GEMINI_QUESTION, {"role": "model", "parts": [{"text": "a"}]}]},
    "preference": {
        "contents": [GEMINI_QUESTION],
        "completions": [
            {"score": 0.1, "completion": {"role": "model", "parts": [{"text": "b"}]}},
            {"score": 0.9, "completion": {"role": "model", "parts": [{"text": "a"}]}},
        ],
    },
}
OPENAI_PREFERENCE = {
    "input": {"messages": [QUESTION]},
    "preferred_output": [{"role": "assistant", "content": "a"}],
    "non_preferred_output": [{"role": "assistant", "content": "b"}],
}


@pytest.mark.parametrize("format", formats.FORMATS)
def test_every_format_is_seen_and_read_as_the_same_example(format):
    row = ROWS[format]
    assert formats.detect_format(row) == format
    found = conversations.example(row, format)
    assert (found.messages, found.reference) == ((QUESTION,), "a")
    assert found.id == conversations.example(ROWS["palm"], "palm").id
    assert found.input == "q"


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({}, None),
        ({"a": 1}, None),
        ({"chosen": 1}, None),
        ({"rejected": 1, "prompt": 1}, None),
        ({"chosen": 1, "completion": 2}, "prompt-completion"),
        ({"completions": 1}, "preference"),
        ({"preferred_output": 1}, "preference"),
        ({"input_text": 1}, "palm"),
        ({"system_instruction": 1}, "gemini"),
        ({"messages": []}, "messages"),
        ({"messages": [], "context": ""}, "palm-chat"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages"),
        ({"messages": [{"author": "u"}]}, "palm-chat"),
        ({"messages": [{"role": "u"}], "context": ""}, "messages"),
        ({"messages": [{"content": "u"}]}, "messages"),
        ({"messages": [{"content": "u"}], "context": ""}, "palm-chat"),
        ({"completion": 1}, "prompt-completion"),
    ],
)
def test_the_format_of_a_row_by_its_fields(row, format):
    assert formats.detect_format(row) == format


def test_openai_preference_and_trl_conversational_rows():
    assert formats.detect_format(OPENAI_PREFERENCE) == "preference"
    assert conversations.example(OPENAI_PREFERENCE, "preference").reference == "a"
    row = {"prompt": [QUESTION], "completion": [{"role": "assistant", "content": "a"}]}
    assert conversations.example(row, "prompt-completion").reference == "a"


def test_system_tools_and_parts_keep_their_meaning():
    row = {
        "messages": [
            {"role": "developer", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "q"},
                    {"type": "image_url", "image_url": {"url": "gs://b/i.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "content": "r", "tool_call_id": "1"},
            {"role": "assistant", "content": "a"},
        ]
    }
    found = conversations.example(row, "messages")
    assert [turn["role"] for turn in found.messages] == ["system", "user", "assistant", "user"]
    assert "gs://b/i.png" in found.messages[1]["content"]
    assert found.messages[2]["content"] == '{"functionCall":{"args":{},"name":"f"}}'
    assert found.input.startswith("system: s\n\nuser: q\n")


def test_system_instruction_of_gemini_and_context_of_palm_chat():
    gemini = ROWS["gemini"] | {"systemInstruction": {"parts": [{"text": "s"}]}}
    chat = ROWS["palm-chat"] | {"context": "s"}
    assert conversations.example(gemini, "gemini").id == conversations.example(chat, "palm-chat").id


def test_reading_numbers_lines_and_keeps_ids_apart(tmp_path):
    path = tmp_path / "rows.jsonl"
    same = json.dumps(ROWS["palm"])
    path.write_text(f"\ufeff{same}\n\n{same}\n{same}", encoding="utf-8")
    rows = list(read_examples(path))
    assert [row.line for row in rows] == [1, 3, 4]
    first = rows[0].id
    assert [row.id for row in rows] == [first, f"{first}-2", f"{first}-3"]


def test_ids_are_stable_between_releases():
    assert conversations.example(ROWS["palm"], "palm").id == "91b792a304dad778"


def test_reading_names_the_file_and_the_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(ROWS["palm"]) + "\n{\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the line is not a JSON object"):
        list(read_examples(path))
    path.write_text(json.dumps(ROWS["palm"]) + '\n{"input_text": "q"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: the row is not of the format palm"):
        list(read_examples(path))


def test_an_unknown_format_or_file_is_wrong_usage(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="no row has the fields"):
        list(read_examples(path))
    with pytest.raises(UsageError, match="unknown format 'csv'"):
        list(read_examples(path, "csv"))
    with pytest.raises(UsageError, match="cannot be read"):
        list(read_examples(tmp_path / "none.jsonl"))


OPENAI_CALLS = {
    "messages": [
        {"role": "user", "content": "Rain in Oslo and Rome?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "rain", "arguments": arguments}}
                for id, arguments in (("a", '{"day": 1, "city": "Oslo"}'), ("b", '{"city":"Rome"}'))
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": '{"mm": 3}'},
        {"role": "tool", "tool_call_id": "b", "content": "none"},
        {"role": "assistant", "content": "In Oslo alone."},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "rain",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            },
        }
    ],
}


def view(row, format):
    return conversations.view(conversations.read(row, format), row, format)


def test_a_row_with_calls_has_one_input_in_every_format(tmp_path):
    gemini, _ = convert_row(OPENAI_CALLS, "messages", "gemini")
    assert view(OPENAI_CALLS, "messages") == view(gemini, "gemini")
    again, _ = convert_row(gemini, "gemini", "messages")
    assert view(again, "messages") == view(gemini, "gemini")
    # The same row held out in the other format is a leak.
    train, held = tmp_path / "train.jsonl", tmp_path / "held.jsonl"
    train.write_text(json.dumps(gemini) + "\n")
    held.write_text(json.dumps(OPENAI_CALLS) + "\n")
    for fast_from_bytes in (0, 1 << 30):
        report = validate([train], against=[held], fast_from_bytes=fast_from_bytes)
        assert report.counts["eval-leak"] == 1


def test_the_marks_between_turns_are_no_characters():
    assert text_pairs.measure(["a\x1eb", "\x1ds\x1eé", "-" * 20]) == ([2, 2, 20], 23, 5)
    assert text_pairs.characters("\x1ds\x1eé") == (1, 1)
    assert text_pairs.characters("a\x1eb") == (2, 0)
    assert text_pairs.estimate_tokens("abcd", "é" * 10, "-" * 40) == 13


def test_the_questions_within_a_conversation():
    text = "q\x1ea\x1er\x1eb\x1et"
    assert list(text_pairs.questions_within(text)) == ["q", "q\x1ea\x1er"]
    system = "\x1ds\x1e"
    assert list(text_pairs.questions_within(system + text)) == [
        f"{system}q", f"{system}q\x1ea\x1er",
    ]  # fmt: skip
    assert list(text_pairs.questions_within(f"{system}q")) == []


def test_every_text_of_a_row_with_its_path():
    row = {"a": ["x", {"é": "y"}], "b": 3, "c": {"d": "z"}}
    assert text_pairs.texts_of(row) == [
        ("a[0]", "x"), ("a[1]", "é"), ("a[1].é", "y"), ("c.d", "z"),
    ]  # fmt: skip


def test_runs_are_counted_alike_in_short_texts_and_in_many():
    text = "-" * 40 + "ab" + "é" * 40
    assert text_pairs.measure([text]) == ([82], 42, 25)
    lengths, plain, repeated = text_pairs.measure([text] * 3000)  # enough for numpy
    assert (lengths, plain, repeated) == ([82] * 3000, 42 * 3000, 25 * 3000)

"""Formats as one another: what is carried over exactly, and what is refused with its reason."""

import gzip
import json
import subprocess
import sys
from codecs import BOM_UTF8

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.data import conversations as conversation
from tunepipe.data import conversion, formats
from tunepipe.data.conversations import convert_row
from tunepipe.data.turns import is_blank, just_text
from tunepipe.errors import DataError, UsageError
from tunepipe.validation.validate import validate

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda text: not is_blank(text)
)


ASKED = {"role": "user", "parts": [{"text": "q"}]}
SAID = {"role": "model", "parts": [{"text": "a"}]}


@st.composite
def conversations(draw, *, pair=False):
    if pair:
        turns = (just_text("user", draw(TEXT)), just_text("assistant", draw(TEXT)))
        return conversation.Conversation("", turns)
    rounds = draw(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
    turns = tuple(
        turn for q, a in rounds for turn in (just_text("user", q), just_text("assistant", a))
    )
    return conversation.Conversation(draw(st.just("") | TEXT), turns)


@settings(deadline=None, max_examples=60)
@given(conversations(), st.sampled_from(["palm-chat", "messages", "gemini"]))
def test_conversations_survive_every_chat_format(said, format):
    row = conversation.write(said, format)
    assert formats.detect_format(row) == format
    assert conversation.read(row, format) == said


@settings(deadline=None, max_examples=30)
@given(conversations(pair=True), st.permutations(sorted(set(formats.FORMATS) - {"preference"})))
def test_a_pair_goes_round_all_formats_unchanged(said, order):
    row, format = conversation.write(said, order[0]), order[0]
    first = row
    for to in [*order[1:], order[0]]:
        row, left_out = convert_row(row, format, to)
        format = to
        assert not left_out
        assert conversation.example(row, to).reference == said.turns[-1].parts[0]["text"]
    assert row == first


@settings(deadline=None, max_examples=30)
@given(conversations(), TEXT)
def test_a_preference_survives_from_either_shape(said, rejected):
    *turns, better = said.turns
    openai = {
        "input": conversation.write(
            conversation.Conversation(said.system, tuple(turns)), "messages"
        ),
        "preferred_output": [{"role": "assistant", "content": better.parts[0]["text"]}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }
    gemini, _ = convert_row(openai, "preference", "preference")
    assert conversation.read(gemini, "preference") == conversation.read(openai, "preference")
    assert conversation.example(gemini, "preference") == conversation.example(openai, "preference")
    plain, left_out = convert_row(gemini, "preference", "messages")
    assert left_out == ("the rejected answer",)
    assert plain == conversation.write(said, "messages")


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
FUNCTION = {"name": "rate", "arguments": '{"day":"mon"}'}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "call_1", "type": "function", "function": FUNCTION}],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "3"}
PICTURE = {"type": "image_url", "image_url": {"url": "gs://b/cat.png"}}
SCHEMA = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "type": {"type": "array", "items": {"type": "null"}}},
    "required": ["day"],
}


@pytest.mark.parametrize(
    ("messages", "to", "reason"),
    [
        ([{"role": "system", "content": "s"}, USER, ANSWER], "palm", "no place for one"),
        ([USER, ANSWER, USER, ANSWER], "prompt-completion", "more turns than a pair"),
        ([USER, {"role": "system", "content": "s"}, ANSWER], "gemini", "within the turns"),
        ([USER, {**ANSWER, "weight": 0}], "gemini", "a message has the weight 0"),
        ([USER, CALL], "palm", "a turn has several parts, or one that is not text"),
        ([USER, CALL, RESULT, ANSWER], "palm", "more turns than a pair"),
        ([USER, RESULT, ANSWER], "gemini", "answers a call that was not made"),
        ([USER, {**ANSWER, "name": "Ann"}], "gemini", "a message has name"),
        ([{"role": "user", "content": [PICTURE]}, ANSWER], "palm-chat", "not text"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, ANSWER],
         "gemini", "neither text"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}]},
          ANSWER], "gemini", "does not show its type"),
        ([USER, ANSWER, USER], "gemini", "the last turn is not the assistant's"),
        ([{"role": "system", "content": "s"}], "gemini", "the last turn is not the assistant's"),
        ([], "gemini", "the last turn is not the assistant's"),
        ([{"role": "robot", "content": "s"}, ANSWER], "gemini", "a role that is not known"),
        ([USER, {"role": "assistant", "content": None}], "gemini", "a message says nothing"),
        ([USER, {**CALL, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "["}}]}],
         "gemini", "messages[1].tool_calls[0].function.arguments: the text is not a JSON object"),
        ([USER, ANSWER], "preference", "no rejected answer"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_says_why(messages, to, reason):
    with pytest.raises(DataError) as caught:
        convert_row({"messages": messages}, "messages", to)
    assert reason in str(caught.value)


def test_tools_and_pictures_go_to_gemini_and_back():
    asked = {"role": "user", "content": [{"type": "text", "text": "see"}, PICTURE]}
    more = {"role": "assistant", "content": "on tuesday?"} | {
        "tool_calls": [
            {"id": f"call_{k}", "type": "function", "function": FUNCTION} for k in (2, 3)
        ]
    }
    answers = [
        {"role": "tool", "tool_call_id": f"call_{k}", "content": f'{{"rate":{k}}}'} for k in (2, 3)
    ]
    row = {
        "messages": [asked, CALL, RESULT, more, *answers, ANSWER],
        "tools": [{"type": "function", "function": {"name": "rate", "parameters": SCHEMA}}],
    }
    gemini, left_out = convert_row(row, "messages", "gemini")
    assert not left_out
    assert gemini["contents"][:3] == [
        {"role": "user", "parts": [
            {"text": "see"}, {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/cat.png"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "rate", "args": {"day": "mon"}}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "rate", "response": {"output": "3"}}}]},
    ]  # fmt: skip
    assert gemini["contents"][4]["parts"][1]["functionResponse"]["response"] == {"rate": 3}
    (declared,) = gemini["tools"][0]["functionDeclarations"]
    assert declared["parameters"]["type"] == "OBJECT"
    assert declared["parameters"]["properties"]["type"] == {
        "type": "ARRAY",
        "items": {"type": "NULL"},
    }
    back, left_out = convert_row(gemini, "gemini", "messages")
    assert (back, left_out) == (row, ())


def test_answers_out_of_order_stay_with_their_calls():
    days = ["mon", "tue"]
    calls = [
        {
            "id": day,
            "type": "function",
            "function": {"name": "f", "arguments": f'{{"day":"{day}"}}'},
        }
        for day in days
    ]
    answers = [{"role": "tool", "tool_call_id": day, "content": f"on {day}"} for day in days[::-1]]
    messages = [USER, {"role": "assistant", "tool_calls": calls}, *answers, ANSWER]
    row, _ = convert_row({"messages": messages}, "messages", "gemini")
    _, called, answered, _ = (content["parts"] for content in row["contents"])
    assert [part["functionCall"]["args"]["day"] for part in called] == days
    said = [part["functionResponse"]["response"]["output"] for part in answered]
    assert said == ["on mon", "on tue"]
    twice = [*messages[:2], answers[0], answers[0], ANSWER]
    with pytest.raises(DataError, match="or that has its answer"):
        convert_row({"messages": twice}, "messages", "gemini")


@pytest.mark.parametrize(
    "schema", [{"$ref": "#/$defs/x", "$defs": {"x": {"type": "string"}}},
               {"oneOf": [{"type": "string"}]}, {"type": ["string", "null"]}],
)  # fmt: skip
def test_a_schema_that_geminis_dialect_lacks_goes_as_json_schema(schema):
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    row, left_out = convert_row({"messages": [USER, ANSWER], "tools": tools}, "messages", "gemini")
    declared = {"name": "f", "parametersJsonSchema": schema}
    assert row["tools"] == [{"functionDeclarations": [declared]}]
    assert left_out == ()
    assert convert_row(row, "gemini", "messages")[0]["tools"] == tools


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"tools": [{"googleSearch": {}}]}, "tools[0].type is missing"),
        ({"tool_choice": "none"}, "it sets tool_choice"),
    ],
)  # fmt: skip
def test_what_cannot_be_declared_says_why(more, reason):
    with pytest.raises(DataError) as caught:
        convert_row({"messages": [USER, ANSWER]} | more, "messages", "gemini")
    assert reason in str(caught.value)


def test_a_picture_that_the_model_shows_has_no_place_in_messages():
    shown = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    row = {"contents": [ASKED, {"role": "model", "parts": [shown]}]}
    with pytest.raises(DataError, match="the assistant shows a file"):
        convert_row(row, "gemini", "messages")


def test_declared_tools_are_never_dropped_unsaid():
    schema = SCHEMA | {"additionalProperties": False}
    row = {"messages": [USER, ANSWER], "functions": [{"name": "f", "parameters": schema}]}
    for to in ("palm", "palm-chat"):
        with pytest.raises(DataError, match="tools"):
            convert_row(row, "messages", to)
    assert convert_row(row, "messages", "gemini")[1] == ("additionalProperties",)


@pytest.mark.parametrize(
    ("format", "row"),
    [
        ("palm", {"input_text": "q", "output_text": "a"}),
        ("messages", {"messages": [USER, ANSWER], "labels": {}, "parallel_tool_calls": False}),
        ("gemini", {"contents": [ASKED, SAID], "generationConfig": {}, "toolConfig": {}}),
        (
            "preference",
            {
                "contents": [ASKED],
                "labels": {},
                "completions": [{"score": 1, "completion": SAID}, {"score": 0, "completion": SAID}],
            },
        ),
    ],
)
def test_the_same_format_loses_only_what_its_service_does_not_know(format, row):
    assert convert_row(row, format, format) == (row, ())
    more = {"customer": "c1"} | row | {"day": "2026-11-25"}
    assert convert_row(more, format, format) == (row, ("customer", "day"))


THOUGHT = {"role": "model", "parts": [{"text": "t", "thought": True}, *SAID["parts"]]}
BOTH = {"role": "user", "parts": [{"text": "q"}, {"text": "q"}]}
BORDER = "the border between turns of one role"
SEARCH = {"tools": [{"googleSearch": {}}], "toolConfig": {}, "labels": {"a": "b"}}
SYSTEM = {"system_instruction": {"parts": [{"text": "s"}]}}


@pytest.mark.parametrize(
    ("format", "row", "changed", "left_out"),
    [
        ("gemini", {"contents": [ASKED, ASKED, SAID], **SEARCH, **SYSTEM},
         {"contents": [BOTH, SAID]}, (BORDER,)),
        ("gemini", {"contents": [ASKED, ASKED, THOUGHT]}, {"contents": [BOTH, SAID]},
         (BORDER, "thoughts")),
        ("gemini", {"contents": [ASKED, {**SAID, "role": "assistant"}], **SEARCH},
         {"contents": [ASKED, SAID]}, ()),
        ("gemini", {"contents": [{"role": "system", "parts": [{"text": "s"}]}, ASKED, SAID]},
         {"contents": [ASKED, SAID],
          "systemInstruction": {"role": "system", "parts": [{"text": "s"}]}}, ()),
        ("messages", {"messages": [USER, {"role": "bot", "content": "a"}], "labels": {}},
         {"messages": [USER, ANSWER]}, ()),
        ("preference", {"contents": [ASKED, ASKED], "completions": [
            {"score": 1, "completion": THOUGHT}, {"score": 0, "completion": SAID}]},
         {"contents": [BOTH]}, (BORDER, "thoughts")),
    ],
)  # fmt: skip
def test_turns_that_the_service_refuses_are_written_anew_and_nothing_else(
    format, row, changed, left_out
):
    assert convert_row(row, format, format) == (row | changed, left_out)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [({"weight": 0}, "a message has the weight 0"), ({"name": "Ann"}, "a message has name")],
)
def test_turns_that_cannot_be_written_anew_are_refused(answer, reason):
    row = {"messages": [USER, USER, ANSWER | answer, USER, ANSWER]}
    with pytest.raises(DataError, match=reason):
        convert_row(row, "messages", "messages")


def test_what_a_part_of_geminis_holds_is_never_lost_unsaid():
    file = {"mimeType": "image/png", "fileUri": "gs://b/a.png", "displayName": "cat"}
    row = {"contents": [{"role": "user", "parts": [{"text": "q"}, {"fileData": file}]}, SAID]}
    assert convert_row(row, "gemini", "messages")[1] == ("displayName",)
    assert convert_row(row, "gemini", "gemini") == (row, ())
    responded = {"name": "f", "response": {}, "will_continue": True, "parts": []}
    call = {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}
    row = {
        "contents": [
            ASKED,
            call,
            {"role": "user", "parts": [{"functionResponse": responded}]},
            SAID,
        ]
    }
    with pytest.raises(DataError, match="a function's response has willContinue"):
        convert_row(row, "gemini", "messages")
    del responded["will_continue"]
    assert len(convert_row(row, "gemini", "messages")[0]["messages"]) == 4


def test_roles_of_the_wild_are_read():
    row = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "s"}]},
            USER,
            {"role": "model", "content": "a", "weight": 1},
        ]
    }
    assert convert_row(row, "messages", "palm-chat")[0] == {
        "context": "s",
        "messages": [{"author": "user", "content": "q"}, {"author": "assistant", "content": "a"}],
    }


def test_a_file_is_converted_line_by_line_and_each_refusal_is_listed(tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"messages": [USER, ANSWER], "customer": 7}, {"messages": [USER, ANSWER] * 2}]
    lines = [*map(json.dumps, rows), "", "{", json.dumps(rows[0])]
    source.write_text("\n".join(lines), encoding="utf-8")
    report = conversion.convert(source, target, "palm")
    assert target.read_text() == '{"input_text":"q","output_text":"a"}\n' * 2
    assert report.as_json() == {
        "format": "messages",
        "to": "palm",
        "rows": 4,
        "written": 2,
        "refused_total": 2,
        "refused": [
            {
                "line": 2,
                "reason": "cannot be carried over: it has more turns than a pair, or tools",
            },
            {"line": 4, "reason": "the line is not a JSON object"},
        ],
        "left_out": {"customer": 2},
        "notes": [],
    }


def test_rows_that_have_the_format_stay_as_they_are(tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    tools = [{"type": "function", "function": {"name": "f"}}]
    row = {"messages": [USER, {**CALL, "audio": None}, RESULT, ANSWER], "tools": tools}
    source.write_text(json.dumps(row))
    assert conversion.convert(source, target, "messages").written == 1
    assert json.loads(target.read_text()) == row


def test_a_row_of_another_format_is_refused_and_not_emptied(tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = {"input_text": "q", "output_text": "a"}
    others = {"prompt": "q", "completion": "a"}, {"day": "2026-11-25"}
    source.write_text("\n".join(map(json.dumps, [good, *others])))
    report = conversion.convert(source, target, "palm")
    assert [json.loads(line) for line in target.read_text().splitlines()] == [good]
    reason = "cannot be carried over: it has not the fields of the format palm"
    assert report.refused == [{"line": line, "reason": reason} for line in (2, 3)]
    assert report.left_out == {}


@pytest.mark.parametrize(
    ("rows", "written", "refused"),
    [("q1,a1,\nq2,a2,\n", 2, []), ("q1,a1,n1\nq2,a2\n", 1, [2]), ("q1,a1\n\nq2,a2,n\n", 1, [4])],
)
def test_a_row_that_outgrows_the_header_is_refused_and_not_shifted(
    tmp_path, rows, written, refused
):
    path, target = tmp_path / "in.csv", tmp_path / "out.jsonl"
    path.write_text(f"input,output\n{rows}")
    report = conversion.convert(path, target, "palm")
    assert (report.written, [row["line"] for row in report.refused]) == (written, refused)
    path.write_text("input,output\nq1,a1,n1\nq2,a2,n2\n")
    with pytest.raises(DataError, match=r"in\.csv:2: the row has more cells than the header"):
        conversion.convert(path, target, "palm")


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_tables_come_in_with_their_columns_named(tmp_path, kind):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"q": ["NA", "007", 'a,"b"\nc\t'], "a": ["お茶", "x", "y"], "s": ["be kind", "", "s"]}
    )
    path, target = tmp_path / f"in.{kind}", tmp_path / "out.jsonl"
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    with pytest.raises(UsageError, match="There are 'q', 'a', 's'"):
        conversion.convert(path, target, "palm")
    columns = {"input_column": "q", "output_column": "a"}
    report = conversion.convert(path, target, "palm", **columns)
    expected = [
        {"input_text": q, "output_text": a} for q, a in zip(frame["q"], frame["a"], strict=True)
    ]
    assert (report.rows, report.written) == (3, 3)
    assert list(map(json.loads, target.read_text().splitlines())) == expected
    packed = tmp_path / f"in.{kind}.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert conversion.convert(packed, tmp_path / "packed", "palm", **columns) == report
    assert (tmp_path / "packed").read_bytes() == target.read_bytes()
    conversion.convert(path, target, "gemini", **columns, system_column="s")
    first, second, _ = map(json.loads, target.read_text().splitlines())
    assert first["systemInstruction"]["parts"] == [{"text": "be kind"}]
    assert "systemInstruction" not in second


@pytest.mark.parametrize(
    ("name", "mark"),
    [("in.jsonl", ","), ("in.txt", ";"), ("in.jsonl", "\t"), ("in", ","), ("in.jsonl", "parquet")],
)
@pytest.mark.parametrize("bom", [b"", BOM_UTF8])
def test_a_table_of_any_name_is_taken_for_what_it_holds(tmp_path, name, mark, bom):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"prompt": ["007", "お茶"], "completion": ["a, b; c", "x"]})
    path = tmp_path / name
    if mark == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        path.write_bytes(bom + frame.to_csv(index=False, sep=mark).encode())
    report = conversion.convert(path, tmp_path / "out", "palm")
    assert report.written == 2
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert rows[0] == {"input_text": "007", "output_text": "a, b; c"}


@pytest.mark.parametrize("indent", [None, 2])
def test_one_json_array_is_read_as_rows(tmp_path, indent):
    path, target = tmp_path / "rows.json", tmp_path / "out.jsonl"
    path.write_text(json.dumps([{"input_text": "q", "output_text": "a"}] * 2, indent=indent))
    report = conversion.convert(path, target, "palm")
    assert (report.format, report.written) == ("palm", 2)
    assert target.read_text() == '{"input_text":"q","output_text":"a"}\n' * 2
    path.write_text("[1]\n[2]\n")
    with pytest.raises(DataError):
        conversion.convert(path, target, "palm")


@pytest.mark.parametrize("between", [",\n", ",\r\n", "", " ", "\r"])
def test_objects_that_are_not_one_a_line_are_read_all_the_same(tmp_path, between):
    path, target = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_bytes(between.join(['{"input_text":"q","output_text":"a"}'] * 3).encode() + b"\n")
    assert validate([path]).counts == {"not-jsonl": 1}
    assert conversion.convert(path, target, "palm").written == 3
    assert target.read_text() == '{"input_text":"q","output_text":"a"}\n' * 3


@pytest.mark.parametrize(
    ("number", "reason"),
    [("NaN", "NaN is not a JSON value"), ("-Infinity", "-Infinity is not a JSON value"),
     ("1e999", "a number is too large"), ("9" * 5000, "a number has too many digits")],
)  # fmt: skip
def test_a_number_that_no_service_reads_is_named_in_every_kind_of_file(tmp_path, number, reason):
    path, target = tmp_path / "rows.json", tmp_path / "out.jsonl"
    row = f'{{"input_text": "q", "output_text": "a", "n": {number}}}'
    path.write_text(f"[{row}]")
    with pytest.raises(DataError, match=f"row 1: {reason}"):
        conversion.convert(path, target, "palm")
    path.write_text(row + "\n")
    (problem, *_) = validate([path]).problems
    assert (problem.code, problem.message) == ("not-json", reason)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("in.csv", "prompt,completion\nq\0,b\nq,a\n", "a text holds the character NUL"),
        ("in.json", '[{"prompt": "q\\u0000", "completion": "b"},{"prompt": "q","completion": "a"}]',
         "a text holds the character NUL"),
        ("in.json", '[{"prompt": "p", "prompt": "q", "completion": "b"},\n'
         '{"prompt": "q", "completion": "a"}]', "the key prompt occurs twice in an object"),
    ],
)  # fmt: skip
def test_a_row_of_any_file_is_refused_as_its_line_would_be(tmp_path, name, content, reason):
    (tmp_path / name).write_text(content)
    report = conversion.convert(tmp_path / name, tmp_path / "out", "palm")
    assert [row["reason"] for row in report.refused] == [reason]
    assert (tmp_path / "out").read_text() == '{"input_text":"q","output_text":"a"}\n'


def test_a_row_that_utf8_cannot_hold_is_refused_like_any_other(tmp_path):
    path, target = tmp_path / "rows.json", tmp_path / "out.jsonl"
    good = {"input_text": "q", "output_text": "a"}
    path.write_text(json.dumps([good, {**good, "input_text": "\ud800"}, good]))
    report = conversion.convert(path, target, "messages")
    assert (report.rows, report.written) == (3, 2)
    assert report.refused == [{"line": 2, "reason": "a text holds half of a surrogate pair"}]


def test_a_notebook_writes_its_frame(tmp_path):
    pandas = pytest.importorskip("pandas")
    target = tmp_path / "out.jsonl"
    frame = pandas.DataFrame(
        {"q": ["1", "2", ""], "a": ["x", "y", "z"], "s": ["be kind", "", "s"], "n": [1.5, None, 2]}
    )
    rows = frame.to_dict("records")
    names = {"input_column": "q", "output_column": "a", "system_column": "s"}
    report = conversion.convert(rows, target, "messages", **names)
    assert report.refused == [
        {"line": 3, "reason": "cannot be carried over: the field 'q' is empty"}
    ]
    assert report.left_out == {"n": 2}
    written = [json.loads(line)["messages"] for line in target.read_text().splitlines()]
    roles = [[turn["role"] for turn in turns] for turns in written]
    assert roles == [["system", "user", "assistant"], ["user", "assistant"]]
    report = conversion.convert(rows, target, "palm", input_column="q", output_column="n")
    assert report.refused[0]["reason"] == (
        "cannot be carried over: the field 'n' holds no text (float)"
    )
    frame = pandas.DataFrame({"input_text": ["q", "r"], "output_text": ["a", None], "tag": [1, 2]})
    report = conversion.convert(frame, target, "messages")
    assert (report.written, report.left_out) == (1, {"tag": 1})
    assert "output_text is missing" in report.refused[0]["reason"]
    with pytest.raises(UsageError, match="no column 'z'"):
        conversion.convert(rows, target, "palm", input_column="z", output_column="a")
    with pytest.raises(TypeError, match="delimitr"):
        conversion.convert(rows, target, "palm", delimitr=";")


@pytest.mark.parametrize(
    ("name", "content", "to", "kind", "said"),
    [
        ("in.jsonl", "", "palm", DataError, "there is no row"),
        ("in.jsonl", "{}", "palm", DataError, "no row has the fields"),
        ("in.jsonl", "{'a': 1}", "palm", DataError, r"in\.jsonl:1: the line is not"),
        ("in.jsonl", "{}", "psalm", UsageError, "unknown format 'psalm'"),
        ("in.csv", "", "palm", UsageError, "cannot be read as a table"),
        ("in.parquet", "x", "palm", UsageError, "cannot be read as a table"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, name, content, to, kind, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(kind, match=said):
        conversion.convert(tmp_path / name, tmp_path / "out.jsonl", to)
    assert not (tmp_path / "out.jsonl").exists()


TABLE = "input_text;output_text\n" + "é;x\n" * 9


@pytest.mark.parametrize(
    ("content", "options", "kind", "said"),
    [
        (TABLE, {"delimiter": ";;"}, UsageError, "delimiter: ';;' is not one character"),
        (TABLE, {"encoding": "cp0"}, UsageError, "encoding: unknown encoding 'cp0'"),
        (TABLE, {"encoding": "ascii"}, DataError, "the bytes after line [0-9]+ are not .*ascii"),
    ],
)
def test_a_table_that_is_not_what_the_options_say_is_refused(
    tmp_path, content, options, kind, said
):
    (tmp_path / "in.csv").write_text(content, encoding="utf-8")
    with pytest.raises(kind, match=f"(?i){said}"):
        conversion.convert(tmp_path / "in.csv", tmp_path / "out.jsonl", "palm", **options)
    assert not (tmp_path / "out.jsonl").exists()


def test_neither_formats_nor_conversion_imports_pandas():
    program = (
        "import sys; from tunepipe.data import conversion, formats\n"
        "assert conversion and formats and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


LARGE = 40_000_000
LONG = b'{"prompt":"q","completion":"' + b"a" * 2000 + b'"},\n'


@pytest.mark.parametrize(
    ("name", "content", "written", "found"),
    [
        ("row.json", b'[{"prompt":"q","completion":"a"},{"prompt":"%s","completion":"b"}]', None,
         "the file is not whole JSON after row 1, or the next row has more than 32 MiB"),
        ("rows.json", b"[" + LONG * 30_000 + b"{}]", 30_000, ""),
        ("row.jsonl", b'{"prompt":"q","completion":"a"}\n{"prompt":"%s","completion":"b"}', 1, ""),
        ("cell.csv", b'prompt,completion\nq,a\n"%s",b\n', None,
         "cell.csv:3: the line has more than 16,777,216 characters"),
    ],
)  # fmt: skip
def test_memory_is_bounded_however_long_a_row_or_an_array_is(
    tmp_path, name, content, written, found
):
    path = tmp_path / name
    path.write_bytes(content.replace(b"%s", b"x" * LARGE))
    program = (
        "import sys\n"
        "from tunepipe.data.conversion import convert\n"
        "try: print(convert(sys.argv[1], sys.argv[2], 'messages').written)\n"
        "except Exception as error: print(error)\n"
        "status = open('/proc/self/status').read()\n"
        "print(status.partition('VmHWM:')[2].split()[0])"
    )
    command = [sys.executable, "-c", program, str(path), str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, peak = done.stdout.splitlines()
    assert found in lines[0]
    assert written is None or lines == [str(written)]
    assert int(peak) < 128 * 1024


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("indent", [None, 1, "lines"])
def test_json_is_read_alike_wherever_a_row_is_cut(tmp_path, indent, encoding):
    sizes = (1, 700_000, 3, 2_500_000, 400_000)  # a mebibyte is read at a time
    rows = [{"prompt": f'日本 \\ " {n}', "completion": "é" * n} for n in sizes]
    text = json.dumps(rows, indent=indent) if indent != "lines" else ""
    text = text or "\n".join(json.dumps(row, indent=2, ensure_ascii=False) for row in rows)
    path, target = tmp_path / "in.json", tmp_path / "out.jsonl"
    path.write_bytes(text.encode(encoding))
    report = conversion.convert(path, target, "prompt-completion")
    assert [json.loads(line) for line in target.read_text().splitlines()] == rows
    assert report.refused == []

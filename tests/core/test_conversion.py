"""Formats as one another: what is carried over exactly, and what is refused with its reason."""

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.core import conversation, conversion, formats
from tunepipe.core.errors import DataError, UsageError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@st.composite
def conversations(draw, *, pair=False):
    if pair:
        return conversation.Conversation("", (("user", draw(TEXT)), ("assistant", draw(TEXT))))
    rounds = draw(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
    turns = tuple(turn for q, a in rounds for turn in (("user", q), ("assistant", a)))
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
        row, left_out = conversion.converted(row, format, to)
        format = to
        assert not left_out
        assert formats.example(row, to).reference == said.turns[-1][1]
    assert row == first


@settings(deadline=None, max_examples=30)
@given(conversations(), TEXT)
def test_a_preference_survives_from_either_shape(said, rejected):
    *turns, better = said.turns
    openai = {
        "input": conversation.write(
            conversation.Conversation(said.system, tuple(turns)), "messages"
        ),
        "preferred_output": [{"role": "assistant", "content": better[1]}],
        "non_preferred_output": [{"role": "assistant", "content": rejected}],
    }
    gemini, _ = conversion.converted(openai, "preference", "preference")
    assert conversation.read(gemini, "preference") == conversation.read(openai, "preference")
    assert formats.example(gemini, "preference") == formats.example(openai, "preference")
    plain, left_out = conversion.converted(gemini, "preference", "messages")
    assert left_out == ("the answer turned down",)
    assert plain == conversation.write(said, "messages")


USER, ANSWER = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
CALL = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {}}]}


@pytest.mark.parametrize(
    ("messages", "to", "reason"),
    [
        ([{"role": "system", "content": "s"}, USER, ANSWER], "palm", "no place for one"),
        ([USER, ANSWER, USER, ANSWER], "prompt-completion", "more turns than a pair"),
        ([USER, {"role": "system", "content": "s"}, ANSWER], "gemini", "within the turns"),
        ([USER, {**ANSWER, "weight": 0}], "gemini", "a message has a weight"),
        ([USER, CALL], "gemini", "the assistant calls a tool"),
        ([USER, {"role": "tool", "content": "3"}, ANSWER], "gemini", "a tool answers in it"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, ANSWER],
         "gemini", "not text"),
        ([USER, ANSWER, USER], "gemini", "the last turn is not the assistant's"),
        ([{"role": "system", "content": "s"}], "gemini", "the last turn is not the assistant's"),
        ([], "gemini", "the row is not of the format messages"),
        ([{"role": "robot", "content": "s"}, ANSWER], "gemini", "not of the format messages"),
        ([USER, {"role": "assistant", "content": None}], "gemini", "not of the format messages"),
        ([USER, ANSWER], "preference", "no answer that is turned down"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_says_why(messages, to, reason):
    with pytest.raises(DataError) as caught:
        conversion.converted({"messages": messages}, "messages", to)
    assert reason in str(caught.value)


def test_declared_tools_are_never_dropped():
    row = {"messages": [USER, ANSWER], "tools": []}
    with pytest.raises(DataError, match="it declares tools"):
        conversion.converted(row, "messages", "gemini")


def test_roles_of_the_wild_are_read():
    row = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "s"}]},
            USER,
            {"role": "model", "content": "a", "weight": 1},
        ]
    }
    assert conversion.converted(row, "messages", "palm-chat")[0] == {
        "context": "s",
        "messages": [{"author": "user", "content": "q"}, {"author": "assistant", "content": "a"}],
    }


def test_a_file_is_converted_line_by_line_and_each_refusal_is_listed(tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [{"messages": [USER, ANSWER], "customer": 7}, {"messages": [USER, CALL]}]
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
            {"line": 2, "reason": "cannot be carried over: the assistant calls a tool"},
            {"line": 4, "reason": "the line is not a JSON object in UTF-8"},
        ],
        "left_out": {"customer": 2},
    }


def test_rows_that_have_the_format_stay_as_they_are(tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    row = {"messages": [USER, CALL, {"role": "tool", "content": "3"}, ANSWER], "tools": [{}]}
    source.write_text(json.dumps(row))
    assert conversion.convert(source, target, "messages").written == 1
    assert json.loads(target.read_text()) == row


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
    with pytest.raises(UsageError, match="There are q, a, s"):
        conversion.convert(path, target, "palm")
    columns = {"input_column": "q", "output_column": "a"}
    report = conversion.convert(path, target, "palm", **columns)
    expected = [
        {"input_text": q, "output_text": a} for q, a in zip(frame["q"], frame["a"], strict=True)
    ]
    assert (report.rows, report.written) == (3, 3)
    assert list(map(json.loads, target.read_text().splitlines())) == expected
    conversion.convert(path, target, "gemini", **columns, system_column="s")
    first, second, _ = map(json.loads, target.read_text().splitlines())
    assert first["systemInstruction"]["parts"] == [{"text": "be kind"}]
    assert "systemInstruction" not in second


def test_a_notebook_writes_its_frame(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"q": ["1", "2"], "a": ["x", "y"], "n": [1, None]})
    rows = formats.from_dataframe(frame, "q", "a")
    report = conversion.write_rows(rows, tmp_path / "out.jsonl", "messages")
    assert (report.format, report.to, report.written) == ("palm", "messages", 2)
    with pytest.raises(DataError, match="column 'n', row 1: the cell holds no text"):
        formats.from_dataframe(frame, "q", "n")
    with pytest.raises(UsageError, match="no column 'z'"):
        formats.from_dataframe(frame, "z", "a")


@pytest.mark.parametrize(
    ("name", "content", "to", "kind", "said"),
    [
        ("in.jsonl", "", "palm", DataError, "there is no row"),
        ("in.jsonl", "{}", "palm", DataError, "no row has the fields"),
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


def test_neither_formats_nor_conversion_imports_pandas():
    program = (
        "import sys; from tunepipe.core import conversion, formats\n"
        "assert conversion and formats and 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

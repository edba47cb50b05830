"""Predictions files: what is written is read back, and a bad line is named."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data import predictions
from tunepipe.data.conversations import Example
from tunepipe.data.predictions import Prediction
from tunepipe.errors import UsageError

texts = st.text(st.characters(codec="utf-8"))
rows = st.builds(
    Prediction,
    *(texts, texts, texts, st.none() | texts, texts),
    group=texts,
    hash=texts,
    answer=st.integers(0, 9),
    seconds=st.none() | st.floats(0, 1e6),
    output_tokens=st.none() | st.integers(0, 10**6),
    fields=st.dictionaries(st.sampled_from(["language", "topic"]), texts | st.integers()),
)
GOOD = '{"id": "a", "input": "i", "reference": "r", "prediction": "p"}'


@settings(deadline=None, max_examples=30)
@given(st.lists(rows, min_size=1, unique_by=lambda row: row.key))
def test_what_is_written_is_read_back(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("rows") / "predictions.jsonl"
    assert predictions.write(written, path) == len(written)
    assert predictions.read(path) == written


def test_a_row_is_one_object_with_the_contracts_keys():
    assert json.loads(predictions.encode(Prediction("a", "i", "r", "p"))) == {
        "id": "a",
        "input": "i",
        "reference": "r",
        "prediction": "p",
    }


def test_an_unanswered_row_says_why():
    row = Prediction("a", "i", "r", None, error="quota")
    assert json.loads(predictions.encode(row))["prediction"] is None
    assert predictions.decode(predictions.encode(row)) == row


def test_half_a_surrogate_pair_is_replaced_and_a_pair_split_in_two_is_joined():
    row = Prediction("a", "x\ud83d", "r", "\ud83d\ude00")
    back = predictions.decode(predictions.encode(row))
    assert (back.input, back.prediction) == ("x\ufffd", "😀")


def test_blank_lines_are_skipped_and_other_fields_are_kept(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b'\r\n\n{"id": "b", "reference": "",')
    with path.open("ab") as file:
        file.write(b' "prediction": "", "extra": 1}\n \n')
    assert predictions.read(path) == [
        Prediction("a", "i", "r", "p"),
        Prediction("b", "", "", "", fields={"extra": 1}),
    ]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"{", "the line is not JSON (Expecting property name enclosed in double quotes)"),
        (b"[" * 100_000, "the line is not JSON (RecursionError)"),
        (b'{"id": "b"} x', "the line is not JSON (Extra data)"),
        (b'{"id": "\xff"}', "the bytes from byte 9 of the line are not UTF-8"),
        (b"[1]", "the line is not a JSON object"),
        (
            GOOD.replace('"a"', '"b", "reference": "x"').encode(),
            "the key reference occurs twice in an object",
        ),
        (b'{"reference": "r", "prediction": "p"}', "the field id is missing"),
        (b'{"id": "b", "prediction": "p"}', "the field reference is missing"),
        (b'{"id": "b", "reference": "r"}', "the field prediction is missing"),
        (b'{"id": 1.5, "reference": "r", "prediction": "p"}', "the field id is not a string"),
        (b'{"id": true, "reference": "r", "prediction": "p"}', "the field id is not a string"),
        (b'{"id": "b", "reference": {}, "prediction": "p"}', "the field reference is not a string"),
        (b'{"id": "b", "reference": "r", "prediction": 1}', "the field prediction is not a string"),
        (b'{"id": "b", "input": null, "reference": "r", "prediction": "p"}', "the field input"),
        (GOOD.encode(), "this id is already used on line 1"),
    ],
)
def test_a_bad_line_is_named_and_not_quoted(tmp_path, line, found):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(GOOD.encode() + b"\n\n" + line + b"\n")
    with pytest.raises(UsageError) as error:
        predictions.read(path)
    assert error.value.found.startswith(found)
    assert error.value.where == f"{path}, line 3"
    assert error.value.fix


def test_several_answers_of_a_row_have_numbers(tmp_path):
    path = tmp_path / "predictions.jsonl"
    answers = [Prediction("a", "i", "r", "p", answer=number) for number in range(3)]
    predictions.write(answers, path)
    assert predictions.read(path) == answers


@pytest.mark.parametrize("value", [-1, True, "1", float("nan")])
def test_a_measurement_is_a_number_of_zero_or_more(value):
    line = json.dumps(json.loads(GOOD) | {"seconds": value})
    with pytest.raises(UsageError, match="seconds is not a number of 0 or more"):
        predictions.decode(line)


def test_numbers_that_are_not_known_are_left_out_and_an_answers_number_is_whole():
    row = json.loads(GOOD) | {"seconds": None, "answer": 2.0, "input_tokens": 0.5, "group": 7}
    found = predictions.decode(json.dumps(row))
    assert found == Prediction("a", "i", "r", "p", group="7", answer=2, input_tokens=0.5)
    assert isinstance(found.answer, int)
    assert (found.label, predictions.decode(GOOD).label) == ("a, answer 3", "a")


def test_a_line_in_another_encoding_names_it():
    with pytest.raises(UsageError) as caught:
        predictions.decode('{"id": "é"}'.encode("cp1252"))
    assert caught.value.fix == "save the file as UTF-8"


@pytest.mark.parametrize(
    ("content", "found", "fix"),
    [
        (GOOD.encode("utf-16"), "the file is UTF-16", "write one JSON object a line, in UTF-8"),
        (f"[{GOOD}]".encode(), "the file is one JSON array",
         "write one JSON object a line, in UTF-8"),
        (b"id,reference\n1,a\n", "the file is CSV, a table of separated values",
         "write one JSON object a line, in UTF-8"),
        (b"version https://git-lfs", "the file is a Git LFS pointer, not the data", "git lfs pull"),
    ],
)  # fmt: skip
def test_convert_is_no_fix_for_a_predictions_file(tmp_path, content, found, fix):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        predictions.read(path)
    assert (caught.value.found, caught.value.fix) == (found, fix)


def test_optional_texts_that_are_null_are_not_there():
    row = json.loads(GOOD) | {"group": None, "hash": None, "error": None}
    assert predictions.decode(json.dumps(row)) == Prediction("a", "i", "r", "p")


def test_fields_that_can_name_a_slice():
    turns = [{"role": "user", "content": text} for text in ("first", "last")]
    fields = {
        "language": "en", "day": 3, "vip": True, "share": 0.5, "tags": ["x"], "hash": "h",
        "seconds": 4, "asked": "last", "said": "right", "before": "first",
        "long": "x" * 100, "longer": "x" * 101,
    }  # fmt: skip
    named = predictions.short_fields(Example(1, tuple(turns), "right", fields=fields))
    assert named == {
        "language": "en", "day": 3, "vip": True, "before": "first", "long": "x" * 100,
    }  # fmt: skip
    assert predictions.short_fields(Example(1, (), "right", fields={"a": "b"})) == {"a": "b"}


def test_a_line_too_long_to_be_read_is_named(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + b" " * (LINE_BYTES_MAX + 1) + b"\n")
    with pytest.raises(UsageError) as caught:
        predictions.read(path)
    assert (caught.value.found, caught.value.where) == (
        "the line has 33554433 bytes; lines of up to 32 MiB are read", f"{path}, line 2",
    )  # fmt: skip


def test_a_number_may_stand_as_id():
    line = '{"id": 12, "reference": "r", "prediction": "p"}'
    assert predictions.decode(line).id == "12"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_rows_is_refused(tmp_path, content):
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="holds no row"):
        predictions.read(path)


def test_a_missing_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        predictions.read(tmp_path / "none.jsonl")


def test_nothing_is_left_behind_when_the_rows_break_off(tmp_path):
    def broken():
        yield Prediction("a", "i", "r", "p")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        predictions.write(broken(), tmp_path / "predictions.jsonl")
    assert list(tmp_path.iterdir()) == []

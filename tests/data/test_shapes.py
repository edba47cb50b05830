"""What people bring: the shapes of public datasets, tables of every make, and what is lost."""

import json
from pathlib import Path

import pytest

from tests import defects
from tunepipe.data import formats
from tunepipe.data.conversion import convert
from tunepipe.data.predictions import read as read_predictions
from tunepipe.data.rows import read_examples
from tunepipe.data.shapes import detect_shape
from tunepipe.data.tables import flattened
from tunepipe.errors import DataError, UsageError
from tunepipe.splitting.split import split
from tunepipe.validation.validate import validate

CASES = Path(__file__).parents[1] / "fixtures" / "cases"
FRUITS = [
    {"input_text": "Translate to French\n\ngood morning", "output_text": "bonjour"},
    {"input_text": "Name three fruits", "output_text": "apple, pear, fig"},
]
QUESTION, ANSWER = "Where is parcel 7?", "It is in Osaka."
PAIR = {"input_text": QUESTION, "output_text": ANSWER}
DISLIKED = {
    "contents": [{"role": "user", "parts": [{"text": QUESTION}]}],
    "completions": [
        {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
        for score, text in ((1.0, ANSWER), (0.0, "Dunno."))
    ],
}


def converted(path: Path, tmp_path: Path, to: str, **options):
    report = convert(path, tmp_path / "out.jsonl", to, **options)
    return report, [json.loads(line) for line in (tmp_path / "out.jsonl").open()]


@pytest.mark.parametrize(
    ("name", "to", "expected", "notes"),
    [
        ("alpaca_csv_drops_instruction.csv", "palm", FRUITS, "Alpaca (instruction, output)"),
        ("alpaca_json_no_reading.json", "palm", FRUITS, "Alpaca (instruction, output)"),
        (
            "trl_preference_read_as_pair.jsonl",
            "preference",
            [DISLIKED],
            "TRL preference (chosen, rejected)",
        ),
        ("prompt_response.jsonl", "palm", [PAIR], "pairs (prompt, response)"),
    ],
)
def test_a_known_shape_is_read_and_named(tmp_path, name, to, expected, notes):
    report, rows = converted(CASES / name, tmp_path, to)
    assert rows == expected
    assert (report.refused, report.left_out) == ([], {})
    to = "preference" if "TRL" in notes else "messages"
    assert report.notes == [f"rows of the shape {notes} were read as {to}"]


SHAREGPT = {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}
USER, SAID = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
WORSE = {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
LIKED = {
    "systemInstruction": {"role": "system", "parts": [{"text": "s"}]},
    "contents": [{"role": "user", "parts": [{"text": "q"}]}],
    "completions": [
        {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
        for score, text in ((1.0, "a"), (0.0, "b"))
    ],
}


@pytest.mark.parametrize(
    ("row", "to", "expected", "left_out"),
    [
        ({"conversations": [{"from": "system", "value": "s"}, *SHAREGPT], "id": 7}, "messages",
         {"messages": [{"role": "system", "content": "s"}, USER, SAID]}, {"id": 1}),
        ({"conversation": [USER, SAID]}, "palm", {"input_text": "q", "output_text": "a"}, {}),
        ({"instruction": "q", "output": "a", "system": "s", "history": [["x", "y"]]}, "palm-chat",
         {"context": "s", "messages": [
             {"author": "user", "content": "x"}, {"author": "assistant", "content": "y"},
             {"author": "user", "content": "q"}, {"author": "assistant", "content": "a"}]}, {}),
        ({"chosen": [USER, SAID], "rejected": [USER, WORSE]}, "palm",
         {"input_text": "q", "output_text": "a"}, {"the rejected answer": 1}),
        ({"prompt": [USER], "chosen": [SAID], "rejected": [WORSE]}, "messages",
         {"messages": [USER, SAID]}, {"the rejected answer": 1}),
        ({"text": "spam!", "label": 1}, "palm", {"input_text": "spam!", "output_text": "1"}, {}),
        ({"question": "q", "answer": "a", "source": "web", "score": None}, "palm",
         {"input_text": "q", "output_text": "a"}, {"source": 1}),
        ({"Question": "q", "Answer": "a"}, "palm", {"input_text": "q", "output_text": "a"}, {}),
        ({"conversations": [{**SHAREGPT[0], "weight": 0, "markdown": "x", "text": None},
                            {**SHAREGPT[1], "weight": 1}]}, "messages",
         {"messages": [USER | {"weight": 0}, SAID | {"weight": 1}]},
         {"conversations[].markdown": 1}),
        ({"instruction": "q", "input": None, "output": "a", "history": None, "system": None},
         "palm", {"input_text": "q", "output_text": "a"}, {}),
        ({"messages": [USER, SAID], "system": "s", "id": 7}, "messages",
         {"messages": [SYSTEM, USER, SAID]}, {"id": 1}),
        ({"prompt": "q", "completion": "a", "system": "s"}, "messages",
         {"messages": [SYSTEM, USER, SAID]}, {}),
        ({"prompt": "q", "completion": "a", "messages": None, "chosen": None, "rejected": None,
          "input_text": None}, "messages", {"messages": [USER, SAID]}, {}),
        *((row | {"chosen": "a", "rejected": "b"}, "preference", LIKED, {}) for row in (
            {"question": "q", "system": "s"}, {"instruction": "q", "input": "", "system": "s"},
            {"input": "q", "system_prompt": "s"}, {"prompt": [SYSTEM, USER]},
            {"prompt": "q", "system": "s", "instruction": None})),
        ({"prompt": "q", "chosen": [SYSTEM, USER, SAID], "rejected": [SYSTEM, USER, WORSE],
          "score_chosen": 8.5}, "preference", LIKED, {"score_chosen": 1}),
    ],
)  # fmt: skip
def test_shapes_of_public_datasets(tmp_path, row, to, expected, left_out):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row) + "\n")
    report, rows = converted(path, tmp_path, to)
    assert (rows, report.refused, report.left_out) == ([expected], [], left_out)


NO_PAIRS = "the field history is not a list of pairs of texts"
NOT_ONE = "chosen and rejected are not one answer each to the same prompt"
NO_MESSAGES = "prompt, chosen or rejected is neither a text nor a list of messages"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        *(({"instruction": "q", "output": "a", "history": history}, NO_PAIRS)
          for history in ("x", [["x"]], [["x", 3]], ["xy"])),
        ({"chosen": [USER], "rejected": [USER]}, NOT_ONE),
        ({"chosen": "a", "rejected": "b"}, NOT_ONE),
        ({"prompt": "q", "chosen": [SAID, SAID], "rejected": "b"}, NOT_ONE),
        ({"prompt": "q", "chosen": "a", "rejected": []}, NOT_ONE),
        ({"prompt": "other", "chosen": [USER, SAID], "rejected": [USER, WORSE]}, NOT_ONE),
        ({"messages": [SYSTEM, USER, SAID], "system": "s"},
         "a system instruction is within the turns"),
        ({"prompt": "q", "chosen": ["a"], "rejected": "b"}, NO_MESSAGES),
        ({"prompt": "q", "chosen": 3, "rejected": "b"}, NO_MESSAGES),
        ({"conversations": ["x"]}, "conversations[0] is not an object"),
        ({"conversation": [SHAREGPT[0], {"from": "gpt", "value": 7}]},
         "conversation[1] holds no text"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_have_its_whole_shape_says_why(tmp_path, row, reason):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row) + "\n")
    report, rows = converted(path, tmp_path, "preference" if "chosen" in row else "messages")
    assert (rows, report.refused) == (
        [], [{"line": 1, "reason": f"cannot be carried over: {reason}"}],
    )  # fmt: skip


def test_a_preference_with_tools_and_a_long_prompt_is_carried_whole(tmp_path):
    path = tmp_path / "in.jsonl"
    tools = [{"type": "function", "function": {"name": "f"}}]
    before = [USER, SAID, USER]
    row = {"chosen": [*before, SAID], "rejected": [*before, WORSE], "tools": tools}
    path.write_text(f"{json.dumps(row)}\n{json.dumps(row | {'tools': 'x'})}\n")
    report, (first, second) = converted(path, tmp_path, "preference")
    assert report.refused == []
    assert first.pop("tools") == [{"functionDeclarations": [{"name": "f"}]}]
    assert first == second
    assert [turn["parts"][0]["text"] for turn in first["contents"]] == ["q", "a", "q"]
    answers = [scored["completion"]["parts"][0]["text"] for scored in first["completions"]]
    assert answers == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "description", "fix"),
    [
        ({"chosen": 1, "rejected": 2}, "TRL preference (chosen, rejected)", "preference"),
        ({"conversations": []}, "ShareGPT (conversations)", "messages"),
        ({"conversation": []}, "ShareGPT (conversations)", "messages"),
        ({"instruction": 1, "output": 2}, "Alpaca (instruction, output)", "messages"),
        ({"prompt": 1, "response": 2}, "pairs (prompt, response)", "messages"),
        ({"User": 1, "Assistant": 2}, "pairs (User, Assistant)", "messages"),
        ({"text": 1, "label": 2}, "pairs (text, label)", "messages"),
        ({"messages": [], "system": "s"}, "system apart (system, messages)", "messages"),
        ({"prompt": "q", "completion": 2, "system": "s"}, "pairs (prompt, completion)", "messages"),
        *((row, "", "") for row in (
            {"chosen": 1}, {"conversations": "x"}, {"prompt": 1, "completion": 2}, {"label": 1},
            {"question": 1}, {"Instruction": 1, "Output": 2}, {"messages": [], "text": 1},
            {"messages": [], "system": " "}, {"prompt": [], "completion": [], "system": "s"},
            {"prompt": 1, "completion": 2, "label": 1}, {"chosen": 1, "rejected": None},
            {"input_text": 1, "system": "s"}, {"contents": [], "system": "s"},
        )),
    ],
)  # fmt: skip
def test_the_shape_of_a_row_and_what_is_advised(row, description, fix):
    shape = detect_shape(row)
    if not description:
        assert shape is None
        return
    assert shape.description == description
    command = f"tunepipe convert IN OUT --to {fix} reads it"
    assert shape.advice() == (
        f"the row has the shape {description}, which no service reads",
        command,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "description", "fix", "reason"),
    [
        ({"text": "all of it"}, "text (text)",
         "write what is asked and what is answered into two fields: prompt, completion",
         "the row is one text without a question and an answer"),
        ({"prompt": "q", "completion": "a", "label": False},
         "TRL unpaired preference (prompt, completion, label)",
         "keep the good completions: jq -c 'select(.label) | del(.label)' IN > OUT",
         "the row has a label that says whether its completion is good"),
    ],
)  # fmt: skip
def test_a_shape_that_no_format_holds_is_refused_with_its_fix(
    tmp_path, row, description, fix, reason
):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError) as caught:
        list(read_examples(path))
    said = f"the row has the shape {description}, which no service reads"
    assert (caught.value.found, caught.value.fix) == (said, fix)
    (problem, *_) = validate([path]).problems
    assert (problem.message, problem.fix) == (said, fix)
    report, _ = converted(path, tmp_path, "palm")
    assert (report.refused, report.notes) == ([{"line": 1, "reason": reason}], [])


@pytest.mark.parametrize(
    "row", [{"messages": [USER, SAID]}, {"prompt": "q", "completion": "a"}, PAIR]
)
def test_no_one_is_advised_to_remove_a_system_instruction_that_can_be_read(tmp_path, row):
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row | {"system": "s"}) + "\n")
    fixes = {problem.field: problem.fix for problem in validate([path]).problems}
    read = "tunepipe convert IN OUT --to messages makes it the system turn"
    removed = "remove the field: the service does not know it"
    assert fixes["system"] == (removed if "input_text" in row else read)


def test_a_dataset_of_a_known_shape_is_refused_with_its_command(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"a": 1}\n{"instruction": "q", "output": "a"}\n')
    with pytest.raises(DataError) as caught:
        list(read_examples(path))
    assert (caught.value.found, caught.value.where, caught.value.fix) == (
        "the row has the shape Alpaca (instruction, output), which no service reads",
        str(path), "tunepipe convert IN OUT --to messages reads it",
    )  # fmt: skip


def test_rows_that_fit_no_shape_are_listed_and_lose_no_other(tmp_path):
    path = tmp_path / "in.jsonl"
    rows = [
        {"conversations": list(SHAREGPT)},
        {"conversations": [{"from": "robot", "value": "q"}]},
        {"conversations": [{"from": "human", "value": 7}]},
        {"conversations": "x"},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": " "}]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    report, rows = converted(path, tmp_path, "palm")
    assert rows == [{"input_text": "q", "output_text": "a"}]
    assert [row["line"] for row in report.refused] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"a": "q", "b": "a"}], "which columns hold input and output"),
        ([{"Instruction": "q", "Input": "i", "Output": "a"}], "which columns hold input"),
        ([{"t": {"en": "q"}, "u": {"fr": "a"}}], "There are 't.en', 'u.fr'"),
    ],
)
def test_what_has_no_meaning_is_said_with_its_fix(tmp_path, rows, said):
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=said):
        converted(path, tmp_path, "palm")
    names = list(flattened(rows[0]))
    columns = {"input_column": names[0], "output_column": names[-1]}
    report, found = converted(path, tmp_path, "palm", **columns)
    assert (report.written, len(found)) == (1, 1)


@pytest.mark.parametrize(
    ("name", "content", "options", "expected", "refused", "notes"),
    [
        # A header that is not seen to be one is believed where the name or an option says so.
        ("in.tsv", "what?\thow!\nq\ta\n", {"input_column": "what?", "output_column": "how!"},
         [("q", "a")], [], ["the columns are separated by '\\t'"]),
        ("in.csv", "what?,how!\nq,a\n", {"input_column": "what?", "output_column": "how!"},
         [("q", "a")], [], []),
        ("in.txt", "what?;how!\nq;a\n",
         {"input_column": "what?", "output_column": "how!", "delimiter": ";"},
         [("q", "a")], [], []),
        ("in.csv", "prompt,completion,\nq,a\nr\n,s,t\n\nu,v,w\n", {}, [("q", "a")],
         [(3, "cannot be carried over: completion is missing"),
          (4, "the row has more cells than the header names"),
          (6, "the row has more cells than the header names")], []),
        ("in.csv", "note,prompt,completion\n,q,a\n", {}, [("q", "a")], [], []),
        ("in.csv", "Title\n\nprompt,completion\nq,a\nr\n", {"skip_lines": 2}, [("q", "a")],
         [(5, "cannot be carried over: completion is missing")], []),
        ("in.csv", 'messages\n"[{""role"":""user"",""content"":""q""},'
         '{""role"":""bot"",""content"":""a""}]"\n', {}, [("q", "a")], [], []),
        ("in.csv", 'question,answer\n"[1]"," {}"\n', {}, [("[1]", " {}")], [], []),
        # JSON is a text where it is no list of messages.
        ("in.csv", 'prompt,completion\n"{""q"": 1}","{""a"": [1]}"\n[],"[{""a"": 1}]"\n'
         '"[{""role"":""user"",""content"":""q""}]","[{""role"":""bot"",""content"":""a""}]"\n'
         '"[{""role"":""x""}]",[1]\n', {},
         [('{"q": 1}', '{"a": [1]}'), ("[]", '[{"a": 1}]'), ("q", "a"), ('[{"role":"x"}]', "[1]")],
         [], []),
        # A quote that is never closed takes all rows after it.
        ("in.csv", 'question,answer\nq,a\nr,"b\ns,c\nt,d\n', {}, [("q", "a")],
         [(3, "a cell has a quote before it, and none after it until the last line, 5")], []),
        ("in.csv", 'Title\nquestion,answer\nq,a\n"', {"skip_lines": 1}, [("q", "a")], [], []),
        ("in.csv", 'question,answer\nx\x1e,a\n"q\nr",\x1e,', {}, [("x\x1e", "a")],
         [(3, "cannot be carried over: the field 'answer' is empty")], []),
        ("in.csv", "prompt,completion\nNA,nan\nNA,b\n", {}, [("NA", "nan"), ("NA", "b")], [],
         ["2 rows: the field 'prompt' says NA or null, and is kept as a text",
          "1 row: the field 'completion' says NA or null, and is kept as a text"]),
        ("in.csv", "question,answer\nq,é\n", {"encoding": "latin-1"}, [("q", "é")], [], []),
        ("in.json", '[{"prompt":"q","completion":"a"},3]', {}, [("q", "a")],
         [(2, "the row is not an object")], []),
    ],
)  # fmt: skip
def test_what_a_table_holds_is_read_whole_or_named(
    tmp_path, name, content, options, expected, refused, notes
):
    path = tmp_path / name
    path.write_bytes(content.encode(options.get("encoding", "utf-8")))
    report, rows = converted(path, tmp_path, "palm", **options)
    assert [(row["input_text"], row["output_text"]) for row in rows] == expected
    assert [(row["line"], row["reason"]) for row in report.refused] == refused
    assert [note for note in report.notes if "of the shape" not in note] == notes


NO_NAMES = "name both the input and the output"


@pytest.mark.parametrize(
    ("name", "content", "options", "found", "where", "fix"),
    [
        ("in.csv", b"a,b,a\n1,2,3\n", {}, "the header names a column twice: 'a'", "in.csv",
         "give every column its own name"),
        ("in.csv", b'"a,b\n1,2\n', {},
         "a cell has a quote before it, and none after it until the last line, 2", "in.csv:1",
         "add the quote, or double it if it belongs to the text"),
        ("in.csv", b"a,b\n1,2\n", {"encoding": "utf-16"}, "the bytes after line 0 are not UTF-16",
         "in.csv", "name its encoding, such as euc-kr, gb18030 or cp1251"),
        ("in.jsonl", b'{"prompt":"q"}\n', {"encoding": "utf-16"}, "the file is not UTF-16",
         "in.jsonl", "leave encoding out"),
        *(("in.csv", b"a,b\n1,2\n", {"encoding": name}, f"unknown encoding '{name}'", "encoding",
           "such as cp932") for name in ("hex", "undefined", "nope")),
        ("in.csv", b"\n,\n", {}, "cannot be read as a table: there is no header", "in.csv",
         "name the columns in the first line"),
        ("in.json", b'[{"prompt":"q"},' + b"[" * 100_000, {},
         "the file is not whole JSON after row 1, or the next row has more than 32 MiB", "in.json",
         "write an array of objects"),
        ("in.json", b'[{"prompt":"q"},{"prompt":"\xff"}]', {},
         "the file is not whole JSON after row 0, or the next row has more than 32 MiB", "in.json",
         "write an array of objects"),
        ("in.jsonl", b'{"a":1,"b":2}\n{"c":1}', {},
         "which columns hold input and output? There are 'a', 'b', 'c'", "in.jsonl",
         "name both with input_column and output_column"),
        ("in.jsonl", b'{"a":1}', {"format": "poem"}, "unknown format 'poem'", "format",
         "use one of palm, palm-chat, gemini, messages, prompt-completion, preference"),
        *(("in.jsonl", b'{"a":1}', options, NO_NAMES, "input_column, output_column",
           "give both names, or none")
          for options in ({"input_column": "a"}, {"output_column": "a"}, {"system_column": "a"})),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_named_with_its_place(
    tmp_path, name, content, options, found, where, fix
):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((DataError, UsageError)) as caught:
        converted(path, tmp_path, "palm", **options)
    error = caught.value
    assert (error.found, error.where.removeprefix(f"{tmp_path}/"), error.fix) == (found, where, fix)


def test_nested_columns_that_are_not_read_are_named(tmp_path):
    rows = [{"translation": {"en": "q", "fr": "a", "de": "x"}, "meta": {"id": 1}}]
    columns = {"input_column": "translation.en", "output_column": "translation.fr"}
    report = convert(rows, tmp_path / "out.jsonl", "palm", **columns)
    assert (report.written, report.left_out) == (1, {"meta.id": 1, "translation.de": 1})


def test_rows_within_one_object_are_said_to_be_there(tmp_path):
    path = tmp_path / "in.json"
    path.write_text(json.dumps({"version": 1, "data": [{"prompt": "q", "response": "a"}]}))
    with pytest.raises(DataError, match="the rows are in the field 'data'") as error:
        converted(path, tmp_path, "palm")
    assert error.value.fix == """jq -c '.["data"][]' IN > OUT"""


@pytest.mark.parametrize("name", ["in.xls", "in.xlsx"])
def test_a_workbook_that_cannot_be_read_is_named_by_every_verb(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 504)
    with pytest.raises(DataError, match="before 2007, or one with a password"):
        converted(path, tmp_path, "palm")
    (problem,) = validate([path]).problems
    assert (problem.code, problem.fix) == ("not-jsonl", "save it as .xlsx without a password")


def test_an_array_without_its_end_is_not_taken_for_whole(tmp_path):
    path = tmp_path / "in.json"
    path.write_text('[{"prompt": "q", "completion": "a"},\n')
    with pytest.raises(DataError, match="not whole JSON after row 1"):
        converted(path, tmp_path, "palm")


def test_a_title_without_separators_is_seen_to_be_no_header(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("Report\n\nquestion;answer\nq;a\n")
    with pytest.raises(UsageError) as error:
        converted(path, tmp_path, "palm")
    assert error.value.fix.endswith("--skip-lines N")
    _, rows = converted(path, tmp_path, "palm", skip_lines=2)
    assert rows == [{"input_text": "q", "output_text": "a"}]


def test_a_column_without_a_name_is_left_out_by_its_number(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(",prompt,completion\n0,q,a\n1,r,b\n")  # as pandas writes an index
    report, _ = converted(path, tmp_path, "palm")
    assert (report.written, report.left_out) == (2, {"column 1": 2})


@pytest.mark.parametrize(
    ("name", "columns", "expected", "notes"),
    [
        ("semicolon_csv.csv", ("question", "answer"),
         [{"input_text": "Où est; le colis ?", "output_text": "Il est à Lyon"},
          {"input_text": "B", "output_text": "C"}], ["the columns are separated by ';'"]),
        ("cp932_csv.csv", ("質問", "回答"),
         [{"input_text": "荷物はどこ?", "output_text": "大阪です"}],
         ["the file was read as Shift_JIS (cp932)"]),
    ],
)  # fmt: skip
def test_a_table_of_any_make_is_read_and_its_make_named(tmp_path, name, columns, expected, notes):
    options = dict(zip(("input_column", "output_column"), columns, strict=True))
    report, rows = converted(CASES / name, tmp_path, "palm", **options)
    assert rows == expected
    shape = f"rows of the shape pairs ({', '.join(columns)}) were read as messages"
    assert report.notes == [*notes, shape]


EXCEL = "question\tanswer\nWo?\tin Köln\n"


@pytest.mark.parametrize(
    ("text", "encoding", "options"),
    [
        (EXCEL, "utf-16", {}),  # as Excel saves "Unicode text"
        (EXCEL, "cp1252", {}),
        (EXCEL, "utf-8-sig", {}),
        ("sep=|\n" + EXCEL.replace("\t", "|"), "utf-8", {}),
        ("Report of May\nall rows\n" + EXCEL, "utf-8", {"skip_lines": 2}),
        (EXCEL.replace("\t", "~"), "utf-8", {"delimiter": "~"}),
        (EXCEL, "cp500", {"encoding": "cp500", "delimiter": "tab"}),
    ],
)
def test_separators_and_encodings_of_tables(tmp_path, text, encoding, options):
    path = tmp_path / "in.csv"
    path.write_bytes(text.encode(encoding))
    _, rows = converted(path, tmp_path, "palm", **options)
    assert rows == [{"input_text": "Wo?", "output_text": "in Köln"}]


def test_a_workbook_is_read_by_its_sheets(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["nothing"])
    sheet = book.create_sheet("faq")
    for row in (
        ["Title"],
        ["prompt", "completion"],
        ["q", 5.0],
        ["NA", "a"],
        ["r", None],
        ["s", "=1+1"],
    ):
        sheet.append(row)
    path = tmp_path / "in.xlsx"
    book.save(path)
    report, rows = converted(path, tmp_path, "palm", sheet="faq", skip_lines=1)
    assert rows == [
        {"input_text": "q", "output_text": "5"},
        {"input_text": "NA", "output_text": "a"},
    ]
    # A formula whose value was never worked out is no answer.
    assert [row["line"] for row in report.refused] == [5, 6]
    assert report.notes == ["1 row: the field 'prompt' says NA or null, and is kept as a text"]
    with pytest.raises(UsageError, match="no sheet 'x'"):
        converted(path, tmp_path, "palm", sheet="x")
    book.move_sheet("faq", -1)
    book.create_chartsheet("chart", 0).add_chart(openpyxl.chart.BarChart())
    book.save(path)
    report, _ = converted(path, tmp_path, "palm", skip_lines=1)
    said = "the sheet 'faq' was read, and not 'Sheet': --sheet NAME reads another"
    assert report.notes[0] == said


def test_an_empty_cell_is_no_empty_text(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('prompt,completion\nq,a\nq,\n,a\n" ",a\n')
    report, rows = converted(path, tmp_path, "palm")
    assert rows == [{"input_text": "q", "output_text": "a"}]
    assert [row["line"] for row in report.refused] == [3, 4, 5]


def test_parquet_with_messages_is_read_as_messages(tmp_path):
    pytest.importorskip("pyarrow")
    report, rows = converted(CASES / "parquet_messages.parquet", tmp_path, "gemini")
    assert (report.format, report.refused) == ("messages", [])
    assert rows
    assert all(row["contents"][-1]["role"] == "model" for row in rows)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "cp932", "euc-jp"])
def test_rows_in_another_encoding_are_read_by_convert_alone(tmp_path, encoding):
    path = tmp_path / "in.jsonl"
    row = {"input_text": "荷物はどこですか", "output_text": "大阪にあります"}
    path.write_bytes((json.dumps(row, ensure_ascii=False) + "\n").encode(encoding))
    report, rows = converted(path, tmp_path, "palm")
    assert rows == [row]
    assert report.notes == [f"the file was read as {report.notes[0].split(' read as ')[1]}"]


def test_every_verb_says_utf_16_in_the_same_words(tmp_path):
    path, said = CASES / "utf16_split.jsonl", "the file is UTF-16"
    (problem,) = (x for x in validate([path]).problems if x.code == "not-jsonl")
    assert (problem.message, "tunepipe convert" in problem.fix) == (said, True)
    with pytest.raises(DataError, match=said):
        split([path], tmp_path / "a", tmp_path / "b")
    with pytest.raises(DataError, match=said):
        list(read_examples(path))
    with pytest.raises(UsageError, match=said):
        read_predictions(CASES / "score_utf16.jsonl")


def test_a_byte_order_mark_costs_no_row(tmp_path):
    report, rows = converted(CASES / "convert_bom.jsonl", tmp_path, "gemini")
    assert (len(rows), report.refused) == (12, [])
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(defects.sound_lines("palm", 30)))
    found = split([path], tmp_path / "a", tmp_path / "b")
    assert found.train_rows + found.eval_rows == 30
    assert b"\xef\xbb\xbf" not in (tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "written", "reason"),
    [
        ("convert_crash_no_response", 1, ""),
        ("convert_crash_no_mime", 0, "contents[0].parts[0].fileData.mimeType is missing"),
    ],
)
def test_a_row_that_is_odd_loses_that_row_alone(tmp_path, name, written, reason):
    path = tmp_path / "in.jsonl"
    good = {"contents": [{"parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]}
    path.write_text((CASES / f"{name}.jsonl").read_text().strip() + "\n" + json.dumps(good))
    report, rows = converted(path, tmp_path, "messages")
    assert len(rows) == written + 1
    expected = [{"line": 1, "reason": f"cannot be carried over: {reason}"}] if reason else []
    assert report.refused == expected


def test_turns_of_one_role_are_merged_and_that_is_said(tmp_path):
    report, rows = converted(CASES / "convert_two_users.jsonl", tmp_path, "gemini")
    assert [turn["role"] for turn in rows[0]["contents"]] == ["user", "model"]
    assert len(rows[0]["contents"][0]["parts"]) == 2
    assert report.left_out == {"the border between turns of one role": 1}
    found = validate([tmp_path / "out.jsonl"])
    assert {x.code for x in found.problems} == {"too-few-rows"}


def test_thoughts_are_no_answer():
    (example,) = read_examples(CASES / "thought_in_reference.jsonl")
    assert "thought" not in example.reference
    assert example.reference
    row = json.loads((CASES / "thought_in_reference.jsonl").read_text())
    assert formats.detect_format(row) == "gemini"


@pytest.mark.parametrize("format", formats.FORMATS)
def test_sound_rows_of_every_format_go_to_every_other_or_say_why(tmp_path, format):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(defects.sound_lines(format, 20)))
    for to in formats.FORMATS:
        report, rows = converted(path, tmp_path, to)
        assert report.written + len(report.refused) == report.rows == 20
        if rows:
            assert not validate([tmp_path / "out.jsonl"], format=to).errors


@pytest.mark.parametrize(
    ("value", "written", "refused"),
    [
        ("yes", "yes", ""),
        (7, "7", ""),  # a label is often a number
        (True, "", "the field 'response' holds no text (bool)"),
        (1.5, "", "the field 'response' holds no text (float)"),
        (["a"], "", "the field 'response' holds no text (list)"),
        (" ", "", "the field 'response' is empty"),
        (None, "", "the field 'response' is empty"),
    ],
)
def test_a_value_is_a_text_a_whole_number_or_refused(tmp_path, value, written, refused):
    rows = [{"prompt": "q", "response": "a"}, {"prompt": "q", "response": value}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report, out = converted(path, tmp_path, "palm")
    assert [row["output_text"] for row in out] == ["a", written][: 1 + bool(written)]
    reason = f"cannot be carried over: {refused}"
    assert report.refused == ([{"line": 2, "reason": reason}] if refused else [])

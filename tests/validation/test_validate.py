import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import defects
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.limits import estimated_tokens, fewest_tokens
from tunepipe.data.formats import FORMATS
from tunepipe.errors import UsageError
from tunepipe.reporting.sarif import sarif
from tunepipe.validation.problems import CODES
from tunepipe.validation.statistics import language
from tunepipe.validation.text_checks import personal_data_in, secrets_in, text_problems
from tunepipe.validation.validate import ValidationSettings, validate
from tunepipe.validation.worker import BlockTask, examine

GEMINI_CALL = {"functionCall": {"name": "f", "args": {}}}
GEMINI_RESULT = {"functionResponse": {"name": "f", "response": {}}}


def write(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def pair(question: str, answer: str) -> bytes:
    return defects.line(defects.row("palm", question, answer))


def codes(report) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in report.problems]


def test_the_report_has_the_keys_of_the_design(tmp_path):
    path = write(tmp_path / "rows.jsonl", *defects.sound_lines("palm"), b"{")
    report = validate([path]).as_json()
    assert report["path"] == str(path)
    assert (report["format"], report["model"]) == ("palm", "text-bison@001")
    assert (report["rows"], report["valid_rows"], report["problems_total"]) == (121, 120, 1)
    assert report["bytes"] == path.stat().st_size
    assert report["fingerprint"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["counts"] == {"not-json": 1}
    problem = report["problems"][0]
    assert {key: problem[key] for key in ("line", "code", "level", "field")} == {
        "line": 121,
        "code": "not-json",
        "level": "error",
        "field": "",
    }
    assert problem["message"] == "the line ends before its object does"
    assert problem["fix"]
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize(
    ("key", "named"),
    [("output_text", "the key output_text"), ("two words", "a key"), ("n" * 41, "a key")],
)
def test_a_repeated_key_is_named_where_it_reads_like_a_field(tmp_path, key, named):
    line = f'{{"input_text": "a", "output_text": "b", "{key}": "c", "{key}": "d"}}'.encode()
    report = validate([write(tmp_path / "rows.jsonl", line)])
    (problem,) = (problem for problem in report.problems if problem.code == "duplicate-key")
    assert problem.message == f"{named} occurs twice in an object"


@pytest.mark.parametrize("line", [b'{"a": {"b": 1,}, "c": 2}', b'{"a": [1 , ], "c": 2}'])
def test_a_comma_before_a_bracket_is_named_wherever_it_stands(tmp_path, line):
    report = validate([write(tmp_path / "rows.jsonl", *defects.sound_lines("palm"), line)])
    (problem,) = report.problems
    assert problem.message.startswith("a comma before a closing bracket, character 1")


def test_statistics_are_those_of_the_sound_rows(tmp_path):
    rows = [(("ab" * n)[:n], "yes" if n % 4 else "no") for n in range(1, 101)]
    rows += [("これは日本語です", "yes"), ("", "yes")]
    path = write(tmp_path / "rows.jsonl", *(pair(*row) for row in rows))
    stats = validate([path]).stats
    lengths = stats["input_characters"]
    assert [lengths[key] for key in ("min", "p5", "p50", "mean", "p95", "max")] == [
        1, 6, 50, 50.08, 95, 100,
    ]  # fmt: skip
    assert sum(count for _, count in lengths["histogram"]) == 101
    assert stats["tokens_estimated"]["input"] == estimated_tokens(5050, 8)
    assert stats["languages"] == {"und-Latn": 100, "ja": 1}
    assert stats["labels"] == {"yes": 76, "no": 25}


KEY = "AKIA" + "Z7Q2M5X4" * 2


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        (["x" * 65] * 20, {}),  # too long to be a label
        ([f"answer {n}" for n in range(20)], {}),  # rows' own texts
        (["yes", "no"] * 10, {"no": 10, "yes": 10}),
        (["yes"] * 10 + [KEY] * 10, {"yes": 10}),  # a secret is no label, however often it comes
    ],
)
def test_labels_are_outputs_that_recur_and_hold_nothing_to_hide(tmp_path, outputs, labels):
    rows = [pair(f"q{n}", output) for n, output in enumerate(outputs)]
    path = write(tmp_path / "rows.jsonl", *rows)
    for fast_from_bytes in (0, 1 << 30):
        report = validate([path], fast_from_bytes=fast_from_bytes)
        assert report.stats["labels"] == labels
        assert KEY not in json.dumps(report.as_json())


def test_repeats_name_the_earlier_line_and_file(tmp_path):
    first = write(tmp_path / "a.jsonl", *defects.sound_lines("palm", 100), pair("q", "a"))
    second = write(tmp_path / "b.jsonl", b"", pair("q", "a"), pair("q", "b"), pair("q", "b"))
    report = validate([first, second])
    assert [(p.path, p.line, p.code, p.message) for p in report.problems] == [
        (str(second), 1, "blank-line", "the line is blank"),
        (str(second), 2, "duplicate-row",
         f"the same input and output are at line 101 of {first}"),
        (str(second), 3, "conflicting-row",
         f"the same input with another output is at line 101 of {first}"),
        (str(second), 4, "duplicate-row", f"the same input and output are at line 3 of {second}"),
    ]  # fmt: skip
    assert report.errors == 0
    assert [file.rows for file in report.files] == [101, 3]
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second))
    assert report.fingerprint == hashlib.sha256("\n".join(digests).encode()).hexdigest()


def test_a_repeat_in_the_only_file_names_the_line_alone(tmp_path):
    path = write(tmp_path / "a.jsonl", *defects.sound_lines("palm", 100), *2 * [pair("q", "a")])
    (problem,) = validate([path]).problems
    assert problem.message == "the same input and output are at line 101"


def test_a_row_of_the_evaluation_file_is_a_leak_however_it_is_written(tmp_path):
    train = write(tmp_path / "train.jsonl", *defects.sound_lines("palm"), pair("あ", "1"))
    held = write(tmp_path / "eval.jsonl", b"", b'{"output_text": "2", "input_text": "\\u3042"}')
    report = validate([train], against=[held])
    assert codes(report) == [(121, "eval-leak")]
    assert report.problems[0].message == f"the same input is at line 2 of {held}"
    assert report.errors == 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("format", ["palm-chat", "gemini", "messages", "prompt-completion"])
def test_a_leak_is_seen_from_one_format_to_another(tmp_path, format, workers):
    train = write(tmp_path / "train.jsonl", *defects.sound_lines("palm"), pair("q", "a"))
    leaked = defects.line(defects.row(format, "q", "another answer"))
    held = write(tmp_path / "eval.jsonl", *defects.sound_lines(format)[:1], leaked)
    report = validate([train], against=[held], workers=workers)
    assert (121, "eval-leak") in codes(report)


@pytest.mark.parametrize("unread", [b"{", b'{"input_text": "q", "output_text": "a", "day": 1}'])
def test_a_file_that_cannot_be_read_whole_is_no_proof_against_a_leak(tmp_path, unread):
    train = write(tmp_path / "train.jsonl", *defects.sound_lines("palm"), pair("q", "a"))
    held = write(tmp_path / "eval.jsonl", pair("another", "a"), unread)
    with pytest.raises(UsageError, match="cannot be compared with: errors in 1 of its 2 rows"):
        validate([train], against=[held])


def test_personal_data_and_lengths_keep_no_row_from_the_comparison(tmp_path):
    text = "write to me@example.com " * 4000
    train = write(tmp_path / "train.jsonl", *defects.sound_lines("palm"), pair("q", "a"))
    held = write(tmp_path / "eval.jsonl", pair("q", text))
    assert validate([train], against=[held], pii=True).counts["eval-leak"] == 1


def test_the_list_is_cut_but_shows_every_code(tmp_path):
    lines = [b"{"] * 300 + [pair("q", "a")] * 2 + [b"\xff"]
    report = validate([write(tmp_path / "rows.jsonl", *lines)], format="palm", max_problems=50)
    assert len(report.problems) == 50
    assert {problem.code for problem in report.problems} == set(report.counts)
    assert report.counts["not-json"] == 300
    assert report.problems_total == sum(report.counts.values()) == 302


@pytest.mark.parametrize("fast_from_bytes", [0, 1 << 30])
@pytest.mark.parametrize("format", FORMATS)
def test_a_model_of_ones_own_takes_every_format(tmp_path, format, fast_from_bytes):
    path = write(tmp_path / "rows.jsonl", *defects.sound_lines(format))
    assert not validate([path], model="folder/model", fast_from_bytes=fast_from_bytes).counts


@pytest.mark.parametrize("format", ["palm", "palm-chat", "gemini", "messages", "preference"])
def test_the_format_is_seen_from_the_rows(tmp_path, format):
    path = write(tmp_path / "rows.jsonl", b"{", *defects.sound_lines(format))
    assert validate([path]).format == format


def test_rows_of_no_format_say_so(tmp_path):
    report = validate([write(tmp_path / "rows.jsonl", b'{"text": "x"}', b"{}")])
    assert report.format == ""
    assert codes(report) == [(1, "missing-field"), (2, "missing-field")]


def test_gzip_is_read_and_reported(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(defects.plant("empty_input")))
    report = validate([path])
    assert codes(report) == [(1, "compressed-file"), (61, "empty-text")]
    assert report.files[0].bytes == path.stat().st_size
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="cannot be read"):
        validate([path])


def test_a_pipe_gives_the_report_of_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(defects.plant("json_nan"))
    program = (
        "import json; from tunepipe.validation.validate import validate;"
        "print(json.dumps(validate(['-']).as_json()))"
    )
    with path.open("rb") as file:
        done = subprocess.run([sys.executable, "-c", program], stdin=file, capture_output=True)
    found = json.loads(done.stdout)
    wanted = validate([path]).as_json()
    for report in (found, wanted):
        for where in (report, *report["problems"], *report["files"]):
            del where["path"]
    assert found == wanted


def test_small_files_are_validated_without_heavy_packages(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(defects.plant("clean", rows=500))
    program = (
        "import sys; from tunepipe.validation.validate import validate;"
        f"assert validate([{str(path)!r}]).valid_rows == 500;"
        "print(sorted({'numpy', 'pandas', 'multiprocessing'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        for number in range(60_000):
            file.write(pair(f"question {number} " + "x" * 300, f"answer {number}") + b"\n")
    # Not getrusage: its peak counts the process that started this one, too.
    program = (
        "from tunepipe.validation.validate import validate;"
        f"assert validate([{str(path)!r}], workers=1).valid_rows == 60_000;"
        "status = open('/proc/self/status').read();"
        "print(status.partition('VmHWM:')[2].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout) < 80 * 1024, done.stderr


def test_an_opener_brings_bytes_from_elsewhere():
    places = {"gs://b/1.jsonl": b"\n".join(defects.sound_lines("palm")), "gs://b/2.jsonl": b"{\n"}
    report = validate([*places], opener=lambda path: io.BytesIO(places[path]))
    assert [(p.path, p.line, p.code) for p in report.problems] == [
        ("gs://b/2.jsonl", 1, "not-json")
    ]
    with pytest.raises(UsageError, match="not a local path"):
        validate(["gs://b/1.jsonl"])


def test_globs_and_unreadable_files(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.jsonl", *defects.sound_lines("palm", seed=ord(name)))
    found = validate([str(tmp_path / "*.jsonl")])
    assert [Path(file.path).name for file in found.files] == ["a.jsonl", "b.jsonl"]
    for path, message in (("*.csv", "no file matches"), ("none.jsonl", "cannot be read")):
        with pytest.raises(UsageError, match=message):
            validate([str(tmp_path / path)])
    with pytest.raises(UsageError, match="no dataset is given"):
        validate([])


def test_the_number_of_workers_has_its_range():
    for workers in (-1, 257):
        with pytest.raises(UsageError) as caught:
            ValidationSettings(workers=workers)
        assert (caught.value.where, caught.value.fix) == ("workers", "a whole number, 0 to 256")
    assert [ValidationSettings(workers=workers).workers for workers in (0, 256)] == [0, 256]


@pytest.mark.parametrize(
    ("rows", "model", "level"),
    [(9, "", "error"), (10, "", "warning"), (99, "", "warning"), (100, "", None), (3, "./m", None)],
)
def test_too_few_rows(tmp_path, rows, model, level):
    path = write(tmp_path / "rows.jsonl", *defects.sound_lines("palm", rows))
    found = [problem.level for problem in validate([path], model=model).problems]
    assert found == ([level] if level else [])


def test_limits_come_from_the_table_and_can_be_laid_over(tmp_path):
    path = write(tmp_path / "rows.jsonl", *defects.sound_lines("palm"))
    limits = {"rows_max": 100, "file_bytes": 1000, "output_tokens": 5}
    report = validate(
        [path], catalog=load_catalog({"services": {"services": {"palm-text": limits}}})
    )
    assert report.counts["too-many-rows"] == report.counts["file-too-large"] == 1
    assert report.counts["too-long"] == 120


def test_a_tuned_gemini_that_is_tuned_further_has_geminis_limits(tmp_path):
    lines = [*defects.sound_lines("palm"), pair("q", "xy" * 450_000)]
    path = write(tmp_path / "rows.jsonl", *lines)
    for model in ("gemini-3.5-flash", "projects/1/locations/europe-west4/models/7@1"):
        assert validate([path], model=model).counts["too-long"] == 1


@pytest.mark.parametrize(
    ("characters", "level"), [(4096, None), (4097, "warning"), (6145, "warning"), (6200, "error")]
)
def test_a_text_is_too_long_for_sure_only_where_no_vocabulary_would_hold_it(
    tmp_path, characters, level
):
    lines = defects.sound_lines("palm")
    lines[4] = pair("q", ("xy" * characters)[:characters])
    report = validate([write(tmp_path / "rows.jsonl", *lines)])
    assert [problem.level for problem in report.problems] == ([level] if level else [])


def test_the_answer_that_a_preference_turns_down_costs_tokens_too(tmp_path):
    def answer(score, text):
        return {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}

    row = {
        "contents": [{"role": "user", "parts": [{"text": "q"}]}],
        "completions": [answer(1, "good"), answer(0, "bad " * 1000)],
    }
    report = validate([write(tmp_path / "rows.jsonl", *[json.dumps(row).encode()] * 30)])
    assert report.format == "preference"
    assert 30_000 < report.tokens < 33_000  # a quarter of the characters, and of the JSON's own


@pytest.mark.parametrize("fast_from_bytes", [0, 1 << 30])
@pytest.mark.parametrize("code", ["secret", "pii"])
@pytest.mark.parametrize("place", ["rejected", "functions", "labels"])
def test_what_must_not_be_shown_is_found_in_every_field(tmp_path, place, code, fast_from_bytes):
    told = {"secret": "AKIAIOSFODNN7EXAMPLE", "pii": "me@example.com"}[code]
    turns = defects.row("messages", "q", "a")["messages"]
    row = {
        "rejected": {
            "input": {"messages": turns[:1]},
            "preferred_output": turns[1:],
            "non_preferred_output": [{"role": "assistant", "content": f"see\n{told}"}],
        },
        "functions": {"messages": turns, "functions": [{"name": "f", "description": told}]},
        "labels": {"messages": turns, "labels": {"of": told}},
    }[place]
    path = write(tmp_path / "rows.jsonl", *[defects.line(row)] * 3)
    report = validate([path], pii=True, fast_from_bytes=fast_from_bytes)
    assert report.counts[code] == 3


@pytest.mark.parametrize(
    ("scores", "found"), [((1, 1.0), 1), ((0.5,), 1), ((1, 0, 1), 0), ((1, 2**60 + 1), 0)]
)
def test_scores_are_compared_as_numbers(tmp_path, scores, found):
    def answer(number: int) -> dict:
        return {"role": "model", "parts": [{"text": f"answer {number}"}]}

    row = {
        "contents": [{"role": "user", "parts": [{"text": "q"}]}],
        "completions": [
            {"score": score, "completion": answer(number)} for number, score in enumerate(scores)
        ],
    }
    path = write(tmp_path / "rows.jsonl", *defects.sound_lines("preference"), defects.line(row))
    assert validate([path]).counts.get("missing-field", 0) == found


VIDEO = {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v.mp4"}}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
DRAWN = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize("fast_from_bytes", [0, 1 << 30])
@pytest.mark.parametrize(
    ("format", "question", "files", "tokens"),
    [
        ("gemini", [VIDEO, {"text": "q"}], 1, None),
        ("messages", [PICTURE, {"type": "text", "text": "q"}], 1, 1120),
        ("messages", [DRAWN, {"type": "text", "text": "q"}], 1, 1120),
        ("gemini", [{"text": "q"}], 0, 0),
    ],
)
def test_tokens_are_not_known_where_those_of_a_file_are_not(
    tmp_path, format, question, files, tokens, fast_from_bytes
):
    row = defects.row(format, "q", "a")
    row["contents" if format == "gemini" else "messages"][0][
        "parts" if format == "gemini" else "content"
    ] = question
    path = write(tmp_path / "rows.jsonl", *defects.sound_lines(format), defects.line(row))
    report = validate([path], fast_from_bytes=fast_from_bytes)
    assert report.errors == 0
    assert report.stats["rows_with_files"] == files
    assert report.stats["tokens_estimated"]["files"] == (tokens or 0)
    assert (report.tokens == 0) == (tokens is None)


def test_a_text_that_speaks_of_files_is_no_file(tmp_path):
    lines = [*defects.sound_lines("palm"), pair(json.dumps(VIDEO), "a video")]
    assert validate([write(tmp_path / "rows.jsonl", *lines)]).tokens > 0


def test_tokens_estimated_and_at_least():
    assert estimated_tokens(4, 0) == 1
    assert estimated_tokens(0, 10) == 8
    assert all(fewest_tokens(a, b) <= estimated_tokens(a, b) for a in range(50) for b in range(50))


def test_a_model_that_does_not_take_the_format_is_refused():
    with pytest.raises(UsageError, match="not tuned on rows of the format gemini"):
        load_catalog().rules_for("gemini", "text-bison@002")
    with pytest.raises(UsageError, match="not tuned on rows of the format preference"):
        load_catalog().rules_for("preference", "gemini-3.5-flash")
    assert load_catalog().rules_for("preference").model == "gemini-2.5-flash"
    assert load_catalog().rules_for("gemini", "meta/llama3_1@llama-3.1-8b").example_tokens == 8192
    assert load_catalog().rules_for("messages", "Qwen/Qwen3-4B").service == "local"


MESSAGES = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "q"},
    {"role": "model", "content": "a", "weight": 1},
    {"role": "user", "content": [{"type": "text", "text": "q"},
                                 {"type": "image_url", "image_url": {"url": "gs://b/i.png"}}]},
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "1", "content": ""},
    {"role": "assistant", "content": "b"},
]  # fmt: skip
CONTENTS = [
    {"role": "user", "parts": [{"text": "q"}, {"fileData": {"fileUri": "gs://b/i.png",
                                                            "mimeType": "image/png"}}]},
    {"role": "model", "parts": [GEMINI_CALL]},
    {"role": "user", "parts": [GEMINI_RESULT]},
    {"role": "model", "parts": [{"text": "a"}]},
]  # fmt: skip
TOOLS = [{"functionDeclarations": [{"name": "f"}]}]
PROMPT = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}

GOOD = [
    ("messages", {"messages": MESSAGES, "tools": [{"type": "function", "function": {"name": "f"}}],
                  "labels": {}}),
    ("messages", {"messages": [{"role": "developer", "content": "s"}, *MESSAGES[1:3]]}),
    ("gemini", {"contents": CONTENTS, "tools": TOOLS, "generationConfig": {}, "labels": {}}),
    ("gemini", {"contents": CONTENTS, "systemInstruction": {"parts": [{"text": "s"}]},
                "tools": TOOLS}),
    ("gemini", {"contents": CONTENTS[:2], "tools": TOOLS}),
    ("gemini", {"contents": [{"parts": [{"text": "q"}]}, CONTENTS[3]], "tools": []}),
    ("prompt-completion", {"prompt": [PROMPT], "completion": [ANSWER]}),
    ("preference", {"input": {"messages": [PROMPT], "tools": []},
                    "preferred_output": [ANSWER],
                    "non_preferred_output": [ANSWER]}),
]  # fmt: skip

BAD = [
    ("messages", {"messages": [*MESSAGES[:4], {"role": "assistant"}]},
     [("missing-field", "messages[4].content")]),
    ("messages", {"messages": [PROMPT, ANSWER | {"weight": 2}]},
     [("wrong-type", "messages[1].weight")]),
    ("messages", {"messages": [PROMPT, {"role": "tool", "content": "r"}, ANSWER]},
     [("missing-field", "messages[1].tool_call_id"), ("role-order", "messages[1].role")]),
    ("messages", {"messages": MESSAGES[:5] + MESSAGES[6:]}, [("role-order", "messages[5].role")]),
    ("messages", {"messages": [PROMPT, "a"]}, [("wrong-type", "messages[1]")]),
    ("messages", {"messages": [PROMPT | {"content": []}, ANSWER]},
     [("empty-text", "messages[0].content")]),
    ("messages", {"messages": [PROMPT | {"content": [{"type": "text"}]}, ANSWER]},
     [("missing-field", "messages[0].content[0]")]),
    ("gemini", {"contents": [CONTENTS[0], {"role": "assistant", "parts": [{"text": "a"}]}]},
     [("unknown-role", "contents[1].role")]),
    ("gemini", {"contents": CONTENTS[:1]}, [("role-order", "contents[0].role")]),
    ("gemini", {"contents": [CONTENTS[0], {"role": "model", "parts": []}]},
     [("empty-text", "contents[1].parts")]),
    ("gemini", {"contents": [CONTENTS[0], {"role": "model", "parts": [{"txt": "a"}]}]},
     [("extra-field", "contents[1].parts[0].txt")]),
    ("gemini", {"contents": CONTENTS[2:]}, [("role-order", "contents[0].role")]),
    ("gemini", {"contents": [{"role": "user", "parts": [{"fileData": {"fileUri": "gs://b/i"}}]},
                             CONTENTS[3]]},
     [("missing-field", "contents[0].parts[0].fileData.mimeType")]),
    ("palm-chat", {"context": 3, "messages": [{"author": "user", "content": "q"},
                                              {"author": "user", "content": "q"}]},
     [("wrong-type", "context"), ("role-order", "messages[1].author"),
      ("role-order", "messages[1].author")]),
    ("palm-chat", {"messages": [{"author": "user", "content": "q"},
                                {"author": "bot", "content": "a", "tool_calls": "x"},
                                {"author": "user", "content": "q"},
                                {"author": "bot", "content": "a"}]},
     [("extra-field", "messages[1].tool_calls")]),
    ("gemini", {"contents": [CONTENTS[0], {"role": "model", "parts": [{"text": "a"}],
                                           "tool_calls": "x"},
                             CONTENTS[0], {"role": "model", "parts": [{"text": "a"}]}]},
     [("extra-field", "contents[1].tool_calls")]),
    ("preference", {"contents": CONTENTS[:1], "completions": [
        {"score": 1, "completion": CONTENTS[3]}]},
     [("missing-field", "completions")]),
    ("preference", {"contents": CONTENTS, "completions": [
        {"score": 1, "completion": CONTENTS[3]}, {"score": 0, "completion": CONTENTS[3]}]},
     [("role-order", "contents[3].role")]),
    *(("preference", {"contents": [{"role": "user", "parts": [{"text": "q"}]}],
                      "completions": completions}, found)
      for completions, found in (
          ([], [("no-turns", "completions")]),
          ("x", [("wrong-type", "completions")]),
          ([{"score": score, "completion": CONTENTS[3]} for score in (1, 0, 0.5)],
           [("wrong-type", "completions")]),
          ([{"score": 0.5, "completion": CONTENTS[3]}, {"score": 0, "completion": CONTENTS[3]}],
           [("wrong-type", "completions")]),
          ([{"score": 1, "completion": CONTENTS[3]},
            {"score": 0, "completion": CONTENTS[3] | {"role": "user"}}],
           [("unknown-role", "completions[1].completion.role")]),
          ([{"score": 1, "completion": CONTENTS[3]},
            {"score": 0, "completion": {"parts": [GEMINI_RESULT]}}],
           [("role-order", "completions[1].completion")]),
      )),
    ("palm", {"input_text": "q", "output_txt": "a"},
     [("missing-field", "output_text"), ("extra-field", "output_txt")]),
]  # fmt: skip


@pytest.mark.parametrize(("format", "row"), GOOD)
def test_what_the_services_accept_is_accepted(tmp_path, format, row):
    lines = [*defects.sound_lines(format), defects.line(row)]
    assert codes(validate([write(tmp_path / "rows.jsonl", *lines)])) == []


@pytest.mark.parametrize(("format", "row", "wanted"), BAD)
def test_each_fault_is_named_with_its_field(tmp_path, format, row, wanted):
    lines = [*defects.sound_lines(format), defects.line(row)]
    report = validate([write(tmp_path / "rows.jsonl", *lines)])
    assert sorted((p.code, p.field) for p in report.problems) == sorted(wanted)
    assert {problem.line for problem in report.problems} == {121}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe", "latin-1"),
        ("Größe kostet 5 €", "cp1252"),
        ("it’s – “fine", "cp1252"),
    ],
)
@pytest.mark.parametrize("more", ["", "質問"])
def test_the_fix_for_mojibake_gives_the_text_back(text, encoding, more):
    wrong = text.encode().decode(encoding) + more
    (problem,) = text_problems(wrong, "input_text")
    assert problem.code == "mojibake"
    _, _, code = problem.fix.partition("or decode again: ")
    assert bool(code) != bool(more)  # what was read correctly cannot be decoded again
    assert not code or eval(code, {"text": wrong}) == text


def test_a_misspelt_field_is_recognised(tmp_path):
    lines = [*defects.sound_lines("palm"), b'{"input_text": "q", "output_txt": "a"}']
    report = validate([write(tmp_path / "rows.jsonl", *lines)])
    assert [(x.message, x.fix) for x in report.problems] == [
        ("the format has no field output_txt", "rename output_txt to output_text"),
        ("the field output_text is missing", "add the field"),
    ]


SECRETS = {
    "AWS access key": "AKIA" + "QWERTYUIOPASDFGH",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "Google API key": "AIza" + "b" * 35,
    "OpenAI or Anthropic key": "sk-proj-" + "c3" * 20,
    "Hugging Face token": "hf_" + "d" * 34,
    "Slack token": "xoxb-" + "1" * 24,
    "JSON Web Token": "eyJ" + "e" * 20 + ".eyJ" + "f" * 20 + "." + "g" * 30,
    "private key": "-----BEGIN RSA PRIVATE KEY-----\\n" + "h" * 64,
}


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_named_and_never_shown(tmp_path, name):
    secret = SECRETS[name]
    assert secrets_in(f"use {secret}, please") == [name]
    assert secrets_in(secret[: len(secret) // 2]) == []
    lines = [*defects.sound_lines("palm"), pair(f"use {secret}", "ok")]
    report = validate([write(tmp_path / "rows.jsonl", *lines)])
    assert codes(report) == [(121, "secret")]
    assert secret not in json.dumps(report.as_json()["problems"])


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("write to jane.doe+x@example.co.jp now", ["e-mail address"]),
        ("call 03-1234-5678 or", ["phone number"]),
        ("call +81 90 1234 5678", ["phone number"]),
        ("card 4111 1111 1111 1111.", ["payment card number"]),
        ("card 4111 1111 1111 1112.", []),
        ("IBAN GB82 WEST 1234 5698 7654 32", ["IBAN"]),
        ("IBAN GB82 WEST 1234 5698 7654 33", []),
        ("IBAN NO9386011117947", ["IBAN"]),
        ("call +81 12 34 567", ["phone number"]),
        ("call +81 12 34 56", []),
        *((f"card {number}.", ["payment card number"]) for number in (
            "2011111111111116", "6011111111111117", "371449635398431",
        )),
        *((f"card {number}.", []) for number in ("1011111111111118", "7011111111111115")),
        # Whose last digit is worked out from the remainders 0, 1, 2 and 10.
        *((f"番号 {number} です", ["Japanese individual number"]) for number in (
            "1000-0000-0080", "1000-0000-0030", "1000-0000-0099", "1000-0000-0021",
        )),
        ("番号 0000 0000 0000 です", []),
        ("番号 1234 5678 9018 です", ["Japanese individual number"]),
        ("番号 1234 5678 9019 です", []),
        ("2024-01-02, 3.14159, v1.2.3, a@b, 100-200", []),
    ],
)  # fmt: skip
def test_personal_data_is_found_by_form_and_checksum(text, kinds):
    assert personal_data_in(text) == kinds


def test_personal_data_is_looked_for_only_when_asked(tmp_path):
    lines = [*defects.sound_lines("palm"), pair("who?", "jane@example.com")]
    path = write(tmp_path / "rows.jsonl", *lines)
    assert codes(validate([path])) == []
    assert codes(validate([path], pii=True)) == [(121, "pii")]


ADVERSARIAL = (
    "-eyJ", "eyJ" + "a" * 17 + ".", "ghp_a", "-sk-", "sk-proj-", "AKIA", "1 ", "0-1", "a@",
    "a.b@c.", "+1 ", "GB82 WEST ", "-----BEGIN PRIVATE KEY-----", "PRIVATE KEY-----\n", "ya29.",
    "\u00c3\u00a9", "\u200b", "\u0e01\u200b", "{[", '"\\', ":\"~", "-" * 15 + "a",
)  # fmt: skip


@pytest.mark.parametrize("unit", ADVERSARIAL)
def test_every_pattern_takes_time_in_proportion_to_the_text(unit):
    """What is quadratic takes 10 s and more, what is linear a tenth of a second."""
    rules = load_catalog().rules_for("palm", "tiny", pii=True)
    start = time.monotonic()
    for fast in (True, False):
        text = unit * (150_000 // len(unit))
        line = defects.line({"input_text": text, "output_text": "y"})
        examine(BlockTask(line, "f", rules, 10, fast=fast))
        examine(BlockTask(text.encode(), "f", rules, 10, fast=fast))
    assert time.monotonic() - start < 5


def test_millions_of_blank_lines_cost_next_to_nothing(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(defects.sound_lines("palm")) + b"\n" * 1_000_000)
    start = time.process_time()
    report = validate([path])
    assert time.process_time() - start < 5
    assert (report.rows, report.counts["blank-line"]) == (120, 999_999)


def test_sarif_places_each_problem_at_its_line(tmp_path):
    path = tmp_path / "my rows.jsonl"
    path.write_bytes(defects.plant("misspelt_key"))
    log = sarif(validate([path]))
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    run = log["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["extra-field", "missing-field"]
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert place["region"] == {"startLine": 61}
        assert place["artifactLocation"]["uri"] == f"file://{tmp_path}/my%20rows.jsonl"
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] == CODES[result["ruleId"]][0]


def test_sarif_says_where_more_was_found_than_it_lists(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("[]\n" * 25_010)
    run = sarif(validate([path], max_problems=30_000, format="palm"))["runs"][0]
    assert len(run["results"]) == 25_000
    (notice,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notice["message"]["text"].startswith("25000 of 25010 problems are listed")
    few = sarif(validate([path], max_problems=10, format="palm"))["runs"][0]
    assert len(few["results"]) == 10
    assert (
        "10 of 25010" in few["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    )


def test_sarif_names_a_file_whose_name_is_no_utf8(tmp_path):
    path = os.fsencode(tmp_path / "rows") + b"\xff.jsonl"
    with open(path, "wb") as file:
        file.write(b"{\n")
    (result, *_) = sarif(validate([os.fsdecode(path)]))["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"].endswith("/rows%FF.jsonl")


def test_no_message_quotes_a_text_of_the_row(tmp_path):
    secret = "Xyzzy4711"
    lines = defects.sound_lines("palm")
    lines += [
        pair(secret, secret),
        defects.line({"input_text": secret, "output_text": secret, f"{secret} key": secret}),
        pair(secret, "a") + secret.encode(),
        pair(secret, secret)[:-3],
        secret.encode(),
        pair(f"{secret}\x00", f"{secret}\u202e"),
    ]
    report = validate([write(tmp_path / "rows.jsonl", *lines)])
    assert report.rows - report.valid_rows == 5
    assert secret not in json.dumps(report.as_json()["problems"])


def test_near_duplicates_are_found_when_asked_at_any_cut(tmp_path):
    long = "the delivery of order 4711 was late by two days and the box was torn at one corner "
    lines = defects.sound_lines("palm", 150)
    lines[9] = pair(long * 2, "we are sorry and will send a new box at once")
    lines[70] = pair(
        (long * 2).replace("two", "six"), "we are sorry and will send a new box at once"
    )
    lines[80] = pair((long * 2).upper() + "!", "We are sorry and will send a new box at once")
    lines[90] = lines[9]
    lines[95] = pair("what is the capital of France, and how many people live in it?", "Paris")
    path = write(tmp_path / "rows.jsonl", *lines)
    assert "near-duplicate" not in validate([path]).counts
    report = validate([path], near_duplicates=True)
    found = [(p.line, p.message) for p in report.problems if p.code == "near-duplicate"]
    message = "nearly the same row is at line 10"
    assert found == [(71, message), (81, message)]
    assert report.counts["duplicate-row"] == 1
    assert report.stats["near_duplicate_rows"] == 2
    for options in (
        {"block_bytes": 100, "fast_from_bytes": 0},
        {"workers": 2, "block_bytes": 3000},
    ):
        assert validate([path], near_duplicates=True, **options) == report


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("注文番号を教えて", "ja"),
        ("请问订单号是多少", "zh"),
        ("주문 번호", "ko"),
        ("หมายเลข", "th"),
        ("Πού είναι;", "el"),
        ("Где заказ?", "und-Cyrl"),
        ("Where is the order?", "en"),
        ("Wo ist meine Bestellung?", "und-Latn"),
        ("4711", "und"),
    ],
)
def test_languages_are_told_by_script_as_far_as_it_goes(text, name):
    assert language(text) == name


def test_languages_of_many_rows_are_estimated_from_a_sample(tmp_path):
    rows = [pair(f"どこ{n}" if n % 4 else f"where is the order {n}", "ok") for n in range(4000)]
    languages = validate([write(tmp_path / "rows.jsonl", *rows)]).stats["languages"]
    assert sum(languages.values()) == 4000
    assert languages["en"] == pytest.approx(1000, abs=200)

"""Rows that people and vendors have published, and what the services' own types say of each."""

import base64
import json
import struct
from pathlib import Path

import pytest

from tests.recordings import wav
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.limits import LINE_BYTES_MAX
from tunepipe.data.rows import read_examples
from tunepipe.errors import DataError, UsageError
from tunepipe.splitting.split import split
from tunepipe.validation.validate import Report, validate

CASES = Path(__file__).parents[1] / "fixtures" / "cases"
FEW = "too-few-rows"  # every case is a row or two


def problems(report: Report) -> list[tuple[int, str, str, str]]:
    return [(x.line, x.code, x.level, x.field) for x in report.problems if x.code != FEW]


def picture_row(characters: int, number: int = 0) -> dict:
    url = "data:image/png;base64," + "A" * characters
    asked = [
        {"type": "text", "text": f"What is in picture {number}?"},
        {"type": "image_url", "image_url": {"url": url}},
    ]
    answer = {"role": "assistant", "content": "A cat."}
    return {"messages": [{"role": "user", "content": asked}, answer]}


def gemini_row(number: int, *parts: dict) -> dict:
    return {
        "contents": [
            {"role": "user", "parts": [{"text": f"q {number}"}, *parts]},
            {"role": "model", "parts": [{"text": f"a {number}"}]},
        ]
    }


def write(path: Path, *rows: dict) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("gemini_google_fc_sample_without_role", "", []),
        ("gemini_null_parts", "", []),
        ("gemini_null_tools", "", []),
        ("messages_null_tools", "", []),
        ("messages_sdk_dump", "", []),
        ("gemini_args_text", "",
         [(1, "wrong-type", "error", "contents[1].parts[0].functionCall.args")]),
        ("gemini_tools_openai_shape", "",
         [(1, "extra-field", "error", "tools[0].function"),
          (1, "extra-field", "error", "tools[0].type")]),
        ("gemini_tools_of_texts", "", [(1, "wrong-type", "error", "tools[0]")]),
        ("gemini_inline_not_base64", "",
         [(1, "wrong-type", "error", "contents[0].parts[0].inlineData.data")]),
        ("gemini_forty_images", "", [(1, "media-limit", "error", "")]),
        ("preference_with_picture", "",
         [(1, "media-type", "error", "contents[0].parts[1].fileData")]),
        ("preference_scores", "", [(1, "wrong-type", "warning", "completions")]),
        ("validated_not_convertible_refusal", "", [(1, "not-convertible", "error", "")]),
        ("validated_not_convertible_weight", "gemini-3.5-flash",
         [(1, "not-convertible", "error", "")]),
        ("validated_image_text", "",
         [(1, "wrong-type", "error", "messages[0].content[1].image_url")]),
        ("validated_bad_arguments", "",
         [(1, "wrong-type", "error", "messages[1].tool_calls[0].function.arguments")]),
        ("validated_call_without_id", "",
         [(1, "missing-field", "error", "messages[1].tool_calls[0].id")]),
        ("tool_schema_defs", "", []),
        ("tool_schema_oneof", "", []),
        ("form_feed", "", [(1, "control-character", "warning", "messages[0].content")]),
        ("mojibake_c1", "", [(1, "mojibake", "warning", "messages[0].content")]),
        ("zero_width_only", "",
         [(1, "empty-text", "error", "messages[0].content"),
          (1, "invisible-character", "warning", "messages[0].content")]),
        ("part_of_one_newline", "", []),
        ("thought_in_reference", "", []),
        ("empty_text_beside_file", "",
         [(1, "empty-text", "warning", "contents[0].parts[0].text")]),
        ("prompt_response", "",
         [(1, "extra-field", "error", "response"), (1, "missing-field", "error", "completion")]),
    ],
)  # fmt: skip
def test_a_row_is_judged_as_its_service_judges_it(name, model, expected):
    assert problems(validate([CASES / f"{name}.jsonl"], model=model)) == expected


def test_a_picture_is_not_counted_as_text(tmp_path):
    report = validate([write(tmp_path / "rows.jsonl", picture_row(933_336))])
    assert problems(report) == []
    assert report.stats["rows_with_files"] == 1
    assert report.stats["tokens_estimated"]["files"] == 1120
    assert 1120 < report.tokens < 1160


def sound_row(seconds: int) -> dict:
    data = base64.b64encode(wav(seconds)).decode()
    return {"inlineData": {"mimeType": "audio/wav", "data": data}}


def mp4(seconds: int, version: int = 0, kind: str = "video/mp4") -> dict:
    """Return what tells the length of an MP4 file: the first box, and the header of the film."""
    layout = (">4xIIII", ">4xQQIQ")[version]
    times = struct.pack(layout, 0, 0, 600, 600 * seconds)
    header = b"mvhd" + bytes([version]) + times[1:]
    data = base64.b64encode(b"\0\0\0\x10ftypisom\0\0\0\0" + header).decode()
    return {"inlineData": {"mimeType": kind, "data": data}}


def file(kind: str, **more: object) -> dict:
    return {"fileData": {"mimeType": kind, "fileUri": "gs://b/f"}, **more}


# A chunk of this recording is longer than its header says the file is.
CUT = b"RIFF\x24\0\0\0WAVELIST\xff\0\0\0" + bytes(20)
CUT_WAV = {"inlineData": {"mimeType": "audio/wav", "data": base64.b64encode(CUT).decode()}}
CLIP = {"startOffset": "10s", "endOffset": "20s"}


@pytest.mark.parametrize(
    ("part", "model", "tokens"),
    [
        (file("image/png"), "gemini-3.5-flash", 1120),
        (file("image/png", mediaResolution={"level": "MEDIA_RESOLUTION_MEDIUM"}),
         "gemini-3.5-flash", 560),
        (file("image/png", mediaResolution="MEDIA_RESOLUTION_LOW"), "gemini-3.5-flash", 280),
        (file("image/png"), "gemini-2.5-flash", None),
        (sound_row(3), "gemini-3.5-flash", 96),
        (mp4(10), "gemini-2.5-flash", 2630),
        (mp4(10, 1), "gemini-2.5-flash", 2630),
        (mp4(3, 0, "audio/mp4"), "gemini-3.5-flash", 96),
        (CUT_WAV, "gemini-3.5-flash", None),
        (file("audio/wav"), "gemini-3.5-flash", None),
        (file("video/mp4", videoMetadata=CLIP), "gemini-2.5-flash", 2630),
        (file("video/mp4", videoMetadata=CLIP), "gemini-3.5-flash", None),
        (file("application/pdf"), "gemini-3.5-flash", None),
    ],
)  # fmt: skip
def test_a_file_costs_what_google_documents_or_is_not_known(tmp_path, part, model, tokens):
    path = write(tmp_path / "rows.jsonl", gemini_row(1, part), gemini_row(2))
    report = validate([path], model=model)
    assert report.valid_rows == 2
    assert report.stats["tokens_estimated"]["files"] == (tokens or 0)
    assert report.stats["rows_with_unknown_tokens"] == (tokens is None)
    assert (report.tokens > (tokens or 0)) == (tokens is not None)


@pytest.mark.parametrize(("seconds", "codes"), [(300, set()), (301, {"media-limit"})])
def test_a_clip_may_last_as_long_as_the_service_says(tmp_path, seconds, codes):
    path = write(tmp_path / "rows.jsonl", gemini_row(1, mp4(seconds)))
    assert {code for _, code, _, _ in problems(validate([path]))} == codes


def test_a_row_with_an_error_hides_no_missing_file_after_it(tmp_path):
    path = write(tmp_path / "rows.jsonl", gemini_row(1))
    with path.open("a") as rows:
        rows.write('{"fileUri": \n' + json.dumps(gemini_row(2, file("image/png"))) + "\n")
    assert problems(validate([path], size_of={}.get)) == [
        (2, "not-json", "error", ""),
        (3, "missing-file", "error", "contents[0].parts[1].fileData"),
    ]


def test_a_file_that_cannot_be_looked_up_is_a_warning(tmp_path):
    def size_of(uri):
        raise UsageError("no access", fix="log in")

    path = write(tmp_path / "rows.jsonl", gemini_row(1, file("image/png")))
    (found,) = (x for x in validate([path], size_of=size_of).problems if x.code != FEW)
    assert (found.code, found.level, found.fix) == ("missing-file", "warning", "log in")
    table = tmp_path / "table.csv"
    table.write_text("fileUri,b\n1,2\n")  # it has a problem of its own, and no rows
    report = validate([table, path], size_of={}.get)
    assert [x.line for x in report.problems if x.code == "missing-file"] == [1]


@pytest.mark.parametrize(("size", "found"), [(20 << 20, []), ((20 << 20) + 1, ["media-limit"])])
def test_a_file_may_be_as_large_as_the_limit(tmp_path, size, found):
    path = write(tmp_path / "rows.jsonl", gemini_row(1, file("image/png")))
    report = validate([path], size_of={"gs://b/f": size}.get)
    assert [x.code for x in report.problems if x.code != FEW] == found


def test_a_users_table_sets_the_limits_of_files(tmp_path):
    path = write(tmp_path / "rows.jsonl", gemini_row(1, *[file("image/png")] * 31))
    assert problems(validate([path])) == [(1, "media-limit", "error", "")]
    limits = {"gemini-3": {"image": {"count": 31, "tokens": 100}}}
    report = validate([path], catalog=load_catalog({"media": {"limits": limits}}))
    assert problems(report) == []
    assert report.stats["tokens_estimated"]["files"] == 3100
    with pytest.raises(UsageError, match="unknown name counts"):
        load_catalog({"media": {"limits": {"gemini-3": {"image": {"counts": 31}}}}})


def test_a_row_of_more_than_4_mib_is_read(tmp_path):
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 4_400_000}}
    rows = [gemini_row(0, picture), *map(gemini_row, (1, 2, 3))]
    report = validate([write(tmp_path / "rows.jsonl", *rows)])
    assert (report.format, report.valid_rows, problems(report)) == ("gemini", 4, [])


def test_a_first_row_that_is_too_long_hides_no_format(tmp_path):
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * (33 << 20)}}
    rows = [gemini_row(0, picture), *map(gemini_row, (1, 2, 3))]
    report = validate([write(tmp_path / "rows.jsonl", *rows)])
    assert (report.format, report.valid_rows) == ("gemini", 3)
    assert problems(report) == [(1, "too-long", "error", "")]


def test_runs_of_one_character_are_few_tokens(tmp_path):
    table = "Table:\n" + ("-" * 200 + "\n") * 4500 + "Sum?"
    turns = [{"role": "user", "content": table}, {"role": "assistant", "content": "7 in all"}]
    path = write(tmp_path / "rows.jsonl", {"messages": turns})
    for fast_from_bytes in (0, 1 << 30):
        report = validate([path], fast_from_bytes=fast_from_bytes)
        assert problems(report) == []
        assert 15_000 < report.tokens < 30_000  # o200k_base counts 18,004


@pytest.mark.parametrize(
    ("model", "errors"),
    [
        # The service says so: "Supported roles are: user, model, function" (a run of 2026-08-22).
        ("google/gemma4@gemma-4-e2b-it", [(1, 'write "model"')]),
        ("gemini-3.5-flash", [(1, 'write "model"')]),
        ("a-folder/model", []),
    ],
)
def test_the_role_assistant_in_contents_is_refused_where_the_service_refuses_it(
    tmp_path, model, errors
):
    row = gemini_row(1)
    row["contents"][1]["role"] = "assistant"
    report = validate([write(tmp_path / "rows.jsonl", row)], model=model)
    assert [(x.line, x.fix) for x in report.problems if x.code == "unknown-role"] == errors
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    report = validate([write(tmp_path / "rows.jsonl", {"messages": messages})], model=model)
    assert problems(report) == []


@pytest.mark.parametrize("options", [{}, {"fast_from_bytes": 0, "workers": 2}])
def test_lines_after_one_that_is_too_long_keep_their_numbers(tmp_path, options):
    path = tmp_path / "rows.jsonl"
    frame = b'{"input_text":"q","output_text":""}\n'
    longest = frame.replace(b'""', b'"%s"' % (b"x y " * (LINE_BYTES_MAX // 4))[: -len(frame) + 1])
    assert len(longest) == LINE_BYTES_MAX + 1  # and its line end
    too_long = longest.replace(b"x y", b"x  y", 1)
    good = [b'{"input_text":"%d","output_text":"a"}\n' % n for n in range(3)]
    path.write_bytes(b"".join([good[0], too_long, good[1], longest, frame, good[2], b"{\n"]))
    report = validate([path], model="a-folder/model", **options)
    assert [(x.line, x.code) for x in report.problems] == [
        (2, "too-long"),
        (5, "empty-text"),
        (7, "not-json"),
    ]
    assert (report.rows, report.valid_rows) == (7, 4)
    path.write_bytes(b"".join([good[0], too_long]))
    for read in (
        lambda: list(read_examples(path)),
        lambda: split(path, tmp_path / "t", tmp_path / "e", eval_min=0, model="a-folder/model"),
    ):
        with pytest.raises(DataError, match=f"{path.name}:2: the line has {LINE_BYTES_MAX + 1} "):
            read()


@pytest.mark.parametrize(("lists", "codes"), [(99, set()), (100, {"nesting-too-deep"})])
@pytest.mark.parametrize("fast_from_bytes", [0, 1 << 30])
def test_a_row_may_be_nested_one_hundred_levels_deep(tmp_path, lists, codes, fast_from_bytes):
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    labels: list = []
    for _ in range(lists - 1):
        labels = [labels]
    path = write(tmp_path / "rows.jsonl", row | {"labels": labels})
    report = validate([path], fast_from_bytes=fast_from_bytes)
    assert {code for _, code, _, _ in problems(report)} == codes

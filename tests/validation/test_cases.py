"""Rows that people and vendors have published, and what the services' own types say of each."""

import json
from pathlib import Path

import pytest

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
    assert report.tokens == 0  # not known


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

"""The files and calls of a row, each with what the model takes of them."""

import dataclasses
import json

import pytest

from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.schema import MediaLimits
from tunepipe.validation.report import _media_problems
from tunepipe.validation.row_checks import diagnose

CATALOG = load_catalog({"media": {"limits": {"gemini-3": {"image": {"bytes": 3, "count": 2}}}}})
RULES = CATALOG.rules_for("gemini", "gemini-3.5-flash")
PICTURE, CLIP = "image/png", "video/mp4"
LOW, HIGH = (f"MEDIA_RESOLUTION_{name}" for name in ("LOW", "HIGH"))
UNKNOWN = "the MIME type is not among those known for image files"


def linked(mime_type, uri="gs://b/f.png", seconds=0, resolution=""):
    clip = {"videoMetadata": {"endOffset": f"{seconds}s"}} if seconds else {}
    set_ = {"mediaResolution": resolution} if resolution else {}
    return {"fileData": {"mimeType": mime_type, "fileUri": uri}, **clip, **set_}


def inline(data):
    return {"inlineData": {"mimeType": PICTURE, "data": data}}


def problems(parts, rules=RULES, answer=({"text": "a"},), **more):
    asked = {"role": "user", "parts": [{"text": "q"}, *parts]}
    row = {"contents": [asked, {"role": "model", "parts": list(answer)}], **more}
    return [
        (each.level, each.message) for each in diagnose(json.dumps(row).encode(), rules).problems
    ]


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([linked(PICTURE)], []),
        ([linked(PICTURE, "https://x/f.png")], []),
        ([linked(PICTURE, "s3://x/f.png")],
         [("error", f"the address begins with none of {', '.join(RULES.media.schemes)}")]),
        ([linked("image/xx")], [("warning", UNKNOWN)]),
        ([linked("x/y")], [("error", "gemini-3.5-flash is not tuned on files of this type")]),
        ([inline("AAAA")], []),
        ([inline("AAAAAAAA")], [("error", "the file has 6 bytes, and the limit is 3")]),
        ([linked(PICTURE)] * 2, []),
        ([linked(PICTURE)] * 3,
         [("error", "the row has 3 files of the kind image, and the limit is 2")]),
        ([linked(PICTURE, resolution=LOW), linked(PICTURE)], []),
        ([linked(PICTURE, resolution=LOW), linked(PICTURE, resolution=HIGH)],
         [("error", "the row sets several media resolutions")]),
        ([linked(CLIP, seconds=300)], []),
        ([linked(CLIP, seconds=301)],
         [("error", "the clip has 301 seconds, and the limit is 300")]),
        ([linked(CLIP, seconds=1200, resolution=LOW)], []),
        ([linked(CLIP, seconds=1201, resolution=LOW)],
         [("error", "the clip has 1201 seconds, and the limit is 1200")]),
    ],
)  # fmt: skip
def test_what_a_model_takes_of_files(parts, found):
    assert problems(parts) == found


@pytest.mark.parametrize(
    ("model", "kind", "fix"),
    [
        ("qwen/qwen3@qwen3-4b", PICTURE, "take text alone"),
        ("meta/llama4@llama-4-scout-17b-16e-instruct", "audio/wav", "use files of the kind image"),
    ],
)
def test_a_kind_that_a_model_is_not_tuned_on_names_those_that_it_is(model, kind, fix):
    line = {"contents": [{"role": "user", "parts": [linked(kind)]},
                         {"role": "model", "parts": [{"text": "a"}]}]}  # fmt: skip
    first, *_ = diagnose(json.dumps(line).encode(), CATALOG.rules_for("gemini", model)).problems
    name = kind.partition("/")[0]
    assert first.message == f"{model} is not tuned on files of the kind {name}"
    assert (first.level, first.fix) == ("error", fix)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("fg", ""),
        ("f", "the row calls a function that it does not declare"),
        ("", "the row calls 2 functions that it does not declare"),
    ],
)
def test_a_function_that_is_called_is_declared(declared, message):
    calls = [{"functionCall": {"name": name}} for name in "fg"]
    tools = {"tools": [{"functionDeclarations": [{"name": name} for name in declared]}]}
    found = problems([], answer=calls, **(tools if declared else {}))
    assert found == ([("warning", message)] if message else [])


LIMITS = MediaLimits(models=(), rows_max=2, one_media_resolution=True, drops_text_rows=True)
DROPS = "{} without a picture: gemini-3.5-flash drops such rows without a word"


@pytest.mark.parametrize(
    ("media", "valid_rows", "found"),
    [
        ({}, 3, []),
        ({"rows": 2, "LOW": 1}, 2, []),
        ({"rows": 3}, 3, ["3 rows hold files, and gemini-3.5-flash takes 2 such rows"]),
        ({"rows": 2}, 3, [DROPS.format("1 row")]),
        ({"rows": 2}, 4, [DROPS.format("2 rows")]),
        ({"rows": 2, "LOW": 1, "HIGH": 1}, 2,
         ["the rows set several media resolutions: HIGH, LOW"]),
    ],
)  # fmt: skip
def test_what_a_service_takes_of_the_files_of_all_rows(media, valid_rows, found):
    rules = dataclasses.replace(RULES, media=LIMITS)
    assert [each.message for each in _media_problems(media, valid_rows, rules)] == found
    assert not list(_media_problems(media, valid_rows, dataclasses.replace(RULES, media=None)))

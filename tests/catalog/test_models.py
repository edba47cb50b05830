"""What is asked of a model's row: dates, places, batches; and which model or backend is meant."""

from datetime import date

import pytest
from msgspec.structs import replace

from tunepipe.catalog.backends import BACKENDS, RequestPacing, find_backend
from tunepipe.catalog.catalog import load_catalog, sent_as
from tunepipe.catalog.models import (
    batch_size,
    check_region,
    is_retired,
    lifecycle_warnings,
    tokens_per_character,
    tuned_in,
)
from tunepipe.errors import LimitError, UsageError

CATALOG = load_catalog()
TODAY = date(2026, 11, 26)
FLASH, BISON = CATALOG.find_model("gemini-3.5-flash"), CATALOG.find_model("text-bison@001")
UNDATED = replace(
    FLASH, name="m", successor="", note="", tunable_since="", tunable_until="", served_until="",
    retires_not_before="",
)  # fmt: skip
NEXT = {"successor": "s"}


@pytest.mark.parametrize(
    ("dates", "retired", "warnings"),
    [
        ({}, False, []),
        (NEXT, False, []),
        ({"tunable": False} | NEXT, True, ["m cannot be tuned; its successor is s"]),
        ({"tunable_since": "2026-11-27"}, False, ["m can be tuned from 2026-11-27 on"]),
        ({"tunable_since": "2026-11-26"}, False, []),
        ({"served_until": "2026-11-26", "tunable_until": "2026-11-26"}, True,
         ["m was discontinued on 2026-11-26"]),
        ({"served_until": "2026-11-26", "tunable_until": "2026-10-01"} | NEXT, True,
         ["m was shut down on 2026-11-26; new tuning jobs were refused from 2026-10-01;"
          " its successor is s"]),
        ({"tunable_until": "2026-11-26"}, True,
         ["new tuning jobs on m are refused since 2026-11-26"]),
        ({"tunable_until": "2026-11-27"}, False, []),
        ({"tunable_until": "2026-11-26", "served_until": "2027-01-01"} | NEXT, True,
         ["new tuning jobs on m are refused since 2026-11-26; it answers until 2027-01-01;"
          " its successor is s"]),
        ({"served_until": "2027-01-01"}, False,
         ["m ends on 2027-01-01, and what is tuned from it too"]),
        ({"retires_not_before": "2026-11-26"}, False,
         ["m may end any day: 2026-11-26 was the earliest"]),
        ({"retires_not_before": "2026-11-27"}, False, []),
        ({"retires_not_before": "2026-11-01", "note": "n"} | NEXT, False,
         ["m may end any day: 2026-11-01 was the earliest; its successor is s", "m: n"]),
    ],
)  # fmt: skip
def test_what_a_models_dates_say(dates, retired, warnings):
    model = replace(UNDATED, **dates)
    assert (is_retired(model, TODAY), lifecycle_warnings(model, TODAY)) == (retired, warnings)


def test_the_tokens_of_a_character_by_the_mode_of_tuning():
    llama = CATALOG.find_model("meta/llama3_1@llama-3.1-8b")
    assert [tokens_per_character(llama, mode) for mode in ("", "full", "x")] == [0.317, 0.247, 0]
    assert tokens_per_character(replace(llama, tuning_modes=())) == 0
    assert tokens_per_character(FLASH) == 0


def test_where_a_model_is_tuned_and_with_which_batch():
    assert [batch_size(BISON, region) for region in ("us-central1", "europe-west4")] == [8, 24]
    assert tuned_in(FLASH, "a", {"location": "b"}) == "b"
    assert tuned_in(FLASH, "a", {"location": ""}) == tuned_in(BISON, "a", {"location": "b"}) == "a"
    for region, found, where in (
        ("", "gemini-3.5-flash needs a region", "region"),
        ("mars", "gemini-3.5-flash is not tuned there", "region mars"),
    ):
        with pytest.raises(LimitError) as caught:
            check_region(FLASH, region)
        assert (caught.value.found, caught.value.where) == (found, where)
    assert CATALOG.hardware_of(FLASH, "x") is None
    assert CATALOG.hardware_of(BISON, "europe-west4").accelerators == 64


def test_the_pacing_that_options_set():
    pacing = BACKENDS["gemini"].pacing.with_options({"workers": 4.0, "requests_per_minute": 3})
    assert pacing == RequestPacing(workers=4, requests_per_minute=3.0, attempts=8)
    assert isinstance(pacing.workers, int)
    assert BACKENDS["large-model"].identifier == "large_model"
    with pytest.raises(UsageError) as caught:
        find_backend("gemni")
    assert caught.value.fix == "did you mean gemini?"


@pytest.mark.parametrize(
    ("format", "native", "sent"),
    [
        ("palm", (), "palm"),
        ("palm", ("gemini",), "gemini"),
        ("palm", ("messages", "prompt-completion"), "prompt-completion"),
        ("palm-chat", ("messages", "prompt-completion"), "messages"),
        ("palm", ("messages",), "messages"),
        ("gemini", ("messages", "gemini"), "gemini"),
    ],
)
def test_the_format_in_which_rows_are_sent(format, native, sent):
    assert sent_as(format, native) == sent


@pytest.mark.parametrize(
    ("format", "backend", "model"),
    [
        ("", "", "text-bison@001"), ("gemini", "", "gemini-3.5-flash"),
        ("gemini", "gemini", "gemini-3.5-flash"), ("gemini", "local", "tiny"),
        ("palm", "gemini", "gemini-3.5-flash"), ("preference", "", "gemini-2.5-flash"),
        ("messages", "open-model", "qwen/qwen3@qwen3-4b"), ("nope", "", "text-bison@001"),
    ],
)  # fmt: skip
def test_the_model_that_is_tuned_if_none_is_named(format, backend, model):
    assert CATALOG.default_model(format, backend) == model


OUTSIDE = (
    "A folder or a hub id needs --backend local or custom; a new model needs a row in --tables"
)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        *((name, None) for name in (
            "", "tiny", "text-bison@001", "Qwen/Qwen3-4B", "projects/p/x", "gemma",
            "Qwen/Qwen3-4B@main", "publishers/qwen/models/qwen3@qwen3-4b",
        )),
        ("text-bisn", "did you mean text-bison or text-bison@002 or text-bison@001? A"),
        ("gemini-9", "did you mean gemini-3.5-flash or "),
        ("a@b", ""),
        ("qwen/qwen3@qwen3-5b", "did you mean qwen/qwen3@"),
        ("Meta/Llama3_1@llama-3.1-9b", "did you mean meta/llama3_1@"),
    ],
)  # fmt: skip
def test_a_misspelt_model_does_not_switch_the_limits_off(name, fix):
    if fix is None:
        CATALOG.check_model_name(name)
        return
    with pytest.raises(UsageError) as caught:
        CATALOG.check_model_name(name)
    assert caught.value.fix.startswith(fix or OUTSIDE)
    assert caught.value.fix.endswith(OUTSIDE)


@pytest.mark.parametrize(
    ("name", "backend", "found", "tuned_by"),
    [
        ("", "", "text-bison@001", "large-model"), ("", "gemini", "gemini-3.5-flash", "gemini"),
        ("x/y", "local", "x/y", "local"), ("x/y", "custom", "x/y", "custom"),
        ("projects/1/models/2", "", "projects/1/models/2", "gemini"),
    ],
)  # fmt: skip
def test_the_model_that_is_meant(name, backend, found, tuned_by):
    model = CATALOG.find_model(name, backend)
    assert (model.name, model.backend) == (found, tuned_by)


def test_a_model_of_another_backend_is_refused():
    with pytest.raises(UsageError) as caught:
        CATALOG.find_model("gemini-3.5-flash", "large-model")
    assert caught.value.fix == "--backend gemini, or another model"

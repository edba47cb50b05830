"""Settings of the steps after the tuning: what is taken, and what is refused before it."""

import math

import pytest

from tunepipe.catalog.backends import BACKENDS
from tunepipe.catalog.catalog import load_catalog
from tunepipe.data.conversations import example
from tunepipe.errors import DataError, UsageError
from tunepipe.evaluation.settings import check_settings
from tunepipe.evaluation.tasks import check_parts

PRICE = {"usd_per_million_read": 1.0, "usd_per_million_written": 2.0}
OURS = {"prices": {"answers": {"gemini-9-flash": PRICE}}}


@pytest.mark.parametrize(
    ("backend", "settings"),
    [(backend, {}) for backend in BACKENDS]
    + [
        ("gemini", {"margin": 0, "guard_margin": 1.0, "seed": 2**32 - 1, "task": "auto"}),
        ("gemini", {"eval_min": 0, "eval_max": 0, "eval_fraction": 0.99, "max_output_tokens": 1}),
        ("gemini", {"asking": {"workers": 8.0, "attempts": 1, "requests_per_minute": 0.5}}),
        ("gemini", {"asking": {"thinking_level": "LOW", "thinking_budget": -1, "top_p": 1}}),
        ("open-model", {"asking": {"request_format": "prompt", "temperature": 0.7}}),
        ("large-model", {"asking": {"chat": True}}),
        ("local", {"asking": {"engine": "vllm", "batch_size": 4.0, "device": "cpu"}}),
        ("gemini", {"judge_model": "gemini-2.5-flash", "judge_prompt": "$first or $second?"}),
        ("gemini", {"judge_model": "projects/p/locations/eu/endpoints/1"}),
        ("gemini", {"judge_model": "gemini-9-flash"}),
        ("gemini", {"dataset_uri": "what else a run has is passed over"}),
    ],
)
def test_what_can_be_meant_is_taken(backend, settings):
    check_settings(settings, backend, load_catalog(OURS))


@pytest.mark.parametrize(
    ("settings", "where", "fix"),
    [
        ({"margin": math.nan}, "margin", "from 0 to 1; 5 % is 0.05"),
        ({"margin": 5}, "margin", "from 0 to 1"),
        ({"margin": -0.1}, "margin", "from 0 to 1"),
        ({"margin": "0.1"}, "margin", "from 0 to 1"),
        ({"guard_margin": 7}, "guard_margin", "from 0 to 1"),
        ({"eval_fraction": 0.0}, "eval_fraction", "above 0 and below 1"),
        ({"eval_fraction": 2}, "eval_fraction", "above 0 and below 1"),
        ({"eval_fraction": math.nan}, "eval_fraction", "above 0 and below 1"),
        ({"eval_min": -1}, "eval_min", "a whole number from 0 up"),
        ({"eval_max": 2.5}, "eval_max", "a whole number from 0 up"),
        ({"eval_max": math.inf}, "eval_max", "a whole number from 0 up"),
        ({"max_output_tokens": 0}, "max_output_tokens", "from 1 up"),
        ({"max_output_tokens": True}, "max_output_tokens", "from 1 up"),
        ({"seed": -1}, "seed", "from 0 to 4,294,967,295"),
        ({"seed": 2**32}, "seed", "from 0 to 4,294,967,295"),
        ({"task": "nope"}, "task", "text, classification, json, calls, auto"),
        ({"task": ["json"]}, "task", "text, classification, json, calls, auto"),
        ({"asking": 8}, "asking", "such as"),
        ({"asking": {"wokers": 8}}, "asking.wokers", "did you mean workers?"),
        ({"asking": {"engine": "vllm"}}, "asking.engine", "one of attempts"),
        ({"asking": {"workers": -1}}, "asking.workers", "from 0 to"),
        ({"asking": {"attempts": 0}}, "asking.attempts", "from 1 to"),
        ({"asking": {"requests_per_minute": math.nan}}, "asking.requests_per_minute", "from 0"),
        ({"asking": {"thinking_level": "much"}}, "asking.thinking_level", "one of high, low"),
        ({"metric": "acuracy"}, "metric", "did you mean accuracy?"),
        ({"metric": "rouge_l", "task": "json"}, "metric", "one of field_accuracy"),
        ({"judge_model": "nope"}, "judge_model", "tables.prices.answers"),
        ({"judge_model": "gemini-3.5-falsh"}, "judge_model", "did you mean gemini-3.5-flash?"),
        ({"judge_model": "text-bison@001"}, "judge_model", "one of gemini-"),
        ({"judge_prompt": "which is better?"}, "judge_prompt", "write $input"),
        ({"judge_prompt": "$first or $seconds"}, "judge_prompt", "write $input"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings, where, fix):
    with pytest.raises(UsageError) as caught:
        check_settings(settings, "gemini")
    assert caught.value.where == where
    assert fix in caught.value.fix


IMAGE = {"fileData": {"mimeType": "image/png", "fileUri": "gs://b/i.png"}}
TOOLS = [{"functionDeclarations": [{"name": "f"}]}]


def example_of(*parts, **more):
    contents = [
        {"role": "user", "parts": list(parts)},
        {"role": "model", "parts": [{"text": "a"}]},
    ]
    return example({"contents": contents, **more}, "gemini", 3)


@pytest.mark.parametrize(
    ("model", "row", "judge", "refused"),
    [
        ("gemini-3.5-flash", example_of({"text": "q"}, IMAGE, tools=TOOLS), "", ""),
        ("gemini-3.5-flash", example_of(IMAGE), "gemini-3.5-flash", "the judge reads text alone"),
        ("gemini-3.5-flash", example_of({"text": "q"}, tools=TOOLS), "gemini-3.5-flash", ""),
        ("qwen/qwen3@qwen3-4b", example_of({"text": "q"}, tools=TOOLS), "", ""),
        ("qwen/qwen3@qwen3-4b", example_of(IMAGE), "", "holds image, which qwen"),
        ("meta/llama4@llama-4-scout-17b-16e-instruct", example_of(IMAGE), "", ""),
        ("tiny", example_of(IMAGE), "", "holds image, which tiny"),
    ],
)
def test_rows_that_a_model_or_a_judge_cannot_be_shown_are_refused(model, row, judge, refused):
    found = load_catalog().find_model(model)
    if not refused:
        check_parts([row], found, judge)
        return
    with pytest.raises(DataError, match=refused) as caught:
        check_parts([row], found, judge)
    assert "line 3" in caught.value.where

"""What Google's documents said in November 2026, each sentence with the table that holds it.

A value that changes on Google's side changes here and in the table, with its new date.
"""

from datetime import date

import pytest

from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.models import is_retired, lifecycle_warnings
from tunepipe.catalog.tables import load

CATALOG = load_catalog()
TODAY = date(2026, 11, 26)
QWEN = "qwen/qwen3@qwen3-4b"
GEMINI_4 = [f"gemini-4-{name}" for name in ("argon", "carbon", "hydrogen", "neon")]


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        # Gemini 2.5 is closed to new tuning and to new projects, and answers until its shutdown.
        ("gemini-2.5-pro", "served_until", "2027-03-31"),
        ("gemini-2.5-flash", "served_until", "2027-03-31"),
        ("gemini-2.5-flash-lite", "served_until", "2027-01-28"),
        ("gemini-2.5-flash", "tunable_until", "2026-09-20"),
        ("gemini-2.5-flash", "new_projects_until", "2026-10-20"),
        ("gemini-2.5-pro", "successor", "gemini-3.5-flash"),
        ("gemini-2.5-flash", "successor", "gemini-3.5-flash-lite"),
        ("gemini-2.5-flash-lite", "successor", "gemini-3.5-flash-lite"),
        # What can be tuned today, where, and how its adapters may be.
        ("gemini-3.5-flash-lite", "regions", ("us-central1", "europe-west4")),
        ("gemini-3.5-flash", "adapter_sizes", (1, 2, 4, 8, 16)),
        ("gemini-3.5-flash", "cmek", False),
        ("gemini-3.8-flash", "tunable", False),
        ("gemini-3.8-flash", "retires_not_before", "2027-09-02"),
        *((name, "tunable", False) for name in GEMINI_4),
        *((name, "successor", "gemini-3.5-flash") for name in GEMINI_4),
        ("gemini-4-argon", "retires_not_before", "2027-10-13"),
        # Open models.
        ("qwen/qwen3-6@qwen3.6-27b", "tuning_modes", ("peft",)),
        ("qwen/qwen3-6@qwen3.6-35b-a3b", "tuning_modes", ("peft",)),
        ("zai-org/glm-4.7-flash@glm-4.7-flash", "tuning_modes", ("peft",)),
        (
            "meta/llama3_1@llama-3.1-8b",
            "tokens_per_ascii_character",
            {"peft": 0.317, "full": 0.247},
        ),
        ("google/gemma3@gemma-3-27b-it", "adapter_size_recommended", 32),
        ("google/gemma4@gemma-4-31b-it", "adapter_size_recommended", 16),
        (QWEN, "sequence_tokens", 8192),
        (QWEN, "batch_size", 16),
        (QWEN, "quota", "Global concurrent managed OSS model fine-tuning jobs per project"),
        ("meta/llama4@llama-4-scout-17b-16e-instruct", "takes", ("image", "tools")),
        ("google/gemma4@gemma-4-31b-it", "takes", ("tools",)),
    ],
)
def test_a_models_row(model, field, value):
    assert getattr(CATALOG.find_model(model), field) == value


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("qwen/qwen3-6@qwen3.6-27b", 12_288),
        ("zai-org/glm-4.7-flash@glm-4.7-flash", 8192),
        (QWEN, 8192),
        ("meta/llama4@llama-4-scout-17b-16e-instruct", 2048),
        ("gemini-3.5-flash-lite", 131_072),
    ],
)
def test_the_longest_example(model, tokens):
    assert CATALOG.find_service(model)[1].example_tokens == tokens


def test_a_retired_model_that_still_answers_is_not_called_dead():
    flash = CATALOG.find_model("gemini-2.5-flash")
    assert is_retired(flash, TODAY)
    said = " ".join(lifecycle_warnings(flash, TODAY))
    assert "it answers until 2027-03-31" in said
    assert "shut down" not in said.partition("its successor")[0]


def test_open_models_take_the_role_model_in_contents_and_assistant_in_messages():
    assert "assistant" not in CATALOG.rules_for("gemini", QWEN).roles
    assert "assistant" in CATALOG.rules_for("messages", QWEN).roles


def test_rows_of_every_open_model_are_sent_in_a_format_that_the_service_reads():
    """A model whose service names no format of its own would get its rows unconverted."""
    every = map(CATALOG.find_model, CATALOG.model_table.models)
    models = [model for model in every if model.backend == "open-model"]
    assert len(models) > 5
    for model in models:
        for format in model.formats:
            sent = CATALOG.rules_for(format, model.name).convert_to or format
            assert sent in ("messages", "prompt-completion"), (model.name, format)


def test_what_no_price_was_found_for_has_none():
    for model in (
        *("qwen/qwen3-6@qwen3.6-27b", "zai-org/glm-4.7-flash@glm-4.7-flash"),
        *("qwen/qwen3-5@qwen3.5-9b", "gemini-3.5-flash-lite"),
    ):
        assert model not in CATALOG.prices.training_tokens
    assert CATALOG.prices.answers["gemini-4-argon"].usd_per_million_written == 20.0
    assert CATALOG.prices.answers["gemini-3.5-flash"].tuned_factor == 1.5


def test_the_service_fails_a_job_at_a_tenth_of_dropped_examples_and_we_sooner():
    assert load("backends/managed/parameters.toml")["dropped_fraction_max"] < 0.1


@pytest.mark.parametrize("name", ["gemini-3", "gemini"])
def test_what_a_row_of_files_may_hold(name):
    limits = load("catalog/media.toml")["limits"][name]
    assert limits["rows_max"] == 300_000
    assert limits["one_media_resolution"]
    image, audio, video = (limits[kind] for kind in ("image", "audio", "video"))
    assert (image["count"], image["bytes"]) == (30, 20 << 20)
    assert (audio["count"], audio["bytes"]) == (1, 100 << 20)
    assert (video["count"], video["bytes"]) == (1, 100 << 20)
    assert (video["seconds_low"], video["seconds"]) == (20 * 60, 5 * 60)


def test_scout_drops_the_rows_of_text_in_a_mixed_file():
    assert load("catalog/media.toml")["limits"]["llama-4-scout"]["drops_text_rows"]


@pytest.mark.parametrize("accelerator", CATALOG.accelerators.accelerators)
def test_the_price_of_an_accelerator_has_a_source(accelerator):
    row = CATALOG.accelerators.accelerators[accelerator]
    sourced = "pricing.yml" in row.source
    assert sourced or row.source.startswith("second hand")
    assert set(row.usd_per_hour) == {"us-central1", *(["europe-west4"] if sourced else [])}

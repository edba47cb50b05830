import json
import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tunepipe.catalog import models
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.limits import ASCII_TOKENS, estimated_tokens
from tunepipe.catalog.schema import Calibration
from tunepipe.errors import DataError, LimitError, UsageError
from tunepipe.planning import plan as steps
from tunepipe.planning.costs import calibrated
from tunepipe.planning.plan import HeldOut

KEYS = [
    "region", "model", "backend", "accelerator_type", "accelerators", "batch_size", "rows",
    "steps_per_epoch", "train_steps", "epochs", "quota", "estimated_hours", "estimated_cost_usd",
    "price_date", "tables_version", "warnings",
]  # fmt: skip
A100 = "Restricted image training Nvidia A100 80GB GPUs per region: multiples of 8"
TPU = "Restricted image training TPU V3 pod cores per region: multiples of 64"
BISON_ENDS = "ends on 2025-04-09, and what is tuned from it too; its successor is gemini-3.5-flash"
HELD_OUT = (
    "eval_rows",
    "smallest_difference",
    "metric",
    "metric_reason",
    "answers",
    "evaluation_cost_usd",
)


@pytest.mark.parametrize(
    ("rows", "region", "model", "expected"),
    [
        (240, "us-central1", "text-bison@001", (8, 30)),
        (240, "europe-west4", "text-bison@001", (24, 10)),
        (240, "us-central1", "text-bison", (3, 80)),
        (240, "europe-west4", "text-bison", (8, 30)),
        (241, "us-central1", "text-bison@001", (8, 31)),
        (247, "us-central1", "", (8, 31)),
        (248, "us-central1", "", (8, 31)),
        (249, "us-central1", "", (8, 32)),
        (10, "europe-west4", "", (24, 1)),
        (25, "europe-west4", "chat-bison@001", (24, 2)),
    ],
)
def test_the_batch_belongs_to_model_and_region(rows, region, model, expected):
    found = steps.plan(rows, region=region, model=model)
    assert (found.batch_size, found.steps_per_epoch) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"epochs": 1}, (30, 1.0)),
        ({"epochs": 3}, (90, 3.0)),
        ({"epochs": 0.1}, (3, 0.1)),
        ({"epochs": 0.11}, (4, 0.11)),
        ({"epochs": 2.5}, (75, 2.5)),
        ({"train_steps": 30}, (30, 1.0)),
        ({"train_steps": 100}, (100, 3.3333)),
        ({"train_steps": 1}, (1, 0.0333)),
        ({}, (300, 10.0)),
    ],
)
def test_steps_and_epochs(given, expected):
    found = steps.plan(240, region="us-central1", **given)
    assert (found.train_steps, found.epochs) == expected


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 10**6), st.integers(1, 64), st.integers(1, 20))
def test_an_epoch_covers_all_rows_and_no_step_is_empty(rows, batch, epochs):
    per_epoch = steps.steps_per_epoch(rows, batch)
    assert (per_epoch - 1) * batch < rows <= per_epoch * batch
    base = load_catalog().find_model("text-bison@001")
    assert steps._steps(base, per_epoch, epochs, 0)[:2] == (epochs * per_epoch, epochs)
    assert steps._steps(base, per_epoch, 0, epochs * per_epoch)[:2] == (epochs * per_epoch, epochs)


@pytest.mark.parametrize("given", [{"epochs": 1}, {"train_steps": 90}, {"train_steps": 300}, {}])
def test_the_articles_example_costs_what_the_article_says(given):
    found = steps.plan(240, region="us-central1", **given)
    assert (found.accelerators, found.accelerator_type) == (8, "NVIDIA_A100_80GB")
    assert (found.estimated_hours, found.estimated_cost_usd) == (1.0, 36.1383)
    assert found.price_date


def test_hours_grow_with_the_steps_and_give_way_to_the_users_own():
    assert steps.plan(240, region="us-central1", train_steps=900).estimated_hours == 3.0
    found = steps.plan(240, region="us-central1", train_steps=900, hours=2)
    assert (found.estimated_hours, found.estimated_cost_usd) == (2, 72.2767)


def test_each_region_names_its_quota():
    assert steps.plan(240, region="us-central1").quota == A100
    assert steps.plan(240, region="europe-west4").quota == TPU


def test_a_price_that_is_not_known_is_not_made_up():
    found = steps.plan(240, region="europe-west4")
    assert (found.estimated_cost_usd, found.price_date) == (None, "")


def test_the_user_lays_a_price_over_the_table():
    over = {"prices": {"accelerators": {"TPU_V3": {"usd_per_hour": {"europe-west4": 0.5}}}}}
    found = steps.plan(240, region="europe-west4", catalog=load_catalog(over), max_cost_usd=40)
    assert found.estimated_cost_usd == 32.0


@pytest.mark.parametrize(
    ("rows", "error"), [(0, DataError), (9, DataError), (-1, UsageError), (math.nan, UsageError)]
)
def test_too_few_rows_are_refused(rows, error):
    with pytest.raises(error) as caught:
        steps.plan(rows, region="us-central1")
    assert caught.value.where == "rows"


def test_a_missing_region_is_wrong_usage_and_names_those_of_the_model():
    with pytest.raises(UsageError) as caught:
        steps.plan(100, region="")
    assert "us-central1, europe-west4" in caught.value.fix


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"region": "us-east1"}, "us-central1, europe-west4"),
        ({"region": "us-central1", "backend": "local"}, "local"),
        ({"region": "asia-east1", "model": "gemini-3.5-flash"}, "us-central1, europe-west4"),
        ({"region": "us-central1", "max_cost_usd": 36.13}, "36.14 USD, above"),
        ({"region": "europe-west4", "max_cost_usd": 1000}, "no price an hour"),
        (
            {"region": "us-central1", "model": "gemini-3.5-flash", "max_cost_usd": 1},
            "tokens are not known",
        ),
        ({"region": "us-central1", "model": "gemini-3.8-flash"}, "gemini-3.5-flash"),
    ],
)
def test_limits_refuse(given, words):
    with pytest.raises(LimitError) as caught:
        steps.plan(240, **given)
    assert words in str(caught.value)


def test_a_ceiling_that_is_just_met_lets_it_pass():
    assert steps.plan(240, region="us-central1", max_cost_usd=36.1383).estimated_cost_usd == 36.1383


def test_a_ceiling_counts_parts_of_a_cent():
    known = {"region": "us-central1", "model": "gemini-3.5-flash", "epochs": 1, "tokens": 260}
    assert steps.plan(100, **known, max_cost_usd=0.0026).estimated_cost_usd == 0.0026
    with pytest.raises(LimitError, match=r"estimated at 0\.0026 USD, above .* of 0\.001 USD"):
        steps.plan(100, **known, max_cost_usd=0.001)


def test_a_ceiling_of_tuning_and_answers_that_is_just_met_lets_them_pass():
    known = {"region": "us-central1", "model": "gemini-3.5-flash", "epochs": 1, "tokens": 100_000}
    held_out = HeldOut(100, tokens_read=1000.0, tokens_written=100.0)
    tuning = steps.plan(100, **known)
    answers = tuning.with_held_out(held_out).evaluation_cost_usd
    total = tuning.estimated_cost_usd + answers
    assert tuning.with_held_out(held_out, None, total).evaluation_cost_usd == answers > 0
    with pytest.raises(LimitError, match="for the tuning and") as caught:
        tuning.with_held_out(held_out, None, total - 0.0001)
    assert caught.value.where == "max_cost_usd"
    # Two models are asked the guarded rows too, each as often as the held-out ones.
    guarded = replace(held_out, guard_tokens=(100_000, 10_000))  # as many as the held-out rows have
    assert tuning.with_held_out(guarded).evaluation_cost_usd == pytest.approx(2 * answers)
    with pytest.raises(LimitError, match="x 2 models = 200 answers, and the guarded rows"):
        tuning.with_held_out(guarded, None, total)


@pytest.mark.parametrize(
    "known",
    [
        {"region": "us-central1", "model": "qwen/qwen3@qwen3-4b"},
        # Two more jobs of a quarter of an hour at least on the machine of the tuning.
        {"region": "us-central1", "backend": "custom"},
    ],
)
def test_a_ceiling_says_that_it_does_not_count_answers_without_a_price(known):
    for ceiling in (0, 100):
        plan = steps.plan(1000, **known, tokens=10**6)
        plan = plan.with_held_out(HeldOut(300, tokens_read=9.0), None, ceiling)
        said = any("does not count the answers" in warning for warning in plan.warnings)
        assert said == bool(ceiling)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"epochs": 1, "train_steps": 30}, "epochs, train_steps"),
        ({"epochs": -1}, "epochs"),
        ({"epochs": math.inf}, "epochs"),
        ({"epochs": math.nan}, "epochs"),
        ({"train_steps": -5}, "train_steps"),
        ({"max_cost_usd": -1}, "max_cost_usd"),
        ({"learning_rate_multiplier": 0}, "learning_rate_multiplier"),
        ({"backend": "palm"}, "backend"),
        ({"model": "text-bison@01"}, "model"),
        ({"model": "gemini-3.5-flash", "backend": "large-model"}, "model"),
    ],
)
def test_wrong_usage(given, where):
    with pytest.raises(UsageError) as caught:
        steps.plan(240, region="us-central1", **given)
    assert caught.value.where == where


def test_an_unknown_model_gets_a_suggestion():
    with pytest.raises(UsageError, match="text-bison@001"):
        load_catalog().find_model("text-bison@01")


def test_the_json_has_the_keys_of_the_contract_and_nothing_else():
    found = steps.plan(240, region="us-central1").as_json()
    assert list(found) == [*KEYS, *HELD_OUT]
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("model", "asked", "warning"),
    [
        ("gemini-3.5-flash", {"train_steps": 31}, "31 steps requested; {}: 2, 60 steps"),
        ("gemini-3.5-flash", {"train_steps": 1}, "1 step requested; {}: 1, 30 steps"),
        ("gemini-3.5-flash", {"epochs": 1.5}, "1.5 epochs requested; {}: 2, 60 steps"),
        ("gemini-3.5-flash", {"epochs": 0.5}, "0.5 epochs requested; {}: 1, 30 steps"),
        ("gemini-3.5-flash", {"epochs": 2}, ""),
        ("gemini-3.5-flash", {}, ""),
        ("text-bison@001", {"train_steps": 31}, ""),
    ],
)
def test_what_a_service_rounds_up_is_a_warning(model, asked, warning):
    found = steps.plan(240, region="us-central1", model=model, **asked)
    whole = "the service takes whole epochs"
    rounded = [text for text in found.warnings if whole in text]
    assert rounded == ([warning.format(whole)] if warning else [])


def test_tokens_are_billed_by_whole_epochs():
    found = steps.plan(
        240, region="us-central1", model="gemini-3.5-flash", tokens=25_000, train_steps=100
    )
    assert (found.epochs, found.train_steps) == (4.0, 120)
    assert found.estimated_cost_usd == 1.0


@pytest.mark.parametrize(("asked", "billed"), [(1, 1.0), (6, 1.0), (125_000, 1.0), (125_001, 2.0)])
def test_a_few_of_many_steps_are_billed_as_a_whole_epoch(asked, billed):
    many = {"region": "us-central1", "model": "gemini-3.5-flash", "tokens": 25_000}
    found = steps.plan(1_000_000, train_steps=asked, **many)
    assert (found.epochs, found.train_steps) == (billed, billed * 125_000)
    with pytest.raises(LimitError, match="above the ceiling"):
        steps.plan(1_000_000, train_steps=asked, max_cost_usd=0.01, **many)


@pytest.mark.parametrize(
    ("override", "name", "expected"),
    [
        ({"models": {"models": {"text-bison@001": {"batch_size": 16.0}}}}, "batch_size", 16),
        ({"models": {"models": {"text-bison@001": {"default_steps": 200.0}}}}, "train_steps", 200),
        ({"regions": {"us-central1": {"accelerators": 4.0}}}, "accelerators", 4),
    ],
)
def test_whole_numbers_of_an_override_stay_whole_on_their_way_through_a_pipeline(
    override, name, expected
):
    found = steps.plan(240, region="us-central1", catalog=load_catalog(override)).as_json()[name]
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize(
    ("plain", "other", "expected"), [(0, 0, 0), (4, 0, 1), (5, 0, 2), (0, 5, 4), (8, 4, 6)]
)
def test_tokens_from_characters(plain, other, expected):
    assert estimated_tokens(plain, other) == expected


def test_counted_tokens_win_over_characters():
    known = {"region": "us-central1", "model": "gemini-2.5-flash", "epochs": 1}
    text = {"tokens_estimated": 1_000_000}
    assert steps.plan(240, **known, **text).estimated_cost_usd == 5.0
    assert steps.plan(240, **known, **text, tokens=100_000).estimated_cost_usd == 0.5


def test_a_counted_sample_corrects_the_estimate_and_no_count():
    known = {"region": "us-central1", "model": "gemini-2.5-flash", "epochs": 1}
    sample = Calibration(rows=200, estimated=10_000, counted=12_500, counter="a tokenizer")
    over = {"prices": {"tokens": {"calibration": structs.asdict(sample)}}}
    found = steps.plan(240, **known, tokens_estimated=800_000, catalog=load_catalog(over))
    assert found.estimated_cost_usd == 5.0
    assert found.explanation[3] == (
        "800,000 tokens by characters x 1.25 = 1,000,000 tokens, calibrated on 200 rows with a "
        "tokenizer"
    )
    assert (
        steps.plan(240, **known, tokens=800_000, catalog=load_catalog(over)).estimated_cost_usd
        == 4.0
    )
    assert steps.plan(240, **known, tokens_estimated=800_000).estimated_cost_usd == 4.0


def test_a_model_that_makes_more_tokens_of_a_text_is_estimated_higher_and_none_lower():
    def cost(model, **more):
        known = {"region": "us-central1", "model": model, "epochs": 1, **more}
        return steps.plan(240, **known, tokens_estimated=10_000_000)

    llama, gemma = "meta/llama3_1@llama-3.1-8b", "google/gemma3@gemma-3-4b-it"
    assert cost(llama).estimated_cost_usd == 8.4956  # 0.317 a character and not 0.25, at 0.67 USD
    assert cost(gemma).estimated_cost_usd == 11.4
    sample = Calibration(rows=200, estimated=10, counted=10, counter="a tokenizer")
    over = {"prices": {"tokens": {"calibration": structs.asdict(sample)}}}
    assert cost(llama, catalog=load_catalog(over)).estimated_cost_usd == 6.7
    assert calibrated(100, per_ascii_character=ASCII_TOKENS) == (100, "")


def test_this_machine_costs_nothing():
    found = steps.plan(600, region="", backend="local", max_cost_usd=0.01)
    assert (found.region, found.model, found.estimated_cost_usd) == ("local", "tiny", 0.0)
    assert (found.train_steps, found.batch_size, found.quota) == (470, 16, "")
    folder = steps.plan(600, region="local", backend="local", model="./base", epochs=2)
    assert (folder.model, folder.train_steps) == ("./base", 76)
    assert folder.estimated_hours is None


@pytest.mark.parametrize(
    ("model", "today", "first"),
    [
        ("text-bison@001", date(2023, 7, 1), f"text-bison@001 {BISON_ENDS}"),
        ("text-bison@001", date(2024, 10, 8), f"text-bison@001 {BISON_ENDS}"),
        (
            "text-bison@001",
            date(2024, 10, 9),
            "new tuning jobs on text-bison@001 are refused since 2024-10-09; it answers until"
            " 2025-04-09; its successor is gemini-3.5-flash",
        ),
        (
            "text-bison@001",
            date(2025, 4, 9),
            "text-bison@001 was shut down on 2025-04-09; new tuning jobs were refused from"
            " 2024-10-09; its successor is gemini-3.5-flash",
        ),
        (
            "gemini-2.5-flash",
            date(2026, 10, 20),
            "new tuning jobs on gemini-2.5-flash are refused since 2026-09-20; it answers until"
            " 2027-03-31; its successor is gemini-3.5-flash-lite",
        ),
        (
            "gemini-3.5-flash",
            date(2026, 5, 18),
            "gemini-3.5-flash can be tuned from 2026-05-19 on",
        ),
        (
            "gemini-3.5-flash",
            date(2027, 5, 19),
            "gemini-3.5-flash may end any day: 2027-05-19 was the earliest",
        ),
    ],
)
def test_the_calendar_warns(model, today, first):
    assert steps.plan(240, region="us-central1", model=model, today=today).warnings[0] == first


def test_a_retired_models_successor_is_named():
    found = steps.plan(240, region="us-central1", today=date(2026, 1, 1)).warnings
    assert "gemini-3.5-flash" in found[0]
    assert models.is_retired(load_catalog().find_model("text-bison@001"), date(2026, 1, 1))
    assert not models.is_retired(load_catalog().find_model("gemini-3.5-flash"), date(2026, 11, 22))


def test_without_a_day_the_tables_own_day_is_taken():
    plain = steps.plan(240, region="us-central1")
    assert plain == steps.plan(240, region="us-central1", today=load_catalog().as_of)


def test_an_override_brings_a_model_back():
    over = {"models": {"models": {"gemini-3.8-flash": {"tunable": True}}}}
    assert (
        steps.plan(
            240, region="us-central1", model="gemini-3.8-flash", catalog=load_catalog(over)
        ).rows
        == 240
    )
    new = {"models": {"models": {"gemini-9": {"family": "gemini3", "batch_size": 4}}}}
    found = steps.plan(240, region="us-central1", model="gemini-9", catalog=load_catalog(new))
    assert found.steps_per_epoch == 60


def test_an_open_models_steps_are_made_of_packed_tokens():
    known = {"region": "us-central1", "model": "google/gemma4@gemma-4-26b-a4b-it", "epochs": 3}
    found = steps.plan(903, **known, tokens=126_500)
    assert (found.train_steps, found.steps_per_epoch, found.epochs) == (3, 1, 3.0)
    smaller = steps.plan(903, **known, tokens=126_500, options={"batch_size": 1})
    assert smaller.steps_per_epoch == 16  # 126,500 / 8,192
    # No number of rows a step makes 15 steps of 20 rows: the steps are those of 2 rows.
    known |= {"epochs": 10, "options": {"batch_size": 1}}
    long = steps.plan(20, **known, tokens=120_000)
    assert (long.batch_size, long.steps_per_epoch, long.train_steps) == (2, 10, 100)
    assert long.explanation[0].endswith(" = 15 steps an epoch, counted as 10 of 2 rows")


def test_a_models_tokens_are_estimated_for_its_tuning_mode():
    def tokens(mode):
        return steps.plan(
            240,
            region="us-central1",
            model="meta/llama3_1@llama-3.1-8b",
            tokens_estimated=1_000_000,
            options={"tuning_mode": mode},
        ).estimated_cost_usd

    assert tokens("peft") == tokens("") > tokens("full")


@pytest.mark.parametrize(
    ("model", "quota"),
    [
        ("qwen/qwen3-6@qwen3.6-27b", "Global concurrent managed OSS model fine-tuning jobs"),
        ("gemini-3.5-flash", "Concurrent tuning jobs per project: 1"),
    ],
)
def test_each_service_has_its_own_quota_of_jobs(model, quota):
    assert quota in steps.plan(240, region="us-central1", model=model, tokens=10**6).quota


def test_a_job_of_the_global_location_says_where_it_may_run():
    known = {"model": "qwen/qwen3@qwen3-4b", "tokens": 10**8, "options": {"location": "global"}}
    assert steps.plan(240, region="us-central1", **known).region == "global"


def test_a_selection_of_checkpoints_is_priced():
    known = {"region": "us-central1", "model": "gemini-3.5-flash", "epochs": 3, "tokens": 1_000_000}
    plain = steps.plan(1000, **known)
    chosen = steps.plan(1000, **known, options={"select_checkpoint": True})
    # 3 checkpoints x 100 rows of 1,000 tokens, read and written at 1.5 x (1.5 + 9) USD a million.
    assert chosen.estimated_cost_usd == plain.estimated_cost_usd + 4.725 == 34.725
    assert chosen.explanation[-1] == (
        "selection: 3 checkpoints x 100 rows, 100,000 tokens read and at most as many written"
        " each x 15.75 USD a million = 4.72 USD"
    )
    with pytest.raises(LimitError, match="above the ceiling"):
        steps.plan(1000, **known, options={"select_checkpoint": True}, max_cost_usd=31)


def test_a_selection_without_a_price_of_answers_has_no_estimate():
    catalog = load_catalog(
        {
            "models": {"models": {"gemini-9-flash": {"family": "gemini3"}}},
            "prices": {
                "training_tokens": {
                    "gemini-9-flash": {"usd_per_million": 1.0, "read": "2026-11-26", "source": "x"}
                }
            },
        }
    )
    known = {"region": "us-central1", "model": "gemini-9-flash", "tokens": 10_000}
    known |= {"options": {"select_checkpoint": True}, "catalog": catalog}
    found = steps.plan(1000, **known)
    assert found.estimated_cost_usd is None
    assert found.warnings[-1] == (
        "no cost is estimated: no price of answers is known for gemini-9-flash, whose checkpoints"
        " are to be asked"
    )


@pytest.mark.parametrize(
    ("model", "size", "recommended"),
    [
        ("google/gemma3@gemma-3-27b-it", 16, 32),
        ("google/gemma3@gemma-3-27b-it", 32, None),
        ("qwen/qwen3@qwen3-32b", 16, None),
        ("qwen/qwen3@qwen3-32b", 4, 16),
        ("gemini-3.5-flash", 4, None),
    ],
)
def test_another_adapter_size_than_the_recommended_is_warned_of(model, size, recommended):
    options = {"adapter_size": size, "tuning_mode": "peft"}
    found = steps.plan(240, region="us-central1", model=model, tokens=10**8, options=options)
    expected = f"an adapter of size {recommended} is recommended for {model}, not {size}"
    warned = [warning for warning in found.warnings if "adapter" in warning]
    assert warned == ([expected] if recommended else [])


def test_only_models_that_can_be_tuned_are_suggested():
    with pytest.raises(UsageError) as caught:
        load_catalog().find_model("gemini-4-flash")
    assert "gemini-3.5-flash" in caught.value.fix
    assert "2.5" not in caught.value.fix


@pytest.mark.parametrize("rows", [10, 30, 100, 1_000, 20_000])
@pytest.mark.parametrize("differing", [0.05, 0.2, 0.5])
def test_what_held_out_rows_show_is_what_the_comparison_shows(rows, differing):
    from tunepipe.evaluation.significance import smallest_difference

    peer = smallest_difference(math.sqrt(differing), rows)
    assert steps.smallest_difference(rows, differing) == pytest.approx(peer, rel=0.01)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7])
def test_few_held_out_rows_show_no_difference_but_the_whole(rows):
    assert steps.smallest_difference(rows) == 1.0


def test_the_plan_says_what_the_held_out_rows_show():
    plan = steps.plan(1000, region="us-central1")
    assert plan.smallest_difference is None
    few, many = (plan.with_held_out(HeldOut(rows)) for rows in (50, 5_000))
    assert few.as_json()["smallest_difference"] == pytest.approx(0.2, abs=0.03)
    assert "50 held-out rows show a difference of" in few.warnings[-1]
    assert many.warnings == plan.warnings
    assert plan.with_held_out(HeldOut(1)).warnings[-1].startswith("1 held-out row shows a ")
    assert "5,000 held-out rows show a difference of 1.8 points" in many.explanation[-1]


def test_the_plan_says_what_decides_and_what_the_answers_cost():
    plan = steps.plan(1000, region="us-central1", model="gemini-3.5-flash")
    price = load_catalog().prices.answers["gemini-3.5-flash"]
    one, five = (
        plan.with_held_out(HeldOut(100, "accuracy", "set", answers, 200.0, 50.0))
        for answers in (1, 5)
    )
    assert (five.metric, five.metric_reason, five.answers) == ("accuracy", "set", 5)
    a_row = (200 * price.usd_per_million_read + 50 * price.usd_per_million_written) / 1e6
    models = 1 + price.tuned_factor  # the base model, and the tuned one at its own price
    assert one.evaluation_cost_usd == pytest.approx(models * 100 * a_row)
    assert five.evaluation_cost_usd == pytest.approx(5 * one.evaluation_cost_usd)
    assert "100 held-out rows x 5 answers x 2 models = 1,000 answers" in five.explanation[-2]
    repeated = plan.with_held_out(HeldOut(80, "accuracy", "set", 5, 200.0, 50.0, repeats=20))
    assert repeated.evaluation_cost_usd == five.evaluation_cost_usd  # repeats are asked too
    assert repeated.explanation[-2] == five.explanation[-2]
    assert repeated.smallest_difference > five.smallest_difference  # but prove nothing
    unpriced = steps.plan(1000, region="us-central1").with_held_out(HeldOut(100, answers=5))
    assert unpriced.evaluation_cost_usd is None


def test_answers_to_held_out_rows_count_under_the_ceiling():
    plan = steps.plan(1000, region="us-central1", model="gemini-3.5-flash")
    one, many = (HeldOut(100, answers=answers, tokens_read=2e3) for answers in (1, 100))
    ceiling = (plan.estimated_cost_usd or 0.0) + 1.01 * one.cost_usd(plan.model, load_catalog())
    assert plan.with_held_out(one, None, ceiling).evaluation_cost_usd > 0
    with pytest.raises(LimitError, match=r"100 held-out rows x 100 answers .* above the ceiling"):
        plan.with_held_out(many, None, ceiling)

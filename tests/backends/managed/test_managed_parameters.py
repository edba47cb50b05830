"""What a managed tuning job may be asked, and what it must have done to pass."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunepipe.backends.managed.outcome import Planned, compare_with_plan
from tunepipe.backends.managed.parameters import (
    decode_options,
    preference_models,
    thinking,
    tuning_job,
    whole_epochs,
)
from tunepipe.backends.managed.rows import Sent, check_sizes
from tunepipe.catalog.catalog import load_catalog
from tunepipe.errors import DataError, LimitError, UsageError
from tunepipe.planning import plan as steps

FLASH, LITE, PRO25, FLASH25 = (
    "gemini-3.5-flash",
    "gemini-3.1-flash-lite",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
)
QWEN, QWEN32 = "qwen/qwen3@qwen3-4b", "qwen/qwen3@qwen3-32b"
TRAIN_LOSS, EVAL_LOSS = "/train_total_loss", "/eval_total_loss"
KEY = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
TUNED = "projects/1/locations/europe-west4/models/7@1"
ENDPOINT = "projects/1/locations/eu/endpoints/7"


def job(model, region="europe-west4", row_format="", multiplier=1.0, **options):
    return tuning_job(
        load_catalog().find_model(model),
        options,
        region=region,
        epochs=3,
        learning_rate_multiplier=multiplier,
        row_format=row_format,
    )


# What is asked for, and what is sent of it.
LAST = {"export_last_checkpoint_only": True}
SENT = [
    (FLASH, {}, {"epoch_count": 3, "learning_rate_multiplier": 1.0, **LAST}),
    (
        FLASH,
        {"adapter_size": 4, "description": "d"},
        {
            "epoch_count": 3,
            "learning_rate_multiplier": 1.0,
            **LAST,
            "adapter_size": "ADAPTER_SIZE_FOUR",
            "description": "d",
        },
    ),
    (
        FLASH25,
        {"encryption_spec_key_name": KEY, "adapter_size": 16},
        {
            "epoch_count": 3,
            "learning_rate_multiplier": 1.0,
            **LAST,
            "adapter_size": "ADAPTER_SIZE_SIXTEEN",
            "encryption_spec": {"kms_key_name": KEY},
        },
    ),
    (
        TUNED,
        {"method": "preference", "beta": 0.1},
        {
            "method": "PREFERENCE_TUNING",
            "epoch_count": 3,
            "learning_rate_multiplier": 1.0,
            **LAST,
            "beta": 0.1,
        },
    ),
    (
        TUNED,
        {"checkpoint_id": "2"},
        {
            "epoch_count": 3,
            "learning_rate_multiplier": 1.0,
            **LAST,
            "pre_tuned_model_checkpoint_id": "2",
        },
    ),
    (
        TUNED,  # of a base whose sizes are not known
        {"adapter_size": 1, "select_checkpoint": True},
        {"epoch_count": 3, "learning_rate_multiplier": 1.0, "adapter_size": "ADAPTER_SIZE_ONE"},
    ),
    (
        FLASH,
        {"export_last_checkpoint_only": False},
        {"epoch_count": 3, "learning_rate_multiplier": 1.0},
    ),
    (QWEN, {}, {"epoch_count": 3, "tuning_mode": "TUNING_MODE_FULL"}),
    (
        QWEN,
        {"batch_size": 4.0},
        {"epoch_count": 3, "tuning_mode": "TUNING_MODE_FULL", "batch_size": 4},
    ),
    (
        QWEN32,
        {"adapter_size": 8, "learning_rate": 1e-4, "tuning_mode": "peft"},
        {
            "epoch_count": 3,
            "tuning_mode": "TUNING_MODE_PEFT_ADAPTER",
            "learning_rate": 1e-4,
            "adapter_size": "ADAPTER_SIZE_EIGHT",
        },
    ),
]


@pytest.mark.parametrize(("model", "options", "config"), SENT)
def test_what_is_sent(model, options, config):
    assert job(model, **options).as_config() == config


def test_every_config_is_what_google_genai_takes():
    from google.genai import types

    for model, options, _ in SENT:
        types.CreateTuningJobConfig(**job(model, **options).as_config())


REFUSED = [
    (FLASH, {"adapter_size": 32}, LimitError, "adapter_size"),
    (PRO25, {"adapter_size": 16}, LimitError, "adapter_size"),
    (FLASH, {"adapter_size": "4"}, UsageError, "adapter_size"),
    (FLASH, {"adapter_size": 2.5}, UsageError, "adapter_size"),
    (FLASH, {"adaptor_size": 4}, UsageError, "adaptor_size"),
    (FLASH, {"tuning_mode": "full"}, UsageError, "tuning_mode"),
    (FLASH, {"epochs": 9}, UsageError, "epochs"),  # the plan has not counted what they cost
    (FLASH, {"encryption_spec_key_name": KEY}, LimitError, "encryption_spec_key_name"),
    (
        FLASH25,
        {"encryption_spec_key_name": KEY.replace("europe-west4", "us-central1")},
        LimitError,
        "encryption_spec_key_name",
    ),
    (FLASH, {"location": "asia-northeast1"}, LimitError, "region asia-northeast1"),
    (FLASH, {"location": "global"}, LimitError, "region global"),
    (FLASH, {"method": "preference"}, LimitError, "method"),
    (FLASH25, {"method": "preference"}, LimitError, "base_model"),
    (FLASH, {"method": "dpo"}, UsageError, "method"),
    (FLASH, {"method": "reinforcement"}, LimitError, "method"),
    (QWEN, {"method": "distillation"}, LimitError, "method"),
    (FLASH, {"beta": 0.1}, UsageError, "beta"),
    (FLASH25, {"method": "preference", "beta": 0}, UsageError, "beta"),
    (FLASH, {"checkpoint_id": "2"}, UsageError, "checkpoint_id"),
    (ENDPOINT, {}, UsageError, f"base_model {ENDPOINT}"),
    ("projects/1/models/7", {}, UsageError, "base_model projects/1/models/7"),
    (FLASH, {"export_last_checkpoint_only": "yes"}, UsageError, "export_last_checkpoint_only"),
    (FLASH, {"dropped_fraction_max": 1.5}, UsageError, "dropped_fraction_max"),
    (QWEN, {"tuning_mode": "peft"}, LimitError, "tuning_mode"),
    (QWEN, {"adapter_size": 4}, UsageError, "adapter_size"),
    (QWEN, {"method": "preference"}, UsageError, "method"),
    (QWEN, {"output_uri": "/tmp/x"}, UsageError, "output_uri"),
    (QWEN, {"learning_rate": 0}, UsageError, "learning_rate"),
    (QWEN, {"batch_size": -1}, UsageError, "batch_size"),
    (QWEN, {"fallback_locations": ["us-west1"]}, LimitError, "fallback_locations"),
    (QWEN, {"fallback_locations": ["moon"]}, LimitError, "region moon"),
    (FLASH, {"batch_size": 4}, UsageError, "batch_size"),
    (
        QWEN,
        {"location": "global", "encryption_spec_key_name": KEY.replace("europe-west4", "global")},
        LimitError,
        "encryption_spec_key_name",
    ),
    # Read once the job is paid.
    (FLASH, {"base_location": "https://x"}, UsageError, "base_location"),
    (FLASH, {"base_endpoint": "7"}, UsageError, "base_endpoint"),
    (QWEN, {"endpoint": "projects/1/locations/eu/models/7"}, UsageError, "endpoint"),
    (QWEN, {"base_endpoint": "qwen/qwen3@qwen3-4b"}, UsageError, "base_endpoint"),
]


@pytest.mark.parametrize(("model", "options", "kind", "where"), REFUSED)
def test_what_is_refused(model, options, kind, where):
    with pytest.raises(kind) as caught:
        job(model, **options)
    assert caught.value.where == where
    assert caught.value.fix


def test_an_option_of_the_other_backend_is_named_as_such():
    with pytest.raises(UsageError) as caught:
        decode_options({"output_uri": "gs://b/x"}, "gemini")
    assert "another backend" in caught.value.fix


def test_preference_rows_are_tuned_on_by_preference_unless_told_otherwise():
    assert job(TUNED, row_format="preference").method == "preference"
    assert job(FLASH25, row_format="preference", method="supervised").method == "supervised"
    with pytest.raises(LimitError):
        job(LITE, row_format="preference")


def test_preference_tuning_begins_from_a_tuned_model_unless_the_tables_say_otherwise():
    with pytest.raises(LimitError, match="tuned by supervision") as caught:
        job(FLASH25, method="preference")
    assert "method=supervised" in caught.value.fix
    over = {"models": {"models": {FLASH25: {"preference_base": "any"}}}}
    model = load_catalog(over).find_model(FLASH25)
    options = {"method": "preference"}
    assert tuning_job(model, options, region="europe-west4", epochs=1).method == "preference"


def test_the_models_for_preference_tuning_are_named_with_what_is_open_today():
    with pytest.raises(LimitError) as caught:
        job(FLASH, method="preference")
    assert "gemini-2.5-flash (closed to new tuning since 2026-09-20)" in caught.value.fix
    assert "no model is open to new projects" in caught.value.fix


def test_the_models_for_preference_tuning_are_those_of_the_users_table():
    closed = "closed to new tuning since 2026-09-20"
    opened = load_catalog({"models": {"models": {FLASH25: {"tunable_until": "2999-01-01"}}}})
    lite = next(each for each in preference_models(load_catalog()).split(", ") if "lite" in each)
    assert (
        preference_models(opened) == f"models tuned by preference: {FLASH25}, {lite.split(';')[0]}"
    )
    assert closed in lite


def test_open_models_are_given_a_rate_and_not_a_multiplier():
    assert job(QWEN, multiplier=2.0).learning_rate == pytest.approx(1.5e-4)
    assert job(QWEN, multiplier=1.0).learning_rate == 0.0
    assert job(QWEN, multiplier=2.0).learning_rate_multiplier == 0.0
    assert job(FLASH, multiplier=2.0).as_config()["learning_rate_multiplier"] == 2.0
    assert job(FLASH, multiplier=2.0).learning_rate == 0.0


def test_a_rate_and_a_multiplier_of_the_rate_exclude_each_other():
    assert job(QWEN, learning_rate=1e-4).learning_rate == 1e-4
    with pytest.raises(UsageError, match="nothing to do"):
        job(QWEN, multiplier=2.0, learning_rate=1e-4)


def test_open_models_go_to_the_global_location_only_when_asked():
    assert job(QWEN).location == "europe-west4"
    assert job(QWEN, location="global").location == "global"


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(10, 5000),
    epochs=st.integers(1, 20),
    model=st.sampled_from([FLASH, QWEN]),
    tokens_a_row=st.integers(0, 8192),
    batch=st.sampled_from([0, 1, 2, 4]),
)
@example(rows=20, epochs=10, model=QWEN, tokens_a_row=6000, batch=1)
def test_the_plans_epochs_come_back_out_of_its_steps(rows, epochs, model, tokens_a_row, batch):
    plan = steps.plan(
        rows,
        region="us-central1",
        model=model,
        epochs=epochs,
        tokens=rows * tokens_a_row,
        options={"batch_size": batch} if model == QWEN else {},
    )
    assert whole_epochs(plan.train_steps, plan.batch_size, rows) == epochs


@pytest.mark.parametrize(
    ("steps_", "batch_size", "rows", "epochs"),
    [(60, 1, 20, 3), (60, 0, 20, 3), (1, 8, 100, 1), (0, 8, 100, 1), (39, 8, 100, 3)],
)
def test_an_epoch_is_at_least_one_and_a_batch_one_row(steps_, batch_size, rows, epochs):
    assert whole_epochs(steps_, batch_size, rows) == epochs


SIZES = {"train_rows": 1000, "train_bytes": 1_000_000, "eval_rows": 100, "eval_bytes": 100_000}
TOO_LARGE = [
    (FLASH, {"train_bytes": 1 << 31}, "bytes of training rows"),
    (FLASH, {"train_rows": 10_000_001}, "training rows"),
    (FLASH, {"train_rows": 10**6, "eval_rows": 5001}, "held-out rows"),
    (FLASH, {"train_rows": 4000, "eval_rows": 1201}, "held-out rows"),
    (FLASH, {"train_rows": 100, "eval_rows": 1001}, "held-out rows"),
    (TUNED, {"train_rows": 10**6, "eval_rows": 5001}, "held-out rows"),  # a Gemini's limits
    (QWEN, {"eval_rows": 5001}, "held-out rows"),
    (QWEN, {"eval_bytes": 250_001}, "bytes of held-out rows"),
]


def check(model, sizes):
    size = SIZES | sizes
    train = Sent(rows=size["train_rows"], bytes=size["train_bytes"])
    held_out = Sent(rows=size["eval_rows"], bytes=size["eval_bytes"])
    check_sizes(load_catalog().find_service(model)[1], train, held_out)


@pytest.mark.parametrize(("model", "sizes", "where"), TOO_LARGE)
def test_what_is_too_large(model, sizes, where):
    with pytest.raises(DataError) as caught:
        check(model, sizes)
    assert caught.value.where == where


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        (FLASH, {}),
        (FLASH, {"train_rows": 100, "eval_rows": 1000}),  # the share counts above 1,000 rows
        (FLASH, {"train_rows": 10_000_000, "train_bytes": 1 << 30, "eval_rows": 5000}),
        (FLASH, {"train_rows": 4000, "eval_rows": 1200}),
        (QWEN, {"eval_bytes": 250_000}),
    ],
)
def test_what_just_fits(model, sizes):
    check(model, sizes)


@pytest.mark.parametrize(
    ("model", "least"),
    [
        (FLASH, {"thinking_level": "MINIMAL"}),
        (FLASH25, {"thinking_budget": 0}),
        (PRO25, {"thinking_budget": 128}),
        ("gemini-3.5-flash-lite", {"thinking_level": "MINIMAL"}),
        ("gemini-3.8-flash", {"thinking_level": "LOW"}),
        ("gemini-4-argon", {"thinking_level": "LOW"}),
        (TUNED, {"thinking_level": "MINIMAL"}),  # its name does not say what it was made of
    ],
)
def test_how_little_a_model_thinks(model, least):
    first, *others = thinking(model)
    assert first == least
    assert len(others) == 3
    assert least not in others


PLANNED = Planned(rows=100, steps=39, epochs=3)
STATS = {
    "tuning_dataset_example_count": 100,
    "total_billable_token_count": 5000,
    "tuning_step_count": 39,
}
FALLING = {TRAIN_LOSS: [(1, 2.0), (2, 1.0)], EVAL_LOSS: [(2, 1.2)]}


def test_a_job_that_did_as_planned_has_no_remarks():
    found = compare_with_plan(STATS, FALLING, PLANNED, where="job")
    assert found == {
        "train_steps": 39,
        "planned_steps": 39,
        "epochs": 3,
        "examples": 100,
        "billable_tokens": 5000,
        "dropped_examples": 0,
        "loss_curve": [[1, 2.0, None], [2, 1.0, 1.2]],
        "first_loss": 2.0,
        "last_loss": 1.0,
        "eval_loss": 1.2,
    }
    as_text = {name: str(value) for name, value in STATS.items()}  # as JSON holds an int64
    assert compare_with_plan(as_text, FALLING, PLANNED, where="job") == found


def test_differences_are_told():
    stats = {
        **STATS,
        "tuning_step_count": 24,
        "total_truncated_example_count": 4,
        "dropped_example_reasons": ["too long", "too long", "no text"],
    }
    rising = {TRAIN_LOSS: [(1, 1.0), (2, 1.5)]}
    assert compare_with_plan(stats, rising, PLANNED, where="job") == {
        "train_steps": 24,
        "planned_steps": 39,
        "epochs": 3,
        "examples": 100,
        "billable_tokens": 5000,
        "dropped_examples": 4,
        "dropped_reasons": {"too long": 2, "no text": 1},
        "loss_curve": [[1, 1.0, None], [2, 1.5, None]],
        "first_loss": 1.0,
        "last_loss": 1.5,
        "doubts": ["the job dropped 4 of 100 examples", "the loss did not fall: 1 to 1.5"],
        "remarks": ["24 steps made, 39 planned: the service chooses its own batch size"],
    }


@pytest.mark.parametrize(
    ("steps", "losses", "doubts"),
    [
        (20, [2.0, 1.9], []),
        (19, [2.0], ["the job made only 19 of 40 planned steps"]),
        (
            10,
            [2.0, 2.0],
            ["the job made only 10 of 40 planned steps", "the loss did not fall: 2 to 2"],
        ),
        (
            9,
            [],
            ["the job made only 9 of 40 planned steps", "the model was hardly trained: 9 steps"],
        ),
        (
            1,
            [],
            ["the job made only 1 of 40 planned steps", "the model was hardly trained: 1 step"],
        ),
        (0, [], []),
    ],
)
def test_what_is_doubted_of_a_job(steps, losses, doubts):
    planned = Planned(rows=100, steps=40, epochs=3, steps_min=10)
    curves = {TRAIN_LOSS: list(enumerate(losses))} if losses else {}
    found = compare_with_plan({**STATS, "tuning_step_count": steps}, curves, planned, where="job")
    assert found.get("doubts", []) == doubts


def test_a_job_that_hardly_trained_says_so():
    # A live job of an open model: 903 rows, 126,500 tokens, 3 steps where 339 were planned.
    curve = {"train/loss": [(1, 6.10), (2, 6.0), (3, 5.86)]}
    planned = Planned(rows=903, steps=339, epochs=3, steps_min=30)
    stats = {"tuning_step_count": 3, "tuning_dataset_example_count": 903}
    found = compare_with_plan(stats, curve, planned, where="job")
    assert (found["first_loss"], found["last_loss"]) == (6.10, 5.86)
    assert found["doubts"] == [
        "the job made only 3 of 339 planned steps",
        "the model was hardly trained: 3 steps",
    ]


def test_nothing_is_made_up_where_the_service_says_nothing():
    found = compare_with_plan({}, {}, PLANNED, where="job")
    (remark,) = found.pop("remarks")
    assert remark == "the job does not report how many steps it made; 39 were planned"
    assert found == {"planned_steps": 39, "epochs": 3}


NO_SUCCESS = [
    ({}, {TRAIN_LOSS: [(1, 2.0), (2, math.nan)]}, "step 2"),
    ({}, {EVAL_LOSS: [(1, math.inf)]}, "step 1"),
    ({"total_truncated_example_count": 6}, FALLING, "6 of 100"),
    ({"dropped_example_reasons": ["too long"] * 6}, FALLING, r"too long \(6\)"),
    # Preference tuning lists a sample of the dropped rows, and says how many are left.
    ({"tuning_dataset_example_count": 94}, FALLING, "6 of 100"),
]


@pytest.mark.parametrize(("stats", "curves", "said"), NO_SUCCESS)
def test_a_job_that_ended_well_and_learnt_nothing_does_not_pass(stats, curves, said):
    with pytest.raises(DataError, match=said) as caught:
        compare_with_plan({**STATS, **stats}, curves, PLANNED, where="job")
    assert caught.value.where == "job"


def test_a_job_whose_figures_are_all_zero_has_learnt_nothing():
    # An answer leaves out what is 0: nothing but the dropped rows is left of it.
    with pytest.raises(DataError, match="no example"):
        compare_with_plan({"total_truncated_example_count": 3}, {}, PLANNED, where="job")
    compare_with_plan({"total_billable_token_count": 5000}, {}, PLANNED, where="job")


def test_no_more_than_twenty_reasons_are_listed():
    reasons = [f"reason {number}" for number in range(21)]
    planned = Planned(rows=100, steps=39, epochs=3, dropped_fraction_max=0.21)
    found = compare_with_plan(
        {**STATS, "dropped_example_reasons": reasons}, {}, planned, where="job"
    )
    assert (found["dropped_examples"], len(found["dropped_reasons"])) == (21, 20)


def test_a_user_may_bear_dropped_examples():
    stats = {**STATS, "total_truncated_example_count": 50}
    planned = Planned(rows=100, steps=39, epochs=3, dropped_fraction_max=0.5)
    assert compare_with_plan(stats, {}, planned, where="job")["dropped_examples"] == 50


def test_a_metric_that_is_no_loss_may_be_anything():
    compare_with_plan(STATS, {"/train_fraction": [(1, math.nan)]}, PLANNED, where="job")


def test_a_thinned_curve_keeps_every_loss_of_the_held_out_rows():
    train = [(step, 1 / step) for step in range(1, 3001)]
    held_out = [(step, 2 / step) for step in range(20, 3021, 20)]  # the last after the training
    curves = {TRAIN_LOSS: train, EVAL_LOSS: held_out}
    shown = compare_with_plan(STATS, curves, PLANNED, where="job")["loss_curve"]
    assert [(step, loss) for step, _, loss in shown if loss is not None] == held_out
    assert shown[-1] == [3020, None, 2 / 3020]


@pytest.mark.parametrize("points", [1, 499, 500, 501, 12_345])
def test_a_long_curve_is_thinned_between_its_ends(points):
    curve = [(step, 1 / step) for step in range(1, points + 1)]
    shown = compare_with_plan(STATS, {TRAIN_LOSS: curve}, PLANNED, where="job")["loss_curve"]
    every = math.ceil(points / 500)
    assert [step for step, *_ in shown] == sorted({*range(1, points + 1, every), points})

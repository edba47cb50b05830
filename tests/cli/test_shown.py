"""What a command shows and decides, to the letter, from values that are given."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from tunepipe.catalog.limits import estimated_tokens
from tunepipe.catalog.schema import Calibration
from tunepipe.cli import options
from tunepipe.cli.commands import endpoints, predict, run, runs
from tunepipe.cli.commands.champions import _former
from tunepipe.cli.commands.plan import Measured, measure, plan_rows
from tunepipe.cli.output import Output, name_options, width
from tunepipe.cli.token_counts import _calibration
from tunepipe.data.conversations import Example
from tunepipe.errors import UsageError
from tunepipe.planning.plan import Plan
from tunepipe.registry.champions import Move
from tunepipe.registry.endpoints import CHECKPOINT, GEMINI, SERVED, Deployment
from tunepipe.runs.status import RunStatus, StepStatus
from tunepipe.stores.failures import Failure

# --- a plan

PLANNED = Plan(
    region="us-central1", model="m", backend="gemini", accelerator_type="", accelerators=0,
    batch_size=8, rows=1200, steps_per_epoch=150, train_steps=1500, epochs=1.0, quota="",
    estimated_hours=None, estimated_cost_usd=None, price_date="", tables_version="", warnings=(),
)  # fmt: skip
FIGURES = {
    "model": "m (gemini)", "region": "us-central1", "rows": "1,200", "steps": "1,500 (1 epoch)",
    "hours": "not known", "cost": "not known",
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, {}),
        ({"region": ""}, {"region": None}),
        ({"accelerators": 8, "accelerator_type": "A100", "quota": "q"},
         {"hardware": "8 x A100", "quota": "q"}),
        ({"epochs": 2.5, "estimated_cost_usd": 1036.136}, {"steps": "1,500 (2.5 epochs)",
         "cost": "1,036.14 USD"}),
        ({"estimated_hours": 0.0}, {"hours": "0"}),
        ({"estimated_hours": 1.0}, {"hours": "1"}),
        ({"estimated_hours": 0.5}, {"hours": "0.5 (30 minutes)"}),
        ({"estimated_hours": 0.0334}, {"hours": "0.0334 (2 minutes)"}),
        ({"estimated_hours": 1 / 30}, {"hours": "0.0333333 (2 minutes)"}),
        ({"estimated_hours": 0.033}, {"hours": "0.033 (119 seconds)"}),
        ({"estimated_hours": 1 / 3600}, {"hours": "0.000277778 (1 second)"}),
        ({"smallest_difference": 0.1234, "eval_rows": 1},
         {"smallest difference shown": "12.3 points, by 1 held-out row"}),
        ({"answers": 2}, {"answers to held-out rows": "2 a row by each of 2 models"}),
        ({"evaluation_cost_usd": 0.5},
         {"answers to held-out rows": "1 a row by each of 2 models, about 0.50 USD"}),
        ({"metric": "rouge_l", "metric_reason": "set"}, {"metric": "rouge_l: set"}),
    ],
)  # fmt: skip
def test_the_figures_of_a_plan(change, shown):
    figures = {label: text for label, text in (FIGURES | shown).items() if text is not None}
    assert dict(plan_rows(replace(PLANNED, **change))) == figures


@pytest.mark.parametrize(
    ("text", "bad", "expected"),
    [
        # Rows that cannot be read count as the others, or by their bytes where that is more.
        ("question", 0, Measured(100, 473, 200, 2, "text-bison@001")),
        ("question", 25, Measured(125, 1548, 200, 2, "text-bison@001")),
        ("お茶" * 200, 0, Measured(100, 64_073, 32_000, 320, "text-bison@001")),
        ("お茶" * 200, 25, Measured(125, 80_092, 32_000, 320, "text-bison@001")),
    ],
)
@pytest.mark.usefixtures("empty_folder")
def test_the_tokens_of_rows_that_cannot_be_read_are_estimated(text, bad, expected):
    rows = [{"input_text": f"{text} {n}", "output_text": text} for n in range(100)]
    rows += [{"input_text": "x"}] * bad
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path("rows.jsonl").write_text("".join(lines), encoding="utf-8")
    found = measure(["rows.jsonl"], "auto")
    assert replace(found, refusal=None) == expected
    assert (found.refusal.found if bad else found.refusal) == (
        f"the dataset has {bad} errors" if bad else None
    )


@pytest.mark.parametrize(
    ("cost", "price"), [(None, "an amount that is not known"), (36.136, "about 36.14 USD")]
)
def test_what_is_agreed_to(cost, price):
    assert run._price({"estimated_cost_usd": cost}) == price


# --- a run


def status(state="succeeded", **fields):
    return RunStatus("r1", state, "page", (), **fields)


HOST = "--kfp-host http://h"
ERROR = Failure("LimitError", "too dear")
NEXT = [
    (status("running"), "", "tunepipe status r1 --wait", 0),
    (status("running"), HOST, f"tunepipe status r1 {HOST} --wait", 0),
    (status("failed"), "",
     "tunepipe logs r1, then run the same command again: nothing is paid twice", 4),
    (status("failed", error="no GPU"), "",
     "do what the error says, then run the same command again: nothing is paid twice", 4),
    (status("failed", failure=ERROR), "",
     "do what the error says, then run the same command again: nothing is paid twice", 3),
    (status(verdict="better", model="s3://b/m"), HOST, f"tunepipe predict --model r1 {HOST} TEXT",
     0),
    (status(verdict="better", model="projects/p/endpoints/1"), HOST,
     "tunepipe predict --model projects/p/endpoints/1 TEXT", 0),
    (status(verdict="worse", model="gs://b/m"), "",
     "tunepipe deploy gs://b/m serves the model's weights on an endpoint", 1),
    (status(verdict="worse"), "", "read the report", 1),
    (status(unchanged="unchanged since run q"), "", "run again when the data have changed", 0),
]  # fmt: skip


@pytest.mark.parametrize(("looked", "on_host", "following", "code"), NEXT)
def test_what_to_do_next_with_a_run(looked, on_host, following, code):
    stream = io.StringIO()
    assert runs.show_status(looked, Output(stream=stream), on_host=on_host) == code
    assert stream.getvalue().splitlines()[-1] == f"next: {following}"


def test_a_run_is_shown_with_its_steps_its_verdict_and_its_error():
    stream = io.StringIO()
    looked = RunStatus(
        "r1", "failed", "https://page", (StepStatus("split", "cached"), StepStatus("t", "failed")),
        verdict="worse", error="no GPU", failure=replace(ERROR, fix="--option x=1"),
        unchanged="it lost", results={"report": "gs://b/r.html"},
    )  # fmt: skip
    runs.show_status(looked, Output(stream=stream))
    assert stream.getvalue().splitlines() == [
        "r1: failed",
        "  split  cached",
        "  t      failed",
        "verdict: worse",
        "it lost",
        "  page    https://page",
        "  report  https://storage.cloud.google.com/b/r.html",
        "error: no GPU",
        "  fix: --option x=1",
        "next: do what the error says, then run the same command again: nothing is paid twice",
    ]


def test_what_a_request_has_that_the_plan_does_not_show():
    executors = {"a": {"container": {"image": "y"}}, "b": {"container": {"image": "x"}}, "c": {}}
    job = {
        "runtime_config": {
            "parameter_values": {"options": {"template_version": "v9", "code": "c"}},
        },
        "pipeline_spec": {
            "pipelineInfo": {"name": "p"}, "deploymentSpec": {"executors": executors},
        },
    }  # fmt: skip
    contents = {
        "backend": "large-model", "plan": {"model": "text-bison@001"},
        "request": {"pipeline_job": job},
    }  # fmt: skip
    shown = dict(run._request_rows(contents))
    assert shown.pop("pipeline").startswith("p (tunepipe ")
    assert shown.pop("template").endswith("/tune-large-model/v9")
    default = "the project's default account"
    assert shown == {"image": "x, y", "code": "c", "acts as": default, "network": ""}
    job |= {"service_account": "a@p", "network": "n"}
    job["runtime_config"] = {"parameter_values": {}}
    shown = dict(run._request_rows({**contents, "backend": "gemini"}))
    assert (shown["template"], shown["code"]) == ("", "")
    assert (shown["acts as"], shown["network"]) == ("a@p", "n")
    assert run._request_rows({"backend": "local"}) == []


# --- a model that is asked


@pytest.mark.parametrize(
    ("backend", "model", "found"),
    [
        ("", "projects/p/locations/europe-west4/endpoints/1", "large-model"),
        ("", "projects/p/locations/eu/endpoints/1", "gemini"),
        ("", "projects/p/locations/us/endpoints/1", "gemini"),
        ("", "projects/p/locations/global/endpoints/1", "gemini"),
        ("", "projects/p/locations/us-central1/publishers/google/models/gemini-9", "gemini"),
        ("", "projects/p/locations/us-central1/publishers/google/models/text-bison", "large-model"),
        ("open-model", "projects/p/locations/eu/endpoints/1", "open-model"),
        ("local", "m", None),
        ("nope", "m", None),
    ],
)
def test_the_backend_that_asks_a_model(backend, model, found):
    if found:
        assert predict._cloud_backend(backend, model) == found
        return
    with pytest.raises(UsageError) as caught:
        predict._cloud_backend(backend, model)
    assert "gemini" in caught.value.fix
    assert "local" not in caught.value.fix


# --- champions and endpoints


def moves(*names):
    """Moves by their model and run, such as "a1"."""
    return [
        Move(number, name[0], f"r{name[1]}", "better", "", "", "")
        for number, name in enumerate(names, 1)
    ]


@pytest.mark.parametrize(
    ("history", "version", "former"),
    [
        (moves("a1", "b2"), 0, 1),
        (moves("a1", "b2", "c3"), 0, 2),
        (moves("a1", "b2", "b3"), 0, 1),  # promoted again, by hand
        (moves("a1", "b2", "c2"), 0, 1),  # the same run's, copied
        (moves("a1", "b2", "a1"), 0, 2),
        (moves("a1", "b2", "c3"), 1, 1),
        (moves("a1", "b2", "c3"), 3, 3),
        (moves("a1", "b2"), 9, "there is no champion 9"),
        (moves("a1"), 0, "there was no champion before"),
        ([], 0, "there is no champion"),
    ],
)
def test_the_champion_that_a_rollback_goes_to(history, version, former):
    if isinstance(former, int):
        assert _former(history, version, "registry").version == former
        return
    with pytest.raises(UsageError) as caught:
        _former(history, version, "registry")
    assert caught.value.found == former


def deployment(endpoint, model="m", hours=10.0, **fields):
    created = datetime.now(UTC) - timedelta(hours=hours)
    return Deployment(endpoint, model, "job", created, **{"champion": False, **fields})


def used(*deployments, history=(), price=2.0):
    found = endpoints._uses(deployments, [list(history)], price)
    return {use.deployment.endpoint: (use.role, use.hours, use.cost_usd) for use in found}


def test_what_an_endpoint_is_used_for_and_has_cost():
    assert used(
        deployment("a", "now", hours=1.5),
        deployment("b", "before"),
        deployment("c", "x"),
        deployment("d", "y", champion=True),
        deployment("e", "z", kind=SERVED, usd_per_hour=1.005),
        deployment("f", "z", kind=SERVED),
        deployment("g", "z", kind=GEMINI),
        deployment("h", "now", kind=CHECKPOINT),
        history=[
            replace(move, model=name)
            for move, name in zip(
                moves("a1", "b2", "c3", "d4"), ("older", "before", "now", "now"), strict=True
            )
        ],
    ) == {
        "a": ("champion", 1.5, 3.0),
        "b": ("former", 10.0, 20.0),
        "c": ("idle", 10.0, 20.0),
        "d": ("champion", 10.0, 20.0),
        "e": ("idle", 10.0, 10.05),
        "f": ("idle", 10.0, None),
        "g": ("idle", 10.0, 0.0),
        "h": ("checkpoint", 10.0, 0.0),
    }  # fmt: skip
    assert used(deployment("a"), price=None) == {"a": ("idle", 10.0, None)}


def test_of_a_promoted_checkpoint_the_last_ones_endpoint_is_free():
    """They share a model, and its alias."""
    both = (deployment("first", "m", kind=CHECKPOINT, champion=True),
            deployment("last", "m", kind=GEMINI, champion=True))  # fmt: skip
    first = [replace(move, model="first") for move in moves("a1")]
    assert {name: role for name, (role, *_) in used(*both, history=first).items()} == {
        "first": "champion",
        "last": "checkpoint",
    }


@pytest.mark.parametrize(
    ("hours", "cost", "row"),
    [
        (47.9, 1.005, ("idle", "47.9 h", "1.00 USD", "a")),
        (48.0, None, ("idle", "2.0 d", "not known", "a")),
        (60.0, 0.0, ("idle", "2.5 d", "0.00 USD", "a")),
    ],
)
def test_the_row_of_an_endpoint(hours, cost, row):
    assert endpoints.Use(deployment("a"), "idle", hours, cost).row == row


def test_endpoints_are_looked_for_where_the_runs_have_tuned():
    def of(**values):
        return SimpleNamespace(runtime_config=SimpleNamespace(parameter_values=values))

    tuned = [of(options={"location": "us-east5"}), of(), of(options=None), of(options={}),
             of(options={"location": "eu"})]  # fmt: skip
    assert endpoints._locations("eu", {"location": "us-west1"}, tuned) == [
        "eu", "us-west1", "us-east5",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="only location is read here"):
        endpoints._locations("eu", {"place": "us"}, [])


# --- options and output


@pytest.mark.parametrize(("value", "read"), [(None, 0.0), (0.001, 0.001), (0, None), (-1.0, None)])
def test_an_amount_is_above_zero(value, read):
    if read is not None:
        assert options.positive(value, "--epochs") == read
        return
    with pytest.raises(UsageError, match="is out of range"):
        options.positive(value, "--epochs")


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (None, {}),
        (["a=1", " b =x", 'c={"d": 1}', "e=", "f=x=y"],
         {"a": 1, "b": "x", "c": {"d": 1}, "e": "", "f": "x=y"}),
        ({"a": "1"}, {"a": "1"}),
        (["a"], None),
        (["=1"], None),
        (["a=NaN"], None),
        ({"a": {1, 2}}, None),
    ],
)  # fmt: skip
def test_names_with_values(arguments, values):
    if values is not None:
        assert options.pairs(arguments, "--option") == values
        return
    with pytest.raises(UsageError):
        options.pairs(arguments, "--option")


def test_a_table_is_as_wide_as_its_cells():
    stream = io.StringIO()
    out = Output(stream=stream)
    out.table([("a", "bb", ""), ("お茶", "b", "c")], ("one", "two", "3"), empty="none")
    out.table([], ("one",), empty="none")
    out.facts([("cost", "1"), ("left out", "")])
    out.facts([("a", "2")])
    assert stream.getvalue().splitlines() == [
        "  one   two  3",
        "  a     bb",
        "  お茶  b    c",
        "none",
        "  cost  1",
        "  a     2",
    ]
    assert (width("aお"), width("Ｆ")) == (3, 2)


@pytest.mark.parametrize(
    ("text", "is_place", "shown"),
    [
        ("lower eval_max", False, "lower --eval-max"),
        ("model.eval_max.weight", False, "model.eval_max.weight"),
        ("lower epochs", False, "lower epochs"),
        ("epochs, eval_max", True, "--epochs, --eval-max"),
        ("epochs", True, "--epochs"),
        ("line 3 of eval_max", True, "line 3 of --eval-max"),
        ("other_name", False, "other_name"),
    ],
)
def test_errors_name_the_commands_options(text, is_place, shown):
    assert name_options(text, {"epochs", "eval_max"}, is_place) == shown


def test_a_calibration_compares_counts_with_characters():
    row = Example(1, ({"role": "user", "content": "question"},), "answer お茶")
    ascii_only, others = 2 * len("question" + "answer "), 2 * 2
    assert _calibration([row, row], 9, "a tokenizer") == Calibration(
        rows=2, estimated=estimated_tokens(ascii_only, others), counted=9, counter="a tokenizer"
    )

import io
import json
from pathlib import Path

import pytest
import typer

from tunepipe.cli import options, output
from tunepipe.cli.commands import run
from tunepipe.cli.output import Output
from tunepipe.cli.run_options import RunOptions
from tunepipe.errors import UsageError

RUN = {
    "id": "20260101-000000-abcdef", "key": "k", "folder": "runs/x", "state": "succeeded",
    "verdict": "better", "reason": "It is better.", "results": {"report.html": "runs/x/r.html"},
}  # fmt: skip


@pytest.fixture
def dataset(tmp_path):
    rows = [{"input_text": f"q {n}", "output_text": f"a {n}"} for n in range(300)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1.5", 1.5), ("a=true", True), ("a=x=y", "x=y"), ('a={"b": 1}', {"b": 1}),
     ("a=", ""), ("a=gs://b", "gs://b")],
)  # fmt: skip
def test_pairs(text, value):
    assert options.pairs([text], "--param") == {"a": value}


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_what_is_no_pair(text):
    with pytest.raises(UsageError, match="K=V"):
        options.pairs([text], "--param")


def test_a_dry_run_here_prints_the_plan_and_the_parameters(said, dataset):
    arguments = (
        "run", "--backend", "local", "--dataset", dataset, "--dry-run", "--param", "eval_max=20",
        "--option", "max_tokens=800",
    )  # fmt: skip
    code, found, err = said(*arguments, "--json")
    assert (code, err) == (0, "")
    code, out, err = said(*arguments)
    assert (code, out) == (0, None)
    assert json.loads(Path("runs/dry-run-local.json").read_text()) == found
    assert "runs/dry-run-local.json" in err
    assert list(found) == ["backend", "plan", "parameters"]
    assert found["parameters"]["eval_max"] == 20
    assert found["parameters"]["options"] == {"max_tokens": 800}
    assert found["plan"]["rows"] == 280
    assert "this machine: 0.00 USD" in err


@pytest.mark.parametrize(
    ("rows", "param", "planned"),
    [
        (4000, "eval_fraction=0.1", 4000 - 256),  # the service's most
        (4000, "eval_max=100", 3900),
        (105, "eval_fraction=0.1", 94),  # halves up, as the split counts
        (60, "eval_fraction=0.1", 50),  # the service's least
    ],
)
def test_a_run_is_planned_over_the_rows_that_its_split_will_leave(
    said, tmp_path, rows, param, planned
):
    path = tmp_path / "many.jsonl"
    lines = (f'{{"input_text": "q {n}", "output_text": "a {n}"}}\n' for n in range(rows))
    path.write_text("".join(lines))
    found = said(
        "run", "--dataset", path, "--region", "us-central1", "--project", "p",
        "--bucket", "gs://b", "--param", param, "--dry-run", "--json",
    )[1]  # fmt: skip
    assert found["plan"]["rows"] == planned


def test_a_dry_run_in_the_cloud_prints_the_request(said, dataset):
    arguments = (
        "run", "--dataset", dataset, "--region", "us-central1", "--project", "p",
        "--bucket", "gs://b", "--label", "team=x", "--label", "paid=true", "--dry-run",
    )  # fmt: skip
    code, found, _ = said(*arguments, "--json")
    assert code == 0
    code, out, err = said(*arguments)
    assert (code, out) == (0, None)
    written = json.loads(Path("runs/dry-run-large-model.json").read_text())
    assert written["plan"] == found["plan"]
    assert len(err) < 5_000, "the request is in the file, not on the screen"
    assert list(found) == ["backend", "plan", "request"]
    assert found["request"]["parent"] == "projects/p/locations/us-central1"
    assert found["request"]["pipeline_job"]["labels"]["team"] == "x"
    assert found["request"]["pipeline_job"]["labels"]["paid"] == "true"  # and not True
    assert "36.14 USD" in err
    assert "was shut down on 2025-04-09" in err


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (("--param", "evl_min=3"), 2),
        (("--param", "eval_min=few"), 2),
        (("--param", "eval_min"), 2),
        (("--param", "region=us-central1"), 2),  # it would say one region and run in another
        (("--epochs", "1", "--train-steps", "3"), 2),
        (("--epochs", "0"), 2),
        (("--base-model", "gemini-3.5-flash"), 2),
    ],
)
def test_a_run_is_checked_before_it_starts(said, dataset, extra, code):
    arguments = ("run", "--backend", "local", "--dataset", dataset, "--dry-run", *extra)
    assert said(*arguments)[0] == code


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e400", '{"rate": [NaN]}'])
def test_a_number_that_json_lacks_is_refused(value):
    with pytest.raises(UsageError, match="finite number"):
        options.pairs([f"a={value}"], "--option")


@pytest.mark.parametrize("param", ["options=[1]", "tables=3", "options=lora_rank"])
@pytest.mark.parametrize("backend", ["local", "gemini"])
def test_what_holds_values_by_name_must_do_so(said, dataset, backend, param):
    place = ("--region", "us-central1", "--project", "p", "--bucket", "gs://b", "--dry-run")
    arguments = ("run", "--backend", backend, "--dataset", dataset, *place, "--param", param)
    code, _, err = said(*arguments)
    assert code == 2
    assert "must be a mapping" in err


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        (("--task", "nope"), "--task: 'nope' is not a task"),
        (("--margin", "nan"), "--margin: nan is not valid"),
        (("--margin", "5"), "--margin: 5 is not valid"),
        (("--seed", "-1"), "--seed: -1 is not valid"),
        (("--eval-fraction", "2"), "--eval-fraction: 2 is not valid"),
        (("--eval-fraction", "nan"), "--eval-fraction: nan is not valid"),
        (("--param", "guard_margin=7"), "guard_margin: 7 is not valid"),
        (("--param", "eval_min=-1"), "--eval-min: -1 is not valid"),
        (("--param", "max_output_tokens=-3"), "max_output_tokens: -3 is not valid"),
        (("--param", 'asking={"attempts": 0}'), "asking.attempts: 0 is not valid"),
        (("--param", "judge_model=nope"), "judge_model: nope is not a known Gemini model"),
        (
            ("--param", "judge_prompt=which?"),
            "judge_prompt: the judge's prompt is not a template of its four fields",
        ),
    ],
)
@pytest.mark.parametrize("backend", ["gemini", "local"])
def test_what_fails_after_the_tuning_is_refused_before_it(said, dataset, backend, extra, found):
    cloud = ("--region", "us-central1", "--project", "p", "--bucket", "gs://b")
    place = () if backend == "local" else cloud
    arguments = ("run", "--backend", backend, "--dataset", dataset, *place, "--dry-run", *extra)
    code, report, err = said(*arguments)
    assert (code, report, err.partition("\n")[0]) == (2, None, f"error: {found}")


CLOUD = ("--region", "us-central1", "--project", "p", "--bucket", "gs://b")


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--backend", "local"), 1, "the dataset has 1 error"),
        (("--backend", "gemini", *CLOUD), 1, "the dataset has 1 error"),
        (("--base-model", "chat-bison@001", *CLOUD), 2, "not tuned on rows of the format palm"),
    ],
)
def test_data_that_do_not_pass_are_refused_before_anything_is_sent(
    said, dataset, arguments, code, why
):
    with dataset.open("a") as file:
        file.write("not json\n")
    for dry in ((), ("--dry-run",)):
        ended, found, err = said("run", "--dataset", dataset, *arguments, *dry)
        assert (ended, found) == (code, None)
        assert why in err


def test_a_schedule_over_such_data_only_warns(dataset):
    """They are read again at its time."""
    with dataset.open("a") as file:
        file.write("not json\n")
    asked = RunOptions(dataset=str(dataset), base_model="gemini-3.5-flash", epochs=1.0)
    plan = run.show_run_plan(asked.resolve({}), "us-central1", Output(), recurring=True)
    (warning,) = [one for one in plan["warnings"] if "a run would be refused" in one]
    assert "the dataset has 1 error;" in warning


@pytest.mark.parametrize(
    ("most", "warned"), [((), True), (("--param", "max_output_tokens=400"), False)]
)
def test_answers_longer_than_a_model_may_give_are_told(said, dataset, most, warned):
    with dataset.open("a") as file:
        file.write(json.dumps({"input_text": "all of it", "output_text": "word" * 300}) + "\n")
    ended, found, _ = said(
        "run", "--dataset", dataset, "--backend", "local", "--dry-run", "--json", *most
    )
    told = [one for one in found["plan"]["warnings"] if "has about 300 tokens, and at 256" in one]
    assert (ended, bool(told)) == (0, warned)


def test_a_run_above_its_ceiling_is_refused(said, dataset):
    arguments = (
        "run", "--dataset", dataset, "--region", "us-central1", "--project", "p",
        "--bucket", "gs://b", "--max-cost-usd", "10", "--dry-run",
    )  # fmt: skip
    assert said(*arguments)[0] == 3


def test_money_is_spent_on_a_yes_alone(monkeypatch, capfd):
    question = f"Spend {run._price({'estimated_cost_usd': 36.14})}?"
    output.agree(question, True, Output())
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UsageError, match=r"about 36\.14 USD"):
        output.agree(question, False, Output())
    unknown = f"Spend {run._price({'estimated_cost_usd': None})}?"
    with pytest.raises(UsageError, match="not known"):
        output.agree(unknown, False, Output(as_json=True))
    for answer, refused in (("y\n", False), ("n\n", True)):
        terminal = io.StringIO(answer)
        terminal.isatty = lambda: True
        monkeypatch.setattr("sys.stdin", terminal)
        if refused:
            with pytest.raises(typer.Abort):
                output.agree(question, False, Output())
        else:
            output.agree(question, False, Output())


@pytest.mark.parametrize("name", ["20260101-000000-abcdef", "runs/20260101-000000-abcdef"])
def test_status_of_a_run_here(said, tmp_path, name):
    folder = tmp_path / "runs" / RUN["id"]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN))
    assert said("status", name, "--json")[:2] == (0, RUN)
    assert "verdict: better" in said("status", name)[2]
    (folder / "run.json").write_text(json.dumps(RUN | {"verdict": "worse"}))
    assert said("status", name)[0] == 1
    (folder / "run.json").write_text(json.dumps(RUN | {"verdict": "", "state": "failed"}))
    assert said("status", name)[0] == 1


def test_a_run_that_made_no_model_is_not_asked(said, tmp_path):
    folder = tmp_path / "runs" / RUN["id"]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN | {"verdict": "", "state": "failed"}))
    code, found, _ = said("predict", "--model", RUN["id"], "text", "--json")
    assert (code, found["error"]["found"]) == (2, "the run has made no model")


@pytest.mark.parametrize("verb", ["status", "cancel"])
def test_a_run_that_is_not_here_says_where_else_to_look(said, verb):
    code, found, _ = said(verb, "20260101-000000-abcdef", "--runs", "mine", "--json")
    assert code == 2
    assert found["error"]["found"] == "no run of this name is in the folder of --runs"
    assert "--project and --region" in found["error"]["fix"]


def test_a_run_here_ends_where_it_was_started(said, tmp_path):
    folder = tmp_path / "runs" / RUN["id"]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN))
    code, found, _ = said("cancel", RUN["id"], "--json")
    assert code == 2
    assert "Ctrl-C" in found["error"]["fix"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run",),
        ("status", "20260101-000000-abcdef"),
        ("cancel", "20260101-000000-abcdef"),
        ("predict", "--model", "m"),
        ("predict", "text"),
        ("predict", "--model", "m", "text", "--input", "f"),
        ("predict", "--model", "m", "--input", "f"),
    ],
)
def test_wrong_usage(said, arguments):
    assert said(*arguments)[0] == 2


def test_compile_says_what_is_stale(said, tmp_path):
    compiled = tmp_path / "compiled"
    (compiled / "components").mkdir(parents=True)
    (compiled / "components" / "orphan.yaml").write_text("")
    code, found, _ = said("compile", "--check", "--folder", compiled, "--json")
    assert code == 1
    assert {"components/orphan.yaml", "pipelines/tune_local.yaml"} <= set(found["stale"])
    assert said("compile", "--folder", compiled)[0] == 0
    code, _, err = said("compile", "--check", "--folder", compiled)
    assert (code, " ".join(err.split())) == (0, f"{compiled} is current")


@pytest.mark.parametrize(
    ("named", "model"),
    [
        ({}, "gemini-3.5-flash"),
        ({"param": {"base_model": "gemini-3.5-flash-lite"}}, "gemini-3.5-flash-lite"),
        ({"base_model": "gemini-3.5-flash-lite"}, "gemini-3.5-flash-lite"),
    ],
)
def test_the_format_of_the_rows_decides_the_model_only_where_none_is_named(dataset, named, model):
    described = RunOptions(dataset=str(dataset), backend="gemini", **named).resolve({})
    assert described.parameters["base_model"] == model


@pytest.mark.parametrize("name", ["--model", "--base-model"])
def test_the_model_is_named_as_in_every_command(said, dataset, name):
    where = ("--dataset", dataset, "--backend", "local", "--dry-run", "--json")
    code, found, err = said("run", name, "tiny", *where)
    assert (code, found["plan"]["model"]) == (0, "tiny"), err

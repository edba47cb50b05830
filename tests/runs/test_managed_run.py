"""Runs that tune Gemini or an open model, by the command: refused early, and one end to end."""

import json
from pathlib import Path

import pytest

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.cli import main

PLACE = ["--project", PROJECT, "--region", REGION]
FRUITS = ("apple", "banana", "cherry", "damson", "elder", "fig", "grape", "hazel")


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    rows = [
        {"input_text": f"{fruit} order {n} of {n * 37}", "output_text": f"{fruit}:{n}"}
        for n in range(15)
        for fruit in FRUITS
    ]
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


REFUSED = [
    ("gemini", ["--option", "adapter_size=3"], 3),
    ("gemini", ["--option", "tuning_mode=full"], 2),
    ("gemini", ["--base-model", "gemini-3.8-flash"], 3),
    ("gemini", ["--base-model", "qwen/qwen3@qwen3-4b"], 2),
    ("gemini", ["--encryption-key", "projects/p/locations/eu/keyRings/r/cryptoKeys/k"], 3),
    ("gemini", ["--max-cost-usd", "0.0001"], 3),
    ("open-model", ["--option", "tuning_mode=peft"], 3),
    ("open-model", ["--option", "beta=0.1"], 2),
]


@pytest.mark.parametrize(("backend", "more", "code"), REFUSED)
def test_what_would_fail_later_is_refused_before_anything_is_sent(
    dataset: str, backend: str, more: list[str], code: int
) -> None:
    arguments = ["run", "--backend", backend, "--dataset", dataset, "--bucket", "gs://b", *PLACE]
    assert main.run([*arguments, *more, "--dry-run"]) == code


ENDED, NEVER = "gemini-2.5-flash", "gemini-3.8-flash"
OWN = """
[models.models."gemini-2.5-flash"]
tunable_until = "2999-01-01"
served_until = "2999-01-01"
[models.models."gemini-3.8-flash"]
tunable = true
"""


@pytest.mark.parametrize("verb", ["plan", "run"])
@pytest.mark.parametrize(
    ("model", "own", "code", "said", "unsaid"),
    [
        (ENDED, False, 0, "refused since 2026-09-20; it answers until 2027-03-31", "error"),
        (NEVER, False, 3, "cannot be tuned fix: gemini-3.5-flash", "warning"),
        (ENDED, True, 0, "ends on 2999-01-01", "refused since"),
        (NEVER, True, 0, "4 epochs", "cannot be tuned"),
    ],
)
def test_the_calendar_warns_or_refuses_and_the_users_word_goes(
    dataset: str,
    capfd: pytest.CaptureFixture[str],
    verb: str,
    model: str,
    own: bool,
    code: int,
    said: str,
    unsaid: str,
) -> None:
    Path("own.toml").write_text(OWN)
    wanted = ["--epochs", "4", "--backend", "gemini", *PLACE, *(["--tables", "own.toml"] * own)]
    there = ["--dataset", dataset, "--base-model", model, "--bucket", "gs://b", "--dry-run"]
    here = there if verb == "run" else [dataset, "--model", model]
    assert main.run([verb, *here, *wanted]) == code
    told = " ".join(capfd.readouterr().err.split())
    assert said in told
    assert unsaid not in told


def test_no_option_gets_past_the_ceiling(dataset: str, capfd: pytest.CaptureFixture[str]) -> None:
    ceiling = ["--bucket", "gs://b", "--max-cost-usd", "1", "--option", "epochs=100"]
    for backend in ("gemini", "open-model"):
        wanted = ["run", "--backend", backend, "--dataset", dataset, *PLACE, *ceiling, "--dry-run"]
        assert main.run(wanted) == 2
        assert "unknown name epochs" in capfd.readouterr().err


@pytest.mark.parametrize("backend", ["gemini", "open-model", "large-model"])
@pytest.mark.parametrize(
    "option", ["poll_seconds=soon", "poll_seconds=-1", "patience_seconds=null"]
)
def test_a_pace_that_is_none_is_refused_before_anything_is_sent(
    dataset: str, capfd: pytest.CaptureFixture[str], backend: str, option: str
) -> None:
    wanted = ["run", "--backend", backend, "--dataset", dataset, *PLACE, "--bucket", "gs://b"]
    assert main.run([*wanted, "--option", option, "--dry-run"]) == 2
    assert f"{option.partition('=')[0]}: " in capfd.readouterr().err


def test_a_run_may_tune_elsewhere_than_it_runs(
    dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    wanted = ["run", "--backend", "gemini", "--dataset", dataset, "--bucket", "gs://b", "--dry-run"]
    tokyo = ["--project", "p", "--region", "asia-northeast1"]
    assert main.run([*wanted, *tokyo]) == 3
    capfd.readouterr()
    assert main.run([*wanted, *tokyo, "--option", "location=us-central1"]) == 0
    said = capfd.readouterr()
    assert "multi-region us" in " ".join(said.err.split())
    found = json.loads(Path("runs/dry-run-gemini.json").read_text())
    assert found["request"]["parent"] == "projects/p/locations/asia-northeast1"


def test_a_rate_and_a_multiplier_contradict_each_other(dataset: str) -> None:
    wanted = ["run", "--backend", "open-model", "--dataset", dataset, *PLACE, "--bucket", "gs://b"]
    rate = ["--option", "learning_rate=0.001", "--dry-run"]
    assert main.run([*wanted, *rate]) == 0
    assert main.run([*wanted, *rate, "--learning-rate-multiplier", "2"]) == 2


def test_the_services_count_goes_with_the_run(
    cloud: StandIn, dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--backend", "gemini", "--dataset", dataset, "--bucket", f"gs://{BUCKET}"]
    assert main.run([*arguments, *PLACE, "--tokenizer", "service", "--dry-run"]) == 0
    found = capfd.readouterr()
    assert "calibrated on 120 rows with the service's count" in " ".join(found.err.split())
    request = json.loads(Path("runs/dry-run-gemini.json").read_text())["request"]
    sent = request["pipeline_job"]["runtime_config"]["parameter_values"]
    sample = sent["tables"]["prices"]["tokens"]["calibration"]
    assert (sample["rows"], sample["counter"]) == (120, "the service's count for gemini-3.5-flash")
    assert 0 < sample["counted"] != sample["estimated"] > 0


def test_the_whole_command_from_a_local_file_to_geminis_answer(
    cloud: StandIn, dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("run", "--backend", "gemini", "--dataset", dataset, "--bucket", f"gs://{BUCKET}", *PLACE),
        *("--epochs", "2", "--option", "poll_seconds=0.5", "--option", "adapter_size=4"),
        *("--yes", "--json", "--wait"),
    ]
    assert main.run(arguments) == 0, cloud.log()
    done = json.loads(capfd.readouterr().out)
    assert done["state"] == "succeeded"
    assert done["verdict"] in ("better", "not-enough-evidence")
    assert done["model"].startswith("projects/123456789012/locations/eu/endpoints/")
    (job,) = cloud.ask("tunings").values()
    assert job["supervisedTuningSpec"]["hyperParameters"] == {
        "epochCount": "2",
        "learningRateMultiplier": 1.0,
        "adapterSize": "ADAPTER_SIZE_FOUR",
    }
    assert cloud.places() == {REGION, "eu"}  # Gemini 3 answers in the multi-region alone
    assert main.run(["costs", *PLACE, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    (cost,) = found["runs"]
    assert cost["estimated_cost_usd"] > 0
    assert cost["actual_cost_usd"] > 0
    assert found["total_usd"] == cost["actual_cost_usd"]
    summary = cloud.buckets / done["results"]["summary"].removeprefix("gs://")
    said = summary.read_text()
    assert "\n- Cost estimated: $0.01, prices of 2026-09\n" in said
    assert "\n- Cost: $" in said  # by the tokens that the job counted
    run_id = done["name"].rpartition("/")[2]
    asked = ["predict", "--model", run_id, *PLACE, "apple order 3 of 111", "--json"]
    assert main.run(asked) == 0
    assert json.loads(capfd.readouterr().out)["answers"][0]["text"] == "apple:3"


def test_a_job_that_learnt_nothing_promotes_nothing_and_is_no_free_one(
    cloud: StandIn, dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cloud.fault("tuning", message="nan")
    wanted = ["run", "--backend", "gemini", "--dataset", dataset, "--bucket", f"gs://{BUCKET}"]
    assert main.run([*wanted, *PLACE, "--option", "poll_seconds=0.5", "--yes", "--wait"]) == 1
    # The step's own words, and not that it "exited with a non-zero status".
    told = capfd.readouterr().err
    assert "is not a number at step 1: the model has learnt nothing" in told
    assert "lower the learning rate" in told
    assert not cloud.calls("GenerateContent")
    capfd.readouterr()
    assert main.run(["costs", *PLACE, "--json"]) == 0
    (cost,) = json.loads(capfd.readouterr().out)["runs"]
    assert (cost["state"], cost["actual_cost_usd"]) == ("failed", None)
    assert cost["estimated_cost_usd"] > 0


def test_the_whole_command_over_an_open_model_that_is_served(
    cloud: StandIn, dataset: str, capfd: pytest.CaptureFixture[str]
) -> None:
    endpoints = {name: served(cloud, name, dataset) for name in ("tuned", "base")}
    arguments = [
        *("run", "--backend", "open-model", "--base-model", "qwen/qwen3@qwen3-4b"),
        *("--dataset", dataset, "--bucket", f"gs://{BUCKET}", *PLACE, "--epochs", "2"),
        *("--option", "poll_seconds=0.5", "--option", f"endpoint={endpoints['tuned']}"),
        *("--option", f"base_endpoint={endpoints['base']}", "--yes", "--json", "--wait"),
    ]
    assert main.run(arguments) == 0, cloud.log()
    done = json.loads(capfd.readouterr().out)
    assert (done["state"], done["verdict"]) == ("succeeded", "better")
    assert done["model"] == endpoints["tuned"]
    assert len(cloud.ask("tunings")) == 1
    # 131,072 tokens a step: the verdict says so, and the curve is read by the open models' own tag.
    (report,) = (cloud.buckets / BUCKET).rglob("conclude-run/report")
    assert "the model was hardly trained: 2 steps" in report.read_text()
    assert "train from 1.2 to 0.4" in report.read_text()
    assert cloud.places() == {REGION}


def served(cloud: StandIn, name: str, dataset: str) -> str:
    """Deploy a model as a user would; the tuned one knows the answers."""
    rows = [json.loads(line) for line in Path(dataset).read_text().splitlines()]
    if name == "base":
        rows = [{**row, "output_text": "unknown"} for row in rows]
    (cloud.buckets / BUCKET / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    body = {"location": REGION, "display_name": name, "adapter": "weights", "base": "qwen"}
    data = {"dataset_uri": f"gs://{BUCKET}/{name}.jsonl", "evaluation_data_uri": ""}
    model = cloud.ask("models", body)["name"]
    return str(cloud.ask("endpoints", {**body, **data, "model": model})["name"])

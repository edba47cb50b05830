"""Runs that tune Gemini or an open model, by the command: refused early, and one end to end."""

import json
from pathlib import Path

import pytest

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.ops import main

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
        "epochCount": 2,
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
    run_id = done["name"].rpartition("/")[2]
    asked = ["predict", "--model", run_id, *PLACE, "apple order 3 of 111", "--json"]
    assert main.run(asked) == 0
    assert json.loads(capfd.readouterr().out)["answers"][0]["text"] == "apple:3"


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
    assert cloud.places() == {REGION}


def served(cloud: StandIn, name: str, dataset: str) -> str:
    """Deploy a model as a user would; the tuned one knows the answers."""
    text = Path(dataset).read_text()
    known = text if name == "tuned" else text.replace('"output_text": "', '"output_text": "no ')
    (cloud.buckets / BUCKET / f"{name}.jsonl").write_text(known)
    body = {"location": REGION, "display_name": name, "adapter": "weights", "base": "qwen"}
    data = {"dataset_uri": f"gs://{BUCKET}/{name}.jsonl", "evaluation_data_uri": ""}
    model = cloud.ask("models", body)["name"]
    return str(cloud.ask("endpoints", {**body, **data, "model": model})["name"])

"""A whole run on accelerators of one's own: to its verdict, killed and preempted on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.local.models import write_base, write_rows
from tests.standin.session import BUCKET, PROJECT
from tests.waiting import until
from tunepipe.cli import main
from tunepipe.runs import vertex

REGION = "us-central1"
PLACE = ["--project", PROJECT, "--region", REGION]


@pytest.fixture
def project(cloud, empty_folder):
    """A bucket in the region with a base model, quota, and rows to learn."""
    quota = {"Custom model training Nvidia L4 GPUs per region": {REGION: 1}}
    cloud.ask("facts", {"quota": quota, "location": REGION.upper()})
    write_base(cloud.buckets / BUCKET / "base")
    made = [{"input_text": f"code of item {n}", "output_text": f"C{n % 7}"} for n in range(130)]
    write_rows(Path("rows.jsonl"), made)
    return cloud


def arguments(*more):
    options = {"learning_rate": 2e-2, "poll_seconds": 0.1, "checkpoint_every": 40}
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    return [
        *("run", "--backend", "custom", "--accelerator", "NVIDIA_L4:1", "--dataset", "rows.jsonl"),
        *("--base-model", f"gs://{BUCKET}/base", "--bucket", f"gs://{BUCKET}", *PLACE, "--yes"),
        *("--train-steps", "60", "--option", "parameters_billion=0.001", "--json"),
        *("--param", "max_output_tokens=8", "--wait", *given, *more),
    ]


def kill_run(cloud):
    """Kill the command's pipeline job, as a machine that dies would: no step hears of it."""
    for folder in (cloud.folder / "jobs").glob("*/job.json"):
        found = subprocess.run(
            ["pgrep", "-f", f"tests.standin.run_job {folder.parent}"],
            capture_output=True,
            text=True,
        )
        for process in found.stdout.split():
            os.killpg(int(process), signal.SIGKILL)


def test_a_run_ends_in_a_verdict_though_it_was_killed_and_preempted(project, capfd):
    bucket = project.buckets / BUCKET
    command = [sys.executable, "-m", "tunepipe", *arguments()]
    project.ask("facts", {"held": ['"done": 60']})  # the last step, and with it the job's end
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: list(bucket.glob("tunepipe/custom/*/checkpoints/*/*/trainer_state.json")))
    first.kill()
    first.wait()
    kill_run(project)
    assert len(project.ask("preempt", {})["preempted"]) == 1
    project.ask("facts", {"held": []})
    code = main.run(arguments())
    out = json.loads(capfd.readouterr().out)
    assert code in (0, 1), project.log()[-3000:]
    assert out["verdict"] in ("better", "worse", "not-enough-evidence")
    jobs = [call for call in project.calls("CreateCustomJob") if call["code"] == 200]
    trained = list(bucket.glob("tunepipe/custom/*/result.json"))
    answered = list(bucket.glob("tunepipe/custom/*/answers/*/answers.jsonl"))
    assert (len(trained), len(answered)) == (1, 2)
    assert len(jobs) == 3  # one trains, one answers as tuned, one as base
    statistics = json.loads(trained[0].read_text())["statistics"]
    assert statistics["resumed_from_step"] == 40
    assert project.places() <= {REGION, "global"}
    # What it was planned to cost, and what its machine cost.
    assert main.run(["costs", *PLACE, "--json"]) == 0
    costs = json.loads(capfd.readouterr().out)["runs"]
    paid = [cost for cost in costs if "/customJobs/" in cost["tuning_job"]]
    assert {cost["estimated_cost_usd"] for cost in paid} - {0.0, None}
    assert all(cost["actual_cost_usd"] is not None for cost in paid)
    assert vertex.status  # the run is one of Vertex AI's, like any other


def test_a_quota_that_does_not_do_ends_the_run_before_anything_is_paid(project, capfd):
    project.ask(
        "facts", {"quota": {"Custom model training Nvidia L4 GPUs per region": {REGION: 0}}}
    )
    assert main.run(arguments()) == 4
    assert "ask for 1" in project.log()
    assert project.calls("CreateCustomJob") == []


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (["--option", "machines=0"], 2),
        (["--option", "accelerator=L4:3"], 3),
        (["--option", "lora_rnak=3"], 2),
        (["--max-cost-usd", "0.01"], 3),
        (["--option", "usd_per_hour=0.01", "--max-cost-usd", "0.01"], 0),
    ],
)
def test_what_would_fail_later_is_refused_before_anything_is_sent(project, more, code):
    assert main.run([*arguments(), *more, "--dry-run"]) == code

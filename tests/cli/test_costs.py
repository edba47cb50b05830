"""What each run has cost: which job was paid, and by whom first."""

import json
from datetime import UTC, datetime

import pytest
from google.cloud.aiplatform_v1.types import PipelineJob

from tunepipe.cli import main
from tunepipe.cli.commands.costs import _cost

NAME = "projects/1/locations/us-central1/pipelineJobs/run-1"
CHILD = "projects/1/locations/us-central1/pipelineJobs/tune-1"
RESOURCES = json.dumps({"resources": [{"resourceUri": f"https://x/v1/{CHILD}"}]})
PLAN = ("compute-train-steps", "SUCCEEDED", {"output:cost_usd": 36.14})
LAUNCHED = ("tune-large-model", "SUCCEEDED", {"output:gcp_resources": RESOURCES})
CUSTOM = "projects/1/locations/us-central1/customJobs/7"
IN_JOB = json.dumps({"resources": [{"resourceUri": f"https://x/v1/{CUSTOM}"}]})
CUSTOM_TUNED = ("tune-custom", "SUCCEEDED", {"output:gcp_resources": IN_JOB})
INLINED = ("tune-large-model", "SUCCEEDED", {})
TUNER = "large-language-model-tuner"


def ran(*tasks):
    details = [
        {"task_name": name, "state": state, "execution": {"metadata": metadata}}
        for name, state, metadata in tasks
    ]
    return PipelineJob(
        name=NAME,
        state="PIPELINE_STATE_SUCCEEDED",
        create_time=datetime(2026, 11, 22, tzinfo=UTC),
        job_detail={"task_details": details},
    )


@pytest.mark.parametrize(
    ("tasks", "paid_before", "tuning_job", "known"),
    [
        ([PLAN, LAUNCHED], set(), CHILD, 36.14),
        ([PLAN, LAUNCHED], {CHILD}, CHILD, 0.0),
        ([PLAN, CUSTOM_TUNED], set(), CUSTOM, 36.14),
        ([PLAN, CUSTOM_TUNED], {CUSTOM}, CUSTOM, 0.0),
        ([PLAN], set(), "", 0.0),
        ([PLAN, INLINED, (TUNER, "SUCCEEDED", {})], set(), NAME, 36.14),
        ([PLAN, INLINED, (TUNER, "FAILED", {})], set(), NAME, 36.14),
        ([PLAN, INLINED, (TUNER, "SKIPPED", {})], set(), "", 0.0),
        ([(*PLAN[:2], {"output:cost_usd": 0.0}), LAUNCHED], set(), CHILD, None),
    ],
    ids=[
        "launched",
        "paid before",
        "custom",
        "custom, paid before",
        "no tuning",
        "inlined",
        "failed",
        "cached",
        "no price",
    ],
)
def test_a_run_costs_what_its_tuning_job_does(tasks, paid_before, tuning_job, known):
    found = _cost(ran(*tasks), paid_before)
    assert (found.tuning_job, found.known_cost_usd) == (tuning_job, known)


def test_runs_here_say_when_they_began(tmp_path, capfd):
    folder = tmp_path / "20261122-101500-abcdef"
    folder.mkdir()
    record = {"id": folder.name, "key": "k", "folder": str(folder), "state": "succeeded"}
    (folder / "run.json").write_text(json.dumps(record))
    assert main.run(["costs", "--runs", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)["runs"]
    assert found["created"] == "2026-11-22T10:15:00+00:00"

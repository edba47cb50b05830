"""What each run has cost: which job was paid, and by whom first."""

import json
from datetime import UTC, datetime

import pytest
from google.cloud.aiplatform_v1.types import PipelineJob

from tunepipe.cli import main
from tunepipe.cli.commands.costs import RunCost, _cost

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


@pytest.mark.parametrize(
    ("report", "paid_before", "actual"),
    [
        ({"cost_usd": 12.5}, set(), 12.5),
        ({"cost_usd": 0.0}, set(), 0.0),
        ({"cost_usd": None}, set(), None),
        (None, set(), None),
        ({"cost_usd": 12.5}, {CHILD}, 0.0),
    ],
)
def test_what_a_job_has_cost_is_what_its_report_says(tmp_path, report, paid_before, actual):
    job = ran(PLAN, LAUNCHED)
    file = tmp_path / "tuning"
    if report is not None:
        file.write_text(json.dumps(report))
    job.job_detail.task_details[1].outputs = {"tuning": {"artifacts": [{"uri": str(file)}]}}
    paid = set(paid_before)
    assert _cost(job, paid) == RunCost(
        NAME, "2026-11-22T00:00:00+00:00", "succeeded", CHILD, 0.0 if paid_before else 36.14, actual
    )
    assert paid == {CHILD}


CUT = b'{"estimated_cost_usd": 1'


@pytest.mark.parametrize("output", ["compute-train-steps/plan", "tune-local/tuning"])
@pytest.mark.parametrize(
    "content", [CUT, b"", b"[1]", b'{"estimated_cost_usd": "x", "cost_usd": "x"}', b"\xff\xfe"]
)
def test_a_file_that_cannot_be_read_is_named_and_the_other_runs_are_listed(
    tmp_path, capfd, output, content
):
    for day in (21, 22):
        folder = tmp_path / f"202611{day}-101500-abcdef"
        file = folder / "steps" / "x" / output
        file.parent.mkdir(parents=True)
        record = {"id": folder.name, "key": "k", "folder": str(folder), "state": "succeeded"}
        (folder / "run.json").write_text(json.dumps(record))
        if day == 22:
            file.write_text('{"estimated_cost_usd": 2.5, "cost_usd": 2.5}')
        else:
            file.write_bytes(content)
    bad = tmp_path / "20261121-101500-abcdef" / "steps" / "x" / output
    assert main.run(["costs", "--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [str(bad) in run["problem"] for run in found["runs"]] == [True, False]
    assert (found["total_usd"], found["unknown"]) == (2.5, output.endswith("plan"))
    assert main.run(["costs", "--runs", str(tmp_path)]) == 0
    assert f"warning: {bad} cannot be read" in capfd.readouterr().err


def test_a_job_whose_report_is_cut_counts_as_estimated(tmp_path):
    (tmp_path / "tuning").write_text('{"cost_usd": 1')
    job = ran(PLAN, LAUNCHED)
    artifact = {"tuning": {"artifacts": [{"uri": str(tmp_path / "tuning")}]}}
    job.job_detail.task_details[1].outputs = artifact
    found = _cost(job, set())
    assert (found.known_cost_usd, found.actual_cost_usd) == (36.14, None)
    assert str(tmp_path / "tuning") in found.problem


def test_a_step_that_failed_may_have_been_paid():
    failed = ("tune-gemini", "FAILED", {})
    for tasks in ((PLAN, failed), (PLAN, failed, ("tune-again", "SUCCEEDED", {}))):
        assert _cost(ran(*tasks), set()).known_cost_usd == 36.14


def test_the_costs_of_the_runs_here_are_summed(tmp_path, capfd):
    costs = {1: (2.0, 1.23456), 2: (3.0, None), 3: (None, None), 4: None}
    for number, known in costs.items():
        folder = tmp_path / f"2026112{number}-101500-abcdef"
        (folder / "steps" / "x" / "compute-train-steps").mkdir(parents=True)
        record = {"id": folder.name, "key": "k", "folder": str(folder), "state": "succeeded"}
        (folder / "run.json").write_text(json.dumps(record))
        if known:
            (folder / "steps" / "x" / "tune-local").mkdir()
            plan, tuning = ({"estimated_cost_usd": known[0]}, {"cost_usd": known[1]})
            (folder / "steps/x/compute-train-steps/plan").write_text(json.dumps(plan))
            (folder / "steps/x/tune-local/tuning").write_text(json.dumps(tuning))
    assert main.run(["costs", "--runs", str(tmp_path), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert [(one["estimated_cost_usd"], one["actual_cost_usd"]) for one in found["runs"]] == [
        (2.0, 1.23456), (3.0, None), (None, None), (0.0, None),
    ]  # fmt: skip
    assert (found["total_usd"], found["unknown"]) == (4.2346, 1)
    assert main.run(["costs", "--runs", str(tmp_path)]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == "4 runs: about 4.23 USD, and 1 whose price is not known"
    assert [line.split()[1:] for line in lines[1:-1]] == [
        ["succeeded", "2.00", "1.23", "20261121-101500-abcdef"],
        ["succeeded", "3.00", "not", "known", "20261122-101500-abcdef"],
        ["succeeded", "not", "known", "not", "known", "20261123-101500-abcdef"],
        ["succeeded", "0.00", "not", "known", "20261124-101500-abcdef"],
    ]


def test_runs_here_say_when_they_began(tmp_path, capfd):
    folder = tmp_path / "20261122-101500-abcdef"
    folder.mkdir()
    record = {"id": folder.name, "key": "k", "folder": str(folder), "state": "succeeded"}
    (folder / "run.json").write_text(json.dumps(record))
    assert main.run(["costs", "--runs", str(tmp_path), "--json"]) == 0
    (found,) = json.loads(capfd.readouterr().out)["runs"]
    assert found["created"] == "2026-11-22T10:15:00+00:00"

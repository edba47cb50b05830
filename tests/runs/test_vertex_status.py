"""What is read of a PipelineJob: its steps in their order, its verdict, model and results."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import aiplatform_v1 as api

from tunepipe.notifications.message import run_page
from tunepipe.runs import vertex
from tunepipe.runs.status import RunStatus, StepStatus
from tunepipe.stores.failures import Failure

NAME = "projects/p/locations/europe-west4/pipelineJobs/run-1"
START = datetime(2026, 11, 27, tzinfo=UTC)


def task(name, minute, state="SUCCEEDED", outputs=(), **fields):
    """A step's details; its outputs are artifacts by name, its own values go by `Output=`."""
    named = {
        each: {"artifacts": [{"uri": f"gs://b/{name}/{each}", "metadata": metadata}]}
        for each, metadata in dict(outputs).items()
    }
    values = {f"output:{key}": value for key, value in fields.pop("values", {}).items()}
    detail = {
        "task_name": name,
        "task_id": len(name),
        "state": state,
        "outputs": named,
        "execution": {"schema_title": "system.ContainerExecution", "metadata": values},
        **fields,
    }
    if minute is not None:
        detail["start_time"] = START + timedelta(minutes=minute)
    return detail


def status(*tasks, state="SUCCEEDED", **fields):
    details = {"task_details": [{"execution": {"schema_title": "system.Run"}}, *tasks]}
    job = {"name": NAME, "state": f"PIPELINE_STATE_{state}", "job_detail": details, **fields}
    return vertex._status(api.PipelineJob(job))


def test_a_run_that_ended():
    model = {"model": {"resourceName": "projects/p/endpoints/1"}}
    found = status(
        task("compare-models", 5, outputs={"comparison": {}}, values={"Output": "better"}),
        task("never-began", None, "NOT_TRIGGERED"),
        task("conclude-run", 7, outputs={"report": {}, "other": {}}),
        task("tune-gemini", 3, outputs=model),
        task("prepare-run", 1, "SKIPPED", values={"Output": "changed", "unchanged_since": ""}),
        task("split-dataset", 2, outputs={"report": {}, "model": {"resourceName": "no"}}),
    )
    assert found == RunStatus(
        name=NAME,
        state="succeeded",
        page=run_page(NAME),
        tasks=(
            StepStatus("prepare-run", "cached"),
            StepStatus("split-dataset", "succeeded"),
            StepStatus("tune-gemini", "succeeded"),
            StepStatus("compare-models", "succeeded"),
            StepStatus("conclude-run", "succeeded"),
            StepStatus("never-began", "not wanted"),
        ),
        verdict="better",
        model="projects/p/endpoints/1",
        results={
            "comparison": "gs://b/compare-models/comparison",
            "report": "gs://b/conclude-run/report",
        },
    )


@pytest.mark.parametrize("words", [None, {"kind": "DataError", "found": "3 errors"}])
def test_a_run_that_failed_has_the_words_of_its_step(tmp_path, words):
    folder = tmp_path / "123" / "run-1" / "validate-jsonl_9"
    folder.mkdir(parents=True)
    if words:
        (folder / "error.json").write_text(json.dumps(words))
    step = task("validate-jsonl", 1, "FAILED", error={"code": 9, "message": "exit code 1"})
    found = status(
        step, state="FAILED", runtime_config={"gcs_output_directory": str(tmp_path)},
        error={"message": "a step failed"},
    )  # fmt: skip
    assert found.tasks == (StepStatus("validate-jsonl", "failed", "exit code 1"),)
    assert found.failure == (Failure(**words) if words else None)
    assert found.error == f"validate-jsonl: {'3 errors' if words else 'exit code 1'}"


@pytest.mark.parametrize(
    ("content", "since", "reason"),
    [
        ('{"reason": "it is so"}', "", "it is so"),
        ('{"reason": "it is so"}', "unchanged since run q", "unchanged since run q"),
        ("{}", "", ""),
        ("half of", "", ""),
        (None, "", ""),
    ],
)
def test_why_a_run_ended_as_it_did(tmp_path, content, since, reason):
    file = tmp_path / "comparison"
    if content is not None:
        file.write_text(content)
    found = RunStatus(NAME, "succeeded", "", (), unchanged=since, results={"comparison": str(file)})
    assert vertex.reason_of(found) == reason
    assert vertex.reason_of(RunStatus(NAME, "succeeded", "", ())) == ""

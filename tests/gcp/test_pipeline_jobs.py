"""What is read of a pipeline's job: its state, its outputs, and the failure that came first."""

import datetime

import pytest
from google.cloud import aiplatform_v1 as api

from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.gcp import pipeline_jobs, remote_jobs
from tunepipe.gcp.clients import state_of
from tunepipe.gcp.pipeline_jobs import PIPELINE_JOBS, PipelineJobs, goes_on

State, TaskState = api.PipelineState, api.PipelineTaskDetail.State
NOON = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.UTC)


def task(name, minute=None, message="", state=TaskState.FAILED, schema="", **outputs):
    return api.PipelineTaskDetail(
        task_name=name,
        task_id=len(name),
        state=state,
        end_time=None if minute is None else NOON + datetime.timedelta(minutes=minute),
        error={"message": message},
        execution={"schema_title": schema, "metadata": outputs},
    )


def job(*tasks, state=State.PIPELINE_STATE_FAILED, message="The pipeline failed."):
    return api.PipelineJob(
        state=state, error={"message": message}, job_detail={"task_details": tasks}
    )


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ([], "The pipeline failed."),
        ([task("exit", 9, "no secret"), task("tune", 5, "no quota")],
         "tune: no quota; exit: no secret"),
        ([task("exit", None, "no secret"), task("tune", 5, "no quota")],
         "tune: no quota; exit: no secret"),
        ([task("tune", 5), task("exit", 9, "no secret")], "exit: no secret"),
        ([task("tune", 5, "late", TaskState.SUCCEEDED)], "The pipeline failed."),
    ],
)  # fmt: skip
def test_the_failure_that_came_first_is_told_first(tasks, told):
    assert pipeline_jobs.failure(job(*tasks)) == told


def test_outputs_are_those_of_the_run_whatever_its_tasks_are_called():
    outputs = {"output:endpoint": "e", "output:model": "m", "input:rows": "r"}
    steps = [task("a", schema="system.ContainerExecution", **{"output:endpoint": "other"})]
    assert pipeline_jobs.outputs(job(*steps)) == {}
    steps.append(task("root", schema="system.Run", **outputs))
    assert pipeline_jobs.outputs(job(*steps)) == {"endpoint": "e", "model": "m"}


@pytest.mark.parametrize(
    ("state", "detail"),
    [
        (State.PIPELINE_STATE_RUNNING, "tune, predict"),
        (State.PIPELINE_STATE_PENDING, "tune, predict"),
        (State.PIPELINE_STATE_CANCELLING, "cancelling"),
        (State.PIPELINE_STATE_FAILED, "failed"),
    ],
)
def test_the_detail_of_a_job_is_what_runs_or_why_nothing_does(state, detail):
    tasks = [
        task("root", state=TaskState.RUNNING, schema="system.Run"),
        task("split", state=TaskState.SUCCEEDED),
        task("tune", state=TaskState.RUNNING),
        task("predict", state=TaskState.RUNNING),
    ]
    assert PIPELINE_JOBS.detail(job(*tasks, state=state)) == detail


@pytest.mark.parametrize(
    ("state", "word", "ended", "running", "succeeded"),
    [
        (State.PIPELINE_STATE_PENDING, "PENDING", False, True, False),
        (State.PIPELINE_STATE_RUNNING, "RUNNING", False, True, False),
        (State.PIPELINE_STATE_PAUSED, "PAUSED", False, True, False),
        (State.PIPELINE_STATE_CANCELLING, "CANCELLING", False, False, False),
        (State.PIPELINE_STATE_CANCELLED, "CANCELLED", True, False, False),
        (State.PIPELINE_STATE_FAILED, "FAILED", True, False, False),
        (State.PIPELINE_STATE_SUCCEEDED, "SUCCEEDED", True, False, True),
        (42, "STATE_42", False, True, False),  # of a later day: it is not taken for an end
    ],
)
@pytest.mark.filterwarnings("ignore:Unrecognized PipelineState")
def test_states(state, word, ended, running, succeeded):
    found = job(state=state)
    assert state_of(found) == word
    assert remote_jobs.has_ended(found) is ended
    assert remote_jobs.is_running(found) is running
    assert remote_jobs.has_succeeded(found) is succeeded


def test_a_tasks_state_is_a_word_too():
    assert state_of(task("a", state=TaskState.NOT_TRIGGERED)) == "NOT_TRIGGERED"


TEMPLATE = (
    "https://us-kfp.pkg.dev/ml-pipeline/large-language-model-pipelines/tune-large-model/v3.0.0"
)
PARENT = f"projects/{PROJECT}/locations/{REGION}"


@pytest.mark.parametrize("id_label", ["", "own_id"])
def test_a_job_is_created_under_its_own_id_and_goes_on_until_it_ends(cloud, id_label):
    cloud.ask("hold", {"on": True})
    parameters = {"project": PROJECT, "location": REGION, "model_display_name": "desk"}
    body = {
        "template_uri": TEMPLATE,
        "labels": {"key": "k"},
        "runtime_config": {
            "gcs_output_directory": f"gs://{BUCKET}",
            "parameter_values": {**parameters, "dataset_uri": f"gs://{BUCKET}/x"},
        },
    }
    jobs = PipelineJobs(body, PARENT, "key", id_label)
    assert jobs.find() == ""
    cloud.fault("CreatePipelineJob", seconds=0.2)  # which is no trouble
    name = jobs.create()
    assert name.endswith("/pipelineJobs/tune-k-1")
    assert len(cloud.calls("CreatePipelineJob")) == 1
    own = {id_label: "tune-k-1"} if id_label else {}
    assert dict(jobs.get(name).labels) == {"key": "k", **own}
    assert (jobs.find(), goes_on(name)) == (name, True)
    jobs.cancel(name)
    assert (jobs.find(), goes_on(name)) == ("", False)
    assert not goes_on(f"{PARENT}/pipelineJobs/none")
    assert jobs.create().endswith("/pipelineJobs/tune-k-2")

"""What is read of a pipeline's job: its state, its outputs, and the failure that came first."""

import datetime

import pytest
from google.cloud import aiplatform_v1 as api

from tunepipe.gcp import pipeline_jobs, remote_jobs
from tunepipe.gcp.clients import state_of

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

"""What goes between a step and its machines, and the body and the states of a TrainJob."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.remote import train_job
from tunepipe.backends.remote.exchange import (
    read_error,
    read_progress,
    request_fields,
    write_attempt,
    write_failure,
    write_task,
)
from tunepipe.backends.remote.train_job import TrainJobs, _status
from tunepipe.decoding import decode
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.remote_jobs import JobState, Status


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"done": 1200, "total": 3000}, "step 1,200 of 3,000"),
        ({"done": 3, "total": 9, "loss": 1.23456}, "step 3 of 9, loss 1.235"),
        (
            {"done": 3, "total": 9, "eval_loss": 2, "loss": 0.5},
            "step 3 of 9, loss 0.5, eval_loss 2",
        ),
    ],
)
def test_the_last_report_is_shown(tmp_path, event, text):
    assert read_progress(str(tmp_path)) == ""
    for number, each in enumerate(({"done": 0, "total": 1}, event)):
        (tmp_path / "progress").mkdir(exist_ok=True)
        (tmp_path / "progress" / f"{number}.json").write_text(json.dumps(each))
    assert read_progress(str(tmp_path)) == text


def test_a_task_is_written_once_by_its_content(tmp_path):
    first = write_task({"b": 1, "a": [2]}, str(tmp_path))
    assert write_task({"a": [2], "b": 1}, str(tmp_path)) == first
    assert write_task({"a": [3], "b": 1}, str(tmp_path)) != first
    assert len(list(tmp_path.iterdir())) == 2
    request = TuningRequest("base", "train", "eval", 7, 8, options={"x": 1}, seed=5)
    assert request_fields(request) == {
        "base_model": "base", "train_uri": "train", "eval_uri": "eval", "train_steps": 7,
        "batch_size": 8, "learning_rate_multiplier": 1.0, "seed": 5,
    }  # fmt: skip


def test_the_first_machine_of_a_job_that_gave_up_says_why(tmp_path):
    folder, begin = str(tmp_path), datetime.now(UTC)

    def told(since=begin):
        error = read_error("jobs/1", since, folder)
        return error and (type(error), error.where, error.found, error.fix)

    assert told() is None
    write_failure(UsageError("no rows", where="/gcs/b/rows", fix="name some"), folder, "/gcs")
    write_failure(MemoryError("a consequence"), folder)
    assert told() == (UsageError, "jobs/1", "gs://b/rows: no rows", "name some")
    write_attempt(folder)  # a job whose machine was preempted begins again
    assert told() is None
    write_failure(MemoryError("no room"), folder)
    assert told() == (CloudError, "jobs/1", "MemoryError: no room", "read the job's log")
    shutil.rmtree(tmp_path / "attempts")
    assert told(datetime.now(UTC)) is None  # an earlier job's
    (tmp_path / "failures" / f"{begin.timestamp() * 1e9:.0f}.json").write_text('{"found": 3')
    assert told(begin - timedelta(seconds=1)) is None
    (tmp_path / "failures" / "0-notes.json").write_text("not ours")
    assert told() is None
    write_failure(UsageError("there is no such place"), "s3:///nowhere")


def test_the_body_of_a_train_job_is_exactly_what_was_asked_for():
    asked = {
        "runtime": "torch", "image": "i@sha256:1", "nodes": 3, "resources": {"nvidia.com/gpu": 2},
        "secrets": {"hub": {"HF_TOKEN": "token"}}, "work_uri": "s3://b",
    }  # fmt: skip
    options = decode(asked, train_job.TrainJobOptions)
    body = TrainJobs("team", "k", "s3://b/task.json", options).body("tunepipe-k-1")
    per_node = {"nvidia.com/gpu": "2"}
    reference = {"secretKeyRef": {"name": "hub", "key": "token"}}
    assert body == {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": "tunepipe-k-1", "labels": {KEY_LABEL: "k"}},
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": "torch",
            },
            "trainer": {
                "image": "i@sha256:1",
                "command": ["python3", "-m", "tunepipe.backends.remote.worker"],
                "args": ["s3://b/task.json"],
                "env": [
                    {"name": "HF_HUB_DISABLE_TELEMETRY", "value": "1"},
                    {"name": "TUNEPIPE_DEVICE", "value": "cuda"},
                    {"name": "HF_TOKEN", "valueFrom": reference},
                ],
                "numNodes": 3,
                "numProcPerNode": 1,
                "resourcesPerNode": {"limits": per_node, "requests": per_node},
            },
        },
    }


CREATED = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ([], Status(JobState.RUNNING, created=CREATED)),
        (
            [("Suspended", "True", "")],
            Status(JobState.RUNNING, detail="suspended", created=CREATED),
        ),
        ([("Suspended", "False", "")], Status(JobState.RUNNING, created=CREATED)),
        (
            [("Failed", "True", "no memory")],
            Status(JobState.FAILED, "no memory", created=CREATED),
        ),
        ([("Failed", "True", "")], Status(JobState.FAILED, "the job failed", created=CREATED)),
        ([("Complete", "True", "done")], Status(JobState.SUCCEEDED)),
    ],
)
def test_the_states_of_a_train_job(conditions, status):
    named = [{"type": kind, "status": is_so, "message": text} for kind, is_so, text in conditions]
    metadata = {"creationTimestamp": "2026-11-27T00:00:00Z"}
    assert _status({"metadata": metadata, "status": {"conditions": named}}) == status
    if not conditions:
        assert _status({"metadata": metadata}) == status

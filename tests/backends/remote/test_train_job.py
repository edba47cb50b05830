"""A TrainJob on a stand-in of the cluster's API, whose nodes train for real."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest
from safetensors.torch import load_file

from tests.backends.local.models import rows, write_base, write_rows
from tests.backends.managed.jobs import ended
from tests.gcp import launch_driver
from tests.standin.kubernetes import Cluster
from tests.standin.session import BUCKET
from tests.waiting import until
from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.local import backend
from tunepipe.backends.local.options import TrainJobOptions
from tunepipe.backends.remote.train_job import TrainJobs
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp.explanations import RefusedError
from tunepipe.gcp.remote_jobs import JobState, Status, WaitingError

WORK = f"gs://{BUCKET}/work"
JOB = {"namespace": "team", "image": "registry.example/tunepipe:1", "work_uri": WORK}


@pytest.fixture
def cluster(cloud, tmp_path, monkeypatch):
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = Cluster(folder)
    monkeypatch.setenv("KUBECONFIG", cluster.kubeconfig())
    yield cluster
    cluster.stop()


@pytest.fixture
def place(tmp_path):
    write_base(tmp_path / "base")
    write_rows(tmp_path / "train.jsonl", rows(16))
    write_rows(tmp_path / "eval.jsonl", rows(4))
    return tmp_path


def request(place, steps=4, job=JOB, **options):
    files = [str(place / name) for name in ("base", "train.jsonl", "eval.jsonl")]
    options = {"learning_rate": 1e-2, "train_job": {"poll_seconds": 0.2, **job}, **options}
    return TuningRequest(*files, steps, 8, options=options)


def tune(asked, folder):
    events = []
    result = backend.tune(asked, str(folder), lambda event: events.append(dict(event)))
    return result, events


def test_two_nodes_train_as_one_machine_does(cluster, cloud, place):
    result, events = tune(request(place), place / "job")
    (name,) = cluster.created
    found = result.statistics
    assert (found["job"], found["nodes"], found["processes"]) == (name, 2, 2)
    assert [event["state"] for event in events][-1] == "succeeded"
    alone = backend.tune(
        TuningRequest(*[str(place / one) for one in ("base", "train.jsonl", "eval.jsonl")], 4, 8,
                      options={"learning_rate": 1e-2}),
        str(place / "alone"), lambda event: None,
    )  # fmt: skip
    assert found["final_loss"] == pytest.approx(alone.statistics["final_loss"], abs=1e-4)
    weights, wanted = (
        load_file(f"{one.model}/adapter_model.safetensors") for one in (result, alone)
    )
    assert max(float((weights[key] - wanted[key]).abs().max()) for key in wanted) < 2e-4
    answers = backend.predict(result.model, [Prompt("a", [{"role": "user", "content": "?"}])])
    assert [answer.text for answer in answers] != [None]
    spec = cluster.jobs[name]["spec"]["trainer"]
    assert (spec["image"], spec["numNodes"]) == (JOB["image"], 2)
    (task,) = cloud.buckets.glob(f"{BUCKET}/work/*/task-*.json")
    folder = f"gs://{task.parent.relative_to(cloud.buckets)}"
    fields = json.loads(task.read_text())["request"]
    assert [fields[f"{name}_uri"] for name in ("train", "eval")] == [
        f"{folder}/train.jsonl", f"{folder}/eval.jsonl",
    ]  # fmt: skip
    # The same work again finds what is there.
    assert tune(request(place), place / "later")[0].statistics["job"] == name
    assert len(cluster.created) == 1


ALONE = {**JOB, "nodes": 1}  # the same but for the nodes' joining


def start_tuner(asked, folder):
    return launch_driver.start(asked, folder, "local.backend")


def test_a_killed_step_stays_with_its_job_and_evicted_nodes_go_on(cluster, cloud, place):
    cloud.ask("facts", {"retention_seconds": 86400, "held": ['"done": 30']})  # its last step
    asked = request(place, steps=30, job=ALONE, checkpoint_every=20, evaluate_every=30)
    step = start_tuner(asked, place / "step")
    checkpoint = f"{BUCKET}/work/*/checkpoints/*/*/trainer_state.json"
    until(lambda: list(cloud.buckets.glob(checkpoint)))
    step.kill()
    step.join()
    follower = start_tuner(asked, place / "restarted")  # a step that lost its folder
    looks = cluster.looks + 1  # the killed step's last request may come in yet
    until(lambda: cluster.looks > looks)
    assert len(cluster.created) == 1
    cluster.evict()
    assert ended(follower) != 0
    cloud.ask("facts", {"held": []})
    result, _ = tune(asked, place / "next")  # the next attempt pays for what is left
    assert len(cluster.created) == 2
    assert result.statistics["resumed_from_step"] == 20
    assert result.statistics["train_steps"] == 30


def test_a_node_lost_before_its_result_leaves_nothing_in_the_way(cluster, cloud, place):
    asked = request(place, job=ALONE)
    tune(asked, place / "first")
    (result_file,) = cloud.buckets.glob(f"{BUCKET}/work/*/result.json")
    result_file.unlink()
    cluster.jobs.clear()
    cloud.ask("facts", {"retention_seconds": 86400})
    result, _ = tune(asked, place / "second")
    assert len(cluster.created) == 2
    assert load_file(f"{result.model}/adapter_model.safetensors")


def test_a_step_that_is_terminated_deletes_its_job(cluster, cloud, place):
    cloud.ask("facts", {"held": ['"done": 4']})  # the last step, and with it the job's end
    step = start_tuner(request(place, job=ALONE), place / "step")
    until(lambda: cluster.looks)
    step.terminate()
    assert ended(step) != 0
    assert cluster.deleted == cluster.created
    assert cluster.jobs == {}


def test_an_answer_that_is_lost_creates_no_second_job(cluster, place):
    cluster.faults.append(504)
    result, _ = tune(request(place, job=ALONE), place / "job")
    assert cluster.created == [result.statistics["job"]]


def test_a_job_that_another_has_just_created_is_waited_for(cluster):
    cluster.faults.append(409)
    jobs = TrainJobs("team", "key", f"{WORK}/task.json", TrainJobOptions(**JOB))
    with pytest.raises(WaitingError, match="just created"):
        jobs.create()
    assert not jobs.in_doubt
    assert jobs.create() == "tunepipe-key-1"
    assert not jobs.in_doubt
    assert jobs.find() == "tunepipe-key-1"


def test_two_steps_at_once_create_one_job(cluster):
    first, second = (
        TrainJobs("team", "key", f"{WORK}/task.json", TrainJobOptions(**JOB)) for _ in range(2)
    )
    assert first.find() == second.find() == ""
    name = second.create()
    with pytest.raises(WaitingError, match="just created"):
        first.create()
    assert first.find() == name
    assert cluster.created == [name]


def test_a_job_that_is_deleted_while_it_is_followed_was_cancelled(cluster):
    jobs = TrainJobs("team", "key", f"{WORK}/task.json", TrainJobOptions(**JOB))
    assert jobs.status("tunepipe-key-7") == Status(JobState.CANCELLED)
    with pytest.raises(RefusedError, match="could not find the requested resource"):
        TrainJobs("other", "key", "", TrainJobOptions(**JOB)).status("tunepipe-key-7")


@pytest.mark.parametrize(("status", "in_doubt"), [(403, False), (429, False), (500, True)])
def test_only_a_servers_own_error_leaves_a_creation_in_doubt(cluster, status, in_doubt):
    cluster.faults.append(status)
    jobs = TrainJobs("team", "key", f"{WORK}/task.json", TrainJobOptions(**JOB))
    with pytest.raises(RefusedError) as caught:
        jobs.create()
    assert (caught.value.code, jobs.in_doubt) == (status, in_doubt)


def test_a_creation_that_is_interrupted_leaves_it_in_doubt(cluster):
    jobs = TrainJobs("team", "key", f"{WORK}/task.json", TrainJobOptions(**JOB))
    has_ended = threading.Event()

    class Interrupting(list):
        """The creation is under way as this process is interrupted."""

        def pop(self, index):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            has_ended.wait(60)
            return super().pop(index)

    def interrupt(*_):
        raise KeyboardInterrupt

    cluster.faults = Interrupting([0])
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            jobs.create()
    finally:
        has_ended.set()
        signal.signal(signal.SIGUSR1, before)
    assert jobs.in_doubt


def test_a_job_that_is_gone_needs_no_cancellation(cluster):
    TrainJobs("team", "key", "", TrainJobOptions(**JOB)).cancel("tunepipe-key-1")
    with pytest.raises(RefusedError) as caught:
        TrainJobs("other", "key", "", TrainJobOptions(**JOB)).find()
    assert caught.value.code == 404
    assert cluster.deleted == []


@pytest.mark.parametrize(
    ("job", "kind", "message"),
    [
        ({"nodes": 0}, UsageError, "nodes"),
        ({"node": 2}, UsageError, "did you mean nodes"),
        ({"work_uri": "/tmp/x"}, UsageError, "gs://"),
        ({"image": None}, UsageError, "image"),
        ({"namespace": ""}, UsageError, "no pod of a cluster"),
        ({"namespace": "other"}, CloudError, "could not find the requested resource"),
        ({"runtime": "theirs"}, CloudError, "no such ClusterTrainingRuntime"),
    ],
)
def test_what_cannot_run_is_refused(cluster, place, job, kind, message):
    with pytest.raises(kind) as caught:
        tune(request(place, job={**JOB, **job}), place / "job")
    assert message in str(caught.value)
    assert cluster.created == []


def test_a_node_that_fails_fails_the_step_in_words(cluster, place):
    os.truncate(place / "base" / "model.safetensors", 100)
    words = "model.safetensors is broken or cut off"
    with pytest.raises(UsageError, match=f"^tunepipe-.*: {words}") as told:
        tune(request(place, job=ALONE), place / "job")
    assert "download it again" in told.value.fix
    assert words in cluster.logs()

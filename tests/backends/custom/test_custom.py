"""Custom jobs on the stand-in, which runs the container's command for real, on a CPU."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import pytest
from google.cloud.aiplatform_v1 import JobState

from tests.backends.local.models import rows, write_base, write_rows
from tests.backends.managed.jobs import ended
from tests.gcp import launch_driver
from tests.linked import environment
from tests.standin import hub
from tests.standin.session import BUCKET, PROJECT
from tests.waiting import until
from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.custom import jobs, prediction, tuning
from tunepipe.backends.custom.jobs import job_body
from tunepipe.backends.custom.options import CustomOptions, disk_gib_for, read_options
from tunepipe.backends.remote import worker
from tunepipe.catalog.accelerators import find_machine
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.tables import load
from tunepipe.distribution import build_wheel
from tunepipe.errors import CloudError, LimitError, UsageError
from tunepipe.gcp import labels
from tunepipe.packaging.imports import modules_of, third_party_of
from tunepipe.packaging.requirements import PINS, TRAINING, requirements

REGION = "us-central1"
RESERVATION = "projects/p/zones/us-central1-a/reservations/r"
CODE = f"gs://{BUCKET}/tunepipe/code/tunepipe.whl"
FAST = {"poll_seconds": 0.2, "pause_seconds": 0.05}
PLACE = {"project": PROJECT, "region": REGION}


@pytest.fixture
def bucket(cloud):
    """The bucket with a base model, rows and this package."""
    folder = cloud.buckets / BUCKET
    write_base(folder / "base")
    write_rows(folder / "train.jsonl", rows(16))
    write_rows(folder / "eval.jsonl", rows(4))
    code = folder / "tunepipe/code"
    code.mkdir(parents=True)
    build_wheel(code)[0].rename(code / "tunepipe.whl")
    return folder


def request(steps=4, **options):
    options = {"learning_rate": 1e-2, "accelerator": "NVIDIA_L4:1", "code": CODE, **FAST, **options}
    uris = [f"gs://{BUCKET}/{name}" for name in ("base", "train.jsonl", "eval.jsonl")]
    return TuningRequest(*uris, steps, 8, options=options, display_name="mine", **PLACE)


def tune(asked, folder):
    events = []
    result = tuning.tune(asked, str(folder), lambda event: events.append(dict(event)))
    return result, events


def created(cloud):
    return [call for call in cloud.calls("CreateCustomJob") if call["code"] == 200]


def test_one_machine_and_two_train_alike_and_the_model_answers(cloud, bucket, tmp_path):
    result, events = tune(request(), tmp_path)
    found = result.statistics
    assert result.model.startswith(f"gs://{BUCKET}/tunepipe/custom/")
    assert found["final_loss"] < found["untrained_loss"]
    assert (found["accelerator"], found["machine_type"]) == ("NVIDIA_L4:1", "g2-standard-12")
    assert found["base_model"] == f"gs://{BUCKET}/base"
    assert result.cost_usd == round(found["job_hours"] * 1.1505, 2)
    assert [event["state"] for event in events][-1] == "succeeded"
    assert cloud.places() <= {REGION, "global"}
    # The tuned model and its base, each in one job of all prompts.
    prompts = [Prompt(str(n), [{"role": "user", "content": f"code of item {n}"}]) for n in range(5)]
    for model in (result.model, result.base):
        answers = {one.id: one.text for one in prediction.predict(model, prompts)}
        assert set(answers) == {one.id for one in prompts}
        again = {one.id: one.text for one in prediction.predict(model, prompts)}
        assert again == answers
    assert len(created(cloud)) == 3
    tasks = [json.loads(task.read_text()) for task in bucket.glob("tunepipe/**/answers/*/task-*")]
    assert {task["model"] for task in tasks} == {result.model, f"gs://{BUCKET}/base"}
    names = {"display_name": "mine", "name": found["job"]}
    job = jobs.CUSTOM_JOBS.get(found["job"])
    assert {name: getattr(job, name) for name in names} == names
    # Two worker pools, joined by accelerate over the first one's address, learn the same.
    spot = {"machines": 2, "accelerator": "NVIDIA_L4:2", "provisioning": "spot"}
    two, _ = tune(request(**spot), tmp_path / "two")
    assert (two.statistics["processes"], two.statistics["machine_type"]) == (2, "g2-standard-24")
    for name in ("untrained_loss", "final_loss"):
        assert two.statistics[name] == pytest.approx(found[name], abs=1e-4)


def test_a_job_needs_what_it_installs_and_no_more(cloud, bucket, tmp_path):
    """On a bare image for training, and for answers on one that has what vLLM brings."""
    training = environment(tmp_path / "training", installed(body(tuning_mode="qlora")))
    cloud.ask("facts", {"python_of_jobs": str(training)})
    result, _ = tune(request(tuning_mode="qlora"), tmp_path)
    assert result.statistics["train_steps"] == 4
    of_vllm = [PINS["torch"], PINS["transformers"], "requests", "jinja2"]
    prompts = [Prompt("1", [{"role": "user", "content": "code of item 3"}])]
    for settings in ({}, {"four_bit": True}):
        needed = [*installed(body(predicts=True, **settings)), *of_vllm]
        answering = environment(tmp_path / f"vllm{len(settings)}", needed)
        cloud.ask("facts", {"python_of_jobs": str(answering)})
        (answer,) = prediction.predict(result.model, prompts, **settings)
        assert (answer.id, answer.error) == ("1", "")


def test_a_job_whose_gpu_torch_cannot_use_ends(cloud, bucket, tmp_path):
    """As with a driver that is too old: on the CPU it would train for days, and pay for the GPU."""
    cloud.ask("facts", {"environment_of_jobs": {"TUNEPIPE_DEVICE": "cuda"}})
    words = "TUNEPIPE_DEVICE: torch can use no GPU here: Torch not compiled with CUDA enabled"
    with pytest.raises(UsageError, match=words) as told:
        tune(request(), tmp_path)
    assert "take an image with a torch for this machine's driver" in told.value.fix
    assert "/customJobs/" in told.value.where
    assert told.value.found in cloud.log()
    assert not list(bucket.glob("tunepipe/custom/*/result.json"))
    # The next job of the same work leaves no words, and those of the first are not told for it.
    cloud.ask("facts", {"environment_of_jobs": {"PYTHONHOME": "/nowhere"}})
    with pytest.raises(CloudError, match="exited with a non-zero status of 1"):
        tune(request(), tmp_path / "again")
    assert len(created(cloud)) == 2
    assert len(list(bucket.glob("tunepipe/custom/*/failures/*.json"))) == 1


def hold_last_step(cloud, steps):
    """Keep a training of so many steps in its last one: it has written its checkpoints."""
    cloud.ask("facts", {"held": [f'"done": {steps}']})


def let_go(cloud):
    cloud.ask("facts", {"held": []})


def await_checkpoint(bucket):
    until(lambda: list(bucket.glob("tunepipe/custom/*/checkpoints/*/*/trainer_state.json")))


def test_a_killed_step_and_a_preempted_machine_cost_one_job(cloud, bucket, tmp_path):
    """The step dies, the machine is taken away; job and training go on where they were."""
    asked = request(steps=30, checkpoint_every=20, evaluate_every=30)
    hold_last_step(cloud, 30)
    step = launch_driver.start(asked, tmp_path, "custom.tuning")
    await_checkpoint(bucket)
    step.kill()
    step.join()
    assert len(cloud.ask("preempt", {})["preempted"]) == 1
    let_go(cloud)
    result, _ = tune(asked, tmp_path / "restarted")  # a step that lost its file, too
    assert len(created(cloud)) == 1
    assert result.statistics["resumed_from_step"] == 20
    assert result.statistics["train_steps"] == 30
    (job,) = cloud.ask("custom_jobs").values()
    assert (job["state"], job["restarts"]) == ("JOB_STATE_SUCCEEDED", 1)
    assert not list(bucket.glob("tunepipe/custom/*/checkpoints/*/*/*.*"))
    # And a later request of the same work finds what was paid for.
    assert tune(asked, tmp_path / "later")[0].model == result.model
    assert len(created(cloud)) == 1


def test_a_machine_lost_between_model_and_result_writes_both_again(cloud, bucket, tmp_path):
    """In a bucket that changes no object, too: what the lost machine wrote is in nobody's way."""
    cloud.ask("facts", {"retention_seconds": 86400, "unwritable": ["result.json"]})
    asked = request(steps=30, checkpoint_every=20, evaluate_every=30)
    hold_last_step(cloud, 30)
    step = launch_driver.start(asked, tmp_path, "custom.tuning")
    await_checkpoint(bucket)
    let_go(cloud)
    until(lambda: any(call["code"] == 503 for call in cloud.calls("storage.post")))
    assert len(cloud.ask("preempt", {})["preempted"]) == 1
    cloud.ask("facts", {"unwritable": []})
    assert ended(step) == 0
    result, _ = tune(asked, tmp_path / "later")
    assert len(list(bucket.glob("tunepipe/custom/*/model-*"))) == 2
    assert (cloud.buckets / result.model.removeprefix("gs://") / "tuning.json").exists()
    assert result.statistics["resumed_from_step"] == 20
    assert result.statistics["train_steps"] == 30
    assert result.statistics["seconds"] > 0
    assert [job["restarts"] for job in cloud.ask("custom_jobs").values()] == [1]
    assert list(bucket.glob("tunepipe/custom/*/progress/*.json"))


def test_a_step_that_is_told_to_end_cancels_its_job(cloud, bucket, tmp_path):
    hold_last_step(cloud, 4)
    step = launch_driver.start(request(steps=4), tmp_path, "custom.tuning")
    until(lambda: cloud.calls("GetCustomJob"))
    step.terminate()
    assert ended(step) == CloudError.exit_code
    until(lambda: states(cloud) == ["CANCELLED"])
    (name,) = cloud.ask("custom_jobs")
    tuning.cancel(name)  # no error where it has ended


@pytest.mark.parametrize("drop", ["before", "after"])
def test_an_answer_that_is_lost_pays_for_nothing_twice(cloud, bucket, tmp_path, drop):
    cloud.fault("CreateCustomJob", drop=drop)
    cloud.ask("instant", {"on": True})
    tune(request(settle_seconds=0.5, lease_seconds=0.5), tmp_path)
    assert len(cloud.ask("custom_jobs")) == 1


@pytest.fixture
def held(cloud, bucket):
    """Custom jobs stay pending until they are told to go on."""
    cloud.ask("hold", {"on": True})
    return cloud


def states(cloud):
    return sorted(job["state"].rpartition("_")[2] for job in cloud.ask("custom_jobs").values())


def test_a_job_that_is_being_cancelled_is_not_joined(held, tmp_path):
    held.ask("facts", {"cancelling_seconds": 1e6})
    step = launch_driver.start(request(), tmp_path / "first", "custom.tuning")
    until((tmp_path / "first" / "gcp_resources").exists)
    step.terminate()
    assert ended(step) == CloudError.exit_code
    assert states(held) == ["CANCELLING"]
    held.ask("hold", {"on": False})
    held.ask("instant", {"on": True})
    events = []

    def progress(event):
        events.append(event)
        held.ask("facts", {"cancelling_seconds": 0})

    result = tuning.tune(request(), str(tmp_path / "second"), progress)
    assert result.statistics["final_loss"] == 0.4
    assert "being cancelled" in events[0]["detail"]
    assert states(held) == ["CANCELLED", "SUCCEEDED"]


def test_a_step_cancelled_while_it_creates_leaves_no_job_running(held, tmp_path):
    held.fault("CreateCustomJob", held=True, drop="after")
    step = launch_driver.start(request(), tmp_path, "custom.tuning")
    until(lambda: states(held))
    step.terminate()
    held.ask("release", {})
    assert ended(step) == CloudError.exit_code
    assert states(held) == ["CANCELLED"]
    assert "the job was cancelled" in (tmp_path / "error.json").read_text()


def test_two_runs_at_once_share_one_job(held, tmp_path):
    steps = [launch_driver.start(request(), tmp_path / name, "custom.tuning") for name in "ab"]
    until(lambda: all((tmp_path / name / "gcp_resources").exists() for name in "ab"))
    held.ask("instant", {"on": True})
    assert [ended(step) for step in steps] == [0, 0]
    assert states(held) == ["SUCCEEDED"]


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_look_at_a_job_is_tried_again_after_its_end_too(cloud, bucket, tmp_path, looks):
    cloud.ask("instant", {"on": True})
    for _ in range(looks):
        cloud.fault("GetCustomJob")  # no trouble
    cloud.fault("GetCustomJob", code=503, times=2)
    assert tune(request(), tmp_path)[0].statistics["final_loss"] == 0.4
    codes = [call["code"] for call in cloud.calls("GetCustomJob")]
    assert codes[looks : looks + 2] == [503, 503]
    assert states(cloud) == ["SUCCEEDED"]


def test_what_was_paid_is_found_in_its_bucket_until_it_is_deleted_there(cloud, bucket, tmp_path):
    cloud.ask("instant", {"on": True})
    first = tune(request(), tmp_path / "first")[0].model
    other = cloud.buckets / "another-bucket"
    for name in ("train", "eval"):
        (other / f"{name}.jsonl").parent.mkdir(exist_ok=True)
        (other / f"{name}.jsonl").write_bytes((bucket / f"{name}.jsonl").read_bytes())
    uris = {f"{name}_uri": f"gs://another-bucket/{name}.jsonl" for name in ("train", "eval")}
    assert tune(replace(request(), **uris), tmp_path / "second")[0].model == first
    assert states(cloud) == ["SUCCEEDED"]
    (result,) = bucket.glob("tunepipe/custom/*/result.json")
    result.unlink()  # as a lifecycle rule does
    assert tune(request(), tmp_path / "third")[0].statistics["final_loss"] == 0.4
    assert states(cloud) == ["SUCCEEDED", "SUCCEEDED"]


def test_a_job_that_fails_is_told_in_its_own_words(cloud, bucket, tmp_path):
    cloud.fault("custom job", message="The machine ran out of memory.")
    with pytest.raises(CloudError, match="ran out of memory"):
        tune(request(), tmp_path)


def test_a_state_that_is_no_end_is_waited_out_and_shown(cloud, bucket, tmp_path):
    cloud.ask("instant", {"on": True})
    states = [int(JobState.JOB_STATE_QUEUED), int(JobState.JOB_STATE_PAUSED)]
    cloud.ask("facts", {"custom_job_states": states})
    _, events = tune(request(), tmp_path)
    shown = [(event["state"], event["detail"]) for event in events]
    assert shown[:2] == [("running", "queued"), ("running", "paused")]
    assert shown[-1][0] == "succeeded"


def test_a_job_that_succeeded_in_part_is_reported_and_not_paid_again(cloud, bucket, tmp_path):
    cloud.ask("hold", {"on": True})
    partly = int(JobState.JOB_STATE_PARTIALLY_SUCCEEDED)
    cloud.ask("facts", {"custom_job_states": [partly]})
    for attempt in ("first", "second"):
        with pytest.raises(CloudError, match="succeeded in part"):
            tune(request(), tmp_path / attempt)
    assert len(created(cloud)) == 1


@pytest.mark.parametrize(
    ("action", "state", "words"),
    [
        ("cancel", "JOB_STATE_CANCELLED", "cancelled"),
        ("leave", "JOB_STATE_PENDING", "left running"),
    ],
)
def test_a_job_that_never_ends_meets_its_limit(cloud, bucket, tmp_path, action, state, words):
    cloud.ask("hold", {"on": True})
    with pytest.raises(CloudError, match=f"not ended within .* hours; it was {words}"):
        tune(request(max_hours=1 / 3600, at_max_hours=action), tmp_path)
    (job,) = cloud.ask("custom_jobs").values()
    assert job["state"] == state


def test_what_the_trainer_refuses_fails_the_job(cloud, bucket, tmp_path):
    (bucket / "base" / "model.safetensors").write_bytes(b"")
    words = f"base_model gs://{BUCKET}/base: model.safetensors is empty"
    with pytest.raises(UsageError, match=words):
        tune(request(), tmp_path)
    assert "model.safetensors is empty" in cloud.log()


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({"provisioning": "spot", "accelerator": "L4:2"}, "SPOT"),
        (
            {"provisioning": "flex-start", "max_wait_hours": 2, "accelerator": "H100:8"},
            "FLEX_START",
        ),
        ({"reservation": RESERVATION, "accelerator": "A100_80GB:4"}, "STANDARD"),
    ],
    ids=["spot", "flex-start", "a reservation"],
)
def test_machines_are_asked_for_as_google_takes_them(cloud, bucket, tmp_path, options, strategy):
    cloud.ask("instant", {"on": True})
    two, _ = tune(request(machines=2, **options), tmp_path / "two")
    job = jobs.CUSTOM_JOBS.get(two.statistics["job"])
    first, more = job.job_spec.worker_pool_specs
    assert (first.replica_count, more.replica_count) == (1, 1)
    assert first.machine_spec == more.machine_spec
    count = int(options["accelerator"].partition(":")[2])
    assert first.machine_spec.accelerator_count == count
    reserved = list(first.machine_spec.reservation_affinity.values)
    assert reserved == [options[name] for name in ("reservation",) if name in options]
    scheduling = job.job_spec.scheduling
    assert (scheduling.strategy.name, scheduling.restart_job_on_worker_restart) == (strategy, True)
    waits = scheduling.max_wait_duration
    assert (waits.total_seconds() if waits else 0) == options.get("max_wait_hours", 0) * 3600


def test_a_model_of_model_garden_is_tuned_from_its_own_folder(cloud, bucket, tmp_path):
    name = "publishers/acme/models/small@small-1m"
    cloud.ask("facts", {"model_garden": {name: f"gs://{BUCKET}/base"}})
    cloud.ask("instant", {"on": True})
    tune(replace(request(), base_model=name), tmp_path)
    (task,) = bucket.glob("tunepipe/custom/*/task-*.json")
    assert json.loads(task.read_text())["request"]["base_model"] == f"gs://{BUCKET}/base"
    cloud.ask("facts", {"model_garden": {name: ""}})
    with pytest.raises(UsageError, match="names no folder with the weights"):
        tune(replace(request(), base_model=name), tmp_path / "none")
    with pytest.raises(CloudError, match="is not found"):
        tune(replace(request(), base_model="publishers/acme/models/large"), tmp_path / "other")
    assert len(created(cloud)) == 1


def test_a_gated_model_of_the_hub_is_tuned_by_a_token_that_only_the_job_reads(
    cloud, bucket, tmp_path
):
    """Its commit is in the statistics, its token in no request, file or log of ours."""
    secret = f"projects/{PROJECT}/secrets/hub"
    cloud.ask("facts", {"secrets": {secret: "hf_of_a_team"}})
    with hub.serve(bucket / "base", "acme/small", token="hf_of_a_team") as (address, requests):
        environment = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        environment["HF_HOME"] = str(tmp_path / "cache")
        cloud.ask("facts", {"environment_of_jobs": environment})
        asked = replace(request(hub_token=secret), base_model="acme/small@main")
        result, events = tune(asked, tmp_path)
    assert {bearer for path, bearer in requests if "acme" in path} == {"hf_of_a_team"}
    assert result.statistics["base_revision"] == hub.COMMIT
    assert result.statistics["base_model"] == f"acme/small@{hub.COMMIT}"
    (task,) = bucket.glob("tunepipe/custom/*/task-*.json")
    for text in (task.read_text(), json.dumps(events), cloud.log(), str(created(cloud))):
        assert "hf_of_a_team" not in text
    assert "acme/small@main" in task.read_text()


def body(predicts=False, four_bit=False, **options):
    chosen = read_options({"code": CODE, **options})
    catalog = load_catalog()
    return job_body(
        chosen,
        find_machine(chosen.accelerator, catalog).spec(),
        task=f"gs://{BUCKET}/folder/task.json",
        disk_gib=disk_gib_for(chosen, "acme/small"),
        labels={labels.KEY_LABEL: "k"},
        display_name="mine",
        predicts=predicts,
        four_bit=four_bit,
    )


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        ({}, "STANDARD"),
        ({"provisioning": "spot"}, "SPOT"),
        ({"provisioning": "flex-start"}, "FLEX_START"),
    ],
)
def test_the_body_is_one_that_google_takes(options, strategy):
    from google.cloud import aiplatform_v1 as api

    reserved = {"reservation": "projects/p/zones/z/reservations/r"}
    reserved = {} if strategy == "FLEX_START" else reserved  # which waits instead
    job = api.CustomJob(body(accelerator="H100:8", machines=3, **reserved, **options))
    first, more = job.job_spec.worker_pool_specs
    assert (first.replica_count, more.replica_count) == (1, 2)
    assert first.machine_spec.machine_type == "a3-highgpu-8g"
    assert first.machine_spec.accelerator_type.name == "NVIDIA_H100_80GB"
    assert list(first.machine_spec.reservation_affinity.values) == list(reserved.values())
    assert job.job_spec.scheduling.strategy.name == strategy
    assert job.job_spec.scheduling.restart_job_on_worker_restart
    waits = job.job_spec.scheduling.max_wait_duration
    assert (waits.total_seconds() if waits else 0) == (86400 if strategy == "FLEX_START" else 0)


def test_the_body_is_exactly_what_was_asked_for():
    asked = {
        "code": "image", "accelerator": "A100_80GB:2", "machines": 3, "reservation": RESERVATION,
        "network": "net", "service_account": "s@p.iam", "hub_token": "projects/p/secrets/hub",
        "encryption_spec_key_name": "key", "image": "registry.example/i@sha256:1",
        "disk_gib": 150, "install": False,
    }  # fmt: skip
    environment = {
        "TUNEPIPE_HUB_TOKEN": "projects/p/secrets/hub",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PIP_BREAK_SYSTEM_PACKAGES": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "TUNEPIPE_DEVICE": "cuda",
    }
    program = ["python3", "-m", "tunepipe.backends.remote.worker"]
    pool = {
        "machine_spec": {
            "machine_type": "a2-ultragpu-2g",
            "accelerator_type": "NVIDIA_A100_80GB",
            "accelerator_count": 2,
            "reservation_affinity": {
                "reservation_affinity_type": "SPECIFIC_RESERVATION",
                "key": "compute.googleapis.com/reservation-name",
                "values": [RESERVATION],
            },
        },
        "container_spec": {
            "image_uri": "registry.example/i@sha256:1",
            "command": ["sh", "-ec", 'exec "$0" "$@"', *program, f"gs://{BUCKET}/folder/task.json"],
            "env": [{"name": name, "value": value} for name, value in environment.items()],
        },
        "disk_spec": {"boot_disk_size_gb": 150},
        "replica_count": 1,
    }
    assert body(**asked) == {
        "display_name": "mine",
        "labels": {labels.KEY_LABEL: "k"},
        "job_spec": {
            "worker_pool_specs": [pool, pool | {"replica_count": 2}],
            "scheduling": {"strategy": "STANDARD", "restart_job_on_worker_restart": True},
            "base_output_directory": {"output_uri_prefix": f"gs://{BUCKET}/folder"},
            "service_account": "s@p.iam",
            "network": "net",
        },
        "encryption_spec": {"kms_key_name": "key"},
    }
    answering = body(predicts=True, **asked | {"prediction_image": "registry.example/vllm"})
    image = {**pool["container_spec"], "image_uri": "registry.example/vllm"}
    assert answering["job_spec"]["worker_pool_specs"] == [{**pool, "container_spec": image}]
    waits = body(provisioning="flex-start", max_wait_hours=1.5)["job_spec"]
    assert waits["scheduling"] == {
        "strategy": "FLEX_START",
        "restart_job_on_worker_restart": False,
        "max_wait_duration": {"seconds": 5400},
    }
    table = load("backends/custom/parameters.toml")
    container = waits["worker_pool_specs"][0]["container_spec"]
    assert container["image_uri"] == table["image"]
    assert container["command"][2] == (
        'python3 -m zipfile -e "$TUNEPIPE_CODE" /tmp/tunepipe && python3 -m '
        "tunepipe.packaging.installed install "
        "'python3 -m pip install --quiet --root-user-action ignore' "
        f"{' '.join(table['requirements'])} && "
        'exec "$0" "$@"'
    )
    assert container["env"][:2] == [
        {"name": "TUNEPIPE_CODE", "value": f"/gcs/{BUCKET}/tunepipe/code/tunepipe.whl"},
        {"name": "PYTHONPATH", "value": "/tmp/tunepipe"},
    ]


@pytest.mark.parametrize(
    ("options", "base_model", "gib"),
    [
        ({}, "Qwen/Qwen3-4B", 200),
        ({}, "gs://bucket/weights", 200),
        ({}, "meta-llama/Llama-3.3-70B-Instruct", 100 + 131),
        ({"parameters_billion": 70.0}, "gs://bucket/weights", 100 + 131),
        ({"merge": True}, "meta-llama/Llama-3.3-70B-Instruct", 100 + 261),
        ({"tuning_mode": "full"}, "meta-llama/Llama-3.3-70B-Instruct", 100 + 1956),
        ({"disk_gib": 150}, "meta-llama/Llama-3.3-70B-Instruct", 150),
    ],
)
def test_the_disk_holds_the_model(options, base_model, gib):
    assert disk_gib_for(read_options(options), base_model) == gib


def test_no_secret_is_in_the_body():
    job = body(hub_token="projects/p/secrets/hub")
    assert "projects/p/secrets/hub" in json.dumps(job, default=str)
    with pytest.raises(UsageError, match="a token is a secret") as caught:
        read_options({"hub_token": "hf_abcdefgh"})
    assert "hf_abcdefgh" not in str(caught.value)


def test_the_token_of_the_hub_is_read_by_the_job_itself(cloud, monkeypatch):
    name = f"projects/{PROJECT}/secrets/hub"
    cloud.ask("facts", {"secrets": {name: "hf_of_a_team"}})
    monkeypatch.setenv("TUNEPIPE_HUB_TOKEN", name)
    monkeypatch.setenv("HF_TOKEN", "")
    worker.read_hub_token()
    assert os.environ["HF_TOKEN"] == "hf_of_a_team"
    assert "TUNEPIPE_HUB_TOKEN" not in os.environ


@pytest.mark.parametrize("model", ["folder/model-1", "/tmp/folder/base"])
def test_what_no_custom_job_tuned_is_not_asked(tmp_path, model):
    (tmp_path / "result.json").write_text("{}")
    for name in (model, str(tmp_path / "base")):
        with pytest.raises(UsageError, match="not a model that a custom job tuned"):
            next(prediction.predict(name, []))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"accelerator": "NVIDIA_L5:1"}, UsageError, "no accelerator 'NVIDIA_L5'"),
        ({"accelerator": "L4:3"}, LimitError, "no machine holds 3 x NVIDIA_L4"),
        ({"provisioning": "cheap"}, UsageError, "provisioning"),
        ({"lora_rnak": 4}, UsageError, "lora_rnak"),
        ({"lora_rank": 0}, UsageError, "lora_rank"),
        ({"device": "cuda"}, UsageError, "accelerators of the job decide"),
        ({"machines": 0}, UsageError, "machines"),
        ({"reservation": "r", "provisioning": "flex-start"}, UsageError, "flex-start waits"),
    ],
)
def test_what_cannot_run_is_refused_before_it_is_sent(options, kind, message):
    request = TuningRequest("", "gs://b/train", "gs://b/eval", 1, 1, options=options)
    with pytest.raises(kind, match=message):
        tuning.check_request(request)


def test_the_machines_of_the_table_are_those_that_google_has():
    from google.cloud import aiplatform_v1 as api

    from tests.standin.custom_jobs import MACHINES

    for name, row in load_catalog().accelerators.accelerators.items():
        assert name in api.AcceleratorType.__members__
        for count, machine in row.machines.items():
            assert MACHINES[machine] == (name, int(count))


def installed(job):
    """What the command of a job installs, as pip writes it."""
    (pool,) = job["job_spec"]["worker_pool_specs"]
    return re.findall(r"\S+==\S+", pool["container_spec"]["command"][2])


@pytest.mark.parametrize(
    ("mode", "asked", "has_it"),
    [
        ("lora", {}, False),
        ("qlora", {}, True),
        ("qlora", {"predicts": True}, False),
        ("qlora", {"predicts": True, "four_bit": True}, True),
        ("lora", {"predicts": True, "four_bit": True}, True),
    ],
)
def test_weights_in_4_bits_bring_their_package(mode, asked, has_it):
    plain = set(installed(body(predicts="predicts" in asked)))
    more = set(installed(body(tuning_mode=mode, **asked))) - plain
    assert more == ({PINS["bitsandbytes"]} if has_it else set())


def test_the_packages_of_a_job_are_those_that_its_program_imports():
    table = load("backends/custom/parameters.toml")
    source = "def program():\n    import tunepipe.backends.remote.worker"
    imported = set(requirements(third_party_of(modules_of(source, "program"))))
    assert set(table["requirements"]) == imported - {PINS["boto3"]}, "gs:// alone"
    of_vllm = {PINS[name] for name in (*TRAINING, "jinja2", "numpy", "requests") if name != "peft"}
    assert set(table["prediction_requirements"]) == set(table["requirements"]) - of_vllm


def test_the_price_of_the_user_wins():
    options = CustomOptions(usd_per_hour=2.0, machines=2)
    machine = find_machine("L4", load_catalog())

    class Job:
        import datetime

        create_time = datetime.datetime(2025, 12, 31, 23, tzinfo=datetime.UTC)  # it waited
        start_time = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        end_time = datetime.datetime(2026, 1, 1, 1, 30, tzinfo=datetime.UTC)

    assert tuning.job_cost(Job, options, machine, "nowhere") == (1.5, 6.0)

    class NeverStarted(Job):
        start_time = None

    assert tuning.job_cost(NeverStarted, options, machine, "nowhere") == (2.5, 10.0)
    known = machine.usd_per_hour(REGION)
    assert tuning.job_cost(Job, CustomOptions(machines=3), machine, REGION) == (
        1.5, round(1.5 * 3 * known, 2),
    )  # fmt: skip
    nothing = CustomOptions()
    assert tuning.job_cost(Job, nothing, machine, "nowhere") == (1.5, None)
    assert replace(request(), seed=1).seed == 1

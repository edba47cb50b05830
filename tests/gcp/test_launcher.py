"""A paid job is created once, whatever happens to the step that creates it."""

import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.backends.managed.jobs import begun, ended
from tests.gcp import launch_driver
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.backends.base import TuningRequest, TuningResult
from tunepipe.backends.palm import tuning
from tunepipe.catalog.catalog import load_catalog
from tunepipe.errors import CloudError, UnreachableError
from tunepipe.gcp import launcher
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.launcher import CancelledError, StepOptions
from tunepipe.gcp.pipeline_jobs import PipelineJobs

ROOT = f"gs://{BUCKET}/pipeline_root"


def rows(count: int, field: str = "input_text") -> str:
    return "\n".join(
        json.dumps({field: f"question {n}", "output_text": f"answer {n}"}) for n in range(count)
    )


@pytest.fixture
def request_(cloud: StandIn) -> TuningRequest:
    cloud.ask("instant", {"on": True})
    data = cloud.buckets / BUCKET / "data"
    data.mkdir(exist_ok=True)
    (data / "train.jsonl").write_text(rows(30))
    (data / "eval.jsonl").write_text(rows(12))
    return TuningRequest(
        base_model="text-bison@001",
        train_uri=f"gs://{BUCKET}/data/train.jsonl",
        eval_uri=f"gs://{BUCKET}/data/eval.jsonl",
        train_steps=20,
        batch_size=24,
        project=PROJECT,
        region=REGION,
        display_name="desk",
        options={"pipeline_root": ROOT, "poll_seconds": 0.2, "first_job_seconds": 0.1},
    )


def tuned(request: TuningRequest, folder: Path) -> TuningResult:
    return tuning.tune(request, str(folder), lambda event: None)


def created(cloud: StandIn) -> int:
    """How many jobs there are: creations that took effect, whatever the client was told."""
    listed = [call for call in cloud.ask("resources") if "/pipelineJobs/" in call]
    return len(listed)


def test_reports_model_and_endpoint_of_the_region_given(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("instant", {"on": False})  # this one really runs
    events = []
    by_the_second = {"accelerators": {"TPU_V3": {"usd_per_hour": {REGION: 3600.0}}}}
    catalog = load_catalog({"prices": by_the_second})
    result = tuning.tune(replace(request_, catalog=catalog), str(tmp_path), events.append)
    held = result.statistics["accelerator_seconds"]
    assert 0 < held < result.statistics["seconds"]
    assert result.cost_usd == pytest.approx(64 * held, abs=64 * 0.05)
    assert result.model.startswith("projects/123456789012/locations/europe-west4/models/")
    assert result.model.endswith("@1")
    assert "/locations/europe-west4/endpoints/" in result.endpoint
    assert events[-1]["state"] == "succeeded"
    assert created(cloud) == 1
    hosts = {call["host"] for call in cloud.calls() if "aiplatform" in call["host"]}
    assert hosts == {"europe-west4-aiplatform.googleapis.com"}
    written = json.loads((tmp_path / "gcp_resources").read_text())["resources"]
    assert [entry["resourceType"] for entry in written] == ["PipelineJob"]
    assert written[0]["resourceUri"].endswith(result.statistics["job"])


# Where the step is killed: the call that is under way, and whether it has taken effect.
STAGES = {
    "before create": ("ListPipelineJobs", False),
    "after create, before its name was written": ("CreatePipelineJob", True),
    "while polling": ("GetPipelineJob", False),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_step_finds_its_job_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, stage: str
) -> None:
    method, after = STAGES[stage]
    # A job that really runs is still at it when its launcher is killed.
    cloud.ask("instant", {"on": stage != "while polling"})
    cloud.fault(method, held=True, after=after)
    killed = launch_driver.start(request_, tmp_path)
    until(lambda: begun(cloud, method))
    if stage.startswith("after create"):
        until(lambda: created(cloud) == 1)
    killed.kill()
    ended(killed)
    assert (tmp_path / "gcp_resources").exists() == (stage == "while polling")
    assert tuned(request_, tmp_path).endpoint
    assert created(cloud) == 1


def test_a_step_killed_after_success_pays_nothing_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("GetPipelineJob", held=True)
    killed = launch_driver.start(request_, tmp_path)
    until(lambda: begun(cloud, "GetPipelineJob"))
    assert list(cloud.ask("states").values()) == ["PIPELINE_STATE_SUCCEEDED"]
    killed.kill()
    ended(killed)
    assert not (tmp_path / "result.json").exists()
    first = tuned(request_, tmp_path)
    assert first.endpoint
    lost_even_its_notes = tuned(request_, tmp_path / "elsewhere")
    assert lost_even_its_notes.endpoint == first.endpoint
    assert created(cloud) == 1


def test_two_runs_at_once_share_one_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("CreatePipelineJob", times=2, held=True)  # both have looked, neither has created
    both = [launch_driver.start(request_, tmp_path / name) for name in "ab"]
    until(lambda: begun(cloud, "CreatePipelineJob") == 2)
    cloud.ask("release", {})
    assert [ended(process) for process in both] == [0, 0]
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in "ab"]
    assert results[0] == results[1]
    assert created(cloud) == 1


def test_a_cancelled_step_cancels_its_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    step = launch_driver.start(request_, tmp_path)
    until((tmp_path / "gcp_resources").exists)
    step.terminate()
    assert ended(step) == CloudError.exit_code
    assert list(cloud.ask("states").values()) == ["PIPELINE_STATE_CANCELLED"]
    assert not (tmp_path / "result.json").exists()
    with pytest.raises(CancelledError):  # a restart does not pay again on its own account
        tuned(request_, tmp_path)
    assert created(cloud) == 1


def test_a_step_cancelled_while_it_creates_leaves_no_job_running(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    cloud.fault("CreatePipelineJob", held=True, drop="after")
    step = launch_driver.start(request_, tmp_path)
    until(lambda: created(cloud) == 1)
    step.terminate()
    cloud.ask("release", {})
    assert ended(step) == CloudError.exit_code
    assert list(cloud.ask("states").values()) == ["PIPELINE_STATE_CANCELLED"]


def test_a_job_that_is_being_cancelled_is_not_joined(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    cloud.ask("facts", {"cancelling_seconds": 1e6})
    step = launch_driver.start(request_, tmp_path / "first")
    until((tmp_path / "first" / "gcp_resources").exists)
    step.terminate()
    assert ended(step) == CloudError.exit_code
    assert list(cloud.ask("states").values()) == ["PIPELINE_STATE_CANCELLING"]
    cloud.ask("hold", {"on": False})
    events: list[Mapping[str, object]] = []

    def progress(event: Mapping[str, object]) -> None:
        events.append(event)
        cloud.ask("facts", {"cancelling_seconds": 0})

    assert tuning.tune(request_, str(tmp_path / "second"), progress).endpoint
    assert "being cancelled" in str(events[0]["detail"])
    assert sorted(state.rpartition("_")[2] for state in cloud.ask("states").values()) == [
        "CANCELLED", "SUCCEEDED",
    ]  # fmt: skip


PASSING = {
    "503 on create": ("CreatePipelineJob", {"code": 503}),
    "429 on create": ("CreatePipelineJob", {"code": 429, "times": 2}),
    "408 after create": ("CreatePipelineJob", {"code": 408, "after": True}),
    "409 after create": ("CreatePipelineJob", {"code": 409, "after": True}),
    "499 after create": ("CreatePipelineJob", {"code": 499, "after": True}),
    "connection lost before create": ("CreatePipelineJob", {"drop": "before"}),
    "connection lost after create": ("CreatePipelineJob", {"drop": "after"}),
    "503 while polling": ("GetPipelineJob", {"code": 503, "times": 3}),
    "500 while polling": ("GetPipelineJob", {"code": 500, "times": 2}),
    "429 while polling": ("GetPipelineJob", {"code": 429, "times": 2}),
    "connection lost while polling": ("GetPipelineJob", {"drop": "before", "times": 2}),
    "503 on the look-up": ("ListPipelineJobs", {"code": 503, "times": 2}),
}


QUICK = {"patience_seconds": 200, "pause_seconds": 0.05}


@pytest.mark.parametrize("fault", PASSING)
def test_trouble_that_passes_is_waited_out(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, fault: str
) -> None:
    method, trouble = PASSING[fault]
    cloud.fault(method, **trouble)
    quick = replace(request_, options={**request_.options, **QUICK})
    assert tuned(quick, tmp_path).endpoint
    assert created(cloud) == 1
    assert any(call["method"] == method and call["code"] != 200 for call in cloud.calls(method))


def test_the_first_jobs_500_is_mended_once_as_google_says(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("CreatePipelineJob", code=500)
    assert tuned(request_, tmp_path).endpoint
    assert created(cloud) == 1
    assert [call["code"] for call in cloud.calls("CreateDataset")] == [200]
    assert [call["code"] for call in cloud.calls("CreatePipelineJob")] == [500, 200]


def test_a_500_that_the_remedy_does_not_mend_is_not_retried_for_ever(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("CreatePipelineJob", code=500, times=9)
    with pytest.raises(UnreachableError) as caught:
        tuned(request_, tmp_path)
    assert caught.value.step_exit_code == 13
    assert len(cloud.calls("CreatePipelineJob")) == 2
    assert len(cloud.calls("CreateDataset")) == 1
    assert created(cloud) == 0


FINAL = {
    "training quota": (
        "job",
        {"message": "Quota restricted_image_training_tpu_v3_pod exceeded: restricted image "
         "training TPU V3 pod cores per region quota"},
        "64 TPU v3 cores",
    ),
    "lab project": ("job", {"message": "Accelerators are not supported for this project"}, "lab"),
    "rate limit that stays": (
        "CreatePipelineJob",
        {"code": 429, "message": "Quota exceeded for quota metric", "times": 99},
        "quota",
    ),
    "template not there": ("template", {"code": 404, "message": "not found"}, "digest"),
    "template not allowed": ("template", {"code": 403, "message": "Permission denied"}, "service"),
    "no permission": (
        "CreatePipelineJob",
        {"code": 403, "message": "Permission 'aiplatform.pipelineJobs.create' denied"},
        "roles/aiplatform.user",
    ),
    "not the account": (
        "CreatePipelineJob",
        {"code": 403, "message": "You do not have permission to act as service_account: x"},
        "serviceAccountUser",
    ),
    "retired": (
        "job",
        {"message": "The base model text-bison@001 is no longer available for tuning."},
        "--backend gemini",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FINAL)
def test_trouble_that_stays_is_told_with_its_remedy(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, fault: str
) -> None:
    method, trouble, remedy = FINAL[fault]
    cloud.fault(method, **trouble)
    quick = replace(request_, options={**request_.options, **QUICK})
    with pytest.raises(CloudError) as caught:
        tuned(quick, tmp_path)
    assert caught.value.exit_code == 4
    assert remedy in caught.value.fix
    assert trouble["message"] in caught.value.found
    assert created(cloud) <= 1


def test_google_out_of_reach_ends_the_step_and_not_the_job(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.ask("hold", {"on": True})
    cloud.fault("GetPipelineJob", code=503, times=10_000)
    impatient = {**request_.options, "patience_seconds": 0.5}
    with pytest.raises(UnreachableError) as caught:
        tuned(replace(request_, options=impatient), tmp_path)
    assert caught.value.step_exit_code == 13
    assert list(cloud.ask("states").values()) == ["PIPELINE_STATE_PENDING"]


def test_a_failed_job_is_reported_again_and_not_repeated(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("job", message="Accelerators are not supported for this project")
    for _ in range(2):
        with pytest.raises(CloudError, match="Accelerators"):
            tuned(request_, tmp_path)
    assert created(cloud) == 1
    # A new run, with no notes, is a wish to try again; the failed job does not stand in its way.
    assert tuned(request_, tmp_path / "new").endpoint
    assert created(cloud) == 2


def test_a_second_attempt_whose_answer_was_lost_is_found_before_a_list_shows_it(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    cloud.fault("job", message="Accelerators are not supported for this project")
    with pytest.raises(CloudError, match="Accelerators"):
        tuned(request_, tmp_path)
    time.sleep(1.0)  # the list shows the first job, and not yet the second
    cloud.ask("facts", {"lag_seconds": 1.0})
    quick = replace(request_, options={**request_.options, **QUICK})
    cloud.fault("CreatePipelineJob", drop="after")
    assert tuned(quick, tmp_path / "new").endpoint
    assert created(cloud) == len(cloud.calls("CreatePipelineJob")) == 2


def test_a_model_that_was_deleted_since_is_tuned_again(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    first = tuned(request_, tmp_path / "first")
    cloud.ask("forget", {"name": first.endpoint})
    assert tuned(request_, tmp_path / "second").endpoint != first.endpoint
    assert created(cloud) == 2


class Company:
    """Other runs that wait for the job; this run is told to end while it is being recorded."""

    def __init__(self, others: Sequence[str] = (), told_to_end: bool = False) -> None:
        self.names, self.told_to_end = list(others), told_to_end

    def add(self) -> None:
        if self.told_to_end:
            os.kill(os.getpid(), signal.SIGTERM)
            raise ConnectionError("Cloud Storage is away")

    def others(self) -> list[str]:
        return self.names


def launched(request: TuningRequest, folder: Path, company: Company, **pace: Any) -> str:
    parent = f"projects/{PROJECT}/locations/{REGION}"
    job = tuning.child_job(request, tuning.check_with_rows(request))
    polling = StepOptions(poll_seconds=0.1, pause_seconds=0.05, **pace)
    service = PipelineJobs(job, parent, KEY_LABEL)
    notes = str(folder / "gcp_resources")
    return launcher.launch(service, notes, polling, lambda event: None, company)


def test_sigterm_before_there_is_a_job_ends_the_step_and_creates_none(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path
) -> None:
    with pytest.raises(CancelledError) as caught:
        launched(request_, tmp_path, Company(told_to_end=True))
    assert caught.value.found == "received SIGTERM; no job is known to have been created"
    assert created(cloud) == 0


@pytest.mark.parametrize(
    ("others", "choice", "outcome", "state"),
    [
        ([], "cancel", "it was cancelled", "CANCELLED"),
        ([], "leave", "it was left running", "PENDING"),
        (["run-b"], "cancel", "it was left running, other runs wait for it: run-b", "PENDING"),
    ],
)
def test_a_job_over_its_hours_is_cancelled_unless_others_wait_for_it(
    cloud: StandIn, request_: TuningRequest, tmp_path: Path, others, choice, outcome, state
) -> None:
    cloud.ask("hold", {"on": True})
    with pytest.raises(CloudError) as caught:
        launched(request_, tmp_path, Company(others), max_hours=1e-5, at_max_hours=choice)
    assert caught.value.found == f"the job has not ended within 1e-05 hours; {outcome}"
    assert list(cloud.ask("states").values()) == [f"PIPELINE_STATE_{state}"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"resources": []}'])
def test_unreadable_notes_are_no_notes(tmp_path: Path, text: str) -> None:
    (tmp_path / "gcp_resources").write_text(text)
    assert launcher.read_resources(str(tmp_path / "gcp_resources")) == ""

"""`tunepipe cancel` ends the run and its paid job, whatever has become of the step."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.cloud import aiplatform_v1

from tests.backends.managed import jobs as tunings
from tests.gcp import launch_driver
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe import components
from tunepipe.backends.base import TuningRequest
from tunepipe.cli import main
from tunepipe.errors import CloudError
from tunepipe.gcp import clients
from tunepipe.gcp.launcher import StepOptions
from tunepipe.packaging.component import CODE_PLACEHOLDER, component, thin
from tunepipe.runs import cancellation
from tunepipe.runs.cancellation import Cancellation
from tunepipe.runs.status import RunStatus
from tunepipe.stores.claims import Claim, Waiters, claim_uri

PLACE = f"projects/{PROJECT}/locations/{REGION}"
SPEC = {
    "pipelineInfo": {"name": "p"},
    "schemaVersion": "2.1.0",
    "root": {"dag": {"tasks": {}}},
    "deploymentSpec": {"executors": {}},
}
BACKENDS = {
    "managed.gemini": "gemini-3.5-flash",
    "palm.tuning": "text-bison@001",
    "custom.tuning": f"gs://{BUCKET}/base",
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation, "_POLL_SECONDS", 0.2)


@pytest.fixture
def held(cloud: StandIn) -> StandIn:
    cloud.ask("hold", {"on": True})
    return cloud


def make_run(name: str, place: str = PLACE, **labels: str) -> str:
    """Make a run that goes on; its steps are the test's own processes."""
    job = aiplatform_v1.PipelineJob(
        pipeline_spec=SPEC,
        runtime_config={"gcs_output_directory": f"gs://{BUCKET}/tunepipe/runs"},
        labels=labels,
    )
    clients.pipelines(place.rpartition("/")[2]).create_pipeline_job(
        parent=place, pipeline_job=job, pipeline_job_id=name
    )
    return f"{place}/pipelineJobs/{name}"


def request_of(cloud: StandIn, tuner: str) -> TuningRequest:
    more = {
        "palm.tuning": {"pipeline_root": f"gs://{BUCKET}/root"},
        "custom.tuning": {"code": f"gs://{BUCKET}/tunepipe/code/tunepipe.whl"},
    }
    found = tunings.request(cloud, BACKENDS[tuner], **more.get(tuner, {}))
    # The template's jobs have no claim, and custom jobs no remedy for a first one.
    unknown = {"palm.tuning": ("settle_seconds", "lease_seconds")}.get(tuner, ())
    for name in unknown:
        del found.options[name]  # type: ignore[attr-defined]
    return found


def start_step(
    monkeypatch: pytest.MonkeyPatch, cloud: StandIn, run: str, folder: Path, tuner: str
) -> Any:
    labels = json.dumps({"tunepipe_run_id": run.rpartition("/")[2]})
    monkeypatch.setenv("VERTEX_AI_PIPELINES_RUN_LABELS", labels)
    return launch_driver.start(request_of(cloud, tuner), folder, tuner)


def paid(cloud: StandIn) -> dict[str, str]:
    """Every paid job and its state."""
    found = {name: job["state"] for name, job in cloud.ask("tunings").items()}
    customs = {name: job["state"] for name, job in cloud.ask("custom_jobs").items()}
    children = {name: state for name, state in cloud.ask("states").items() if "/tune-" in name}
    return found | customs | children


@pytest.mark.parametrize("tuner", BACKENDS)
def test_the_job_of_a_step_that_was_killed_is_cancelled(
    held: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tuner: str, capfd: Any
) -> None:
    run = make_run("run-a")
    step = start_step(monkeypatch, held, run, tmp_path, tuner)
    until(lambda: paid(held))
    step.kill()
    held.ask("facts", {"cancelling_seconds": 0.6})
    assert main.run(["cancel", run, "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    (job,) = paid(held)
    assert paid(held)[job].endswith("_CANCELLED")
    assert report["state"] == "cancelled"
    assert report["jobs"] == {job: "cancelled"}


def test_a_job_that_appears_after_its_step_has_died_is_cancelled(
    held: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = make_run("run-a")
    held.ask("facts", {"lag_seconds": 0.5})
    held.fault("CreateTuningJob", held=True)
    step = start_step(monkeypatch, held, run, tmp_path, "managed.gemini")
    until(lambda: tunings.begun(held, "CreateTuningJob"))
    step.kill()
    assert paid(held) == {}
    lines: list[str] = []

    def show(line: str) -> None:
        lines.append(line)
        held.ask("release", {})

    found = cancellation.cancel(run, show=show)
    ((job, state),) = paid(held).items()
    assert (state, found.jobs) == ("JOB_STATE_CANCELLED", {job: "cancelled"})
    assert lines[0] == "a job may have been created whose request got no clear answer"


def waiting(run: str, *created: str) -> Claim:
    """The claim of a key that a run waits for, after requests that made these jobs."""
    claim = Claim(claim_uri(f"gs://{BUCKET}", "k"))
    Waiters(f"gs://{BUCKET}", run, "k").add()
    for job in created:
        claim.look()
        claim.take()
        claim.begin(PLACE)
        claim.created(job)
    return claim


def ended(found: Cancellation) -> dict[str, str]:
    """The jobs by their ids; Google's names hold the project's number."""
    return {name.rpartition("/")[2]: state for name, state in found.jobs.items()}


def test_a_job_that_has_ended_is_not_taken_for_one_that_may_appear(held: StandIn) -> None:
    """An earlier attempt's job failed; whether the next request made one is not known."""
    run = make_run("run-a")
    claim = waiting(run, make_run("tune-k-1", tunepipe_key="k"))
    assert ended(cancellation.cancel(run)) == {"tune-k-1": "cancelled"}
    claim.take()
    claim.begin(PLACE)
    with pytest.raises(CloudError, match=DOUBT):
        cancellation.cancel(run, wait_seconds=0.5)
    make_run("tune-k-2", tunepipe_key="k")
    jobs = {"tune-k-1": "cancelled", "tune-k-2": "cancelled"}
    assert ended(cancellation.cancel(run)) == jobs


def test_a_job_in_another_place_than_the_run_is_found_by_its_claim(held: StandIn) -> None:
    place = PLACE.replace(REGION, "us-central1")
    run = make_run("run-a")
    claim = waiting(run)
    claim.take()
    claim.begin(place)
    make_run("tune-k-1", place, tunepipe_key="k")
    assert ended(cancellation.cancel(run, wait_seconds=60.0)) == {"tune-k-1": "cancelled"}


def test_a_job_that_never_appears_is_believed_absent(
    held: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run("run-a")
    claim = waiting(run)
    claim.take()
    claim.begin(PLACE)
    monkeypatch.setattr(StepOptions, "settle_seconds", 0.5, raising=False)
    lines: list[str] = []
    found = cancellation.cancel(run, wait_seconds=60.0, show=lines.append)
    assert (lines, found.jobs, found.in_doubt) == ([DOUBT], {}, False)


@pytest.mark.parametrize("tuner", BACKENDS)
def test_a_job_that_others_wait_for_is_cancelled_only_with_a_word(
    held: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tuner: str
) -> None:
    runs = [make_run(name) for name in ("run-a", "run-b")]
    steps = [start_step(monkeypatch, held, run, tmp_path / run[-1], tuner) for run in runs]
    until(lambda: all((tmp_path / name / "gcp_resources").exists() for name in "ab"))
    (job,) = paid(held)
    steps[0].terminate()  # the step itself leaves the job to the other run
    steps[0].join()
    assert "other runs wait for it" in (tmp_path / "a" / "error.json").read_text()
    found = cancellation.cancel(runs[0])
    assert (found.run.state, found.left) == ("cancelled", {job: [runs[1]]})
    assert not paid(held)[job].endswith("CANCELLED")
    steps[1].kill()
    found = cancellation.cancel(runs[1])  # nobody waits any more
    assert paid(held)[job].endswith("_CANCELLED")
    assert (found.left, list(found.jobs.values())) == ({}, ["cancelled"])


def test_shared_ends_the_job_for_all(
    held: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run, other = make_run("run-a"), make_run("run-b")
    step = start_step(monkeypatch, held, run, tmp_path, "managed.gemini")
    until(lambda: paid(held))
    step.kill()
    (name,) = paid(held)
    key = held.ask("tunings")[name]["labels"]["tunepipe_key"]
    Waiters(f"gs://{BUCKET}", other, key).add()
    assert cancellation.cancel(run).left == {name: [other]}
    assert cancellation.cancel(run, shared=True).jobs == {name: "cancelled"}


@pytest.mark.parametrize("kind", ["customJobs", "pipelineJobs", "tuningJobs"])
def test_a_job_that_was_deleted_keeps_no_other_from_its_end(
    held: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    run = make_run("run-a")
    claim = Claim(claim_uri(f"gs://{BUCKET}", "0"))  # before the other one's key
    claim.take()
    claim.begin()
    claim.created(f"{PLACE}/{kind}/7")
    Waiters(f"gs://{BUCKET}", run, "0").add()
    step = start_step(monkeypatch, held, run, tmp_path, "managed.gemini")
    until(lambda: paid(held))
    step.kill()
    (job,) = paid(held)
    assert cancellation.cancel(run).jobs == {job: "cancelled"}


def test_what_does_not_end_in_time_is_reported(
    held: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = make_run("run-a")
    step = start_step(monkeypatch, held, run, tmp_path, "managed.gemini")
    until(lambda: paid(held))
    step.kill()
    held.ask("facts", {"cancelling_seconds": 600.0})
    with pytest.raises(CloudError, match="is cancelling"):
        cancellation.cancel(run, wait_seconds=0.5)


@pytest.mark.parametrize("make", [thin, component])
def test_the_process_that_a_container_runtime_signals_hands_it_to_the_paid_job(
    held: StandIn, tmp_path: Path, make: Callable[..., Any]
) -> None:
    """The step as compiled: shells, kfp and the tuner; only the first process is signalled."""
    request = request_of(held, "managed.gemini")
    unit = make(components.tune_gemini.python_func)
    container = unit.component_spec.implementation.container
    command = [*container.command, *container.args]
    if make is component:
        command = command[3:]  # what it installs is installed here
    given = {"{{$}}": json.dumps(executor_input(request, tmp_path)), CODE_PLACEHOLDER: ""}
    words = [given.get(word, word).replace("python3 ", f"{sys.executable} ") for word in command]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    until(lambda: paid(held) or process.poll() is not None)
    (job,) = paid(held)
    process.send_signal(signal.SIGTERM)
    assert process.wait(240) != 0, (tmp_path / "log").read_text()[-2000:]
    until(lambda: paid(held)[job].endswith(("_CANCELLING", "_CANCELLED")))


def executor_input(request: TuningRequest, folder: Path) -> dict[str, Any]:
    """What a host passes to the step that tunes."""

    def artifact(name: str, uri: str) -> dict[str, Any]:
        kind = {"schemaTitle": "system.Dataset" if name in ("train", "eval") else "system.Model"}
        return {"artifacts": [{"name": name, "type": kind, "uri": uri, "metadata": {}}]}

    rows = {"train": request.train_uri, "eval": request.eval_uri}
    outputs = {name: str(folder / name) for name in ("model", "base", "tuning")}
    values = {name: getattr(request, name) for name in ("project", "region", "train_steps")}
    return {
        "inputs": {
            "parameterValues": {**values, "options": dict(request.options)},
            "artifacts": {name: artifact(name, uri) for name, uri in rows.items()},
        },
        "outputs": {
            "artifacts": {name: artifact(name, uri) for name, uri in outputs.items()},
            "parameters": {"gcp_resources": {"outputFile": str(folder / "gcp_resources")}},
            "outputFile": str(folder / "step" / "output.json"),
        },
    }


RUNNING = RunStatus("r", "cancelling", "", ())
OVER = RunStatus("r", "cancelled", "", ())
DOUBT = "a job may have been created whose request got no clear answer"


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (Cancellation(OVER), ""),
        (Cancellation(RUNNING), "the run is cancelling"),
        (Cancellation(OVER, {"a": "cancelled", "b": "running"}, {"b": ["other"]}), ""),
        (Cancellation(OVER, {"a": "succeeded", "b": "expired", "c": "partially_succeeded"}), ""),
        (
            Cancellation(RUNNING, {"a": "running", "b": "cancelling"}, {"a": ["other"]}, True),
            f"the run is cancelling; b is cancelling; {DOUBT}",
        ),
        (Cancellation(OVER, {"a": "failed", "b": "queued"}), "b is queued"),
    ],
)
def test_what_a_cancellation_waits_for(ending: Cancellation, line: str) -> None:
    assert cancellation._waiting_line(ending) == line

"""Runs on Vertex AI: what is sent, what is found again, and one from end to end."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest

from tests.receiver import Receiver, receiver
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tests.waiting import until
from tunepipe.cli import main
from tunepipe.distribution import content_hash
from tunepipe.errors import CloudError, LimitError, TunepipeError, UsageError
from tunepipe.runs import cancellation, vertex, vertex_request
from tunepipe.runs.listing import Places
from tunepipe.runs.vertex_request import VertexRun

NOW = datetime(2026, 11, 22, 3, 4, 5, tzinfo=UTC)
FRUITS = ("apple", "banana", "cherry", "damson", "elder", "fig", "grape", "hazel")


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    rows = [
        {"input_text": f"{fruit} order {n} of {n * 37}", "output_text": f"{fruit}:{n}"}
        for n in range(10)
        for fruit in FRUITS
    ]
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def run(dataset: str) -> VertexRun:
    return VertexRun(
        backend="large-model",
        project=PROJECT,
        region=REGION,
        bucket=f"gs://{BUCKET}",
        parameters={"dataset_uri": dataset, "epochs": 1.0},
    )


def prepared(run: VertexRun, **changes: Any) -> vertex_request.JobRequest:
    return vertex_request.prepare(replace(run, **changes), now=NOW)


def test_the_request_is_exactly_what_was_said(run: VertexRun) -> None:
    key = f"projects/p/locations/{REGION}/keyRings/r/cryptoKeys/k"
    request = prepared(
        run,
        parameters={
            **run.parameters,
            "options": {"tpu_training_skip_cmek": True},
            "seed": 0,
            "display_name": "desk",
        },
        service_account="runner@demo-project.iam.gserviceaccount.com",
        network="projects/1/global/networks/n",
        encryption_key=key,
        labels={"team": "desk"},
    ).as_json()
    assert request["parent"] == f"projects/{PROJECT}/locations/{REGION}"
    job = dict(request["pipeline_job"])
    assert job.pop("pipeline_spec")["pipelineInfo"]["name"] == "tunepipe-large-model"
    labels = dict(job.pop("labels"))
    key_label = labels.pop("tunepipe_run")
    assert labels.pop("tunepipe_code") == content_hash()[:16]
    assert labels == {"team": "desk", "tunepipe_backend": "large-model"}
    runtime = job.pop("runtime_config")
    assert (
        runtime["parameter_values"].pop("code").startswith(f"file:///gcs/{BUCKET}/tunepipe/code/")
    )
    uri = runtime["parameter_values"].pop("dataset_uri")
    assert uri.startswith(f"gs://{BUCKET}/tunepipe/datasets/")
    run_id = f"20261122-030405-{key_label[:6]}"
    assert runtime == {
        "gcs_output_directory": f"gs://{BUCKET}/tunepipe/runs",
        "parameter_values": {  # the seed is the default's, so it is not sent
            "epochs": 1.0,
            "project": PROJECT,
            "region": REGION,
            "display_name": "desk",
            "registry": f"gs://{BUCKET}/tunepipe/registry/large-model",
            "work_dir": f"gs://{BUCKET}/tunepipe/work",
            "run": {
                "id": run_id,
                "created": "2026-11-22T03:04:05+00:00",
                "backend": "large-model",
                "project": PROJECT,
                "region": REGION,
            },
            "options": {
                "service_account": "runner@demo-project.iam.gserviceaccount.com",
                "network": "projects/1/global/networks/n",
                "encryption_spec_key_name": key,
                "tpu_training_skip_cmek": True,
            },
        },
    }
    assert job == {
        "display_name": "tunepipe-large-model",
        "service_account": "runner@demo-project.iam.gserviceaccount.com",
        "network": "projects/1/global/networks/n",
        "encryption_spec": {"kms_key_name": key},
    }


REFUSED: list[tuple[dict[str, Any], type[TunepipeError], str]] = [
    ({"project": ""}, UsageError, "--project"),
    ({"region": ""}, UsageError, "--region"),
    ({"bucket": ""}, UsageError, "--bucket"),
    ({"bucket": "my-bucket"}, UsageError, "gs://"),
    ({"bucket": "gs://"}, UsageError, "gs://BUCKET"),
    ({"region": "us-east1"}, LimitError, "us-east1"),
    ({"region": "asia-northeast1"}, LimitError, "us-central1"),
    ({"labels": {"tunepipe_run": "x"}}, LimitError, "tunepipe_run"),
    ({"labels": {"Team": "x"}}, UsageError, "--label Team=x"),
    ({"labels": {"team": "x y"}}, UsageError, "--label team=x y"),
    ({"labels": {"1": "x"}}, UsageError, "--label 1=x"),
    ({"labels": {"": "x"}}, UsageError, "--label =x"),
    ({"labels": {"te.am": "x"}}, UsageError, "--label te.am=x"),
    ({"labels": {"x" * 64: "x"}}, UsageError, "at most 63"),
    ({"labels": {"team": "x" * 64}}, UsageError, "at most 63"),
    ({"emails": ("nobody",)}, UsageError, "--email nobody"),
    ({"emails": ("a@b.co",), "pipeline": "x.yaml"}, UsageError, "--pipeline"),
    ({"parameters": {}}, UsageError, "--dataset"),
    ({"parameters": {"dataset_uri": "nowhere.jsonl"}}, UsageError, "nowhere"),
    ({"parameters": {"dataset_uri": "d.jsonl", "guard_uri": "g.jsonl"}}, UsageError, "g.jsonl"),
]
PIPELINE = {
    "pipelineInfo": {"name": "p"},
    "root": {"inputDefinitions": {"parameters": {"a": {"parameterType": "STRING"}}}},
    "deploymentSpec": {"executors": {"exec-a": {"container": {"image": "i", "args": []}}}},
}
NOTHING = "this is no compiled pipeline: "


def spoilt(*path: str, value: object = None) -> str:
    """A pipeline in which one value is of no use."""
    whole = json.loads(json.dumps(PIPELINE))
    *above, last = path
    reduce(getitem, above, whole)[last] = value
    return json.dumps(whole)


NO_PIPELINE = [
    ("", f"{NOTHING}Expected `object`, got `null`"),
    ("name: x", f"{NOTHING}Object missing required field `pipelineInfo`"),
    ("[]", f"{NOTHING}Expected `object`, got `array`"),
    (spoilt("deploymentSpec"), f"{NOTHING}Expected `object`, got `null` - at `$.deploymentSpec`"),
    (spoilt("deploymentSpec", "executors", value=[]), "at `$.deploymentSpec.executors`"),
    (spoilt("deploymentSpec", "executors", "exec-a", "container", value={}), "`image`"),
    (
        spoilt("deploymentSpec", "executors", "exec-a", "container", "args", value=3),
        "Expected `array`, got `int`",
    ),
    (spoilt("root", "inputDefinitions", value={}), "missing required field `parameters`"),
    (
        spoilt("root", "inputDefinitions", "parameters", "a", "parameterType", value="TEXT"),
        "Invalid enum value 'TEXT'",
    ),
    (spoilt("root", "dag", value={"tasks": {"a": []}}), "Expected `object`, got `array`"),
    (
        spoilt("root", "dag", value={"tasks": {"a": {"taskInfo": []}}}),
        "Expected `object | null`, got `array` - at `$.root.dag.tasks[...].taskInfo`",
    ),
    (
        spoilt("root", "dag", value={"tasks": {"a": {"inputs": {"parameters": {"b": 3}}}}}),
        "Expected `object`, got `int` - at `$.root.dag.tasks[...].inputs.parameters[...]`",
    ),
    (spoilt("components", value={"comp-a": {"dag": 3}}), "got `int` - at `$.components[...].dag`"),
    (spoilt("pipelineInfo", "name", value=3), "at `$.pipelineInfo.name`"),
    ("not: [yaml", "not YAML: line 2: did not find expected ',' or ']'"),
    ('{"a": 1}\n{"a": 1}\n', "not YAML: line 2: did not find expected <document start>"),
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"epoch": 1.0}, "did you mean epochs"),
    ({"colour": "red"}, "one of"),
    ({"epochs": "1"}, "number_double"),
    ({"seed": 1.5}, "number_integer"),
    ({"seed": True}, "number_integer"),
    ({"format": 3}, "string"),
    ({"tables": []}, "struct"),
    ({"base_model": "text-bisn"}, "text-bison"),
    ({"options": {"train_step": 3}}, "train_steps"),
    ({"options": {"poll_seconds": "often"}}, "poll_seconds"),
    ({"options": {"template_version": 3}}, "template_version"),
    ({"notify": "https://hooks.slack.com/services/T/B/x"}, "say where it is kept"),
    ({"notify": "webhook.txt"}, "cannot read this place"),
    ({"options": {"accelerator_type": "GPU"}}, "us-central1"),
]


@pytest.mark.parametrize(("change", "kind", "said"), REFUSED)
def test_wrong_runs_are_refused_before_anything_is_sent(
    cloud: StandIn, run: VertexRun, change: dict[str, Any], kind: type[TunepipeError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        prepared(run, **change)
    assert said in str(caught.value)
    assert cloud.calls() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("x" * 63, "y" * 63), ("t1", ""), ("t", "1"), ("t_-1", "-"), ("équipe", "à")],
)
def test_a_label_that_google_takes_passes(run: VertexRun, name: str, value: str) -> None:
    assert prepared(run, labels={name: value}).job["labels"][name] == value


@pytest.mark.parametrize(("text", "said"), NO_PIPELINE)
def test_a_file_that_is_no_pipeline_is_refused(
    run: VertexRun, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)):
        prepared(run, pipeline=str(tmp_path / "x.yaml"))


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_wrong_parameters_are_refused_before_anything_is_sent(
    cloud: StandIn, run: VertexRun, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(TunepipeError) as caught:
        prepared(run, parameters={**run.parameters, **change})
    assert said in str(caught.value)
    assert cloud.calls() == []


def test_the_same_run_is_found_and_another_is_not(cloud: StandIn, run: VertexRun) -> None:
    cloud.ask("hold", {"on": True})
    first = vertex.submit(prepared(run))
    assert vertex.find_earlier(prepared(run)) == first
    assert vertex.submit(prepared(run)) == first
    said_again = {**run.parameters, "seed": 0, "format": "auto"}
    assert vertex.find_earlier(prepared(run, parameters=said_again)) == first
    other = {**run.parameters, "seed": 1}
    assert vertex.find_earlier(prepared(run, parameters=other)) == ""
    anew = vertex_request.prepare(run, again=True, now=NOW)
    assert vertex.submit(anew) != first
    assert len(cloud.ask("states")) == 2


def test_changed_guarded_rows_under_the_same_name_are_another_run(
    cloud: StandIn, run: VertexRun
) -> None:
    guard = cloud.buckets / BUCKET / "guard.jsonl"
    told = {**run.parameters, "guard_uri": f"gs://{BUCKET}/guard.jsonl"}
    keys = set()
    for text in ("one", "two"):
        guard.write_text(json.dumps({"input_text": text, "output_text": text}) + "\n")
        keys.add(prepared(run, parameters=told).job["labels"]["tunepipe_run"])
    assert len(keys) == 2


def test_rows_that_change_while_the_user_is_asked_are_not_kept_as_the_old_ones(
    cloud: StandIn, run: VertexRun, dataset: str
) -> None:
    cloud.ask("hold", {"on": True})
    request, before = prepared(run), Path(dataset).read_bytes()
    Path(dataset).write_bytes(before[: before.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(UsageError, match="changed meanwhile"):
        vertex.submit(request)
    assert cloud.ask("states") == {}
    Path(dataset).write_bytes(before)
    vertex.submit(request)
    uri = request.uploads[dataset].removeprefix("gs://")
    assert (cloud.buckets / uri).read_bytes() == before


def test_the_same_rows_under_other_names_lie_apart(run: VertexRun, tmp_path: Path) -> None:
    """Else the bucket's folder would hold them twice, and a run read both."""
    folders = []
    for names in ("ab", "cd"):
        for number, name in enumerate(names):
            row = {"input_text": f"q {number}", "output_text": "a"}
            (tmp_path / f"{name}{names}.jsonl").write_text(json.dumps(row) + "\n")
        glob = str(tmp_path / f"?{names}.jsonl")
        request = prepared(run, parameters={**run.parameters, "dataset_uri": glob})
        folders.append(request.job["runtime_config"]["parameter_values"]["dataset_uri"])
    assert folders[0] != folders[1]


def test_an_objects_name_has_no_signs_of_a_pattern(run: VertexRun, dataset: str) -> None:
    strange = Path(dataset).rename(Path(dataset).with_name("rows[1]#2.jsonl"))
    request = prepared(run, parameters={**run.parameters, "dataset_uri": str(strange)})
    uri = request.job["runtime_config"]["parameter_values"]["dataset_uri"]
    assert uri.endswith("/rows_1__2.jsonl")
    assert request.uploads[str(strange)] == uri


def test_changed_data_under_the_same_name_is_another_run(
    cloud: StandIn, run: VertexRun, dataset: str
) -> None:
    cloud.ask("hold", {"on": True})
    first = vertex.submit(prepared(run))
    with Path(dataset).open("a") as file:
        file.write(json.dumps({"input_text": "lime order 1", "output_text": "lime:1"}) + "\n")
    assert vertex.submit(prepared(run)) != first


def test_several_local_files_are_uploaded_once_under_one_glob(
    cloud: StandIn, run: VertexRun, dataset: str
) -> None:
    cloud.ask("hold", {"on": True})
    folder = Path(dataset).parent
    (folder / "more.jsonl").write_text('{"input_text": "x", "output_text": "y"}\n')
    request = prepared(run, parameters={"dataset_uri": f"{folder}/*.jsonl"})
    assert request.job["runtime_config"]["parameter_values"]["dataset_uri"].endswith("/*")
    vertex.submit(request)
    uploads = len(cloud.calls("storage.post"))
    assert uploads == len(request.uploads) == 3, "the rows, and the wheel of the code"
    vertex.submit(request)
    assert len(cloud.calls("storage.post")) == uploads


def test_the_500_of_a_projects_first_job_is_mended(cloud: StandIn, run: VertexRun) -> None:
    cloud.ask("hold", {"on": True})
    cloud.fault("CreatePipelineJob", code=500)
    assert vertex.submit(prepared(run), first_job_seconds=0.1)
    assert len(cloud.calls("CreateDataset")) == 1
    assert len(cloud.ask("states")) == 1


def test_status_and_cancel_by_name_and_by_id(cloud: StandIn, run: VertexRun) -> None:
    cloud.ask("hold", {"on": True})
    name = vertex.submit(prepared(run))
    run_id = name.rpartition("/")[2]
    places = Places(Path("runs"), PROJECT, REGION)
    found = places.status(places.find(run_id))
    assert (found.name, found.state, found.over) == (name, "pending", False)
    assert f"/locations/{REGION}/pipelines/runs/{run_id}" in found.page
    with pytest.raises(UsageError):
        Places(Path("runs")).find(run_id)
    assert main.run(["predict", "--model", name, "text"]) == 2  # it has made no model
    assert cancellation.cancel(name).run.name == name
    assert vertex.status(name).state == "cancelled"
    assert cancellation.cancel(name).run.state == "cancelled"  # once more harms nothing
    with pytest.raises(CloudError):
        places.status(places.find("none"))


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_moment_without_google_ends_no_command(cloud: StandIn, run: VertexRun, code: int) -> None:
    cloud.ask("hold", {"on": True})
    cloud.fault("ListPipelineJobs", code=code, message="Try again.", times=2)
    assert vertex.find_earlier(prepared(run)) == ""
    name = vertex.submit(prepared(run))
    cloud.fault("GetPipelineJob", code=code, message="Try again.", times=2)
    assert vertex.status(name).name == name


def test_what_has_ended_is_not_said_to_be_cancelled(
    cloud: StandIn, run: VertexRun, capfd: pytest.CaptureFixture[str]
) -> None:
    cloud.ask("instant", {"on": True})
    quick = {"options": {"poll_seconds": 0.5}, "asking": {"requests_per_minute": 6000.0}}
    name = vertex.submit(prepared(run, parameters={**run.parameters, **quick}))
    until(lambda: vertex.status(name).over)
    ended = vertex.status(name).state
    assert main.run(["cancel", name, "--json"]) == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["run"], report["state"]) == (name, ended)


def test_a_cancelled_run_cancels_its_tuning_job(cloud: StandIn, run: VertexRun) -> None:
    quick = {**run.parameters, "options": {"poll_seconds": 0.5}}
    cloud.ask("hold", {"on": True, "paid": True})  # the run goes on, its child stays where it is
    name = vertex.submit(prepared(run, parameters=quick))
    until(lambda: len(cloud.ask("states")) == 2)
    child = next(job for job in cloud.ask("states") if job != name)
    until(lambda: any("gcp_resources" in str(path) for path in cloud.buckets.rglob("*resources")))
    cloud.ask("hold", {"on": False, "paid": True})
    found = cancellation.cancel(name)
    assert set(cloud.ask("states").values()) == {"PIPELINE_STATE_CANCELLED"}
    assert found.jobs == {child: "cancelled"}


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def test_the_whole_command_from_a_local_file_to_an_answer(
    cloud: StandIn, dataset: str, hook: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    place = ["--project", PROJECT, "--region", REGION]
    cloud.ask("facts", {"secrets": {f"projects/{PROJECT}/secrets/webhook": hook.url}})
    arguments = [
        *("run", "--dataset", dataset, "--bucket", f"gs://{BUCKET}", *place, "--epochs", "2"),
        *("--notify", f"projects/{PROJECT}/secrets/webhook", "--email", "team@example.com"),
        *("--option", "poll_seconds=0.5", "--param", 'asking={"requests_per_minute": 6000}'),
        *("--param", "judge_model=gemini-2.5-flash", "--yes", "--json"),
    ]
    assert main.run([*arguments, "--wait"]) == 0, cloud.log()
    done = json.loads(capfd.readouterr().out)
    assert done["state"] == "succeeded"
    assert done["verdict"] in ("better", "not-enough-evidence")
    assert done["model"].startswith("projects/123456789012/locations/europe-west4/endpoints/")
    assert done["results"]["report"].startswith(f"gs://{BUCKET}/tunepipe/runs/")
    states = {task["name"]: task["state"] for task in done["tasks"]}
    assert states["tune-large-model"] == "succeeded"
    assert states["conclude-run"] == "succeeded"
    assert len(cloud.ask("states")) == 2  # the run, and one child job
    assert len(cloud.calls("ImportModelEvaluation")) == 1
    report = cloud.buckets / done["results"]["report"].removeprefix("gs://")
    assert 'Judge</dt><dd dir="auto">gemini-2.5-flash' in report.read_text(encoding="utf-8")
    assert cloud.places() == {REGION}
    run_id = done["name"].rpartition("/")[2]
    (message,) = hook.messages
    assert (message["verdict"], message["report"]) == (done["verdict"], done["results"]["report"])
    assert message["page"] == done["page"]
    assert message["run"] == run_id  # the name that status, promote and predict take
    mails = (cloud.folder / "mails.jsonl").read_text().splitlines()
    assert json.loads(mails[-1]) == {"job": run_id, "recipients": ["team@example.com"]}
    cloud.fault("Predict", code=429, message="Quota exceeded", times=2)
    asked = ["predict", "--model", run_id, *place, "apple order 3 of 111", "--json"]
    assert main.run(asked) == 0
    assert json.loads(capfd.readouterr().out)["answers"][0]["text"] == "apple:3"
    elsewhere = ["--runs", str(cloud.folder / "no-runs")]
    for reference in (run_id[:16], "latest"):
        asked = ["predict", "--model", reference, *place, *elsewhere, "apple order 3 of 111"]
        assert main.run(asked) == 0
        assert capfd.readouterr().out == "apple:3\n"
    by_hand = ["promote", "latest", *place, *elsewhere, "--reason", "it is liked", "--yes"]
    assert main.run([*by_hand, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["run"] == run_id
    rows, told = f"gs://{BUCKET}/asked.jsonl", f"gs://{BUCKET}/told.jsonl"
    lines = Path(dataset).read_text().splitlines(keepends=True)
    (cloud.buckets / BUCKET / "asked.jsonl").write_text("".join(lines[:3]))
    before = len(cloud.calls("Predict"))
    runs = ["--runs", str(cloud.folder / "runs")]
    for asks in (3, 3):  # a second call finds the answers that the first one paid for
        asked = ["predict", "--model", run_id, *place, "--input", rows, "--output", told, *runs]
        assert main.run([*asked, "--json"]) == 0
        assert json.loads(capfd.readouterr().out) == {"rows": 3, "unanswered": 0}
        assert len(cloud.calls("Predict")) - before == asks
    assert len((cloud.buckets / BUCKET / "told.jsonl").read_text().splitlines()) == 3
    assert main.run(arguments) == 0  # the same again is found, and nothing is sent
    assert json.loads(capfd.readouterr().out)["run"] == done["name"]
    assert len(cloud.ask("states")) == 2

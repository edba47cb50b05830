"""The stand-in refuses what Google would refuse, and lets nothing leave the machine."""

import json
import urllib.error
import urllib.request
from typing import Any, get_type_hints

import pytest
import yaml
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import aiplatform_v1 as api
from kfp import compiler, dsl

from tests.waiting import until
from tunepipe.backends.palm.parameters import TemplateParameters, template_defaults

from .process import StandIn
from .session import BUCKET, PROJECT, REGION

PARENT = f"projects/{PROJECT}/locations/{REGION}"
HOST = f"{REGION}-aiplatform.googleapis.com"
TEMPLATE = (
    "https://us-kfp.pkg.dev/ml-pipeline/large-language-model-pipelines/tune-large-model/v3.0.0"
)


def client(kind: Any, transport: str = "grpc") -> Any:
    return kind(client_options=ClientOptions(api_endpoint=HOST), transport=transport)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def double(number: int, rows: dsl.Output[dsl.Dataset]) -> int:
    with open(rows.path, "w") as file:
        file.write(rows.uri)
    return 2 * number


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def reread(rows: dsl.Input[dsl.Dataset]) -> str:
    with open(rows.path) as file:
        return file.read()


@dsl.pipeline(name="doubling")
def doubling(number: int, word: str = "x") -> str:
    made = double(number=number)
    with dsl.If(made.outputs["Output"] == 4):
        double(number=1)
    with dsl.Else():
        double(number=2)
    return reread(rows=made.outputs["rows"]).output


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("spec") / "pipeline.yaml"
    compiler.Compiler().compile(doubling, str(path))
    return dict(yaml.safe_load(path.read_text()))


def job(spec: Any, **changes: Any) -> dict[str, Any]:
    runtime = {
        "gcs_output_directory": f"gs://{BUCKET}/root",
        "parameter_values": {"number": 2},
    }
    return {"pipeline_spec": spec, "runtime_config": {**runtime, **changes.pop("runtime", {})}} | (
        changes
    )


def create(job_: dict[str, Any], job_id: str = "one", transport: str = "grpc") -> Any:
    jobs = client(api.PipelineServiceClient, transport)
    return jobs.create_pipeline_job(parent=PARENT, pipeline_job=job_, pipeline_job_id=job_id)


def ended(name: str) -> Any:
    jobs = client(api.PipelineServiceClient)
    running = ("PIPELINE_STATE_PENDING", "PIPELINE_STATE_RUNNING")
    until(lambda: jobs.get_pipeline_job(name=name).state.name not in running)
    return jobs.get_pipeline_job(name=name)


def test_a_job_really_runs_with_artifacts_on_gs(cloud: StandIn, spec: dict[str, Any]) -> None:
    found = ended(create(job(spec)).name)
    assert found.state.name == "PIPELINE_STATE_SUCCEEDED", cloud.log()
    assert found.name.startswith("projects/123456789012/")  # by number, as Google names things
    tasks = {task.task_name: task for task in found.job_detail.task_details}
    assert tasks["double"].execution.metadata["output:Output"] == 4
    (rows,) = tasks["double"].outputs["rows"].artifacts
    assert rows.uri.startswith(f"gs://{BUCKET}/root/")
    assert (cloud.buckets / rows.uri.removeprefix("gs://")).read_text() == rows.uri
    (root,) = (t for t in tasks.values() if t.execution.schema_title == "system.Run")
    assert root.execution.metadata["output:Output"] == rows.uri
    states = sorted(task.state.name for name, task in tasks.items() if name.startswith("double-"))
    assert states == ["NOT_TRIGGERED", "SUCCEEDED"]


def refuses(job_: dict[str, Any]) -> bool:
    try:
        create(job_)
    except exceptions.InvalidArgument:
        return True
    return False


def without(spec: dict[str, Any], *path: str) -> dict[str, Any]:
    copy = json.loads(json.dumps(spec))
    inner = copy
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return dict(copy)


def test_what_google_would_refuse_is_refused(cloud: StandIn, spec: dict[str, Any]) -> None:
    long_argument = json.loads(json.dumps(spec))
    executor = long_argument["deploymentSpec"]["executors"]["exec-double"]["container"]
    executor["command"].append("x" * 131_072)
    values = lambda **v: {"runtime": {"parameter_values": v}}  # noqa: E731
    refused = {
        "unknown field": job({**spec, "colour": "red"}),
        "no pipeline name": job(without(spec, "pipelineInfo")),
        "no executor": job(without(spec, "deploymentSpec", "executors", "exec-double")),
        "no component": job(without(spec, "components", "comp-double")),
        "argument too long": job(long_argument),
        "unknown parameter": job(spec, **values(number=1, nmber=2)),
        "missing parameter": job(spec, **values(word="a")),
        "text for a number": job(spec, **values(number="2")),
        "half for a whole": job(spec, **values(number=2.5)),
        "number for a text": job(spec, **values(number=2, word=3)),
        "no bucket": job(spec, runtime={"gcs_output_directory": "gs://nobody-has-this/x"}),
        "not gs": job(spec, runtime={"gcs_output_directory": "/tmp/x"}),
        "bad label": job(spec, labels={"Team": "desk"}),
        "bad label value": job(spec, labels={"team": "a b"}),
        "bad account": job(spec, service_account="me@example.com"),
        "neither spec nor template": {"runtime_config": job(spec)["runtime_config"]},
        "no such template": {
            "template_uri": TEMPLATE.replace("v3.0.0", "v9"),
            "runtime_config": job(spec)["runtime_config"],
        },
    }
    took = [reason for reason, wrong in refused.items() if not refuses(wrong)]
    assert took == []
    with pytest.raises(exceptions.InvalidArgument):
        create(job(spec), job_id="Not_An_Id")
    assert cloud.ask("states") == {}


def test_an_id_is_given_once_and_other_projects_are_closed(
    cloud: StandIn, spec: dict[str, Any]
) -> None:
    cloud.ask("hold", {"on": True})
    create(job(spec))
    with pytest.raises(exceptions.AlreadyExists):
        create(job(spec))
    jobs = client(api.PipelineServiceClient)
    with pytest.raises(exceptions.PermissionDenied):
        jobs.list_pipeline_jobs(parent="projects/somebody/locations/europe-west4")
    with pytest.raises(exceptions.NotFound):
        jobs.get_pipeline_job(name=f"{PARENT}/pipelineJobs/two")
    with pytest.raises(exceptions.InvalidArgument):  # another region's resource
        jobs.list_pipeline_jobs(parent=f"projects/{PROJECT}/locations/us-central1")


def test_lists_filter_and_order(cloud: StandIn, spec: dict[str, Any]) -> None:
    cloud.ask("hold", {"on": True})
    for name, team in (("a", "desk"), ("b", "desk"), ("c", "other")):
        create(job(spec, labels={"team": team}, display_name=f"job {name}"), job_id=name)
    jobs = client(api.PipelineServiceClient)

    def listed(expression: str, order: str = "create_time desc") -> list[str]:
        request = {"parent": PARENT, "filter": expression, "order_by": order, "page_size": 1}
        return [found.name[-1] for found in jobs.list_pipeline_jobs(request=request)]

    assert listed("") == ["c", "b", "a"]
    assert listed('labels.team="desk"') == ["b", "a"]
    assert listed("labels.team=desk", "create_time") == ["a", "b"]
    assert listed('labels.team="desk" AND display_name="job a"') == ["a"]
    assert listed("state=PIPELINE_STATE_PENDING AND labels.team!=desk") == ["c"]
    for wrong in ("colour=red", "labels.team ==", "team"):
        with pytest.raises(exceptions.InvalidArgument):
            listed(wrong)


def test_rest_and_grpc_are_one_cloud(cloud: StandIn, spec: dict[str, Any]) -> None:
    cloud.ask("hold", {"on": True})
    name = create(job(spec), transport="rest").name
    assert client(api.PipelineServiceClient).get_pipeline_job(name=name).name == name
    assert {call["transport"] for call in cloud.calls() if "Pipeline" in call["method"]} == {
        "rest",
        "grpc",
    }


def rest(path: str, body: Any = None, **headers: str) -> Any:
    request = urllib.request.Request(
        f"https://{HOST}{path}",
        None if body is None else json.dumps(body).encode(),
        {"Authorization": "Bearer x", **headers},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def refusal(path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    with pytest.raises(urllib.error.HTTPError) as caught:
        rest(path, body, **headers)
    error = json.load(caught.value)["error"]
    return error["code"], error["status"]


def test_rest_refuses_in_googles_shape(cloud: StandIn) -> None:
    jobs = f"/v1/{PARENT}/pipelineJobs"
    assert rest(jobs) == {}
    assert refusal(jobs, {"colour": "red"}) == (400, "INVALID_ARGUMENT")
    assert refusal(f"{jobs}/none") == (404, "NOT_FOUND")
    assert refusal("/v1/nowhere")[0] == 404
    assert refusal(jobs, Authorization="") == (401, "UNAUTHENTICATED")
    assert refusal(f"/v1/{PARENT}/models:copy", {})[0] == 501  # known to Google, not to us


def test_the_template_has_the_interface_of_googles(cloud: StandIn) -> None:
    request = urllib.request.Request(TEMPLATE, headers={"Authorization": "Bearer x"})
    with urllib.request.urlopen(request) as answer:
        template = yaml.safe_load(answer)
    assert template["pipelineInfo"]["name"] == "tune-large-model"
    inputs = template["root"]["inputDefinitions"]["parameters"]
    assert len(inputs) == 21
    required = {name for name, rule in inputs.items() if not rule.get("isOptional")}
    assert required == {"project", "model_display_name"}
    assert set(template["root"]["outputDefinitions"]["parameters"]) == {
        "model_resource_name",
        "endpoint_resource_name",
    }
    kinds = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN"}
    defaults = template_defaults()
    for name, port in inputs.items():
        assert port.get("defaultValue") == defaults.get(name), name
    hints = get_type_hints(TemplateParameters)
    assert set(inputs) == {*hints, "evaluation_output_root_dir"} - {"max_context_length"}
    for name in inputs.keys() & hints:
        assert inputs[name]["parameterType"] == kinds.get(hints[name], "STRING"), name


def test_nothing_but_google_is_reached(cloud: StandIn) -> None:
    for address in ("https://example.com/", "https://pypi.org/simple/"):
        with pytest.raises(urllib.error.URLError, match="403"):
            urllib.request.urlopen(address)
    assert cloud.ask("refused") == ["CONNECT example.com:443", "CONNECT pypi.org:443"]
    cloud.reset()


def test_a_project_is_known_to_the_resource_manager(cloud: StandIn) -> None:
    from google.cloud import resourcemanager_v3

    projects = resourcemanager_v3.ProjectsClient()
    assert projects.get_project(name=f"projects/{PROJECT}").name == "projects/123456789012"
    with pytest.raises(exceptions.PermissionDenied):
        projects.get_project(name="projects/somebody")


def test_endpoints_are_emptied_before_they_are_deleted(cloud: StandIn) -> None:
    model = cloud.ask(
        "models", {"location": REGION, "display_name": "m", "adapter": "", "base": "text-bison"}
    )["name"]
    endpoint = cloud.ask(
        "endpoints",
        {"location": REGION, "display_name": "m", "model": model, "dataset_uri": "gs://x/y"},
    )["name"]
    endpoints = client(api.EndpointServiceClient)
    with pytest.raises(exceptions.FailedPrecondition):
        endpoints.delete_endpoint(name=endpoint)
    (deployed,) = endpoints.get_endpoint(name=endpoint).deployed_models
    endpoints.undeploy_model(endpoint=endpoint, deployed_model_id=deployed.id).result()
    endpoints.delete_endpoint(name=endpoint).result()
    with pytest.raises(exceptions.NotFound):
        endpoints.get_endpoint(name=endpoint)
    client(api.ModelServiceClient).delete_model(name=model.partition("@")[0]).result()


def test_schedules_start_jobs_when_their_time_comes(cloud: StandIn, spec: dict[str, Any]) -> None:
    cloud.ask("hold", {"on": True})
    schedules = client(api.ScheduleServiceClient)
    wanted = {
        "display_name": "nightly",
        "cron": "TZ=Asia/Tokyo 0 3 * * *",
        "max_concurrent_run_count": 1,
        "create_pipeline_job_request": {"parent": PARENT, "pipeline_job": job(spec)},
    }
    for wrong in ("0 3 * *", "61 3 * * *", "every night"):
        with pytest.raises(exceptions.InvalidArgument):
            schedules.create_schedule(parent=PARENT, schedule={**wanted, "cron": wrong})
    made = schedules.create_schedule(parent=PARENT, schedule=wanted)
    assert [found.name for found in schedules.list_schedules(parent=PARENT)] == [made.name]
    day = {"seconds": 24 * 3600}
    assert cloud.ask("tick", day)["started"] == 1
    schedules.pause_schedule(name=made.name)
    assert cloud.ask("tick", day)["started"] == 0
    schedules.resume_schedule(name=made.name)
    assert cloud.ask("tick", day)["started"] == 1
    assert len(cloud.ask("states")) == 2
    schedules.delete_schedule(name=made.name).result()
    assert not list(schedules.list_schedules(parent=PARENT))


def test_storage_by_the_real_client(cloud: StandIn) -> None:
    from google.cloud import storage

    bucket = storage.Client(project=PROJECT).bucket(BUCKET)
    blob = bucket.blob("big #1?.bin", chunk_size=256 * 1024)
    with blob.open("wb") as file:  # resumable, its length unknown until the end
        file.write(bytes(600_000))
    assert len(bucket.blob("big #1?.bin").download_as_bytes()) == 600_000
    copied = bucket.copy_blob(bucket.blob("big #1?.bin"), bucket, "folder/copy.bin")
    assert copied.size == 600_000
    iterator = bucket.client.list_blobs(BUCKET, prefix="folder", delimiter="/")
    assert list(iterator) == []
    assert iterator.prefixes == {"folder/"}
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        copied.download_as_bytes(start=700_000)
    copied.delete(if_generation_match=copied.generation)
    assert not copied.exists()
    with pytest.raises(exceptions.NotFound):
        storage.Client(project=PROJECT).get_bucket("nobody-has-this")

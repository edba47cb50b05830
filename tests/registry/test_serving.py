"""Endpoints for tuned open models: deployed on request, listed with their price, taken away."""

from __future__ import annotations

import json
import re

import pytest

from tests.backends.local.models import rows, write_base, write_rows
from tests.standin.session import BUCKET, PROJECT
from tunepipe.catalog.tables import load
from tunepipe.cli import main
from tunepipe.gcp import clients
from tunepipe.registry import serving
from tunepipe.registry.endpoints import SERVED, Deployment

REGION = "us-central1"
PLACE = ["--project", PROJECT, "--region", REGION]
FOLDER = f"gs://{BUCKET}/tunepipe/custom/k/model"


@pytest.fixture
def tuned(cloud, empty_folder):
    """A whole model as a custom job leaves it, with the rows that it was taught."""
    place = cloud.buckets / BUCKET / "tunepipe/custom/k"
    write_base(place / "model")
    write_rows(place / "train.jsonl", rows(6))
    request = {"train_uri": f"gs://{BUCKET}/tunepipe/custom/k/train.jsonl"}
    (place / "task.json").write_text(json.dumps({"request": request}))
    return place / "model"


def said(capfd, *arguments):
    code = main.run([*arguments, "--json"])
    return code, json.loads(capfd.readouterr().out)


def test_a_model_is_served_asked_listed_and_taken_away(tuned, cloud, capfd):
    assert main.run(["deploy", FOLDER, *PLACE, "--accelerator", "L4", "--yes"]) == 0
    shown = capfd.readouterr().err
    assert "1 x g2-standard-12 (NVIDIA_L4:1), at 1.15 USD an hour, 828 USD a month" in shown
    (endpoint,) = [name for name in cloud.ask("resources") if "/endpoints/" in name]
    assert f"tunepipe undeploy {endpoint}" in shown
    named = load("registry/serving.toml")["image"].rpartition(":")[0]
    assert re.search(rf"by the container {re.escape(named)}@sha256:[0-9a-f]{{64}}\n", shown)
    code, answers = said(
        capfd, "predict", "--backend", "open-model", "--model", endpoint, "code of item 3"
    )
    assert (code, "C3" in json.dumps(answers)) == (0, True)
    code, listed = said(capfd, "endpoints", *PLACE, "--bucket", f"gs://{BUCKET}")
    (one,) = listed["endpoints"]
    assert (one["kind"], one["model"], one["role"]) == ("served", FOLDER, "idle")
    assert one["cost_usd"] == 0.0  # so far
    assert said(capfd, "undeploy", endpoint, "--yes") == (
        0,
        {"deleted": endpoint, "model": FOLDER},
    )
    assert [name for name in cloud.ask("resources") if "/endpoints/" in name] == []
    assert [name for name in cloud.ask("resources") if "/models/" in name]


def test_what_is_deployed_is_exactly_what_was_asked_for(tuned, cloud, capfd):
    image = "registry.example/vllm@sha256:" + "a" * 64
    asked = ("--image", image, "--accelerator", "L4:2", "--name", "desk")
    assert main.run(["deploy", FOLDER, *PLACE, *asked, "--yes"]) == 0
    assert f"by the container {image}\n" in capfd.readouterr().err
    assert cloud.calls("image.get") == []
    names = {name.split("/")[-2]: name for name in cloud.ask("resources")}
    model = clients.models(REGION).get_model(name=names["models"])
    container = model.container_spec
    assert (model.display_name, model.artifact_uri) == ("desk", FOLDER)
    assert (container.image_uri, container.predict_route, container.health_route) == (
        image, "/generate", "/ping",
    )  # fmt: skip
    assert list(container.args) == [
        *("python", "-m", "vllm.entrypoints.api_server", "--host=0.0.0.0", "--port=8080"),
        *(f"--model={FOLDER}", "--tensor-parallel-size=2", "--max-model-len=256"),
        *load("registry/serving.toml")["arguments"],
    ]
    assert [port.container_port for port in container.ports] == [8080]
    assert container.shared_memory_size_mb == 16384
    assert container.deployment_timeout.total_seconds() == 7200
    assert [(env.name, env.value) for env in container.env] == [("MODEL_ID", FOLDER)]
    endpoint = clients.endpoints(REGION).get_endpoint(name=names["endpoints"])
    (deployed,) = endpoint.deployed_models
    assert (endpoint.display_name, deployed.display_name) == ("desk", "desk")
    resources = deployed.dedicated_resources
    assert (resources.min_replica_count, resources.max_replica_count) == (1, 1)
    machine = resources.machine_spec
    assert (machine.machine_type, machine.accelerator_type.name, machine.accelerator_count) == (
        "g2-standard-24", "NVIDIA_L4", 2,
    )  # fmt: skip
    clients.endpoints(REGION).create_endpoint(
        parent=f"projects/{PROJECT}/locations/{REGION}",
        endpoint={"display_name": "empty", "labels": {serving.LABEL: "l4"}},
    )
    prices = {"g2-standard-24": 2.5}
    found = {each.model: each for each in serving.deployments(PROJECT, REGION, prices)}
    served = Deployment(
        endpoint.name, FOLDER, "", endpoint.create_time, False, SERVED, usd_per_hour=2.5
    )
    assert found == {FOLDER: served, "": found[""]}
    assert (found[""].usd_per_hour, found[""].kind, found[""].champion) == (0.0, SERVED, False)
    (unpriced,) = (each for each in serving.deployments(PROJECT, REGION, {}) if each.model)
    assert unpriced.usd_per_hour is None


def test_a_tag_is_deployed_by_the_digest_that_it_has(tuned, cloud, capfd):
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 0
    (name,) = [name for name in cloud.ask("resources") if "/models/" in name]
    image = clients.models(REGION).get_model(name=name).container_spec.image_uri
    assert f"by the container {image}\n" in capfd.readouterr().err
    cloud.fault("image.get", code=403)
    code, refused = said(capfd, "deploy", FOLDER, *PLACE, "--yes")
    assert (code, refused["error"]["where"]) == (4, load("registry/serving.toml")["image"])
    assert "NAME@sha256" in refused["error"]["fix"]
    assert len(cloud.calls("UploadModel")) == 1


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 131072}, 4096),
        ({"max_position_embeddings": 2048}, 2048),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"text_config": None, "max_position_embeddings": 512}, 512),
        ({"max_position_embeddings": None}, 4096),
        ({}, 4096),
    ],
)
def test_a_container_is_asked_for_no_more_than_its_model_reads(tuned, cloud, config, tokens):
    """It would not start, and the machine would cost until the deployment has failed."""
    (tuned / "config.json").write_text(json.dumps(config))
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 0
    (name,) = [name for name in cloud.ask("resources") if "/models/" in name]
    arguments = clients.models(REGION).get_model(name=name).container_spec.args
    assert f"--max-model-len={tokens}" in arguments


def test_nothing_is_deployed_unasked(tuned, cloud, capfd):
    assert main.run(["deploy", FOLDER, *PLACE]) == 2
    assert "add --yes" in capfd.readouterr().err
    assert cloud.calls("UploadModel") == []


def test_an_endpoint_that_may_cost_is_named_where_it_cannot_be_taken_away(tuned, cloud, capfd):
    cloud.fault("DeployModel", drop="after")
    cloud.fault("UndeployModel", code=403)
    code, refused = said(capfd, "deploy", FOLDER, *PLACE, "--yes")
    (endpoint,) = [name for name in cloud.ask("resources") if "/endpoints/" in name]
    assert (code, refused["error"]["fix"]) == (4, f"tunepipe undeploy {endpoint}")
    assert said(capfd, "undeploy", endpoint, "--yes")[0] == 0


def test_a_deployment_whose_answer_is_lost_costs_nothing_on(tuned, cloud, capfd):
    cloud.fault("DeployModel", drop="after")
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 4
    kinds = ("/endpoints/", "/models/")
    assert [n for n in cloud.ask("resources") if any(kind in n for kind in kinds)] == []


@pytest.mark.parametrize(
    ("method", "times"),
    [
        ("GetEndpoint", 2),
        ("UndeployModel", 1),
        ("DeleteEndpoint", 1),
        ("DeleteModel", 1),
    ],
)
@pytest.mark.parametrize("fault", [{"code": 503}, {"drop": "after"}])
def test_an_endpoint_is_taken_away_though_the_network_hiccups(
    tuned, cloud, capfd, method, times, fault
):
    """The network that lost the deployment's answer loses the next ones too."""
    cloud.fault("DeployModel", drop="after")
    cloud.fault(method, times=times, **fault)
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 4
    assert "tunepipe undeploy" not in capfd.readouterr().err
    kinds = ("/endpoints/", "/models/")
    assert [n for n in cloud.ask("resources") if any(kind in n for kind in kinds)] == []


def test_an_endpoint_is_undeployed_though_the_network_hiccups(tuned, cloud, capfd):
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 0
    (endpoint,) = [name for name in cloud.ask("resources") if "/endpoints/" in name]
    for method in ("ListEndpoints", "GetModel", "GetEndpoint", "UndeployModel", "DeleteEndpoint"):
        cloud.fault(method, code=503)
    capfd.readouterr()
    assert said(capfd, "undeploy", endpoint, "--yes")[0] == 0
    assert [name for name in cloud.ask("resources") if "/endpoints/" in name] == []


def test_a_model_that_cannot_be_deleted_hides_no_failure(tuned, cloud, capfd):
    cloud.fault("CreateEndpoint", code=429, message="Quota exceeded for endpoints.")
    cloud.fault("DeleteModel", code=403)
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 4
    assert "Quota exceeded for endpoints." in capfd.readouterr().err


@pytest.mark.parametrize("method", ["UploadModel", "CreateEndpoint", "DeployModel"])
def test_a_deployment_that_fails_leaves_nothing_behind(tuned, cloud, capfd, method):
    cloud.fault(method, code=429, message="Quota exceeded for custom_model_serving.")
    assert main.run(["deploy", FOLDER, *PLACE, "--yes"]) == 4
    assert "Quota exceeded for custom_model_serving." in capfd.readouterr().err
    kinds = ("/endpoints/", "/models/")
    assert [n for n in cloud.ask("resources") if any(kind in n for kind in kinds)] == []


@pytest.mark.parametrize(
    ("change", "arguments", "code", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), [], 2, "merge=true"),
        (lambda folder: (folder / "config.json").unlink(), [], 2, "no model in Hugging Face"),
        (lambda folder: None, ["--accelerator", "L4:3"], 3, "no machine holds 3"),
    ],
)
def test_what_cannot_be_served_is_refused(tuned, cloud, capfd, change, arguments, code, message):
    change(tuned)
    assert main.run(["deploy", FOLDER, *PLACE, *arguments, "--yes"]) == code
    assert message in capfd.readouterr().err
    assert cloud.calls("UploadModel") == []


def test_only_what_was_deployed_here_is_taken_away(cloud, capfd, empty_folder):
    body = {"location": REGION, "display_name": "theirs", "adapter": "a", "base": "text-bison@001"}
    model = cloud.ask("models", body)["name"]
    theirs = cloud.ask("endpoints", {**body, "model": model, "dataset_uri": ""})["name"]
    assert main.run(["undeploy", theirs, "--yes"]) == 3
    assert theirs in cloud.ask("resources")

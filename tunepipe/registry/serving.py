"""Endpoints that serve a tuned open model: deployed on request, paid by the hour, taken away.

The model goes to the Model Registry with a serving container of vLLM, Model Garden's own, whose
protocol `managed.open_model_prediction` speaks. It loads whole models, so an adapter has to be
merged before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from tunepipe.catalog.accelerators import Machine
from tunepipe.catalog.tables import load
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.retries import retry
from tunepipe.registry.endpoints import SERVED, Deployment, remove
from tunepipe.stores import storage

LABEL = "tunepipe_serves"
_reached = partial(retry, seconds=20.0)
_OPERATION_SECONDS = 7500.0  # beyond Google's own limit: a large model takes most of an hour
_PORT = 8080
# How the kinds of models name the tokens that they read.
_READS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
)


def check_servable(folder: str) -> None:
    """Refuse what the container could not load, before anything is paid."""
    if storage.exists(f"{folder}/adapter_config.json"):
        raise UsageError(
            "this is an adapter, and the container serves whole models",
            where=folder,
            fix="tune with the option merge=true",
        )
    if not storage.exists(f"{folder}/config.json"):
        raise UsageError(
            "there is no model in Hugging Face layout",
            where=folder,
            fix="gs://BUCKET/tunepipe/custom/KEY/model-1a2b3c4d",
        )


def default_container() -> str:
    """Return the container that answers where none is named."""
    return str(load("registry/serving.toml")["image"])


def deploy(folder: str, project: str, region: str, machine: Machine, name: str, image: str) -> str:
    """Register a whole model in a gs:// folder, and deploy it; return the endpoint's name.

    One replica serves a folder that `check_servable` takes. What was made is taken away again where
    Google refuses a step, its answer is lost, or the wait is broken off.
    """
    place = clients.parent(project, region)
    deployed = {
        "display_name": name,
        "dedicated_resources": {
            "machine_spec": machine.spec(),
            "min_replica_count": 1,
            "max_replica_count": 1,
        },
    }
    with explained(place), ExitStack() as undo:
        models, endpoints = clients.models(region), clients.endpoints(region)
        uploaded = models.upload_model(
            parent=place, model=_model(folder, name, machine, image), timeout=CALL_SECONDS
        )
        model = str(uploaded.result(timeout=_OPERATION_SECONDS).model)
        undo.callback(_delete, model)
        labels = {LABEL: machine.accelerator.lower()}
        created = endpoints.create_endpoint(
            parent=place, endpoint={"display_name": name, "labels": labels}, timeout=CALL_SECONDS
        )
        endpoint = str(created.result(timeout=_OPERATION_SECONDS).name)
        undo.pop_all()
        undo.callback(_take_back, endpoint, model)
        endpoints.deploy_model(
            endpoint=endpoint,
            deployed_model={**deployed, "model": model},
            traffic_split={"0": 100},
            timeout=CALL_SECONDS,
        ).result(timeout=_OPERATION_SECONDS)
        undo.pop_all()
    return endpoint


def _take_back(endpoint: str, model: str) -> None:
    """Remove an endpoint, and then its model; name the endpoint if it may go on costing."""
    try:
        remove(endpoint)
    except CloudError as error:
        raise CloudError(
            "the deployment failed or goes on, and its endpoint may cost by the hour",
            where=endpoint,
            fix=f"tunepipe undeploy {endpoint}",
        ) from error
    _delete(model)


def _delete(model: str) -> None:
    """Delete a model, which costs nothing: where that fails, the first failure is the one told."""
    from google.api_core.exceptions import GoogleAPICallError

    registry = clients.models(clients.region_of(model))
    with suppress(GoogleAPICallError):
        _reached(partial(registry.delete_model, name=model, timeout=CALL_SECONDS))


def deployments(project: str, region: str, machines: Mapping[str, Any]) -> Iterator[Deployment]:
    """Find the endpoints that `deploy` has made and still exist; `machines` has prices by type."""
    place = clients.parent(project, region)
    with explained(place):
        request = {"parent": place, "filter": f"labels.{LABEL}:*"}
        look = partial(clients.endpoints(region).list_endpoints, request, timeout=CALL_SECONDS)
        find = partial(clients.models(region).get_model, timeout=CALL_SECONDS)
        for endpoint in _reached(lambda: list(look())):
            model = machine = ""
            for deployed in endpoint.deployed_models:
                machine = deployed.dedicated_resources.machine_spec.machine_type
                model = str(_reached(partial(find, name=deployed.model)).artifact_uri)
            yield Deployment(
                str(endpoint.name),
                model,
                "",
                endpoint.create_time,
                champion=False,
                kind=SERVED,
                usd_per_hour=machines.get(machine) if machine else 0.0,
            )


def _model(folder: str, name: str, machine: Machine, image: str) -> dict[str, Any]:
    table = load("registry/serving.toml")
    tuned = json.loads(storage.read_bytes(f"{folder}/config.json"))
    text = tuned.get("text_config") or tuned
    # vLLM does not start if it is asked for more than the model reads.
    reads = [table["context_tokens_max"], *(text[name] for name in _READS if text.get(name))]
    arguments = [
        *("python", "-m", "vllm.entrypoints.api_server", "--host=0.0.0.0", f"--port={_PORT}"),
        *(f"--model={folder}", f"--tensor-parallel-size={machine.count}"),
        *(f"--max-model-len={min(reads)}", *table["arguments"]),
    ]
    return {
        "display_name": name,
        "description": f"{tuned.get('model_type', 'a model')}, tuned by tunepipe",
        "artifact_uri": folder,
        "labels": {LABEL: "model"},
        "container_spec": {
            "image_uri": image,
            "args": arguments,
            "ports": [{"container_port": _PORT}],
            "predict_route": "/generate",
            "health_route": "/ping",
            "env": [{"name": "MODEL_ID", "value": folder}],
            "shared_memory_size_mb": table["shared_memory_mib"],
            "deployment_timeout": {"seconds": table["deployment_timeout_seconds"]},
        },
    }

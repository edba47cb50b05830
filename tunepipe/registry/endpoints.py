"""Endpoints that our tuning jobs have deployed, and taking them away.

The PaLM template deploys every model to a new endpoint, which may go on costing. What is taken away
here was made by a job of ours, and is nobody's champion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunepipe.errors import LimitError
from tunepipe.gcp import clients as google_clients
from tunepipe.gcp import pipeline_jobs
from tunepipe.gcp.clients import CALL_SECONDS, explained
from tunepipe.registry import vertex_alias as champion_alias

_OUR_JOBS = "labels.tunepipe_key:*"  # the label of every template job that we start


@dataclass(frozen=True)
class Deployment:
    """An endpoint of ours.

    Args:
        endpoint: Its resource name.
        model: The model version on it, "" where there is none.
        job: The tuning job that made it.
        created: When it was made.
        champion: Whether its model bears the alias `champion`.
    """

    endpoint: str
    model: str
    job: str
    created: datetime
    champion: bool


def ours(project: str, region: str) -> Iterator[Deployment]:
    """Find the endpoints that our tuning jobs have made and that are still there.

    Raises:
        CloudError: Google refused.
    """
    place = google_clients.parent(project, region)
    made = dict(_made(place))
    with explained(place):
        client = google_clients.endpoints(region)
        there = list(client.list_endpoints(parent=place, timeout=CALL_SECONDS))
    for endpoint in there:
        if endpoint.name in made:
            version = champion_alias.model_version(endpoint.name)
            bears = champion_alias.bears_alias(version)
            yield Deployment(
                str(endpoint.name), version, made[endpoint.name], endpoint.create_time, bears
            )


def discard(endpoint: str) -> bool:
    """Take an endpoint away if a job of ours made it and it serves no champion.

    Args:
        endpoint: Its resource name; anything else is left alone.

    Returns:
        Whether it was taken away.

    Raises:
        CloudError: Google refused.
    """
    if "/endpoints/" not in endpoint:
        return False
    _, project, _, region, *_ = endpoint.split("/")
    for found in ours(project, region):
        if found.endpoint == endpoint and not found.champion:
            take_away(found)
            return True
    return False


def take_away(deployment: Deployment) -> None:
    """Undeploy what is on an endpoint and delete it; the model stays in the registry.

    Raises:
        LimitError: It is the champion's.
        CloudError: Google refused.
    """
    if deployment.champion or champion_alias.bears_alias(deployment.model):
        raise LimitError("this is the champion's endpoint", where=deployment.endpoint)
    client = google_clients.endpoints(google_clients.region_of(deployment.endpoint))
    with explained(deployment.endpoint):
        found = client.get_endpoint(name=deployment.endpoint, timeout=CALL_SECONDS)
        for deployed in found.deployed_models:
            client.undeploy_model(
                endpoint=deployment.endpoint, deployed_model_id=deployed.id, timeout=CALL_SECONDS
            ).result(timeout=600)
        client.delete_endpoint(name=deployment.endpoint, timeout=CALL_SECONDS).result(timeout=600)


def _made(place: str) -> Iterator[tuple[str, str]]:
    """Yield each endpoint that one of our jobs has made, with the job."""
    request = {"parent": place, "filter": _OUR_JOBS}
    with explained(place):
        client = google_clients.pipelines(place.rpartition("/")[2])
        jobs: list[Any] = list(client.list_pipeline_jobs(request=request, timeout=CALL_SECONDS))
    for job in jobs:
        if pipeline_jobs.has_succeeded(job):
            with explained(job.name):
                found = pipeline_jobs.outputs(pipeline_jobs.get(job.name))
            if endpoint := found.get("endpoint_resource_name"):
                yield str(endpoint), str(job.name)

"""Endpoints that our tuning jobs have left, and their removal.

The PaLM template deploys every model to a new endpoint, which may go on costing. A tuning job of
Gemini leaves an endpoint for each checkpoint that it exports: idle ones cost nothing, but count
against the project's quota of endpoints. This module removes only endpoints that a tunepipe job
made and that serve no champion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tunepipe.errors import LimitError
from tunepipe.gcp import clients, pipeline_jobs, remote_jobs
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.retries import retry
from tunepipe.registry import vertex_alias

TEMPLATE, GEMINI, CHECKPOINT, SERVED = "large-model", "gemini", "checkpoint", "served"
_REMOVAL_SECONDS = 600.0
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Deployment:
    """An endpoint that a tunepipe job made.

    Args:
        model: The model version on it, "" if there is none.
        champion: Whether its model has the alias `champion`.
        kind: "large-model" (Google's template), "gemini", "checkpoint" (a Gemini's endpoint of an
            earlier checkpoint), or "served": made by `tunepipe deploy`.
        usd_per_hour: The price of its machine, for a served one; None if it is not known.
    """

    endpoint: str
    model: str
    job: str
    created: datetime
    champion: bool
    kind: str = TEMPLATE
    usd_per_hour: float | None = None

    @property
    def is_billed(self) -> bool:
        """Whether it costs while it is idle."""
        return self.kind in (TEMPLATE, SERVED)


def of_template(project: str, region: str) -> Iterator[Deployment]:
    """Find the endpoints that tunepipe's template jobs made and that still exist."""
    place = clients.parent(project, region)
    job_of: dict[str, str] = {}
    with explained(place):
        # Each template job that tunepipe starts has the label.
        jobs = pipeline_jobs.list_jobs(place, f"labels.{KEY_LABEL}:*")
        for job in filter(remote_jobs.has_succeeded, jobs):
            outputs = pipeline_jobs.outputs(pipeline_jobs.get(job.name))
            job_of[str(outputs.get("endpoint_resource_name", ""))] = str(job.name)
        listed = clients.endpoints(region).list_endpoints(parent=place, timeout=CALL_SECONDS)
        existing = [endpoint for endpoint in listed if endpoint.name in job_of]
    for endpoint in existing:
        name = str(endpoint.name)
        yield describe(name, endpoint, job_of[name], TEMPLATE)


def describe(name: str, endpoint: Any, job: str, kind: str) -> Deployment:
    """Describe an endpoint that a job left; a checkpoint's shares a model, and is no champion's."""
    version = vertex_alias.version_on(endpoint)
    is_champion = kind != CHECKPOINT and vertex_alias.has_alias(version)
    return Deployment(name, version, job, endpoint.create_time, is_champion, kind)


def discard(endpoint: str) -> bool:
    """Remove an endpoint of a tunepipe job's template that serves no champion; return if it was.

    Anything else than an endpoint's resource name is left alone.
    """
    if "/endpoints/" not in endpoint:
        return False
    _, project, _, region, *_ = endpoint.split("/")
    for deployment in of_template(project, region):
        if deployment.endpoint == endpoint and not deployment.champion:
            take_away(deployment)
            return True
    return False


def take_away(deployment: Deployment) -> None:
    """Undeploy what is on an endpoint, unless the champion, and delete it; the model stays."""
    # A checkpoint's endpoint shares the model, and its alias, with that of the last one.
    has_alias = deployment.kind not in (CHECKPOINT, SERVED) and vertex_alias.has_alias(
        deployment.model
    )
    if deployment.champion or has_alias:
        raise LimitError(
            "this is the champion's endpoint",
            where=deployment.endpoint,
            fix="make another model the champion first: tunepipe promote or rollback",
        )
    remove(deployment.endpoint)


def remove(endpoint: str) -> None:
    """Undeploy what is on an endpoint, and delete it; it may cost, so a hiccup is waited out."""
    with explained(endpoint):
        retry(lambda: _remove(endpoint), seconds=_PATIENCE_SECONDS)


def _remove(endpoint: str) -> None:
    """Remove what is left of an endpoint; an earlier try may have done a part, unanswered."""
    present = clients.find_endpoint(endpoint)
    if present is None:
        return
    client = clients.endpoints(clients.region_of(endpoint))
    for deployed in present.deployed_models:
        client.undeploy_model(
            endpoint=endpoint, deployed_model_id=deployed.id, timeout=CALL_SECONDS
        ).result(timeout=_REMOVAL_SECONDS)
    client.delete_endpoint(name=endpoint, timeout=CALL_SECONDS).result(timeout=_REMOVAL_SECONDS)

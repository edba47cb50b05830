"""Endpoints that tuning jobs of Gemini have left, those of earlier checkpoints included."""

from __future__ import annotations

from collections.abc import Iterator

from tunepipe.backends.managed.jobs import list_jobs
from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.genai import translate_errors
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.registry import vertex_alias
from tunepipe.registry.endpoints import CHECKPOINT, GEMINI, Deployment


def of_tuning_jobs(project: str, region: str) -> Iterator[Deployment]:
    """Find what tuning jobs with our label have left and that still exists.

    Endpoints of Gemini 3 are in the region's multi-region. Open models leave weights, no endpoint.
    """
    with translate_errors(clients.parent(project, region)):
        jobs = list_jobs(project, region)
    for job in jobs:
        if not (KEY_LABEL in (job.labels or {}) and job.tuned_model and job.tuned_model.endpoint):
            continue
        last = str(job.tuned_model.endpoint)
        others = [str(each.endpoint or "") for each in job.tuned_model.checkpoints or ()]
        for endpoint in dict.fromkeys(filter(None, [last, *others])):
            kind = GEMINI if endpoint == last else CHECKPOINT
            if deployment := _existing(endpoint, str(job.name), kind):
                yield deployment


def _existing(endpoint: str, job: str, kind: str) -> Deployment | None:
    from google.api_core import exceptions as api

    client = clients.endpoints(clients.region_of(endpoint))
    with explained(endpoint):
        try:
            created = client.get_endpoint(name=endpoint, timeout=CALL_SECONDS).create_time
        except api.NotFound:
            return None
    version = vertex_alias.model_version(endpoint)
    is_champion = kind == GEMINI and vertex_alias.bears_alias(version)
    return Deployment(endpoint, version, job, created, is_champion, kind)

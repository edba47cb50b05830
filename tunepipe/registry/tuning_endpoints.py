"""Endpoints that tuning jobs of Gemini have left, those of earlier checkpoints included."""

from __future__ import annotations

from collections.abc import Iterator

from tunepipe.backends.managed.jobs import list_jobs
from tunepipe.gcp import clients
from tunepipe.gcp.explanations import explained
from tunepipe.gcp.genai import translate_errors
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.registry.endpoints import CHECKPOINT, GEMINI, Deployment, describe


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
            with explained(endpoint):
                left = clients.find_endpoint(endpoint)
            if left:
                kind = GEMINI if endpoint == last else CHECKPOINT
                yield describe(endpoint, left, str(job.name), kind)

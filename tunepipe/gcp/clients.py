"""The clients of Vertex AI that we use, made from settings alone.

These are the generated clients of google.cloud.aiplatform_v1: importing the whole
google.cloud.aiplatform takes a step 5 to 13 seconds, these take about 2. Credentials come from
the environment, as everywhere with Google.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp.advice import advice, words_of
from tunepipe.gcp.credentials import is_rejected, no_token

# One call may not outlast the time that a step has between SIGTERM and its end.
CALL_SECONDS = 20.0


@cache
def pipelines(region: str) -> Any:
    """Make the client of pipelineJobs in a region."""
    from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient

    return PipelineServiceClient(client_options=_at(region))


@cache
def beta_pipelines(region: str) -> Any:
    """Make the client of pipelineJobs with the fields that v1 lacks, such as default_runtime."""
    from google.cloud.aiplatform_v1beta1.services.pipeline_service import PipelineServiceClient

    return PipelineServiceClient(client_options=_at(region))


@cache
def jobs(region: str) -> Any:
    """Make the client of custom jobs."""
    from google.cloud.aiplatform_v1.services.job_service import JobServiceClient

    return JobServiceClient(client_options=_at(region))


@cache
def schedules(region: str) -> Any:
    """Make the client of schedules."""
    from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient

    return ScheduleServiceClient(client_options=_at(region))


@cache
def predictions(region: str) -> Any:
    """Make the client that asks models."""
    from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient

    return PredictionServiceClient(client_options=_at(region))


@cache
def datasets(region: str) -> Any:
    """Make the client of managed datasets."""
    from google.cloud.aiplatform_v1.services.dataset_service import DatasetServiceClient

    return DatasetServiceClient(client_options=_at(region))


@cache
def endpoints(region: str) -> Any:
    """Make the client of endpoints."""
    from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient

    return EndpointServiceClient(client_options=_at(region))


@cache
def metadata(region: str) -> Any:
    """Make the client of experiments."""
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

    return MetadataServiceClient(client_options=_at(region))


@cache
def tensorboards(region: str) -> Any:
    """Make the client of TensorBoards."""
    from google.cloud.aiplatform_v1.services.tensorboard_service import TensorboardServiceClient

    return TensorboardServiceClient(client_options=_at(region))


@cache
def models(region: str) -> Any:
    """Make the client of the model registry."""
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

    return ModelServiceClient(client_options=_at(region))


def endpoint_exists(endpoint: str) -> bool:
    """Return True if an endpoint is there; it may have been deleted since it was made.

    Args:
        endpoint: `projects/P/locations/R/endpoints/E`.
    """
    from google.api_core import exceptions as api

    try:
        endpoints(region_of(endpoint)).get_endpoint(name=endpoint, timeout=CALL_SECONDS)
    except api.NotFound:
        return False
    return True


def parent(project: str, region: str) -> str:
    """Return the place that a project's resources of a region lie in."""
    return f"projects/{project}/locations/{region}"


def region_of(name: str) -> str:
    """Read the region out of a resource's name.

    Raises:
        UsageError: The name has none.
    """
    match = re.match(r"projects/[^/]+/locations/([^/]+)/", name)
    if not match:
        raise UsageError(
            "this is no resource name", where=name, fix="projects/P/locations/R/KIND/ID"
        )
    return match[1]


def host(region: str) -> str:
    """Return the host of a location: a region, a multi-region (us, eu), or global."""
    if region == "global":
        return "aiplatform.googleapis.com"
    if region in ("us", "eu"):
        return f"aiplatform.{region}.rep.googleapis.com"
    return f"{region}-aiplatform.googleapis.com"


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what Google's clients raise into a CloudError that says what to do.

    Args:
        where: The resource, or what was being done.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except api.GoogleAPICallError as error:
        if is_rejected(error):  # gRPC reports it as a service that is unavailable
            raise no_token(error, where) from error
        words = words_of(error)
        fix = advice(words) or advice(str(int(error.code or 0))) or "see docs/vertex.md"
        raise CloudError(words, where=where, fix=fix) from error
    except auth.GoogleAuthError as error:
        raise no_token(error, where) from error


def _at(region: str) -> Any:
    from google.api_core.client_options import ClientOptions

    return ClientOptions(api_endpoint=host(region))

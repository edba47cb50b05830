"""The clients of Vertex AI that we use, made from settings alone.

These are the generated clients of google.cloud.aiplatform_v1: importing the whole
google.cloud.aiplatform takes a step 5 to 13 seconds, these take about 2. Credentials come from
the environment, as everywhere with Google.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from tunepipe.errors import UsageError

# One call may not outlast the time that a step has between SIGTERM and its end.
CALL_SECONDS = 20.0


def _service(name: str, version: str = "v1") -> Callable[[str], Any]:
    """Return a function that makes the client of a service, one for each region."""

    @cache
    def client(region: str) -> Any:
        from google.api_core.client_options import ClientOptions

        if version == "v1":
            from google.cloud import aiplatform_v1 as services
        else:
            from google.cloud import aiplatform_v1beta1 as services
        options = ClientOptions(api_endpoint=host(region))
        return getattr(services, f"{name}ServiceClient")(client_options=options)

    return client


pipelines = _service("Pipeline")
beta_pipelines = _service("Pipeline", "v1beta1")  # fields that v1 lacks, such as default_runtime
jobs = _service("Job")  # custom jobs
schedules = _service("Schedule", "v1beta1")  # whose jobs have these fields
predictions = _service("Prediction")
datasets = _service("Dataset")  # managed ones
endpoints = _service("Endpoint")
metadata = _service("Metadata")  # experiments
tensorboards = _service("Tensorboard")
models = _service("Model")  # the registry
model_garden = _service("ModelGarden")


def find_endpoint(name: str) -> Any:
    """Fetch `projects/P/locations/R/endpoints/E`; None if it has been deleted."""
    from google.api_core import exceptions as api

    try:
        return endpoints(region_of(name)).get_endpoint(name=name, timeout=CALL_SECONDS)
    except api.NotFound:
        return None


def state_of(resource: Any) -> str:
    """Return the state of a job or a task as a word: RUNNING; STATE_42 for one that is unknown."""
    if resource.state is None:  # google-genai leaves out what was not sent
        return "UNSPECIFIED"
    name = getattr(resource.state, "name", "") or f"STATE_{int(resource.state)}"
    return re.sub(r"^[A-Z]+_STATE_", "", str(name))


def parent(project: str, region: str) -> str:
    """Return the place that a project's resources of a region lie in."""
    return f"projects/{project}/locations/{region}"


def place_of(name: str) -> tuple[str, str]:
    """Read project and location out of a resource's name; a UsageError if it has none.

    A tuned Gemini 3 is tuned in us-central1 and answers in us: only a client of the location in
    the endpoint's own name finds it.
    """
    match = re.match(r"projects/([^/]+)/locations/([^/]+)/", name)
    if not match:
        raise UsageError("not a resource name", where=name, fix="projects/P/locations/R/KIND/ID")
    return match[1], match[2]


def kind_of(name: str) -> str:
    """Return what a name is of, `projects/P/locations/R/KIND/ID`, such as models; "" if none."""
    match = re.fullmatch(r"projects/[^/]+/locations/[^/]+/([^/]+)/[^/]+", name)
    return match[1] if match else ""


def region_of(name: str) -> str:
    """Read the location out of a resource's name."""
    return place_of(name)[1]


def host(region: str) -> str:
    """Return the host of a region, of a multi-region (us, eu), or of global.

    A UsageError for anything else: a client would send its token to a host made of it.
    """
    if not re.fullmatch(r"[a-z0-9-]+", region):
        fix = "a region such as us-central1, a multi-region (us, eu), or global"
        raise UsageError("this is not a location", where=region or "location", fix=fix)
    if region == "global":
        return "aiplatform.googleapis.com"
    if region in ("us", "eu"):
        return f"aiplatform.{region}.rep.googleapis.com"
    return f"{region}-aiplatform.googleapis.com"

"""Google's clients: which version they are of, where they ask, and what their errors become."""

import httpx
import pytest
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud import aiplatform_v1, aiplatform_v1beta1
from google.genai import errors

from tests.standin.process import StandIn
from tests.standin.session import PROJECT, REGION
from tunepipe.gcp import clients, genai


def test_a_client_is_of_its_version_and_of_its_region(cloud: StandIn) -> None:
    stable, beta = clients.pipelines(REGION), clients.beta_pipelines(REGION)
    assert type(stable) is aiplatform_v1.PipelineServiceClient
    assert type(beta) is aiplatform_v1beta1.PipelineServiceClient
    assert stable.api_endpoint == beta.api_endpoint == f"{REGION}-aiplatform.googleapis.com"
    assert clients.pipelines(REGION) is stable


def test_a_genai_client_waits_for_an_answer_as_long_as_was_set(cloud: StandIn) -> None:
    client = genai.client(PROJECT, REGION, 2.5)
    assert client.vertexai
    assert client._api_client._http_options.timeout == 2500
    assert genai.client(PROJECT, REGION, 2.5) is client


def answered(code: int, message: str | None, status: str | None = None) -> errors.APIError:
    response = httpx.Response(code, headers={"retry-after": "70"})
    return errors.APIError(code, {"error": {"message": message, "status": status}}, response)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (answered(429, "busy", "RESOURCE_EXHAUSTED"), api.TooManyRequests, "busy"),
        (answered(404, None, "NOT_FOUND"), api.NotFound, "NOT_FOUND"),
        (answered(503, None), api.ServiceUnavailable, "503"),
    ],
)
def test_a_refusal_of_genai_is_one_of_googles_other_clients(error, kind, message):
    with pytest.raises(kind) as caught, genai.as_google_core():
        raise error
    assert caught.value.message == message
    assert caught.value.response.headers["retry-after"] == "70"


def test_a_refusal_without_a_response_is_one_too():
    error = errors.APIError(500, {"error": {"message": "internal"}})
    with pytest.raises(api.InternalServerError, match="internal") as caught, genai.as_google_core():
        raise error
    assert caught.value.response is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("refused"), ConnectionError),
        (httpx.ReadTimeout("slow"), ConnectionError),
        (auth.TransportError("no network"), auth.TransportError),
        (ValueError("ours"), ValueError),
    ],
)
def test_a_broken_connection_is_one_whatever_library_reports_it(error, kind):
    with pytest.raises(kind) as caught, genai.as_google_core():
        raise error
    assert type(caught.value) is kind
    assert str(error) in str(caught.value)

from types import SimpleNamespace

import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.auth import exceptions

from tunepipe.backends.base import Prompt
from tunepipe.backends.palm import prediction
from tunepipe.catalog.accelerators import machine_of
from tunepipe.catalog.catalog import load_catalog
from tunepipe.errors import CloudError
from tunepipe.gcp import rest
from tunepipe.gcp.explanations import no_token
from tunepipe.registry import serving

SKEW = (
    "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a"
    " reasonable timeframe. Check your iat and exp values in the JWT claim."
)
REJECTED, NONE = "Google rejected the credentials: ", "no usable Google credentials"
AWAY = "Google is out of reach"
WORDS = [
    (exceptions.DefaultCredentialsError("x"), NONE, "login"),
    (exceptions.RefreshError("x"), f"{NONE}: x", "login"),
    (exceptions.RefreshError("x" * 501), f"{NONE}: {'x' * 500}", "login"),
    (exceptions.RefreshError(), NONE, "login"),
    (exceptions.TransportError("x"), AWAY, "network"),
    (exceptions.TransportError("x", retryable=True), AWAY, "network"),
    (exceptions.RefreshError("busy", retryable=True),
     "Google's token endpoint gave no token: busy", "network"),
    (exceptions.RefreshError(SKEW, {}, retryable=False), REJECTED + SKEW, "clock"),
    (exceptions.RefreshError("invalid_grant: Account disabled: 1"),
     f"{REJECTED}invalid_grant: Account disabled: 1", "enable"),
    (exceptions.RefreshError("invalid_grant: Bad Request"),
     f"{NONE}: invalid_grant: Bad Request", "login"),
    # As gRPC wraps it.
    (ServiceUnavailable(f"Getting metadata from plugin failed with error: ('{SKEW}', {{}})"),
     REJECTED + SKEW, "clock"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "found", "fix"), WORDS)
def test_what_the_token_endpoint_says_is_reported_with_its_remedy(error, found, fix):
    report = no_token(error, "gs://b/x")
    assert (report.found, report.where) == (found, "gs://b/x")
    assert fix in report.fix


def test_an_access_token_is_asked_for_once_while_it_is_valid(cloud):
    rest.session.cache_clear()
    token = rest.access_token()
    assert token not in ("", "None")
    assert rest.access_token() == token
    assert len(cloud.calls("token")) == 1
    assert rest.account() == f"serviceAccount:{rest.session().credentials.service_account_email}"
    rest.session.cache_clear()


@pytest.mark.parametrize(
    ("email", "member"),
    [("a@p.iam.gserviceaccount.com", "serviceAccount:a@p.iam.gserviceaccount.com"),
     ("default", ""), (None, "")],
)  # fmt: skip
def test_an_account_is_named_as_roles_name_their_members(monkeypatch, email, member):
    session = SimpleNamespace(credentials=SimpleNamespace(service_account_email=email))
    monkeypatch.setattr(rest, "session", lambda: session)
    assert rest.account() == member


# Clients are kept, so this is a region that no other test has one of.
REGION = "europe-west12"
PLACE = f"projects/p/locations/{REGION}"
L4 = machine_of({"accelerator": "NVIDIA_L4:1"}, load_catalog())


@pytest.mark.parametrize(
    "call",
    [
        lambda: next(prediction.predict(f"{PLACE}/endpoints/1", [Prompt("1", ())])),
        lambda: next(prediction.predict(f"{PLACE}/models/1", [Prompt("1", ())])),
        lambda: serving.deploy("gs://b/model", "p", REGION, L4, "name", "image"),
    ],
)
def test_a_client_that_cannot_be_made_without_credentials_says_so(monkeypatch, tmp_path, call):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(CloudError, match="no usable Google credentials") as caught:
        call()
    assert "gcloud auth" in caught.value.fix

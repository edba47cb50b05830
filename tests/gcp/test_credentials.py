import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.auth import exceptions

from tunepipe.gcp.explanations import no_token

SKEW = (
    "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a"
    " reasonable timeframe. Check your iat and exp values in the JWT claim."
)
WORDS = [
    (exceptions.DefaultCredentialsError("x"), "no usable Google credentials", "login"),
    (exceptions.RefreshError("x"), "no usable Google credentials: x", "login"),
    (exceptions.TransportError("x"), "Google is out of reach", "network"),
    (exceptions.RefreshError("busy", retryable=True), "token endpoint gave no token: busy", "net"),
    (exceptions.RefreshError(SKEW, {}, retryable=False), "reasonable timeframe", "clock"),
    (exceptions.RefreshError("invalid_grant: Account disabled: 1"), "disabled", "enable"),
    (exceptions.RefreshError("invalid_grant: Bad Request"), "Bad Request", "login"),
    # As gRPC wraps it.
    (ServiceUnavailable(f"Getting metadata from plugin failed with error: ('{SKEW}', {{}})"),
     "reasonable timeframe", "clock"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "found", "fix"), WORDS)
def test_what_the_token_endpoint_says_is_reported_with_its_remedy(error, found, fix):
    report = no_token(error, "gs://b/x")
    assert found in report.found
    assert report.where == "gs://b/x"
    assert fix in report.fix
    assert "plugin" not in report.found

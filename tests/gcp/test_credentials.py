import pytest
from google.auth import exceptions

from tunepipe.gcp.credentials import no_token


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (exceptions.DefaultCredentialsError("x"), "no usable Google credentials", "login"),
        (exceptions.RefreshError("x"), "no usable Google credentials", "login"),
        (exceptions.TransportError("x"), "Google is out of reach", "network"),
    ],
)
def test_a_network_that_is_down_needs_no_login(error, found, fix):
    said = no_token(error, "gs://b/x")
    assert (said.found, said.where) == (found, "gs://b/x")
    assert fix in said.fix

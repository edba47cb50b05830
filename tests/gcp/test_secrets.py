"""A secret is read by its name, in its region and in its version."""

import pytest

from tests.standin.process import StandIn
from tests.standin.session import PROJECT, REGION
from tunepipe.errors import UsageError
from tunepipe.gcp import rest
from tunepipe.gcp.explanations import RefusedError
from tunepipe.gcp.secrets import is_secret, read_secret

NAME = f"projects/{PROJECT}/secrets/hook"
IN_REGION = f"projects/{PROJECT}/locations/{REGION}/secrets/hook"


@pytest.mark.parametrize("name", [NAME, IN_REGION])
@pytest.mark.parametrize("version", ["", "/versions/3"])
def test_a_secret_is_read_where_it_is(cloud: StandIn, name: str, version: str) -> None:
    cloud.ask("facts", {"secrets": {name: "S3CR3T"}})
    assert is_secret(name + version)
    assert read_secret(name + version) == b"S3CR3T"
    (call,) = cloud.calls("governance.secret")
    region = f"{REGION}.rep." if name == IN_REGION else ""
    assert call["host"] == f"secretmanager.{region}googleapis.com"


def test_a_refusal_is_reported_in_googles_words_with_the_role_that_is_missing(
    cloud: StandIn,
) -> None:
    with pytest.raises(RefusedError) as caught:
        read_secret(NAME)
    assert (caught.value.code, caught.value.found) == (
        404, f"Secret [{NAME}] not found or has no versions.",
    )  # fmt: skip
    assert caught.value.fix == (
        f"grant roles/secretmanager.secretAccessor on {NAME} to the run's account"
    )


@pytest.mark.parametrize("name", ["webhook", "gs://b/x", f"{NAME}/versions", f"/{NAME}", ""])
def test_another_name_is_no_secrets(name: str) -> None:
    assert not is_secret(name)
    with pytest.raises(UsageError, match="not a secret's name"):
        read_secret(name)


def test_an_interface_that_is_away_for_a_moment_is_asked_again(cloud: StandIn) -> None:
    cloud.ask("facts", {"secrets": {NAME: "S3CR3T"}})
    cloud.fault("governance.secret", code=503)
    assert rest.call(
        "GET", f"https://secretmanager.googleapis.com/v1/{NAME}/versions/latest:access"
    )
    assert [call["code"] for call in cloud.calls("governance.secret")] == [503, 200]

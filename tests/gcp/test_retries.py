"""Which failures may pass, which may have taken effect all the same, and how long to wait."""

import socket
import ssl

import pytest
import requests
import urllib3
from botocore.exceptions import ClientError, EndpointConnectionError
from google.api_core import exceptions as api
from google.auth import exceptions as auth

from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp.launcher import QuotaError
from tunepipe.gcp.remote_jobs import WaitingError
from tunepipe.gcp.retries import is_transient, may_have_taken_effect, retry, status_of


def answer(status: int, **headers: str) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return requests.HTTPError(f"{status}", response=response)


def amazon(status: int) -> ClientError:
    return ClientError({"ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def because(error: CloudError, cause: Exception) -> CloudError:
    error.__cause__ = cause
    return error


# The HTTP status, whether the call may succeed later, and whether it may have taken effect.
ERRORS = [
    *((answer(code), code, True, True) for code in (408, 409, 499, 500, 502, 503, 504)),
    *((answer(code), code, False, False) for code in (400, 401, 403, 404, 410, 412, 501)),
    (answer(429), 429, True, False),
    (amazon(503), 503, True, True),
    (amazon(403), 403, False, False),
    (ClientError({}, "PutObject"), None, False, False),
    (api.ServiceUnavailable("busy"), 503, True, True),
    (api.DeadlineExceeded("slow"), 504, True, True),
    (api.TooManyRequests("quota"), 429, True, False),
    (api.Aborted("conflict"), 409, True, True),
    (api.AlreadyExists("there is one"), 409, False, False),
    (api.NotFound("none"), 404, False, False),
    (ConnectionResetError("reset"), None, True, True),
    (TimeoutError("slow"), None, True, True),
    (requests.ConnectionError("broken"), None, True, True),
    (requests.Timeout("slow"), None, True, True),
    (requests.exceptions.ChunkedEncodingError("half"), None, True, True),
    (requests.ConnectionError("NewConnectionError: refused"), None, True, False),
    (requests.ConnectTimeout("slow"), None, True, False),
    (urllib3.exceptions.ProtocolError("half"), None, True, True),
    (EndpointConnectionError(endpoint_url="https://s3"), None, True, True),
    (socket.gaierror("Name or service not known"), None, False, False),
    (ssl.SSLError("CERTIFICATE_VERIFY_FAILED"), None, False, False),
    (requests.exceptions.SSLError("CERTIFICATE_VERIFY_FAILED"), None, False, False),
    (auth.TransportError("no network"), None, True, False),
    (auth.RefreshError("busy", retryable=True), None, True, False),
    (auth.RefreshError("no"), None, False, False),
    (api.ServiceUnavailable("invalid_grant: Bad Request"), 503, False, False),
    (api.ServiceUnavailable("disabled_client: The OAuth client was disabled."), 503, False, False),
    (ValueError("ours"), None, False, False),
    (WaitingError("another run creates it"), 503, True, True),
    (because(CloudError("busy"), answer(503)), 503, True, True),
    (because(CloudError("no"), answer(403)), 403, False, False),
    (because(QuotaError("no quota"), answer(429)), 429, False, False),
    (UsageError("wrong"), None, False, False),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "passes", "took_effect"), ERRORS)
def test_which_failures_pass_and_which_may_have_taken_effect(error, status, passes, took_effect):
    assert (status_of(error), is_transient(error)) == (status, passes)
    assert may_have_taken_effect(error) is took_effect


class Service:
    """Fails with each error in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls, self.pauses = list(errors), 0, []

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


@pytest.mark.parametrize(
    ("errors", "limits", "calls"),
    [
        ([], {}, 1),
        ([answer(503)] * 9, {}, 10),
        ([answer(503)] * 2, {"attempts": 3}, 3),
    ],
)
def test_failures_that_pass_are_waited_out_with_growing_pauses(errors, limits, calls):
    service, pauses, seen = Service(*errors), [], []
    found = retry(
        service, first_pause_seconds=2.0, longest_pause_seconds=16.0, sleep=pauses.append,
        on_pause=seen.append, **limits,
    )  # fmt: skip
    assert (found, service.calls, seen) == ("answer", calls, errors)
    longest = [min(2.0 * 2**number, 16.0) for number in range(len(errors))]
    assert all(0 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert len(errors) < 9 or max(pauses) > 2.0


def test_a_pause_is_as_long_as_the_service_asks():
    for asked, least in (("70", 70.0), ("soon", 0.0), ("", 0.0)):
        pauses = []
        error = answer(429, **{"retry-after": asked})
        service = Service(error, because(CloudError("busy"), error))
        retry(service, first_pause_seconds=0.1, sleep=pauses.append)
        assert all(least <= pause <= max(least, 0.2) for pause in pauses)
        assert len(pauses) == 2


def test_no_pause_is_longer_than_the_time_that_is_left():
    pauses = []
    service = Service(answer(429, **{"retry-after": "86400"}))
    retry(service, seconds=5.0, sleep=pauses.append)
    assert 4.0 < pauses[0] <= 5.0


@pytest.mark.parametrize(
    ("errors", "limits", "calls"),
    [
        ([answer(404)], {}, 1),
        ([answer(503), answer(502), answer(504), answer(500)], {"attempts": 3}, 3),
        ([answer(503)], {"attempts": 1}, 1),
        ([answer(503), answer(502)], {"seconds": 0.0}, 1),
    ],
)
def test_the_first_failure_is_reported_where_time_or_attempts_are_used_up(errors, limits, calls):
    service = Service(*errors)
    with pytest.raises(requests.HTTPError) as caught:
        retry(service, sleep=lambda seconds: None, **limits)
    assert (caught.value, service.calls) == (errors[0], calls)


def test_what_does_not_pass_ends_the_waiting():
    with pytest.raises(requests.HTTPError, match="403"):
        retry(Service(answer(503), answer(403)), sleep=lambda seconds: None)


def test_the_first_failure_keeps_its_cause_which_says_that_it_may_pass():
    def call():
        raise CloudError("the bucket is out of reach") from ConnectionError("reset")

    with pytest.raises(CloudError) as caught:
        retry(call, attempts=2, sleep=lambda seconds: None)
    assert is_transient(caught.value)

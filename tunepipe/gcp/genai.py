"""google-genai's client, made from settings alone, with errors that the launcher understands."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from tunepipe.gcp.clients import CALL_SECONDS, host
from tunepipe.gcp.explanations import explained

_ONE_AT_A_TIME = threading.Lock()


def client(project: str, location: str, seconds: float = CALL_SECONDS) -> Any:
    """Return the client of a region, a multi-region or "global"; keep it while it is in use.

    A client without references closes its connections, even while its parts are still in use.
    So threads that ask at once must get the same client.
    """
    host(location)  # the client makes its own of any text
    with _ONE_AT_A_TIME:
        return _client(project, location, seconds)


@cache
def _client(project: str, location: str, seconds: float) -> Any:
    from google import genai
    from google.genai import types

    options = types.HttpOptions(timeout=int(seconds * 1000))
    return genai.Client(enterprise=True, project=project, location=location, http_options=options)


@contextmanager
def as_google_core() -> Iterator[None]:
    """Raise what google-genai raises as Google's other clients would.

    google-genai has errors of its own, and lets those of its HTTP library through; which library
    that is changes with its version, so it is known by the names of its errors.
    """
    from google.api_core import exceptions as api
    from google.genai import errors

    try:
        yield
    except errors.APIError as error:
        response = error.response if hasattr(error.response, "headers") else None
        message = error.message or error.status or str(error.code)
        raise api.from_http_status(error.code, message, response=response) from error
    except Exception as error:
        names = {kind.__name__ for kind in type(error).__mro__}
        if "TransportError" in names and not hasattr(error, "retryable"):
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        raise


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Turn what google-genai raises into a CloudError that says what to do."""
    with explained(where), as_google_core():
        yield

"""What Google refuses, in its own words and with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tunepipe.catalog.tables import load
from tunepipe.errors import CloudError
from tunepipe.gcp.retries import is_rejected

_WORDS_CHARACTERS = 2000
_LATE = "look at it: it may go on and end by itself; then try again"
_LOGIN = "run: gcloud auth application-default login"


class RefusedError(CloudError):
    """A service answered with an error; `code` is its HTTP status, 403 if a right is missing."""

    def __init__(self, found: str, *, where: str, code: int, fix: str = "") -> None:
        super().__init__(found, where=where, fix=fix)
        self.code = code


@contextmanager
def explained(where: str, page: str = "docs/vertex.md") -> Iterator[None]:
    """Turn what Google's clients raise into a CloudError that says what to do.

    Where the words are not known, the status and then the `page` say it; "" leaves it open.
    """
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except api.GoogleAPICallError as error:
        if is_rejected(error):  # gRPC reports it as a service that is unavailable
            raise no_token(error, where) from error
        words = words_of(error)
        fix = advice(words)
        if page and not fix:
            fix = advice(str(int(error.code or 0))) or f"see {page}"
        raise CloudError(words, where=where, fix=fix) from error
    except auth.GoogleAuthError as error:
        raise no_token(error, where) from error
    except TimeoutError as error:  # of an operation that is waited for
        raise CloudError(str(error) or "no end in time", where=where, fix=_LATE) from error


def advice(message: str) -> str:
    """Return what to do about an error message of Google's; "" where the table does not know it."""
    for symptom in load("gcp/advice.toml")["symptom"]:
        if re.search(symptom["pattern"], message, re.IGNORECASE | re.DOTALL):
            return str(symptom["fix"])
    return ""


def words_of(error: Any) -> str:
    """Return Google's own words from an error of its clients, without what a client adds.

    A client of Cloud Storage puts the request before the words, and after them the statuses that
    it had expected; the answer itself, JSON or plain text, has the words alone.
    """
    message = str(getattr(error, "message", "") or error)
    response = getattr(error, "response", None)
    if response is None:
        return message
    try:
        words = str(response.json()["error"]["message"])
    except Exception:  # HTML, plain text, an empty or half an answer
        text = str(getattr(response, "text", "") or "").strip()
        words = "" if text.startswith("<") else text
    return (words or message)[:_WORDS_CHARACTERS]


def no_token(error: Exception, where: str) -> CloudError:
    """Report that credentials are missing or rejected, or that Google is out of reach."""
    from google.auth.exceptions import DefaultCredentialsError, TransportError

    retryable = bool(getattr(error, "retryable", False))
    if isinstance(error, TransportError) or (retryable and not is_rejected(error)):
        problem = "Google is out of reach"
        if retryable and not isinstance(error, TransportError):
            problem = f"Google's token endpoint gave no token: {_words(error)}"
        fix = "check the network and the proxy, then try again"
        return CloudError(problem, where=where, fix=fix)
    if isinstance(error, DefaultCredentialsError):
        return CloudError("no usable Google credentials", where=where, fix=_LOGIN)
    words = _words(error)
    if fix := advice(words):
        return CloudError(f"Google rejected the credentials: {words}", where=where, fix=fix)
    reason = f": {words}" if words else ""
    return CloudError(f"no usable Google credentials{reason}", where=where, fix=_LOGIN)


def _words(error: Exception) -> str:
    """Return the token endpoint's own words: google-auth keeps them first of several arguments."""
    text = str(error.args[0]) if error.args else ""
    match = re.search(r"\('(.*?)', \{", text)
    return (match[1] if match else text)[:500]

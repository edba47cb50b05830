"""Google's REST interfaces for which no client is installed: usage, roles, projects."""

from __future__ import annotations

from functools import cache
from typing import Any

from tunepipe.errors import CloudError
from tunepipe.gcp import outbound
from tunepipe.gcp.explanations import RefusedError, no_token, words_of
from tunepipe.gcp.retries import retry

CALL_SECONDS = 20.0
_PATIENCE_SECONDS = _FETCH_SECONDS = 60.0
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


def call(verb: str, url: str, body: Any = None, **query: Any) -> dict[str, Any]:
    """Call one method; `query` goes into the address, a list repeated.

    A RefusedError if Google answered with an error, else a CloudError if it could not be asked.
    """
    import requests
    from google.auth import exceptions as auth

    def send() -> dict[str, Any]:
        answer = session().request(verb, url, json=body, params=query, timeout=CALL_SECONDS)
        answer.raise_for_status()
        return dict(answer.json())

    try:
        return retry(send, seconds=_PATIENCE_SECONDS)
    except requests.HTTPError as error:
        code = error.response.status_code
        raise RefusedError(words_of(error), where=url, code=code) from error
    except auth.GoogleAuthError as error:
        raise no_token(error, url) from error
    except OSError as error:
        raise CloudError("Google is out of reach", where=url, fix="try again later") from error


def fetch(url: str, what: str, *, where: str, fix: str, accept: str = "*/*") -> Any:
    """Fetch a file from a registry; our token goes to Google's hosts alone, and to no redirect.

    A RefusedError unless the Response is 200; its code is 403 where the registry asks for another
    login than Google's. A CloudError where there are no credentials, or it is out of reach.
    """
    from google.auth import exceptions as auth

    try:
        token = access_token() if outbound.is_google(url) else ""
        answer = outbound.request(
            "GET", url, seconds=_FETCH_SECONDS, token=token, redirects=5, accept=accept
        )
    except auth.GoogleAuthError as error:
        raise no_token(error, where) from error
    except OSError as error:
        raise CloudError(
            f"{what} cannot be fetched: {type(error).__name__}",
            where=where,
            fix=f"check the network; {fix}",
        ) from error
    if (code := answer.status_code) != 200:
        raise RefusedError(
            f"{what} cannot be fetched: {code}",
            where=where,
            code=403 if code == 401 else code,
            fix=fix,
        )
    return answer


def account() -> str:
    """Return the caller's account, as roles name members; "" if the credentials do not say."""
    from google.auth import exceptions as auth

    try:
        credentials = session().credentials
    except auth.GoogleAuthError as error:
        raise no_token(error, "credentials") from error
    email = str(getattr(credentials, "service_account_email", "") or "")
    return f"serviceAccount:{email}" if "@" in email else ""


@cache
def session() -> Any:
    """Make the session that carries our credentials; a GoogleAuthError if there are none."""
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _ = google.auth.default(scopes=_SCOPES)
    return AuthorizedSession(credentials)


def access_token() -> str:
    """Return a token of our credentials that is valid now; a GoogleAuthError if there is none."""
    from google.auth.transport.requests import Request

    credentials = session().credentials
    if not credentials.valid:
        credentials.refresh(Request())
    return str(credentials.token)

"""Google's template as it is read: from a file, from Cloud Storage, or from its registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp import outbound
from tunepipe.gcp.explanations import RefusedError
from tunepipe.gcp.rest import access_token
from tunepipe.stores import storage

_FETCH_SECONDS = 60.0


@dataclass(frozen=True)
class Template:
    """A template as it was read.

    Args:
        source: A path, a gs:// URI or an https:// URI.
        text: The compiled pipeline, YAML or JSON.
    """

    source: str
    text: str
    sha256: str


def read_template(source: str) -> Template:
    """Read a template from a file, from Cloud Storage, or from a registry."""
    data = _fetch(source) if source.startswith("https://") else storage.read_bytes(source)
    try:
        return Template(source, data.decode(), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError as error:
        raise UsageError(
            "this is no compiled pipeline", where=source, fix="name a pipeline's YAML or JSON file"
        ) from error


def _fetch(uri: str) -> bytes:
    """Fetch a template; Google's token goes to Google's registry alone, and to no redirect."""
    from google.auth import exceptions as auth

    try:
        token = access_token() if outbound.is_google(uri) else ""
        answer = outbound.request("GET", uri, seconds=_FETCH_SECONDS, token=token, redirects=5)
    except (auth.GoogleAuthError, OSError) as error:
        login = "gcloud auth application-default login, or " if outbound.is_google(uri) else ""
        raise CloudError(
            f"the template cannot be fetched: {type(error).__name__}",
            where=uri,
            fix=f"run: {login}give the template as a file" if login else "give it as a file",
        ) from error
    if answer.status_code != 200:
        raise RefusedError(
            f"the template cannot be fetched: {answer.status_code}",
            where=uri,
            code=answer.status_code,
            fix="name it by digest (…/sha256:…), or give it as a file",
        )
    return bytes(answer.content)

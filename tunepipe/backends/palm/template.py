"""Google's template as it is read: from a file, from Cloud Storage, or from its registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp import storage
from tunepipe.gcp.rest import RefusedError, session

_FETCH_SECONDS = 60.0


@dataclass(frozen=True)
class Template:
    """A template as it was read.

    Args:
        source: A path, a gs:// URI or an https:// URI.
        text: The compiled pipeline, YAML or JSON.
        sha256: Of its bytes, in hex.
    """

    source: str
    text: str
    sha256: str


def read_template(source: str) -> Template:
    """Read a template from a file, from Cloud Storage, or from a registry.

    Raises:
        UsageError: It is not there, or is no compiled pipeline.
        CloudError: The registry refused.
    """
    data = _fetch(source) if source.startswith("https://") else storage.read_bytes(source)
    try:
        return Template(source, data.decode(), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError as error:
        raise UsageError("this is no compiled pipeline", where=source) from error


def _fetch(uri: str) -> bytes:
    from google.auth import exceptions as auth

    try:
        answer = session().get(uri, timeout=_FETCH_SECONDS)
    except (auth.GoogleAuthError, OSError) as error:
        raise CloudError(
            f"the template cannot be fetched: {type(error).__name__}",
            where=uri,
            fix="run: gcloud auth application-default login, or give the template as a file",
        ) from error
    if answer.status_code != 200:
        raise RefusedError(
            f"the template cannot be fetched: {answer.status_code}",
            where=uri,
            code=answer.status_code,
            fix="name it by digest (…/sha256:…), or give it as a file",
        )
    return bytes(answer.content)

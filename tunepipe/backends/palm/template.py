"""Google's template as it is read: from a file, from Cloud Storage, or from its registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from tunepipe.errors import UsageError
from tunepipe.gcp.rest import fetch
from tunepipe.stores import storage


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
    if source.startswith("https://"):
        fix = "name it by digest (…/sha256:…), or give it as a file"
        data = bytes(fetch(source, "the template", where=source, fix=fix).content)
    else:
        data = storage.read_bytes(source)
    try:
        return Template(source, data.decode(), hashlib.sha256(data).hexdigest())
    except UnicodeDecodeError as error:
        raise UsageError(
            "this is no compiled pipeline", where=source, fix="name a pipeline's YAML or JSON file"
        ) from error

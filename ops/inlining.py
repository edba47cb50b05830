"""The large-model pipeline with Google's template in it, instead of a step that launches it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tunepipe.backends import storage
from tunepipe.core.errors import CloudError, UsageError

_HEADER = re.compile(r"^# Template: (\S+) sha256:([0-9a-f]{64})$", re.MULTILINE)
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


def inlined_pipeline(template: Template) -> str:
    """Compose the pipeline with the template in it.

    Returns:
        The compiled pipeline; its header names the template and its SHA-256.

    Raises:
        UsageError: The template is no compiled pipeline, or lacks an input or output we need.
    """
    import yaml
    from kfp import components

    from tunepipe.pipelines.template import tune_by_template
    from tunepipe.pipelines.tuning import build_tuning_pipeline

    from .compilation import compiled_text

    try:
        loaded = components.load_component_from_text(template.text)
        tune = partial(tune_by_template, loaded, template.sha256)
        text = compiled_text(build_tuning_pipeline("large-model", tune))
    except (yaml.YAMLError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(
            f"the template does not fit: {error}",
            where=template.source,
            fix="give a compiled tune-large-model or tune-large-chat-model",
        ) from error
    return f"# Template: {template.source} sha256:{template.sha256}\n{text}"


def check_template(text: str) -> str:
    """Look whether the template that a pipeline was compiled with is still the same.

    Args:
        text: A compiled pipeline.

    Returns:
        The template's SHA-256; "" for a pipeline without one.

    Raises:
        UsageError: The template has changed since, or is not there any more.
        CloudError: The registry refused.
    """
    found = _HEADER.search(text)
    if not found:
        return ""
    source, recorded = found.groups()
    if read_template(source).sha256 != recorded:
        raise UsageError(
            "the template has changed since the pipeline was compiled",
            where=source,
            fix=f"look at the change, then run: tunepipe compile --template {source}",
        )
    return recorded


def template_sha256(spec: Mapping[str, Any]) -> str:
    """Read the template's SHA-256 out of a pipeline; "" for one without a template in it."""
    for unit in (spec["root"], *spec["components"].values()):
        task = unit.get("dag", {}).get("tasks", {}).get("prepare-template")
        if task:
            given = task["inputs"]["parameters"]["template_sha256"]
            return str(given["runtimeValue"]["constant"])
    return ""


def write_inlined(source: str, path: Path) -> Template:
    """Compile the pipeline with a template in it into a file."""
    from tunepipe.core.files import replacing

    template = read_template(source)
    text = inlined_pipeline(template)
    with replacing(path) as file:
        file.write(text)
    return template


def _fetch(uri: str) -> bytes:
    import google.auth
    import google.auth.transport.requests
    from google.auth import exceptions as auth

    try:
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        credentials, _ = google.auth.default(scopes=scopes)
        session = google.auth.transport.requests.AuthorizedSession(credentials)
        answer = session.get(uri, timeout=_FETCH_SECONDS)
    except (auth.GoogleAuthError, OSError) as error:
        raise CloudError(
            f"the template cannot be fetched: {type(error).__name__}",
            where=uri,
            fix="run: gcloud auth application-default login, or give the template as a file",
        ) from error
    if answer.status_code != 200:
        raise CloudError(
            f"the template cannot be fetched: {answer.status_code}",
            where=uri,
            fix="name it by digest (…/sha256:…), or give it as a file",
        )
    return bytes(answer.content)

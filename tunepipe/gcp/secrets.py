"""Secrets of Secret Manager, read by their names; no value is ever a parameter of a pipeline."""

from __future__ import annotations

import base64
import re

from tunepipe.errors import UsageError
from tunepipe.gcp import rest
from tunepipe.gcp.explanations import RefusedError

_NAME = re.compile(r"projects/[^/]+(?:/locations/([a-z0-9-]+))?/secrets/[^/]+(/versions/[^/]+)?\Z")


def is_secret(name: str) -> bool:
    """Return True if this is a secret's resource name, with or without location and version."""
    return bool(_NAME.match(name))


def read_secret(name: str) -> bytes:
    """Read a secret; without a version the latest one."""
    match = _NAME.match(name)
    if not match:
        raise UsageError("this is not a secret's name", where=name, fix="projects/P/secrets/NAME")
    region, version = match.groups()
    host = f"secretmanager.{region}.rep" if region else "secretmanager"
    suffix = "" if version else "/versions/latest"
    try:
        secret = rest.call("GET", f"https://{host}.googleapis.com/v1/{name}{suffix}:access")
    except RefusedError as error:
        error.fix = f"grant roles/secretmanager.secretAccessor on {name} to the run's account"
        raise
    return base64.b64decode(secret["payload"]["data"])

"""The alias `champion` in the Vertex Model Registry: at most one of tunepipe's models has it."""

from __future__ import annotations

from typing import Any

from tunepipe.gcp import clients
from tunepipe.gcp.clients import CALL_SECONDS
from tunepipe.gcp.explanations import explained

ALIAS = "champion"


def move_alias(model: str, former: str = "") -> str:
    """Move the alias from the champion before, and return the version that has it, or "".

    Only a model and an endpoint, by their resource names, can have it.
    """
    version = model_version(model)
    before = model_version(former)
    if before and before != version:
        _merge(before, f"-{ALIAS}")
    if version:
        _merge(version, ALIAS)
    return version


def has_alias(version: str) -> bool:
    """Return True if a version, `projects/P/locations/R/models/M@V`, has the alias; "" has none."""
    if not version:
        return False
    with explained(version):
        model = _client(version).get_model(name=version, timeout=CALL_SECONDS)
    return ALIAS in model.version_aliases


def model_version(resource: str) -> str:
    """Return the model version that a resource refers to; "" if that version no longer exists."""
    kind = clients.kind_of(resource)
    if kind != "endpoints":
        return resource if kind == "models" else ""
    with explained(resource):
        endpoint = clients.find_endpoint(resource)
    return version_on(endpoint) if endpoint else ""


def version_on(endpoint: Any) -> str:
    """Return the model version that is deployed on an endpoint; "" if there is none."""
    for deployed in endpoint.deployed_models:
        name, version = str(deployed.model), str(deployed.model_version_id)
        return name if "@" in name or not version else f"{name}@{version}"
    return ""


def _merge(version: str, alias: str) -> None:
    from google.api_core import exceptions as api

    with explained(version):
        try:
            _client(version).merge_version_aliases(
                name=version, version_aliases=[alias], timeout=CALL_SECONDS
            )
        except api.NotFound:
            if not alias.startswith("-"):
                raise


def _client(name: str) -> Any:
    return clients.models(clients.region_of(name))

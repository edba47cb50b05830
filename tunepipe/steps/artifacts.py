"""Finds the model of a KFP artifact: its own folder, or a resource elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from tunepipe.errors import UsageError

_RESOURCE = "resourceName"  # the key that Google's own components use


class Artifact(Protocol):
    """The part of a KFP artifact that the steps use."""

    metadata: dict[str, Any]
    uri: str

    @property
    def path(self) -> str:
        """The artifact's own file or folder."""


def model_of(artifact: Artifact | None) -> str:
    """Return the model's folder or resource name; "" if the artifact refers to none."""
    return str(artifact.metadata.get(_RESOURCE, artifact.path)) if artifact else ""


def address_of(artifact: Artifact) -> str:
    """Return where a model is for those outside the step: its resource name, or its URI."""
    return str(artifact.metadata.get(_RESOURCE, artifact.uri))


def point_at(artifact: Artifact, model: str) -> None:
    """Make an output artifact refer to a model that lies elsewhere, or to none ("")."""
    artifact.metadata[_RESOURCE] = model


def paths_of(artifacts: Mapping[str, Artifact | None]) -> dict[str, str]:
    """Return the paths of those files that are there and hold anything."""
    return {
        name: artifact.path
        for name, artifact in artifacts.items()
        if artifact and os.path.exists(artifact.path) and os.path.getsize(artifact.path)
    }


def dataset_of(uri: str, artifact: Artifact | None) -> str:
    """Return where a step's dataset is: at an address, or what an earlier step made.

    An artifact is a file or a folder of files, and the address may be a glob. One of them is given.
    """
    if bool(uri) == bool(artifact):
        raise UsageError(
            "a step needs one dataset", where="dataset_uri, dataset", fix="give one of the two"
        )
    if not artifact:
        return uri
    return f"{artifact.path}/*" if os.path.isdir(artifact.path) else artifact.path

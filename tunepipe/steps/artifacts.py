"""Which model a KFP artifact means: a folder of its own, or a resource elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

_RESOURCE = "resourceName"  # the key that Google's own components use


class Artifact(Protocol):
    """What is used of a KFP artifact."""

    metadata: dict[str, Any]

    @property
    def path(self) -> str:
        """The artifact's own file or folder."""


def model_of(artifact: Artifact | None) -> str:
    """Return the model's folder or resource name; "" if the artifact stands for none."""
    return str(artifact.metadata.get(_RESOURCE, artifact.path)) if artifact else ""


def point_at(artifact: Artifact, model: str) -> None:
    """Make an output artifact stand for a model that lies elsewhere, or for none ("")."""
    artifact.metadata[_RESOURCE] = model


def paths_of(artifacts: Mapping[str, Artifact | None]) -> dict[str, str]:
    """Return the paths of those files that are there and hold anything."""
    return {
        name: artifact.path
        for name, artifact in artifacts.items()
        if artifact and os.path.exists(artifact.path) and os.path.getsize(artifact.path)
    }

"""Which model a KFP artifact means: a folder of its own, or a resource elsewhere."""

from __future__ import annotations

from typing import Any, Protocol

_RESOURCE = "resourceName"  # the key that Google's own components use


class Artifact(Protocol):
    """What is used of a KFP artifact."""

    metadata: dict[str, Any]

    @property
    def path(self) -> str:
        """The artifact's own file or folder."""


def model_of(artifact: Artifact) -> str:
    """Return the model's folder or resource name; "" where the artifact stands for none."""
    return str(artifact.metadata.get(_RESOURCE, artifact.path))


def point_at(artifact: Artifact, model: str) -> None:
    """Make an output artifact stand for a model that lies elsewhere, or for none ("")."""
    artifact.metadata[_RESOURCE] = model

"""Which model a KFP artifact means: a folder of its own, or a resource elsewhere."""

from __future__ import annotations

from typing import Any

_RESOURCE = "resourceName"  # the key that Google's own components use


def model_of(artifact: Any) -> str:
    """Return the model's folder or resource name; "" where the artifact says there is none."""
    return str(artifact.metadata.get(_RESOURCE, artifact.path))


def point_at(artifact: Any, model: str) -> None:
    """Make an output artifact stand for a model that lies elsewhere, or for none ("")."""
    artifact.metadata[_RESOURCE] = model

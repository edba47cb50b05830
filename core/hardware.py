"""What a region trains PaLM on, and the quota for it, from the dated table of regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .models import Model
from .tables import load


def hardware_of(
    model: Model, region: str, overrides: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Return the region's row of regions.toml; {} for a model whose hardware no user sees.

    Args:
        model: The model to tune.
        region: Where; see models.check_region.
        overrides: The user's values for the tables: {"regions": {…}}.
    """
    if model.backend != "large-model":
        return {}
    row: Mapping[str, Any] = load("regions.toml", (overrides or {}).get("regions"))[region]
    return row

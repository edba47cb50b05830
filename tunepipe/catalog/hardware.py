"""What a region trains PaLM on, and the quota for it, from the dated table of regions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunepipe.catalog.models import Model
from tunepipe.catalog.tables import load
from tunepipe.errors import UsageError


def hardware_of(
    model: Model, region: str, overrides: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Return the region's row of regions.toml; {} for a model whose hardware no user sees.

    Args:
        model: The model to tune.
        region: Where; see models.check_region.
        overrides: The user's values for the tables: {"regions": {…}}.

    Raises:
        UsageError: A region that the user gave to a model, but not to the table of regions.
    """
    if model.backend != "large-model":
        return {}
    regions = load("catalog/regions.toml", (overrides or {}).get("regions"))
    if region not in regions:
        raise UsageError(
            f"nothing is known of the hardware in {region}",
            where="region",
            fix=f"a row tables.regions.{region}, as for a region of ours",
        )
    row: Mapping[str, Any] = regions[region]
    return row

"""What merge_validations does: the parts that validate_shard wrote become one report."""

from __future__ import annotations

from collections.abc import Sequence

from tunepipe.steps.validation_outputs import Valid, conclude_step
from tunepipe.validation.merge import merge


def merge_step(parts: Sequence[str], problems: str, page: str) -> Valid:
    """Put the parts together, write the reports, and refuse data with errors.

    Args:
        parts: What `sharding_step.shard_step` wrote, in the order of the files.
        problems: The JSON file to write.
        page: The HTML file to write.

    Raises:
        DataError: The data have errors. Both reports are written before.
    """
    return conclude_step(merge(parts), problems, page)

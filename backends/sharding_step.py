"""What validate_shard and merge_validations do: one dataset, many machines."""

from __future__ import annotations

from collections.abc import Sequence

from tunepipe.core.validation_parts import merge, write_part

from . import storage
from .validation_step import Valid, conclude_step


def shard_step(shard_uri: str, part: str, format: str, model: str) -> None:
    """Check one file and write down what a merge needs.

    Args:
        shard_uri: A path or a gs:// URI.
        part: The file to write.
        format: One of the formats; shards are not compared before the merge, so not "auto".
        model: The model whose limits apply; "" takes the format's first.
    """
    write_part([shard_uri], part, format=format, model=model, opener=storage.open_file)


def merge_step(parts: Sequence[str], problems: str, page: str) -> Valid:
    """Put the parts together, write the reports, and refuse data with errors.

    Args:
        parts: What `shard_step` wrote, in the order of the files.
        problems: The JSON file to write.
        page: The HTML file to write.

    Raises:
        DataError: The data have errors. Both reports are written before.
    """
    return conclude_step(merge(parts), problems, page)

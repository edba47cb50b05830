"""The steps that check a dataset shard by shard on many machines, and merge what they found."""

from __future__ import annotations

from collections.abc import Sequence

from tunepipe.steps.artifacts import Artifact
from tunepipe.steps.validation import ValidData, conclude
from tunepipe.stores import storage
from tunepipe.validation.merge import merge
from tunepipe.validation.shard import write_part


def validate_shard_step(shard_uri: str, part: str, format: str, model: str) -> None:
    """Check one file of a dataset and the files it points to; write what a merge needs.

    Args:
        shard_uri: A path or a gs:// URI.
        part: The file to write.
        format: One of the formats; shards are not compared before the merge, so not "auto".
        model: The model whose limits apply; "" takes the format's first.
    """
    write_part(
        [shard_uri],
        part,
        format=format,
        model=model,
        opener=storage.open_file,
        size_of=storage.size_of,
    )


def merge_step(parts: Sequence[str], problems: Artifact, page: Artifact) -> ValidData:
    """Merge the parts of the shards, write the reports, and refuse data with errors.

    Args:
        parts: What `validate_shard_step` wrote, in the order of the files.
        problems: The report to write, as JSON.
        page: The same as an HTML page.

    Raises:
        DataError: The data have errors. Both reports are written before.
    """
    return conclude(merge(parts), problems, page)

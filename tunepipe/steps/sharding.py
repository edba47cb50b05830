"""What validate_shard does: one machine looks at one file of a dataset."""

from __future__ import annotations

from tunepipe.gcp import storage
from tunepipe.validation.shard import write_part


def shard_step(shard_uri: str, part: str, format: str, model: str) -> None:
    """Check one file and write down what a merge needs.

    Args:
        shard_uri: A path or a gs:// URI.
        part: The file to write.
        format: One of the formats; shards are not compared before the merge, so not "auto".
        model: The model whose limits apply; "" takes the format's first.
    """
    write_part([shard_uri], part, format=format, model=model, opener=storage.open_file)

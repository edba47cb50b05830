"""The body of split_dataset: `splitting.split` on rows in any store."""

from __future__ import annotations

from typing import Any

from tunepipe.files import write_json
from tunepipe.splitting.split import SplitReport, split
from tunepipe.stores.storage import local_files


def split_step(
    dataset_uri: str, train: str, eval: str, report: str, **settings: Any
) -> SplitReport:
    """Split a dataset and write what was done, as JSON.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.
        train: The training file to write.
        eval: The evaluation file to write.
        report: The JSON file to write.
        settings: The other arguments of `tunepipe.splitting.split.split`.

    Returns:
        The report.
    """
    with local_files(dataset_uri) as paths:
        result = split(paths, train, eval, **settings)
    write_json(result.as_json(), report)
    return result

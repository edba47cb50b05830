"""The body of split_dataset: `splitting.split` on rows in any store."""

from __future__ import annotations

from typing import Any

from tunepipe.files import write_json
from tunepipe.splitting.split import SplitReport, split
from tunepipe.stores.storage import local_files


def split_step(
    dataset_uri: str, train: str, eval: str, report: str, **settings: Any
) -> SplitReport:
    """Split a dataset into the files `train` and `eval`; write and return what was done, as JSON.

    The settings are those of `tunepipe.splitting.split.split`.
    """
    with local_files(dataset_uri) as paths:
        result = split(paths, train, eval, **settings)
    write_json(result.as_json(), report)
    return result

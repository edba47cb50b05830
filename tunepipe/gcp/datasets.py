"""A dataset's files on this machine, wherever they lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tunepipe.files import replacing
from tunepipe.gcp import storage

_BLOCK_BYTES = 1 << 20


@contextmanager
def local_files(dataset_uri: str) -> Iterator[list[str]]:
    """Give the paths of a dataset's files; what lies elsewhere is copied for the while.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.

    Yields:
        The paths, in the order of the URIs.
    """
    uris = storage.list_files(dataset_uri)
    with tempfile.TemporaryDirectory() as folder:
        yield [
            _copy(uri, Path(folder) / str(number)) if storage.is_gcs(uri) else uri
            for number, uri in enumerate(uris)
        ]


def load_step(dataset_uri: str, path: str) -> None:
    """Write the rows of all files of a dataset into one; no dataset gives an empty file."""
    with replacing(path, "wb") as target:
        for uri in storage.list_files(dataset_uri) if dataset_uri else ():
            with storage.open_reader(uri) as source:
                _append(source, target)


def _append(source: IO[bytes], target: IO[bytes]) -> None:
    """Copy a file and end its last line, so that the next file's first row stays whole."""
    block = b"\n"
    while more := source.read(_BLOCK_BYTES):
        block = more
        target.write(block)
    if not block.endswith(b"\n"):
        target.write(b"\n")


def _copy(uri: str, folder: Path) -> str:
    folder.mkdir()
    copy = folder / storage.parse(uri).name.rpartition("/")[2]  # people see the name in messages
    with storage.open_reader(uri) as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    return str(copy)

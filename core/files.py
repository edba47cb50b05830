"""Writing files so that nothing is ever half there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .errors import UsageError


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of `path` and move it into place when the block ends well.

    Args:
        path: The file to write; missing parent folders are made.
        mode: "w" for UTF-8 text with plain newlines, "wb" for bytes.

    Yields:
        The open file. If the block raises, `path` is left as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    binary = "b" in mode
    encoding, newline = (None, None) if binary else ("utf-8", "\n")
    try:
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(value: Any, path: str | os.PathLike[str]) -> None:
    """Write a value as JSON that a person can read, in one piece."""
    with replacing(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=1)


def refuse_same(
    paths: Iterable[str | os.PathLike[str]], others: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Refuse paths that mean one file: what is written must not replace what is read.

    Args:
        paths: Paths and gs:// URIs that must differ, from one another and from the others.
        others: Paths and URIs that may be the same among themselves; - is standard input.

    Raises:
        UsageError: Two of them are one file, through a link too.
    """
    seen = {_place(path) for path in others}
    for path in paths:
        if _place(path) in seen:
            raise UsageError(
                "the file is named twice", where=os.fspath(path), fix="give different files"
            )
        seen.add(_place(path))


def _place(path: str | os.PathLike[str]) -> str:
    name = os.fspath(path)
    if name.startswith("gs://"):
        return name.partition("#")[0]  # what follows names a version of the same object
    return name if name == "-" else os.path.realpath(name)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current

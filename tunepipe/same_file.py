"""Whether two names mean one file, so that nothing is written over what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tunepipe.errors import UsageError


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

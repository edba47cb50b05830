"""Writing files so that nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunepipe.errors import UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REMEDIES = {
    FileNotFoundError: "check the path; it is relative to the current directory",
    IsADirectoryError: "name a file, or those in the folder: FOLDER/*.jsonl",
    PermissionError: "check the permissions of the file",
}


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of `path` and move it into place when the block ends well.

    If the block raises, the file is left as it was. A link to a file stays one, and missing parent
    folders are made. The mode is "w" for UTF-8 text with plain newlines, or "wb" for bytes.

    Raises:
        UsageError: It cannot be written there.
    """
    target = Path(os.path.realpath(path))
    try:
        _refuse_device(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    binary = "b" in mode
    encoding, newline = (None, None) if binary else ("utf-8", "\n")
    # A lone surrogate has no UTF-8; it occurs in a file name that is not UTF-8. This is how JSON
    # escapes it.
    errors = None if binary else "backslashreplace"
    try:
        settings: dict[str, Any] = {"encoding": encoding, "errors": errors, "newline": newline}
        with open(temporary, mode, opener=lambda *_: handle, **settings) as file:
            yield file  # its name is where it is now
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        # Any other error of the system is of what the block reads.
        if isinstance(error, OSError) and (error.filename == temporary or error.errno in _FULL):
            raise _unwritable(path, error) from error
        raise


def write_json(value: Any, path: str | os.PathLike[str]) -> None:
    """Write a value as JSON that a person can read, in one piece."""
    with replacing(path) as file:
        json.dump(value, file, ensure_ascii=False, indent=1)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an object from a JSON file that an earlier step wrote."""
    return dict(json.loads(Path(path).read_text(encoding="utf-8")))


def unreadable(path: str | os.PathLike[str], error: Exception) -> UsageError:
    """Return the error for a file that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    remedy = next((fix for kind, fix in _REMEDIES.items() if isinstance(error, kind)), "")
    return UsageError(
        f"cannot be read: {reason}", where=os.fspath(path), fix=remedy or "check the file"
    )


def _refuse_device(target: Path) -> None:
    """Refuse what is not a file: a file in the place of /dev/null would take it from all."""
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise OSError(errno.EINVAL, "it is a device or a pipe")


def _unwritable(path: str | os.PathLike[str], error: OSError) -> UsageError:
    full = error.errno in _FULL
    return UsageError(
        f"cannot be written: {error.strerror}",
        where=os.fspath(path),
        fix="make room" if full else "name a file, in a folder that you may write to",
    )


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def refuse_same(
    paths: Iterable[str | os.PathLike[str]], others: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Refuse paths that mean one file: what is written must not replace what is read.

    The others may be the same among themselves; - is standard input.
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
    if "://" in name:
        return name.partition("#")[0]  # what follows names a version of the same object
    return name if name == "-" else os.path.realpath(name)

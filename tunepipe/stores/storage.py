"""Files by path or by URI, through one set of functions.

gs:// is Google Cloud Storage; s3:// is Amazon S3 or a server that speaks its protocol; minio:// is
the store that Kubeflow Pipelines brings. A URI may end in `#VERSION`: then exactly that version of
the object is read, whatever has been written over it since. Local paths need no store's package.

What is not there raises a UsageError; what a store refuses, or does not answer for long, a
CloudError.
"""

from __future__ import annotations

import glob
import math
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from tunepipe.errors import CloudError, TunepipeError, UsageError
from tunepipe.files import replacing, unreadable
from tunepipe.stores.objects import (
    ConflictError,
    ObjectStore,
    Stat,
    has_wildcard,
    is_gcs,
    is_object,
    parse,
)

SYNC_SECONDS = 20.0
_QUIET_SECONDS = 1.0  # after which a file is taken to be written to its end
# In the name of an object that stands for a later state of a file, before the state's number.
_LATER = ".later-"
_BLOCK_BYTES = 1 << 20
_WHOLE_BYTES = 64 << 20
__all__ = ["ConflictError", "Stat", "is_gcs", "is_object", "parse"]


def exists(uri: str) -> bool:
    """Return True if the file is there."""
    return _store(uri).exists(parse(uri)) if is_object(uri) else Path(uri).is_file()


def stat(uri: str) -> Stat:
    """Look a file up."""
    if is_object(uri):
        return _store(uri).stat(parse(uri))
    with _explained(uri):
        return Stat(uri, "", Path(uri).stat().st_size)


def size_of(uri: str) -> int | None:
    """Return a file's size in bytes, or None if the file does not exist."""
    try:
        return stat(uri).bytes
    except UsageError:
        return None


def read_bytes(uri: str) -> bytes:
    """Read a file."""
    with open_file(uri) as file:
        return file.read()


def open_file(uri: str) -> BinaryIO:
    """Open a file for reading, seekable; of an object only the ranges asked for are fetched.

    An object is pinned to the version it has when it is opened, so a file that is replaced
    meanwhile is never read half old, half new.
    """
    if is_object(uri):
        return _store(uri).open(parse(uri))
    with _explained(uri):
        return Path(uri).open("rb")


def write_file(local: str, uri: str) -> Stat:
    """Copy a local file to a path or an object, and replace what is there."""
    open_file(local).close()  # a missing file is not the store's fault
    if is_object(uri):
        return _store(uri).write(parse(uri), Path(local), must_be_new=False)
    return write_bytes(Path(local).read_bytes(), uri)


def write_bytes(data: bytes, uri: str, *, must_be_new: bool = False) -> Stat:
    """Write bytes to a path or an object, and replace what is there, or nothing.

    Of several processes that write what must be new, one succeeds; others get a ConflictError.
    """
    if is_object(uri):
        return _store(uri).write(parse(uri), data, must_be_new=must_be_new)
    path = Path(uri)
    written = path.with_name(f".{path.name}.{uuid.uuid4().hex}") if must_be_new else path
    with replacing(written, "wb") as file:
        file.write(data)
    if must_be_new:
        try:
            _place(written, path)
        except FileExistsError as error:
            raise ConflictError("this file is there already", where=uri) from error
        finally:
            written.unlink()
    return Stat(uri, "", len(data))


def write_new(data: bytes, uri: str) -> None:
    """Write bytes where no file is; one that holds the same bytes is left as it is.

    A bucket with a retention policy takes new objects and no changes, so a repeated step must not
    write again what it has written.
    """
    if not (exists(uri) and read_bytes(uri) == data):
        write_bytes(data, uri)


def _place(written: Path, path: Path) -> None:
    """Move a file to its name, whole or not at all; of two concurrent moves one wins."""
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as a mounted bucket
        with path.open("xb") as file:
            file.write(written.read_bytes())


def copy_folder(folder: str, uri: str) -> None:
    """Copy all files of a local folder below a URI."""
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            write_file(str(path), f"{uri}/{path.relative_to(folder)}")


@contextmanager
def local_folder(name: str) -> Iterator[str]:
    """Provide a folder locally: what is below a URI is copied temporarily; other names are kept."""
    if not is_object(name):
        yield name
        return
    with tempfile.TemporaryDirectory() as folder:
        for uri in list_files(f"{name}/**"):
            _download(uri, Path(folder, uri.removeprefix(f"{name}/")))
        yield folder


def list_files(pattern: str) -> list[str]:
    """List the files that a path, a URI or a glob of either names, sorted; a UsageError for none.

    `*` and `?` stop at a slash, `**` does not. A name without a wildcard is returned as it is,
    without looking whether it is there; so is the name of a local file that is there, whatever
    characters it has.
    """
    if not has_wildcard(pattern) or (not is_object(pattern) and Path(pattern).is_file()):
        return [pattern]
    files = matching_files(pattern)
    if not files:
        raise UsageError("no file matches", where=pattern, fix="check the folder and the wildcard")
    return files


def matching_files(pattern: str) -> list[str]:
    """List the files that a glob names, sorted; an empty list is not an error."""
    if is_object(pattern):
        return _store(pattern).matching(parse(pattern))
    return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())


def _store(uri: str) -> ObjectStore:
    if is_gcs(uri):
        from tunepipe.stores.cloud_storage import CloudStorage

        return CloudStorage()
    from tunepipe.stores.s3 import S3

    return S3()


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn what the operating system says of a local file into tunepipe's errors."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def local_files(dataset_uri: str) -> Iterator[list[str]]:
    """Provide a path's, URI's or glob's files locally, in order; remote ones temporarily."""
    uris = list_files(dataset_uri)
    with tempfile.TemporaryDirectory() as folder:
        # People see a file's name in messages.
        yield [
            _download(uri, Path(folder, str(number), parse(uri).name.rpartition("/")[2]))
            if is_object(uri)
            else uri
            for number, uri in enumerate(uris)
        ]


def load_step(dataset_uri: str, path: str) -> None:
    """Write the rows of all files of a dataset into one; no dataset gives an empty file."""
    with replacing(path, "wb") as target:
        for uri in list_files(dataset_uri) if dataset_uri else ():
            block = b"\n"
            with open_file(uri) as source:
                while more := source.read(_BLOCK_BYTES):
                    block = more
                    target.write(block)
            if not block.endswith(b"\n"):  # so that the next file's first row stays whole
                target.write(b"\n")


def _download(uri: str, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_file(uri) as source, path.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return str(path)


def work_folder(work_dir: str, kind: str, file: str) -> AbstractContextManager[str]:
    """Open the folder where a step keeps what it has paid for.

    A local folder is taken as it is; below a gs:// folder each file has one of its own: a step
    copies back and forth only what is about its rows.
    """
    from tunepipe.data.fingerprint import fingerprint

    if not is_object(work_dir):
        return nullcontext(work_dir)
    with open(file, "rb") as rows:
        folder = f"{work_dir.rstrip('/')}/{kind}/{fingerprint(rows)[:16]}"
        return synced_folder(folder, SYNC_SECONDS)


@contextmanager
def synced_folder(uri: str, seconds: float = SYNC_SECONDS, *, once: bool = False) -> Iterator[str]:
    """Work in a local folder that a store keeps: for files that grow, and for checkpoints.

    An object may be written about once a second, so what has changed is copied back from time to
    time, and at the end; a process that is killed loses what came since. In a bucket whose
    retention policy lets no object change, each later state of a file is an object of its own.

    Args:
        uri: A folder; a local path is given back as it is.
        once: Copy a file when it has not changed for a second, for files that are written once:
            none is kept half written. What is removed is deleted while there are others, or at the
            end: a folder that is emptied keeps its last files until then.
    """
    if not is_object(uri):
        yield uri
        return
    root = uri.rstrip("/")
    with tempfile.TemporaryDirectory() as folder:
        numbers = _download_latest(root, folder)
        stored, ended = _versions(folder), threading.Event()
        removed: set[str] = set()
        quiet = min(seconds, _QUIET_SECONDS) * 1e9

        def keep(name: str, path: Path) -> None:
            if not numbers.get(name):
                try:
                    _upload(path, f"{root}/{name}")
                    return
                except CloudError as error:
                    if "retention" not in error.found:
                        raise
            # The bucket changes no object: the file's new state becomes an object of its own.
            number = numbers.get(name, 0) + 1
            _upload(path, f"{root}/{name}{_LATER}{number}")
            numbers[name] = number

        def copy_back(changed_before: float = math.inf) -> None:
            present = _versions(folder)
            # In the order of writing: the last file of a checkpoint says that it is whole.
            changed = [
                name
                for name, version in sorted(present.items(), key=lambda item: item[1])
                if version != stored.get(name) and version[0] < changed_before
            ]
            with tempfile.TemporaryDirectory() as links:
                # A newer checkpoint may replace one that takes long to copy.
                for name in changed:
                    Path(links, name).parent.mkdir(parents=True, exist_ok=True)
                    with suppress(FileNotFoundError):
                        link_or_copy(Path(folder, name), Path(links, name))
                for name in changed:
                    if Path(links, name).exists():
                        keep(name, Path(links, name))
                        stored[name] = present[name]
            # At the second look, so that a folder that is being emptied is not taken for one where
            # newer files have replaced others.
            gone = stored.keys() - present.keys()
            due = gone if ended.is_set() or not once else gone & removed if present else set()
            removed.clear()
            removed.update(gone)
            for name in due:
                with suppress(TunepipeError):  # an old checkpoint that stays does no harm
                    _store(root).delete(parse(f"{root}/{name}"))
                del stored[name]

        def follow() -> None:
            while not ended.wait(seconds):
                with suppress(TunepipeError):  # the next time, or the end, tries again
                    copy_back(time.time_ns() - quiet if once else math.inf)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield folder
        finally:
            ended.set()
            thread.join()
            copy_back()


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(source, target)


def _download_latest(root: str, folder: str) -> dict[str, int]:
    """Download the last state of each file below a URI; return the states' numbers by name."""
    latest: dict[str, tuple[int, str]] = {}
    for uri in matching_files(f"{root}/**"):
        name, _, number = uri.removeprefix(f"{root}/").partition(_LATER)
        latest[name] = max(latest.get(name, (0, uri)), (int(number or 0), uri))
    for name, (_, uri) in latest.items():
        _download(uri, Path(folder, name))
    return {name: number for name, (number, _) in latest.items()}


def _versions(folder: str) -> dict[str, tuple[int, int]]:
    """Return when each file of a folder was written, in ns, and its bytes."""
    versions = {}
    for path in Path(folder).rglob("*"):
        with suppress(FileNotFoundError):  # it was removed meanwhile
            if path.is_file():
                stat = path.stat()
                versions[str(path.relative_to(folder))] = (stat.st_mtime_ns, stat.st_size)
    return versions


def _upload(path: Path, uri: str) -> None:
    """Copy a file that may grow meanwhile, if it is small enough to be read whole."""
    is_small = path.stat().st_size <= _WHOLE_BYTES
    _store(uri).write(parse(uri), path.read_bytes() if is_small else path, must_be_new=False)

"""Files by path or by gs:// URI, through one set of functions.

A gs:// URI may end in `#GENERATION`: then exactly that version of the object is read, whatever
has been written over it since. Local paths need no Google package.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from tunepipe.errors import CloudError, UsageError
from tunepipe.files import replacing
from tunepipe.gcp.credentials import no_token

_SCHEME = "gs://"
_WILDCARDS = re.compile(r"[*?\[]")
_RANGE_BYTES = 4 << 20


@dataclass(frozen=True)
class Stat:
    """What is known of a file without reading it.

    Args:
        uri: The file; a gs:// URI carries its generation, so reading it later reads this version.
        generation: The object's generation, or "" for a local path.
        bytes: Its size.
    """

    uri: str
    generation: str
    bytes: int


@dataclass(frozen=True)
class GcsUri:
    """A gs:// URI in its parts; `generation` is None where none is pinned."""

    bucket: str
    name: str
    generation: int | None = None

    def __str__(self) -> str:
        pin = f"#{self.generation}" if self.generation is not None else ""
        return f"{_SCHEME}{self.bucket}/{self.name}{pin}"


def is_gcs(uri: str) -> bool:
    """Say whether this is a gs:// URI rather than a path."""
    return uri.startswith(_SCHEME)


def parse(uri: str) -> GcsUri:
    """Split a gs:// URI.

    Raises:
        UsageError: It names no bucket or is no gs:// URI.
    """
    bucket, _, name = uri.removeprefix(_SCHEME).partition("/")
    if not is_gcs(uri) or not bucket:
        raise UsageError("this is no gs:// URI", where=uri, fix="write gs://BUCKET/OBJECT")
    stem, mark, pin = name.rpartition("#")
    if mark and pin.isdecimal():
        return GcsUri(bucket, stem, int(pin))
    return GcsUri(bucket, name)


def exists(uri: str) -> bool:
    """Say whether the file is there.

    Raises:
        CloudError: Cloud Storage refused the question.
    """
    if not is_gcs(uri):
        return Path(uri).is_file()
    with _explained(uri):
        return bool(_blob(uri).exists())


def stat(uri: str) -> Stat:
    """Look a file up.

    Raises:
        UsageError: There is no such file.
        CloudError: Cloud Storage refused the question.
    """
    if not is_gcs(uri):
        with _explained(uri):
            return Stat(uri, "", Path(uri).stat().st_size)
    with _explained(uri):
        blob = _blob(uri)
        blob.reload()
    return _stat_of(blob)


def read_bytes(uri: str, start: int = 0, end: int | None = None) -> bytes:
    """Read a file, or the part of it from `start` up to but without `end`, in bytes.

    Raises:
        UsageError: There is no such file.
        CloudError: Cloud Storage refused.
    """
    if end is not None and end <= start:
        return b""
    with open_reader(uri) as file:
        file.seek(start)
        return file.read() if end is None else file.read(end - start)


@contextmanager
def open_reader(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable; of an object only the ranges asked for are fetched.

    Yields:
        The open file. An object is pinned to the generation it has when it is opened, so a
        file that is replaced meanwhile is never read half old, half new.

    Raises:
        UsageError: There is no such file.
        CloudError: Cloud Storage refused.
    """
    with ExitStack() as stack:
        file = stack.enter_context(open_file(uri))
        if is_gcs(uri):
            stack.enter_context(_explained(uri))
        yield file


def open_file(uri: str) -> BinaryIO:
    """Open a file for reading, as `open_reader` does, and leave it to the caller to close it."""
    with _explained(uri):
        if not is_gcs(uri):
            return Path(uri).open("rb")
        blob = _blob(uri)
        blob.reload()
        # The client's own 40 MiB a range would be most of a validation's memory.
        return cast(BinaryIO, blob.open("rb", chunk_size=_RANGE_BYTES))


def write_file(local: str, uri: str, *, if_generation: int | None = None) -> Stat:
    """Copy a local file to a path or an object.

    Args:
        local: The file to copy.
        uri: Where it goes; what is there is replaced.
        if_generation: Replace only this generation of the object; 0 means that it must not
            exist yet.

    Raises:
        UsageError: `local` is not there, or the object is not at `if_generation`.
        CloudError: Cloud Storage refused.
    """
    with _explained(uri):
        if is_gcs(uri):
            blob = _blob(uri)
            blob.upload_from_filename(local, if_generation_match=if_generation)
            return _stat_of(blob)
    return write_bytes(Path(local).read_bytes(), uri)


def write_bytes(data: bytes, uri: str, *, if_generation: int | None = None) -> Stat:
    """Write bytes to a path or an object; see `write_file`."""
    if not is_gcs(uri):
        _write_path(data, Path(uri), must_be_new=if_generation == 0)
        return Stat(uri, "", len(data))
    with _explained(uri):
        blob = _blob(uri)
        blob.upload_from_string(
            data, content_type="application/octet-stream", if_generation_match=if_generation
        )
    return _stat_of(blob)


def _write_path(data: bytes, path: Path, *, must_be_new: bool) -> None:
    if not must_be_new:
        with replacing(path, "wb") as file:
            file.write(data)
        return
    written = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with replacing(written, "wb") as file:
        file.write(data)
    try:
        _place(written, path)
    except FileExistsError as error:
        raise UsageError("this file is there already", where=str(path)) from error
    finally:
        written.unlink()


def _place(written: Path, path: Path) -> None:
    """Give a file its name, whole or not at all; of two that do so at once, one wins."""
    try:
        os.link(written, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as a mounted bucket
        with path.open("xb") as file:
            file.write(written.read_bytes())


def list_files(pattern: str) -> list[str]:
    """List the files that a path, a gs:// URI or a glob of either names, sorted.

    Args:
        pattern: `*` and `?` stop at a slash, `**` does not. A name without a wildcard is
            returned as it is, without looking whether it is there; so is the name of a local file
            that is there, whatever stands in it.

    Raises:
        UsageError: A wildcard that matches nothing.
        CloudError: Cloud Storage refused.
    """
    if not _WILDCARDS.search(pattern) or (not is_gcs(pattern) and Path(pattern).is_file()):
        return [pattern]
    found = _list_objects(pattern) if is_gcs(pattern) else _list_paths(pattern)
    if not found:
        raise UsageError("no file matches", where=pattern, fix="check the folder and the wildcard")
    return found


def _list_paths(pattern: str) -> list[str]:
    return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())


def _list_objects(pattern: str) -> list[str]:
    place = parse(pattern)
    prefix = _WILDCARDS.split(place.name, maxsplit=1)[0]
    with _explained(pattern):
        blobs = _client().list_blobs(place.bucket, prefix=prefix, match_glob=place.name)
        return sorted(str(GcsUri(place.bucket, blob.name)) for blob in blobs)


@cache
def _client() -> Any:
    from google.cloud import storage

    return storage.Client(project=None)


def _blob(uri: str) -> Any:
    place = parse(uri)
    if not place.name:
        raise UsageError("this names a bucket, not an object", where=uri, fix="add the object")
    return _client().bucket(place.bucket).blob(place.name, generation=place.generation)


def _stat_of(blob: Any) -> Stat:
    place = GcsUri(blob.bucket.name, blob.name, blob.generation)
    return Stat(str(place), str(blob.generation), int(blob.size))


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn what the operating system or Cloud Storage says into our errors."""
    if not is_gcs(uri):
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot be read or written: {error.strerror}", where=uri, fix="check the path"
            ) from error
        return
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except api.NotFound as error:
        raise UsageError(
            "no such object or bucket",
            where=uri,
            fix="check the name; a pinned generation may have been replaced or deleted",
        ) from error
    except api.PreconditionFailed as error:
        raise UsageError(
            "somebody wrote this object meanwhile", where=uri, fix="read it again, then write"
        ) from error
    except (api.Forbidden, api.Unauthorized) as error:
        raise CloudError(
            "no permission on this bucket",
            where=uri,
            fix="grant roles/storage.objectAdmin on the bucket to the account in use",
        ) from error
    except auth.GoogleAuthError as error:
        raise no_token(error, uri) from error
    except api.GoogleAPIError as error:
        raise CloudError(f"Cloud Storage: {error}", where=uri, fix="try again later") from error


_BLOCK_BYTES = 1 << 20


@contextmanager
def local_files(dataset_uri: str) -> Iterator[list[str]]:
    """Give the paths of a dataset's files; what lies elsewhere is copied for the while.

    Args:
        dataset_uri: A path, a gs:// URI, or a glob of either.

    Yields:
        The paths, in the order of the URIs.
    """
    uris = list_files(dataset_uri)
    with tempfile.TemporaryDirectory() as folder:
        yield [
            _copy(uri, Path(folder) / str(number)) if is_gcs(uri) else uri
            for number, uri in enumerate(uris)
        ]


def load_step(dataset_uri: str, path: str) -> None:
    """Write the rows of all files of a dataset into one; no dataset gives an empty file."""
    with replacing(path, "wb") as target:
        for uri in list_files(dataset_uri) if dataset_uri else ():
            with open_reader(uri) as source:
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
    copy = folder / parse(uri).name.rpartition("/")[2]  # people see the name in messages
    with open_reader(uri) as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target)
    return str(copy)

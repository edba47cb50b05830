"""Files by path or by gs:// URI, through one set of functions.

A gs:// URI may end in `#GENERATION`: then exactly that version of the object is read, whatever
has been written over it since. Local paths need no Google package.
"""

from __future__ import annotations

import base64
import glob
import io
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeVar

from tunepipe import progress
from tunepipe.errors import CloudError, UsageError
from tunepipe.files import replacing
from tunepipe.gcp.advice import advice, words_of
from tunepipe.gcp.credentials import no_token
from tunepipe.gcp.labels import run_label
from tunepipe.gcp.retries import retry

_SCHEME = "gs://"
_WILDCARDS = re.compile(r"[*?\[]")
_RANGE_BYTES = 4 << 20
_CALL_SECONDS = 60.0
# How long Cloud Storage may be out of reach; a step that reads rows has hours to lose.
_PATIENCE_SECONDS = 600.0
USER_PROJECT = "TUNEPIPE_USER_PROJECT"
_PAYER_LABEL = "tunepipe_user_project"

_Answer = TypeVar("_Answer")


class ConflictError(UsageError):
    """The file is not at the generation that a writer had asked for: another was quicker."""


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
    """Return True if this is a gs:// URI rather than a path."""
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
    """Return True if the file is there.

    Raises:
        CloudError: Cloud Storage refused the question.
    """
    if not is_gcs(uri):
        return Path(uri).is_file()
    blob = _blob(uri)
    return bool(_called(uri, lambda: blob.exists(retry=None, timeout=_CALL_SECONDS)))


def stat(uri: str) -> Stat:
    """Look a file up.

    Raises:
        UsageError: The file is not there.
        CloudError: Cloud Storage refused the question.
    """
    if not is_gcs(uri):
        with _explained(uri):
            return Stat(uri, "", Path(uri).stat().st_size)
    return _stat_of(_reloaded(uri))


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
    with open_file(uri) as file:
        yield file


def size_of(uri: str) -> int | None:
    """Return a file's size in bytes, or None where there is no such file.

    Raises:
        CloudError: Cloud Storage refused.
    """
    try:
        return stat(uri).bytes
    except UsageError:
        return None


def open_file(uri: str) -> BinaryIO:
    """Open a file for reading, as `open_reader` does, and leave it to the caller to close it."""
    if not is_gcs(uri):
        with _explained(uri):
            return Path(uri).open("rb")
    # The client's own 40 MiB a range would be most of a validation's memory.
    return io.BufferedReader(_ObjectReader(_reloaded(uri)), _RANGE_BYTES)


class _ObjectReader(io.RawIOBase):
    """One generation of an object, by ranges that end where the object ends.

    A range whose connection breaks is asked for again. An object stored with `Content-Encoding:
    gzip` is read as the .gz file that it is: its ranges and its size are those of the stored
    bytes. Where the whole object was read in order, its CRC32C is compared with the stored one.
    """

    def __init__(self, blob: Any) -> None:
        import google_crc32c

        self._blob, self._uri = blob, str(_stat_of(blob).uri)
        self._position, self._size = 0, int(blob.size)
        checksum: Any = google_crc32c.Checksum
        self._checksum, self._checked = checksum(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._range(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._range(4 * _RANGE_BYTES), b""))

    def _range(self, length: int) -> bytes:
        start, end = self._position, min(self._position + length, self._size)
        if start >= end:
            return b""

        def download() -> bytes:
            data: bytes = self._blob.download_as_bytes(
                start=start, end=end - 1, raw_download=True, checksum=None, retry=None,
                timeout=_CALL_SECONDS,
            )  # fmt: skip
            if len(data) != end - start:
                raise ConnectionError(f"{len(data)} of {end - start} bytes arrived")
            return data

        data = _called(self._uri, download)
        self._position = end
        self._check(data, start)
        return data

    def _check(self, data: bytes, start: int) -> None:
        if start != self._checked:
            return  # not read in order
        self._checksum.update(data)
        self._checked += len(data)
        stored = self._blob.crc32c
        if self._checked == self._size and stored:
            found = base64.b64encode(self._checksum.digest()).decode()
            if found != stored:
                raise CloudError(
                    f"the bytes read have the CRC32C {found}, those stored {stored}",
                    where=self._uri,
                    fix="read it again; a proxy on the way may change what it passes on",
                )


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
    if not is_gcs(uri):
        with _explained(local):
            return write_bytes(Path(local).read_bytes(), uri)
    with _explained(local):
        Path(local).open("rb").close()  # a missing file is not Cloud Storage's fault
    blob = _blob(uri)
    return _written(
        uri,
        lambda: blob.upload_from_filename(
            local, if_generation_match=if_generation, checksum="crc32c", retry=None
        ),
        blob,
        lambda: Path(local).read_bytes(),
    )


def write_bytes(data: bytes, uri: str, *, if_generation: int | None = None) -> Stat:
    """Write bytes to a path or an object; see `write_file`."""
    if not is_gcs(uri):
        _write_path(data, Path(uri), must_be_new=if_generation == 0)
        return Stat(uri, "", len(data))
    blob = _blob(uri)
    return _written(
        uri,
        lambda: blob.upload_from_string(
            data,
            content_type="application/octet-stream",
            if_generation_match=if_generation,
            checksum="crc32c",
            timeout=_CALL_SECONDS,
            retry=None,
        ),
        blob,
        lambda: data,
    )


def write_new(data: bytes, uri: str) -> None:
    """Write bytes where no file is; one that holds the same bytes is left as it is.

    A bucket with a retention policy takes new objects and no changes, so a repeated step must not
    write again what it has written.
    """
    if not (exists(uri) and read_bytes(uri) == data):
        write_bytes(data, uri)


def _written(uri: str, upload: Callable[[], None], blob: Any, content: Callable[[], bytes]) -> Stat:
    from google.api_core import exceptions as api

    attempts = 0

    def write() -> Stat:
        nonlocal attempts
        attempts += 1
        try:
            upload()
        except api.PreconditionFailed:
            # The answer to an earlier attempt may have been lost on the way.
            if attempts > 1 and read_bytes(uri) == content():
                return stat(uri)
            raise
        return _stat_of(blob)

    return _called(uri, write)


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
        raise ConflictError("this file is there already", where=str(path)) from error
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
    files = matching_files(pattern)
    if not files:
        raise UsageError("no file matches", where=pattern, fix="check the folder and the wildcard")
    return files


def matching_files(pattern: str) -> list[str]:
    """List the files that a glob names, sorted; none is no error.

    Raises:
        UsageError: The bucket is not there.
        CloudError: Cloud Storage refused.
    """
    if is_gcs(pattern):
        return _list_objects(pattern)
    return sorted(path for path in glob.glob(pattern, recursive=True) if Path(path).is_file())


def _list_objects(pattern: str) -> list[str]:
    place = parse(pattern)
    prefix = _WILDCARDS.split(place.name, maxsplit=1)[0]
    bucket = _bucket(place.bucket)

    def names() -> list[str]:
        blobs = bucket.list_blobs(
            prefix=prefix, match_glob=place.name, retry=None, timeout=_CALL_SECONDS
        )
        # A name that ends in a slash stands for a folder.
        return [blob.name for blob in blobs if not blob.name.endswith("/")]

    return sorted(str(GcsUri(place.bucket, name)) for name in _called(pattern, names))


@cache
def _client() -> Any:
    from google.cloud import storage

    return storage.Client(project=None)


def payer_label() -> dict[str, str]:
    """Return the label by which a run's steps learn who pays for requests; {} for nobody."""
    payer = os.environ.get(USER_PROJECT, "")
    return {_PAYER_LABEL: payer} if payer else {}


def _bucket(name: str) -> Any:
    """Make the bucket; requests to one where the requester pays name the project that pays."""
    payer = os.environ.get(USER_PROJECT) or run_label(_PAYER_LABEL)
    return _client().bucket(name, user_project=payer or None)


def _blob(uri: str) -> Any:
    place = parse(uri)
    if not place.name:
        raise UsageError("this names a bucket, not an object", where=uri, fix="add the object")
    return _bucket(place.bucket).blob(place.name, generation=place.generation)


def _reloaded(uri: str) -> Any:
    blob = _blob(uri)
    _called(uri, lambda: blob.reload(retry=None, timeout=_CALL_SECONDS))
    return blob


def _called(uri: str, call: Callable[[], _Answer]) -> _Answer:
    """Call Cloud Storage; hiccups are waited out and reported, refusals explained."""

    def report(error: BaseException) -> None:
        progress.report(stage="storage", waiting=f"{type(error).__name__}; trying again")

    with _explained(uri):
        return retry(call, seconds=_PATIENCE_SECONDS, longest_pause_seconds=30.0, on_pause=report)


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
            words_of(error) if "bucket" in words_of(error) else "object not found",
            where=uri,
            fix="check the name; a pinned generation may have been replaced or deleted",
        ) from error
    except api.PreconditionFailed as error:
        raise ConflictError(
            "another process wrote this object meanwhile", where=uri, fix="read it again"
        ) from error
    except auth.GoogleAuthError as error:
        raise no_token(error, uri) from error
    except api.GoogleAPICallError as error:
        words = words_of(error)
        raise CloudError(words, where=uri, fix=advice(words)) from error
    except OSError as error:
        raise CloudError(
            f"the connection to Cloud Storage broke: {type(error).__name__}",
            where=uri,
            fix="check the network and the proxy, then try again",
        ) from error


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

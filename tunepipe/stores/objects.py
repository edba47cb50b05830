"""Objects in a bucket: what every store does in the same way.

A store brings five primitives (look up, read a range, write, list, explain an error). What callers
rely on is here, once: retries, reading by ranges of one version, writes that one writer alone wins.
"""

from __future__ import annotations

import base64
import io
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tunepipe import progress
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp.retries import retry

SCHEMES = ("gs", "s3", "minio")
CALL_SECONDS = 60.0
_RANGE_BYTES = 4 << 20
# How long a store may be out of reach; a step that reads rows has hours to lose.
_PATIENCE_SECONDS = 600.0
_URI = re.compile(rf"({'|'.join(SCHEMES)})://([^/]*)/?(.*)", re.DOTALL)
# A version ID of S3 may be any text, so it is marked; a generation of Cloud Storage is a number.
_PIN = {"gs": re.compile(r"#(\d+)\Z")}
_MARKED_PIN = re.compile(r"#((?:version|etag)=[^#]+)\Z")

_WILDCARDS = re.compile(r"[*?\[]")

_Answer = TypeVar("_Answer")


class ConflictError(UsageError):
    """The object exists already, or another process has replaced it."""


@dataclass(frozen=True)
class Stat:
    """What is known of a file without reading it.

    Args:
        uri: The file; an object's URI carries its version, so reading it later reads this version.
        generation: The object's version, or "" for a local path.
        crc32c: The stored checksum in base64; "" if the store has none.
    """

    uri: str
    generation: str
    bytes: int
    crc32c: str = ""


@dataclass(frozen=True)
class ObjectUri:
    """An object's URI in its parts; `version` is "" if none is pinned."""

    scheme: str
    bucket: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        pin = f"#{self.version}" if self.version else ""
        return f"{self.scheme}://{self.bucket}/{self.name}{pin}"


def is_object(uri: str) -> bool:
    """Return True if this is the URI of an object, or of a prefix, rather than a local path."""
    return _URI.match(uri) is not None


def is_gcs(uri: str) -> bool:
    """Return True if this is a gs:// URI, the only kind that Google's own services read."""
    return uri.startswith("gs://")


def parse(uri: str) -> ObjectUri:
    """Split the URI of an object or of a prefix; a UsageError for another scheme, or no bucket."""
    match = _URI.match(uri)
    if not match or not match[2]:
        raise UsageError(
            "not an object's URI", where=uri, fix="write gs://BUCKET/OBJECT, s3:// or minio://"
        )
    scheme, bucket, name = match.groups()
    pin = _PIN.get(scheme, _MARKED_PIN).search(name)
    if pin:
        return ObjectUri(scheme, bucket, name[: pin.start()], pin[1])
    return ObjectUri(scheme, bucket, name)


class ObjectStore(ABC):
    """The objects of one kind of store; see the module for what is shared."""

    def exists(self, place: ObjectUri) -> bool:
        """Return True if the object is there."""
        return self._call(place, lambda: self.look_up(_named(place))) is not None

    def stat(self, place: ObjectUri) -> Stat:
        """Look an object up; a UsageError if it is not there."""
        known = self._call(place, lambda: self.look_up(_named(place)))
        if known is None:
            raise UsageError(
                "object not found",
                where=str(place),
                fix="check the name; a pinned version may have been replaced or deleted",
            )
        return known

    def open(self, place: ObjectUri) -> BinaryIO:
        """Open the object's present version for reading, seekable; only what is read is fetched."""
        # The client's own 40 MiB a range would be most of a validation's memory.
        return io.BufferedReader(_ObjectReader(self, self.stat(place)), _RANGE_BYTES)

    def write(self, place: ObjectUri, content: bytes | Path, *, must_be_new: bool) -> Stat:
        """Write an object from bytes or a file; a ConflictError if it is there and must not be."""
        attempts = 0

        def put() -> Stat:
            nonlocal attempts
            attempts += 1
            try:
                return self.put(_named(place), content, must_be_new=must_be_new)
            except Exception as error:
                # The answer to an earlier attempt may have been lost on the way.
                if attempts > 1 and self.is_conflict(error) and self._holds(place, content):
                    return self.stat(place)
                raise

        return self._call(place, put)

    def delete(self, place: ObjectUri) -> None:
        """Delete an object."""
        self._call(place, lambda: self.remove(place))

    def matching(self, place: ObjectUri) -> list[str]:
        """Return the URIs of the objects whose names match a glob, sorted."""
        names = self._call(place, lambda: self.names(place))
        # A name that ends in a slash is a folder.
        return sorted(str(replace(place, name=name)) for name in names if not name.endswith("/"))

    @abstractmethod
    def look_up(self, place: ObjectUri) -> Stat | None:
        """Return what is known of an object or of its pinned version; None if it is not."""

    @abstractmethod
    def read_range(self, place: ObjectUri, start: int, end: int) -> bytes:
        """Read the bytes from `start` up to but without `end` of the pinned version."""

    @abstractmethod
    def put(self, place: ObjectUri, content: bytes | Path, *, must_be_new: bool) -> Stat:
        """Write an object in one piece; of several that write a new one, one alone succeeds."""

    @abstractmethod
    def remove(self, place: ObjectUri) -> None:
        """Remove an object."""

    @abstractmethod
    def names(self, place: ObjectUri) -> list[str]:
        """Return the names of the objects that match the glob `place.name`."""

    @abstractmethod
    def is_conflict(self, error: Exception) -> bool:
        """Return True if the store says that the object is there, or is another version."""

    @abstractmethod
    def explained(self, uri: str) -> AbstractContextManager[None]:
        """Turn the store's errors into tunepipe's."""

    def _holds(self, place: ObjectUri, content: bytes | Path) -> bool:
        data = content if isinstance(content, bytes) else content.read_bytes()
        with self.open(place) as file:
            return file.read() == data

    def _call(self, place: ObjectUri, call: Callable[[], _Answer]) -> _Answer:
        """Call the store; hiccups are waited out and reported, refusals explained."""

        def report(error: BaseException) -> None:
            progress.report(stage="storage", waiting=f"{type(error).__name__}; trying again")

        with self.explained(str(place)):
            return retry(
                call, seconds=_PATIENCE_SECONDS, longest_pause_seconds=30.0, on_pause=report
            )


def _named(place: ObjectUri) -> ObjectUri:
    if not place.name:
        raise UsageError(
            "this names a bucket, not an object", where=str(place), fix="add the object"
        )
    return place


class _ObjectReader(io.RawIOBase):
    """One version of an object, by ranges that end where the object ends.

    A range whose connection breaks is asked for again. An object stored with `Content-Encoding:
    gzip` is read as the .gz file that it is: its ranges and its size are those of the stored
    bytes. Where the whole object was read in order, its CRC32C is compared with the stored one.
    """

    def __init__(self, store: ObjectStore, stat: Stat) -> None:
        self._store, self._stat, self._place = store, stat, parse(stat.uri)
        self._position = 0
        self._checksum: Any = None
        self._checked_bytes = 0
        if stat.crc32c:
            import google_crc32c

            self._checksum = google_crc32c.Checksum()  # type: ignore[no-untyped-call]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._stat.bytes}
        self._position = start[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._range(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self._range(4 * _RANGE_BYTES), b""))

    def _range(self, length: int) -> bytes:
        start, end = self._position, min(self._position + length, self._stat.bytes)
        if start >= end:
            return b""

        def download() -> bytes:
            data = self._store.read_range(self._place, start, end)
            if len(data) != end - start:
                raise ConnectionError(f"{len(data)} of {end - start} bytes arrived")
            return data

        data = self._store._call(self._place, download)
        self._position = end
        self._check(data, start)
        return data

    def _check(self, data: bytes, start: int) -> None:
        if self._checksum is None or start != self._checked_bytes:
            return  # not stored, or not read in order
        self._checksum.update(data)
        self._checked_bytes += len(data)
        if self._checked_bytes == self._stat.bytes:
            checksum = base64.b64encode(self._checksum.digest()).decode()
            if checksum != self._stat.crc32c:
                raise CloudError(
                    f"the bytes read have the CRC32C {checksum}, those stored {self._stat.crc32c}",
                    where=self._stat.uri,
                    fix="read it again; a proxy on the way may change what it passes on",
                )


def has_wildcard(name: str) -> bool:
    """Return True if a name is a glob."""
    return _WILDCARDS.search(name) is not None


def fixed_prefix(pattern: str) -> str:
    """Return the part of a glob in front of its first wildcard."""
    return _WILDCARDS.split(pattern, maxsplit=1)[0]


def match_glob(names: Iterator[str], pattern: str) -> list[str]:
    """Return the names that match a glob; `*` and `?` stop at a slash, `**` does not.

    Cloud Storage matches by itself; S3 lists by prefix alone.
    """
    # `**/` also matches no folder at all.
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = re.compile(
        "".join(
            special.get(part)
            or (re.sub(r"^\[!", "[^", part) if part.startswith("[") else re.escape(part))
            for part in parts
        )
    )
    return [name for name in names if expression.fullmatch(name)]

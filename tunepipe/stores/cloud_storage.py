"""Google Cloud Storage, gs://, through Google's client."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp.explanations import explained, words_of
from tunepipe.gcp.labels import run_label
from tunepipe.stores.objects import (
    CALL_SECONDS,
    ConflictError,
    ObjectStore,
    ObjectUri,
    Stat,
    fixed_prefix,
)

USER_PROJECT = "TUNEPIPE_USER_PROJECT"
_PAYER_LABEL = "tunepipe_user_project"


class CloudStorage(ObjectStore):
    """Objects on gs://; a version is a generation."""

    def look_up(self, place: ObjectUri) -> Stat | None:
        """Return what is known of an object, or of its pinned generation."""
        from google.api_core import exceptions as api

        blob = _blob(place)
        try:
            blob.reload(retry=None, timeout=CALL_SECONDS)
        except api.NotFound as error:
            if _names_bucket(error):
                raise
            return None
        return _stat_of(blob)

    def read_range(self, place: ObjectUri, start: int, end: int) -> bytes:
        """Read a range of one generation."""
        data: bytes = _blob(place).download_as_bytes(
            start=start, end=end - 1, raw_download=True, checksum=None, retry=None,
            timeout=CALL_SECONDS,
        )  # fmt: skip
        return data

    def put(self, place: ObjectUri, content: bytes | Path, *, must_be_new: bool) -> Stat:
        """Write an object; generation 0 requires that it does not exist yet."""
        blob = _blob(place)
        with content.open("rb") if isinstance(content, Path) else BytesIO(content) as stream:
            size = stream.seek(0, os.SEEK_END)  # a small object of known size takes one request
            blob.upload_from_file(
                stream, rewind=True, size=size, if_generation_match=0 if must_be_new else None,
                checksum="crc32c", timeout=CALL_SECONDS, retry=None,
            )  # fmt: skip
        return _stat_of(blob)

    def remove(self, place: ObjectUri) -> None:
        """Remove an object."""
        _blob(place).delete(retry=None, timeout=CALL_SECONDS)

    def names(self, place: ObjectUri) -> list[str]:
        """List by glob; Cloud Storage matches it."""
        blobs = _bucket(place.bucket).list_blobs(
            prefix=fixed_prefix(place.name), match_glob=place.name, retry=None, timeout=CALL_SECONDS
        )
        return [blob.name for blob in blobs]

    def is_conflict(self, error: Exception) -> bool:
        """Return True for 412."""
        from google.api_core import exceptions as api

        return isinstance(error, api.PreconditionFailed)

    @contextmanager
    def explained(self, uri: str) -> Iterator[None]:
        """Turn what Google's client raises into tunepipe's errors."""
        from google.api_core import exceptions as api

        with explained(uri, page=""):
            try:
                yield
            except api.NotFound as error:
                raise UsageError(
                    words_of(error) if _names_bucket(error) else "object not found",
                    where=uri,
                    fix="check the name; a pinned generation may have been replaced or deleted",
                ) from error
            except api.PreconditionFailed as error:
                raise ConflictError(
                    "another process wrote this object meanwhile", where=uri, fix="read it again"
                ) from error
            except OSError as error:
                raise CloudError(
                    f"the connection to Cloud Storage broke: {type(error).__name__}",
                    where=uri,
                    fix="check the network and the proxy, then try again",
                ) from error


@cache
def _client() -> Any:
    from google.cloud import storage

    return storage.Client(project=None)


def payer_label() -> dict[str, str]:
    """Return the label that names the project that pays for requests; {} without one."""
    payer = os.environ.get(USER_PROJECT, "")
    if not re.fullmatch(r"[a-z0-9-]{0,63}", payer):
        raise UsageError(
            "a label cannot hold this project's id", where=payer, fix="give the project's number"
        )
    return {_PAYER_LABEL: payer} if payer else {}


def user_project() -> str:
    """Return the project that pays for requests to a requester-pays bucket; "" for none."""
    return os.environ.get(USER_PROJECT) or run_label(_PAYER_LABEL)


def _bucket(name: str) -> Any:
    """Make the bucket; requests to one where the requester pays name the project that pays."""
    return _client().bucket(name, user_project=user_project() or None)


def _names_bucket(error: Any) -> bool:
    """Return True if the bucket is missing; a missing object's message has its name, too."""
    return "bucket does not exist" in words_of(error)


def _blob(place: ObjectUri) -> Any:
    version = int(place.version) if place.version else None
    return _bucket(place.bucket).blob(place.name, generation=version)


def _stat_of(blob: Any) -> Stat:
    version = str(blob.generation)
    uri = str(ObjectUri("gs", blob.bucket.name, blob.name, version))
    return Stat(uri, version, int(blob.size), str(blob.crc32c or ""))

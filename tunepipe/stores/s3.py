"""S3 and the stores that speak it, s3:// and minio://, through boto3.

s3:// takes boto3's own settings: credentials and region from the environment, the shared files or
the pod's role, and another server than Amazon's from AWS_ENDPOINT_URL_S3. minio:// is the store
that Kubeflow Pipelines brings; MINIO_ENDPOINT, MINIO_ACCESS_KEY and MINIO_SECRET_KEY name it, and
without them the address of that store in its cluster and boto3's credentials.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from tunepipe.errors import CloudError, LimitError, UsageError
from tunepipe.gcp.retries import status_of
from tunepipe.stores.objects import (
    CALL_SECONDS,
    ConflictError,
    ObjectStore,
    ObjectUri,
    Stat,
    fixed_prefix,
    match_glob,
)

# kubeflow/pipelines manifests: the service of the object store, whichever server is behind it.
_KFP_STORE = "http://minio-service.kubeflow:9000"
_CREDENTIALS_FIX = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or for minio:// "
    "MINIO_ACCESS_KEY and MINIO_SECRET_KEY"
)
# An upload in one piece; more is sent in parts, which boto3 does.
_ONE_PIECE_BYTES = 64 << 20


class S3(ObjectStore):
    """Objects on s3:// or minio://; a version is the bucket's version ID, else the ETag."""

    def look_up(self, place: ObjectUri) -> Stat | None:
        """Return what is known of an object, or of its pinned version."""
        from botocore.exceptions import ClientError

        try:
            head = _client(place.scheme).head_object(
                Bucket=place.bucket, Key=place.name, **_pin(place)
            )
        except ClientError as error:
            # HEAD has no body, so a missing bucket looks like a missing object; so does a version
            # that was replaced (412). Only a wrong version ID is answered with 400.
            if status_of(error) in (404, 412) or (place.version and status_of(error) == 400):
                _client(place.scheme).head_bucket(Bucket=place.bucket)  # is it there?
                return None
            raise
        return _stat(place, head, int(head["ContentLength"]))

    def read_range(self, place: ObjectUri, start: int, end: int) -> bytes:
        """Read a range of one version."""
        answer = _client(place.scheme).get_object(
            Bucket=place.bucket, Key=place.name, Range=f"bytes={start}-{end - 1}", **_pin(place)
        )
        data: bytes = answer["Body"].read()
        return data

    def put(self, place: ObjectUri, content: bytes | Path, *, must_be_new: bool) -> Stat:
        """Write an object; `If-None-Match: *` lets one writer alone create it."""
        client = _client(place.scheme)
        where = {"Bucket": place.bucket, "Key": place.name}
        if must_be_new:
            _require_conditional_writes(place.scheme, place.bucket)
            data = content if isinstance(content, bytes) else content.read_bytes()
            answer = client.put_object(**where, Body=data, IfNoneMatch="*")
            return _stat(place, answer, len(data))
        if isinstance(content, Path):
            size = content.stat().st_size
            if size > _ONE_PIECE_BYTES:
                client.upload_file(str(content), place.bucket, place.name)
                return self.stat(place)
            content = content.read_bytes()
        return _stat(place, client.put_object(**where, Body=content), len(content))

    def remove(self, place: ObjectUri) -> None:
        """Remove an object."""
        _client(place.scheme).delete_object(Bucket=place.bucket, Key=place.name)

    def names(self, place: ObjectUri) -> list[str]:
        """List by prefix, and match the glob here."""
        pages = (
            _client(place.scheme)
            .get_paginator("list_objects_v2")
            .paginate(Bucket=place.bucket, Prefix=fixed_prefix(place.name))
        )
        return match_glob(
            (each["Key"] for page in pages for each in page.get("Contents", ())), place.name
        )

    def is_conflict(self, error: Exception) -> bool:
        """Return True for 412; 409 is a race whose outcome is not known yet, and asked again."""
        return status_of(error) == 412

    @contextmanager
    def explained(self, uri: str) -> Iterator[None]:
        """Turn what boto3 raises into tunepipe's errors."""
        from boto3.exceptions import Boto3Error
        from botocore import exceptions as aws

        try:
            yield
        except aws.ClientError as error:
            raise _explanation(error, uri) from error
        except (aws.NoCredentialsError, aws.PartialCredentialsError) as error:
            raise CloudError("no usable S3 credentials", where=uri, fix=_CREDENTIALS_FIX) from error
        except aws.ParamValidationError as error:
            raise UsageError(str(error), where=uri, fix="check the bucket and the name") from error
        except (aws.BotoCoreError, Boto3Error, OSError) as error:
            raise CloudError(
                f"the object store cannot be reached: {type(error).__name__}",
                where=f"{uri} at {_client(uri.partition(':')[0]).meta.endpoint_url}",
                fix="check AWS_ENDPOINT_URL_S3 or MINIO_ENDPOINT, the network and the proxy",
            ) from error


@cache
def _client(scheme: str) -> Any:
    import boto3
    from botocore.config import Config

    settings: dict[str, Any] = {}
    address = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if scheme == "minio":
        address = os.environ.get("MINIO_ENDPOINT") or address or _KFP_STORE
        settings = {"endpoint_url": address if "://" in address else f"http://{address}"}
        if os.environ.get("MINIO_ACCESS_KEY"):
            settings["aws_access_key_id"] = os.environ["MINIO_ACCESS_KEY"]
            settings["aws_secret_access_key"] = os.environ.get("MINIO_SECRET_KEY", "")
        settings["region_name"] = os.environ.get("AWS_REGION", "us-east-1")
    # Older servers other than Amazon's know neither trailing checksums nor buckets as host names.
    compatible: dict[str, Any] = {
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "s3": {"addressing_style": "path"},
    }
    config = Config(
        connect_timeout=10,
        read_timeout=CALL_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},  # gcp.retries has the policy
        **(compatible if address else {}),
    )
    return boto3.session.Session().client("s3", config=config, **settings)


@cache
def _require_conditional_writes(scheme: str, bucket: str) -> None:
    """Check once a bucket that a write that must be new is refused where an object is.

    A server that does not know `If-None-Match` takes the write, and two runs would each believe
    that the job is theirs to start.
    """
    from botocore.exceptions import ClientError

    client = _client(scheme)
    where = {"Bucket": bucket, "Key": f"tunepipe/conditional-write-{uuid4().hex}"}
    client.put_object(**where, Body=b"1")
    try:
        client.put_object(**where, Body=b"2", IfNoneMatch="*")
    except ClientError as error:
        if status_of(error) == 412:
            return
        raise
    finally:
        client.delete_object(**where)
    raise LimitError(
        "this object store does not refuse to write over an object (If-None-Match)",
        where=f"{scheme}://{bucket}",
        fix="use a server that knows conditional writes: Amazon S3, MinIO, Ceph from 2024 on",
    )


def _pin(place: ObjectUri) -> dict[str, str]:
    kind, _, value = place.version.partition("=")
    return {"version": {"VersionId": value}, "etag": {"IfMatch": f'"{value}"'}}.get(kind, {})


def _stat(place: ObjectUri, answer: Any, size: int) -> Stat:
    version_id = str(answer.get("VersionId") or "null")
    etag = str(answer["ETag"]).strip('"')
    version = f"etag={etag}" if version_id == "null" else f"version={version_id}"
    uri = str(ObjectUri(place.scheme, place.bucket, place.name, version))
    return Stat(uri, version, size)


def _explanation(error: Any, uri: str) -> Exception:
    status, words = status_of(error) or 0, str(error.response.get("Error", {}).get("Message", ""))
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code == "NoSuchBucket" or (status == 404 and error.operation_name == "HeadBucket"):
        return UsageError("there is no bucket of this name", where=uri, fix="check the name")
    if status == 404:
        return UsageError("object not found", where=uri, fix="check the name")
    if status == 412 and error.operation_name == "GetObject":
        return UsageError(
            "object not found in this version", where=uri, fix="it was replaced; read it again"
        )
    if status == 412:
        return ConflictError(
            "another process wrote this object meanwhile", where=uri, fix="read it again"
        )
    fix = _CREDENTIALS_FIX if status in (401, 403) else "see the object store's log"
    return CloudError(
        f"the object store answered {status} {code}: {words}".rstrip(": "), where=uri, fix=fix
    )

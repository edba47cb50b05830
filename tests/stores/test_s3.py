"""What S3 answers and what it becomes: Amazon's own client, with answers of a table."""

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)  # fmt: skip
from botocore.stub import Stubber

from tests.standin.s3 import BUCKET, S3Server, forget
from tunepipe.errors import CloudError, UsageError
from tunepipe.stores import s3, storage
from tunepipe.stores.objects import ConflictError, ObjectUri, Stat
from tunepipe.stores.s3 import S3

NAMES = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION",
    "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "MINIO_ENDPOINT", "MINIO_ACCESS_KEY",
    "MINIO_SECRET_KEY",
)  # fmt: skip


@pytest.fixture
def settings(monkeypatch):
    """No settings of the caller's, and no client made of earlier ones."""
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    forget(s3)
    yield monkeypatch
    forget(s3)


@pytest.fixture
def stub(settings):
    """The client of s3://, whose answers are added one by one."""
    settings.setenv("AWS_REGION", "us-east-1")
    settings.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with Stubber(s3._client("s3")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("scheme", "given", "address", "style"),
    [
        ("minio", {}, "http://minio-service.kubeflow:9000", "path"),
        ("minio", {"AWS_ENDPOINT_URL": "http://one:1"}, "http://one:1", "path"),
        ("minio", {"AWS_ENDPOINT_URL": "http://one:1", "AWS_ENDPOINT_URL_S3": "http://two:2"},
         "http://two:2", "path"),
        ("minio", {"AWS_ENDPOINT_URL": "http://one:1", "MINIO_ENDPOINT": "three:3"},
         "http://three:3", "path"),
        ("minio", {"MINIO_ENDPOINT": "https://three:3"}, "https://three:3", "path"),
        ("s3", {"AWS_ENDPOINT_URL": "http://one:1"}, "http://one:1", "path"),
        ("s3", {"AWS_ENDPOINT_URL_S3": "http://two:2", "MINIO_ENDPOINT": "three:3"},
         "http://two:2", "path"),
        ("s3", {"AWS_DEFAULT_REGION": "eu-west-1"}, "https://s3.eu-west-1.amazonaws.com", None),
    ],
)  # fmt: skip
def test_which_server_is_asked_and_how_its_buckets_are_named(
    settings, scheme, given, address, style
):
    for name, value in given.items():
        settings.setenv(name, value)
    client = s3._client(scheme)
    assert client.meta.endpoint_url == address
    assert (client.meta.config.s3 or {}).get("addressing_style") == style
    checksums = "when_required" if style else "when_supported"
    assert client.meta.config.request_checksum_calculation == checksums
    # The waiting is ours alone.
    assert client.meta.config.retries["total_max_attempts"] == 1


def test_the_keys_of_minio_are_its_own(settings):
    settings.setenv("AWS_ACCESS_KEY_ID", "amazon")
    settings.setenv("AWS_SECRET_ACCESS_KEY", "a")
    settings.setenv("MINIO_ACCESS_KEY", "minio")
    settings.setenv("MINIO_SECRET_KEY", "m")
    settings.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for scheme, keys in (("minio", ("minio", "m")), ("s3", ("amazon", "a"))):
        used = s3._client(scheme)._get_credentials()
        assert (used.access_key, used.secret_key) == keys


# The version that is pinned, the answer's status, and whether it says that the object is missing.
HEADS = [
    ("", 404, True),
    ("etag=e", 412, True),
    ("version=v", 404, True),
    ("version=v", 400, True),
    ("", 400, False),
    ("version=v", 401, False),
    ("version=v", 403, False),
    ("version=v", 405, False),
    ("", 413, False),
    ("", 503, False),
]


def test_which_answers_say_that_an_object_is_not_there(stub):
    for version, status, is_missing in HEADS:
        stub.add_client_error("head_object", http_status_code=status)
        place = ObjectUri("s3", "bucket", "a", version)
        if is_missing:
            stub.add_response("head_bucket", {}, {"Bucket": "bucket"})
            assert S3().look_up(place) is None
            continue
        with pytest.raises(ClientError):
            S3().look_up(place)


# The version that is pinned, what else the answer has, what is asked for, and the version then.
PINS = [
    ("", {"VersionId": "v2"}, {}, "version=v2"),
    ("", {"VersionId": "null"}, {}, "etag=e"),
    ("etag=e", {}, {"IfMatch": '"e"'}, "etag=e"),
    ("version=v1", {"VersionId": "v1"}, {"VersionId": "v1"}, "version=v1"),
]


def test_an_object_is_pinned_by_its_version_or_its_etag(stub):
    for version, answer, asked, found in PINS:
        head = {**answer, "ETag": '"e"', "ContentLength": 7}
        stub.add_response("head_object", head, {"Bucket": "bucket", "Key": "a", **asked})
        looked = S3().look_up(ObjectUri("s3", "bucket", "a", version))
        assert looked == Stat(f"s3://bucket/a#{found}", found, 7)


LOG, KEYS = "see the object store's log", s3._CREDENTIALS_FIX


@pytest.mark.parametrize(
    ("status", "code", "operation", "kind", "found", "fix"),
    [
        (404, "NoSuchBucket", "GetObject", UsageError, "there is no bucket of this name", "name"),
        (0, "NoSuchBucket", "ListObjectsV2", UsageError, "there is no bucket of this name", "name"),
        (404, "404", "HeadBucket", UsageError, "there is no bucket of this name", "name"),
        (404, "NoSuchKey", "GetObject", UsageError, "object not found", "name"),
        (412, "PreconditionFailed", "GetObject", UsageError, "object not found in this version",
         "read it again"),
        (412, "PreconditionFailed", "PutObject", ConflictError,
         "another process wrote this object meanwhile", "read it again"),
        (403, "AccessDenied", "HeadBucket", CloudError,
         "the object store answered 403 AccessDenied: Words.", KEYS),
        (401, "Unauthorized", "GetObject", CloudError,
         "the object store answered 401 Unauthorized: Words.", KEYS),
        (402, "Pay", "GetObject", CloudError, "the object store answered 402 Pay: Words.", LOG),
        (405, "Not", "GetObject", CloudError, "the object store answered 405 Not: Words.", LOG),
        (405, "Not", "HeadBucket", CloudError, "the object store answered 405 Not: Words.", LOG),
        (413, "Big", "GetObject", CloudError, "the object store answered 413 Big: Words.", LOG),
        (413, "Big", "PutObject", CloudError, "the object store answered 413 Big: Words.", LOG),
        (500, "", "PutObject", CloudError, "the object store answered 500 : Words.", LOG),
        (0, "", "PutObject", CloudError, "the object store answered 0 : Words.", LOG),
    ],
)  # fmt: skip
def test_an_error_says_what_was_refused_and_what_to_do(status, code, operation, kind, found, fix):
    answer = {"Error": {"Code": code, "Message": "Words."}}
    answer |= {"ResponseMetadata": {"HTTPStatusCode": status}} if status else {}
    with pytest.raises(kind) as caught, S3().explained("s3://b/x"):
        raise ClientError(answer, operation)
    assert (type(caught.value), caught.value.found, caught.value.where) == (kind, found, "s3://b/x")
    assert caught.value.fix.endswith(fix)
    assert S3().is_conflict(caught.value.__cause__) is (status == 412)


@pytest.mark.parametrize(
    ("error", "kind", "found"),
    [
        (NoCredentialsError(), CloudError, "no usable S3 credentials"),
        (ParamValidationError(report="Bucket"), UsageError, "Parameter validation failed:\nBucket"),
        (EndpointConnectionError(endpoint_url="x"), CloudError,
         "the object store cannot be reached: EndpointConnectionError"),
        (boto3.exceptions.S3UploadFailedError("x"), CloudError,
         "the object store cannot be reached: S3UploadFailedError"),
        (ConnectionResetError("x"), CloudError,
         "the object store cannot be reached: ConnectionResetError"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_of_an_answer_is_named(settings, error, kind, found):
    with pytest.raises(kind) as caught, S3().explained("minio://b/x"):
        raise error
    assert caught.value.found == found
    at = " at http://minio-service.kubeflow:9000" if "reached" in found else ""
    assert caught.value.where == f"minio://b/x{at}"


@pytest.mark.parametrize(("text", "calls"), [("abc", ["PUT"]), ("abcd", ["PUT", "HEAD"])])
def test_a_file_of_more_than_one_piece_is_sent_by_amazons_client(
    s3: S3Server, tmp_path, monkeypatch, text, calls
):
    monkeypatch.setattr("tunepipe.stores.s3._ONE_PIECE_BYTES", 3)
    file, uri = tmp_path / "file", f"s3://{BUCKET}/file"
    file.write_text(text)
    before = len(s3.calls)
    written = storage.write_file(str(file), uri)
    assert [call.partition(" ")[0] for call in s3.calls[before:]] == calls
    assert written == storage.stat(uri)
    assert (written.bytes, storage.read_bytes(uri)) == (len(text), text.encode())
    S3().delete(storage.parse(uri))
    assert not storage.exists(uri)

"""Files by path and by gs:// URI, the latter through the real client."""

import contextlib
import gzip
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.standin import s3 as s3_standin
from tests.standin.process import StandIn
from tests.standin.s3 import S3Server
from tests.standin.session import BUCKET, PROJECT
from tests.waiting import until
from tunepipe.errors import CloudError, LimitError, UsageError
from tunepipe.stores import cloud_storage, storage
from tunepipe.stores import s3 as s3_store


@pytest.fixture(params=["path", "gs", "s3", "minio"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "path":
        return str(tmp_path)
    if request.param in ("s3", "minio"):
        request.getfixturevalue("s3")
        return f"{request.param}://{s3_standin.BUCKET}/{tmp_path.name}"
    request.getfixturevalue("cloud")
    return f"gs://{BUCKET}/{tmp_path.name}"


def test_what_is_written_is_read(root: str, tmp_path: Path) -> None:
    uri = f"{root}/folder/a.bin"
    data = bytes(range(256)) * 5
    assert not storage.exists(uri)
    written = storage.write_bytes(data, uri)
    assert storage.exists(uri)
    assert written.bytes == storage.stat(uri).bytes == len(data)
    assert storage.read_bytes(uri) == data
    with storage.open_file(uri) as file:
        file.seek(1000)
        assert file.read(10) == data[1000:1010]
    copy = tmp_path / "copy.bin"
    copy.write_bytes(b"other")
    storage.write_file(str(copy), uri)
    assert storage.read_bytes(uri) == b"other"


def test_a_folder_is_copied_there_and_back(root: str, tmp_path: Path) -> None:
    files = {"a": "1", "deep/er/b": "2", "deep/er/c": "3"}
    for name, text in files.items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_text(text)
    uri = f"{root}/copy"
    storage.copy_folder(str(tmp_path / "source"), uri)
    with storage.local_folder(uri) as folder:
        assert (folder == uri) == (not storage.is_object(uri))
        found = (path for path in Path(folder).rglob("*") if path.is_file())
        assert {str(path.relative_to(folder)): path.read_text() for path in found} == files
    with storage.local_files(f"{uri}/deep/er/*") as paths:
        texts = [(Path(path).name, Path(path).read_text()) for path in paths]
    assert texts == [("b", "2"), ("c", "3")]
    storage.write_new(b"other", f"{uri}/a")
    assert storage.read_bytes(f"{uri}/a") == b"other"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_gets_a_second_name_or_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    (tmp_path / "a").write_text("1")
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    storage.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "1"
    assert (tmp_path / "b").samefile(tmp_path / "a") == has_links


def test_what_cloud_storage_says_of_a_conflict() -> None:
    from google.api_core import exceptions as api

    store = cloud_storage.CloudStorage()
    assert store.is_conflict(api.PreconditionFailed("there")) is True
    assert store.is_conflict(api.NotFound("none")) is False


def test_globs_stop_at_slashes_and_sort(root: str) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.txt", "deep/d.jsonl"):
        storage.write_bytes(b"x", f"{root}/{name}")
    assert storage.list_files(f"{root}/*.jsonl") == [f"{root}/a.jsonl", f"{root}/b.jsonl"]
    assert storage.list_files(f"{root}/**/*.jsonl") == [
        f"{root}/{name}" for name in ("a.jsonl", "b.jsonl", "deep/d.jsonl")
    ]
    assert storage.list_files(f"{root}/[ac].*") == [f"{root}/a.jsonl", f"{root}/c.txt"]
    assert storage.list_files(f"{root}/none.jsonl") == [f"{root}/none.jsonl"]
    with pytest.raises(UsageError, match="no file matches"):
        storage.list_files(f"{root}/*.csv")


def test_a_local_file_goes_by_its_name_whatever_stands_in_it(tmp_path: Path) -> None:
    for name in ("rows[1].jsonl", "rows1.jsonl"):
        (tmp_path / name).touch()
    assert storage.list_files(f"{tmp_path}/rows[1].jsonl") == [f"{tmp_path}/rows[1].jsonl"]
    assert storage.list_files(f"{tmp_path}/rows[12].jsonl") == [f"{tmp_path}/rows1.jsonl"]


def test_a_missing_file_is_named(root: str, tmp_path: Path) -> None:
    uri, local = f"{root}/none.jsonl", str(tmp_path / "no-source")
    for ask in (storage.stat, storage.read_bytes):
        with pytest.raises(UsageError) as caught:
            ask(uri)
        assert caught.value.where == uri
    with pytest.raises(UsageError) as caught:
        storage.write_file(local, uri)
    assert (caught.value.where, storage.size_of(uri)) == (local, None)


@pytest.mark.parametrize("uri", ["gs://", "gs:///x", "s3://", "http://b/x", "rows.jsonl"])
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        storage.parse(uri)


def test_a_pinned_generation_is_that_version_or_nothing(cloud: StandIn) -> None:
    uri = f"gs://{BUCKET}/pinned"
    first = storage.write_bytes(b"first", uri)
    assert first.uri == f"{uri}#{first.generation}"
    assert storage.read_bytes(first.uri) == b"first"
    second = storage.write_bytes(b"second", uri)
    assert second.generation > first.generation
    assert storage.read_bytes(second.uri) == b"second"
    with pytest.raises(UsageError, match="object"):
        storage.read_bytes(first.uri)


def test_of_two_writers_the_later_learns_of_the_first(root: str) -> None:
    uri = f"{root}/champion.json"
    assert storage.write_bytes(b"one", uri, must_be_new=True).bytes == 3
    with pytest.raises(storage.ConflictError):
        storage.write_bytes(b"two", uri, must_be_new=True)
    assert storage.read_bytes(uri) == b"one"


def test_a_new_file_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that is killed while it writes a promotion must leave none."""
    place = str(tmp_path / "moves" / "1.json")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", killed)
        with pytest.raises(KeyboardInterrupt):
            storage.write_bytes(b"first", place, must_be_new=True)
    assert list((tmp_path / "moves").iterdir()) == []
    storage.write_bytes(b"first", place, must_be_new=True)
    assert [one.read_bytes() for one in (tmp_path / "moves").iterdir()] == [b"first"]


@pytest.mark.parametrize("has_links", [True, False])
def test_a_new_file_takes_no_other_files_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """Also where a file system has no hard links, as a mounted bucket has none."""

    def refuse(*arguments: object) -> None:
        raise PermissionError

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    place = str(tmp_path / "1.json")
    storage.write_bytes(b"first", place, must_be_new=True)
    with pytest.raises(UsageError, match="there already"):
        storage.write_bytes(b"second", place, must_be_new=True)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"first"]


def test_a_file_that_is_replaced_while_it_is_read_is_not_read_half_and_half(
    cloud: StandIn,
) -> None:
    uri = f"gs://{BUCKET}/moving"
    storage.write_bytes(b"old " * 10, uri)

    def read_while_it_is_replaced() -> None:
        with storage.open_file(uri) as file:
            storage.write_bytes(b"new " * 10, uri)
            file.read()

    with pytest.raises(UsageError, match="generation"):
        read_while_it_is_replaced()


NO_ACCESS = (
    "runner@demo-project.iam.gserviceaccount.com does not have storage.objects.get access to the"
    " Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may"
    " not exist)."
)
WORDS = {
    "a perimeter": (
        403,
        "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: abc",
        "ingress rule",
    ),
    "billing": (
        403,
        "The billing account for the owning project is disabled in state closed",
        "gcloud billing projects link",
    ),
    "a key": (
        403,
        "Permission denied on Cloud KMS key. Please ensure that your Cloud Storage service account"
        " has been authorized to use this key.",
        "cloudkms.cryptoKeyEncrypterDecrypter",
    ),
    "a disabled account": (403, "The account for bucket x has been disabled.", "enable"),
    "no right": (403, NO_ACCESS, "roles/storage.objectViewer"),
    "anything else": (403, "Forbidden for a reason of its own", ""),
    "a bad request": (400, "Invalid argument.", ""),
}


@pytest.mark.parametrize("case", WORDS)
@pytest.mark.parametrize("read", [storage.stat, storage.read_bytes])
def test_a_refusal_is_reported_in_googles_words(cloud: StandIn, case: str, read: Any) -> None:
    """Also that of a download, whose answer is plain text, and with no remedy of our own making."""
    code, words, fix = WORDS[case]
    uri = f"gs://{BUCKET}/x"
    storage.write_bytes(b"x", uri)
    reads = 1 if read is storage.stat else 2
    for number in range(reads):
        answer = {"seconds": 0.0} if number < reads - 1 else {"code": code, "message": words}
        cloud.fault("storage.get", **answer)
    with pytest.raises(CloudError) as caught:
        read(uri)
    assert caught.value.found == words
    assert fix in caught.value.fix
    assert bool(caught.value.fix) == bool(fix)


def test_a_project_that_pays_is_named_where_the_bucket_asks_for_one(
    cloud: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"gs://{BUCKET}/x"
    storage.write_bytes(b"x", uri)
    cloud.ask("facts", {"requester_pays": True})
    with pytest.raises(CloudError, match="requester pays") as caught:
        storage.read_bytes(uri)
    assert "--user-project PROJECT or TUNEPIPE_USER_PROJECT" in caught.value.fix
    labels = {"tunepipe_user_project": PROJECT}
    monkeypatch.setenv("VERTEX_AI_PIPELINES_RUN_LABELS", json.dumps(labels))
    assert storage.read_bytes(uri) == b"x"
    monkeypatch.delenv("VERTEX_AI_PIPELINES_RUN_LABELS")
    monkeypatch.setenv(cloud_storage.USER_PROJECT, PROJECT)
    assert storage.list_files(f"gs://{BUCKET}/*") == [uri]
    assert cloud_storage.payer_label() == labels
    monkeypatch.setenv(cloud_storage.USER_PROJECT, "not-mine")
    with pytest.raises(CloudError, match="permission to use project not-mine") as caught:
        storage.write_bytes(b"y", uri)
    assert "serviceusage.services.use" in caught.value.fix
    monkeypatch.setenv(cloud_storage.USER_PROJECT, "example.com:old")
    with pytest.raises(UsageError, match="a label cannot hold") as wrong:
        cloud_storage.payer_label()
    assert wrong.value.fix == "give the project's number"


HICCUPS = [
    {"code": 503}, {"code": 408}, {"code": 429}, {"code": 500, "times": 3}, {"drop": "before"},
    {"drop": "after"},
]  # fmt: skip


@pytest.mark.parametrize("fault", HICCUPS, ids=str)
@pytest.mark.parametrize("method", ["token", "storage.get", "storage.post"])
def test_a_hiccup_is_waited_out_wherever_it_happens(
    cloud: StandIn, monkeypatch: pytest.MonkeyPatch, method: str, fault: dict[str, Any]
) -> None:
    cloud_storage._client.cache_clear()  # a client that has no token yet
    cloud.fault(method, **fault)
    uri = f"gs://{BUCKET}/hiccup"
    storage.write_bytes(b"x" * 100, uri)
    assert storage.read_bytes(uri) == b"x" * 100
    assert any(call["code"] != 200 for call in cloud.calls(method))


def test_a_read_that_breaks_goes_on_where_it_broke_and_never_past_the_end(cloud: StandIn) -> None:
    data = bytes(range(256)) * 40_000  # 10 MB, three ranges
    uri = f"gs://{BUCKET}/rows"
    storage.write_bytes(data, uri)
    for fault in ({"seconds": 0.0}, {"drop": "after"}, {"drop": "before"}, {"code": 503}):
        cloud.fault("storage.get", **fault)
    with storage.open_file(uri) as file:
        assert file.read(5) + file.read() == data
        assert file.read() == b""
    assert 416 not in [call["code"] for call in cloud.calls("storage.get")]
    with storage.open_file(uri) as file:
        lines = file.readlines()
    assert b"".join(lines) == data


def test_an_object_stored_as_gzip_is_read_as_the_gz_file_that_it_is(cloud: StandIn) -> None:
    """Its ranges count stored bytes; unpacked on the way, most of the rows would be missing."""
    packed = gzip.compress(b'{"input_text": "a", "output_text": "b"}\n' * 120_000)
    storage.write_bytes(packed, f"gs://{BUCKET}/rows.jsonl")
    cloud.ask("facts", {"encodings": {"rows.jsonl": "gzip"}})
    assert storage.read_bytes(f"gs://{BUCKET}/rows.jsonl") == packed
    with storage.open_file(f"gs://{BUCKET}/rows.jsonl") as file:
        file.seek(3)
        assert file.read(6) == packed[3:9]


def test_bytes_that_changed_on_the_way_are_noticed(cloud: StandIn) -> None:
    uri = f"gs://{BUCKET}/rows"
    storage.write_bytes(b"x" * 1000, uri)
    cloud.ask("facts", {"corrupted": True})
    with pytest.raises(CloudError, match="CRC32C"):
        storage.read_bytes(uri)


def test_objects_that_stand_for_folders_are_not_files(cloud: StandIn) -> None:
    storage.write_bytes(b"x", f"gs://{BUCKET}/data/a.jsonl")
    cloud.ask("facts", {"folders": ["data/"]})
    assert storage.list_files(f"gs://{BUCKET}/data/*") == [f"gs://{BUCKET}/data/a.jsonl"]


def test_a_bucket_of_uniform_access_takes_objects_and_no_access_control_list(cloud: StandIn):
    """Each bucket of the stand-in is one; Google's own client asks for the lists."""
    from google.api_core.exceptions import BadRequest
    from google.cloud.storage import Client

    uri = f"gs://{BUCKET}/folder/x"
    storage.write_bytes(b"x", uri)
    assert storage.read_bytes(uri) == b"x"
    bucket = Client(project="demo-project").get_bucket(BUCKET)
    assert bucket.iam_configuration.uniform_bucket_level_access_enabled
    blob = bucket.blob("folder/x")
    large = blob.bucket.blob("large", chunk_size=1 << 18)
    insert, predefined = "insert legacy ACL for an object", {"predefined_acl": "private"}
    for words, request in (
        (insert, lambda: blob.upload_from_string(b"y", **predefined)),
        (insert, lambda: large.upload_from_string(b"y" * (1 << 19), **predefined)),
        (insert, lambda: blob.acl.save_predefined("private")),
        ("get legacy ACL for an object", blob.make_public),
        ("get legacy ACL for a bucket", bucket.acl.reload),
        ("use ACL API to update bucket policy", lambda: bucket.acl.save_predefined("private")),
    ):
        with pytest.raises(BadRequest, match=f"Cannot {words} when uniform bucket-level access"):
            request()
    assert storage.read_bytes(uri) == b"x"


def test_an_overwritten_object_under_retention_is_refused_in_googles_words(cloud: StandIn) -> None:
    uri = f"gs://{BUCKET}/x"
    storage.write_bytes(b"x", uri)
    cloud.ask("facts", {"retention_seconds": 60})
    with pytest.raises(CloudError, match="retention policy") as caught:
        storage.write_bytes(b"y", uri)
    assert "another bucket" in caught.value.fix
    storage.write_new(b"x", uri)  # what is there already is not written again


@pytest.mark.parametrize("versioned", [False, True])
def test_an_object_of_s3_is_pinned_by_its_version_or_its_etag(
    s3: S3Server, versioned: bool
) -> None:
    import boto3

    if versioned:
        boto3.resource("s3").BucketVersioning(s3_standin.BUCKET).enable()
    uri = f"s3://{s3_standin.BUCKET}/a#b"
    first = storage.write_bytes(b"first", uri)
    assert first.uri.startswith(f"{uri}#{'version' if versioned else 'etag'}=")
    assert storage.stat(first.uri) == first
    storage.write_bytes(b"second", uri)
    assert storage.read_bytes(uri) == b"second"
    if versioned:
        assert storage.read_bytes(first.uri) == b"first"
        return
    assert not storage.exists(first.uri)
    with pytest.raises(UsageError, match="object"):
        storage.read_bytes(first.uri)


def test_a_write_whose_answer_was_lost_is_not_a_conflict_with_itself(s3: S3Server) -> None:
    uri = f"s3://{s3_standin.BUCKET}/claim"
    storage.write_bytes(b"x", f"{uri}-before", must_be_new=True)
    s3.faults = ["after"]
    storage.write_bytes(b"mine", uri, must_be_new=True)
    s3.faults = ["before", "before"]
    assert storage.read_bytes(uri) == b"mine"


def test_of_many_writers_of_a_new_object_one_wins(s3: S3Server) -> None:
    uri = f"minio://{s3_standin.BUCKET}/claim"

    def write(number: int) -> bool:
        try:
            storage.write_bytes(str(number).encode(), uri, must_be_new=True)
        except storage.ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        winners = list(threads.map(write, range(8)))
    assert winners.count(True) == 1
    assert storage.read_bytes(uri) == str(winners.index(True)).encode()


def test_a_store_without_conditional_writes_is_refused(s3: S3Server) -> None:
    s3.conditional_writes = False
    with pytest.raises(LimitError, match="If-None-Match"):
        storage.write_bytes(b"x", f"s3://{s3_standin.BUCKET}/claim", must_be_new=True)
    assert storage.matching_files(f"s3://{s3_standin.BUCKET}/**") == []


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://no-bucket-of-this-name/x", "there is no bucket of this name"),
        (f"s3://{s3_standin.BUCKET}/none", "object not found"),
        (f"s3://{s3_standin.BUCKET}", "names a bucket"),
        ("gs://no-bucket-of-this-name/x", "The specified bucket does not exist."),
        (f"gs://{BUCKET}/none", "object not found"),
    ],
)
def test_a_store_says_what_is_missing(s3: S3Server, cloud: StandIn, uri: str, found: str) -> None:
    with pytest.raises(UsageError, match=found):
        storage.read_bytes(uri)
    if found.endswith("object not found"):
        assert not storage.exists(uri)
        return
    with pytest.raises(UsageError, match=found):  # a name that is wrong is no file that is missing
        storage.exists(uri)


def test_a_store_that_cannot_be_reached_is_named_with_its_address(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunepipe.stores.objects._PATIENCE_SECONDS", 0.1)
    monkeypatch.setenv("MINIO_ENDPOINT", "127.0.0.1:9")
    s3_standin.forget(s3_store)
    with pytest.raises(CloudError) as caught:
        storage.stat("minio://bucket/x")
    assert "127.0.0.1:9" in caught.value.where


def test_a_folder_in_a_bucket_is_worked_in_here_and_kept_there(cloud, tmp_path, monkeypatch):
    uri = f"gs://{BUCKET}/work/answers"
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with contextlib.suppress(RuntimeError), storage.synced_folder(uri) as folder:
        Path(folder, "a.jsonl").write_text("one\n")
        Path(folder, "deep/er").mkdir(parents=True)
        for name in "bc":
            Path(folder, "deep/er", name).write_text(name)
        raise RuntimeError("a step that fails keeps what it has paid for")
    names = [f"{uri}/{name}" for name in ("a.jsonl", "deep/er/b", "deep/er/c")]
    assert storage.list_files(f"{uri}/**") == names
    assert storage.read_bytes(f"{uri}/a.jsonl") == b"one\n"
    before = len(cloud.calls("storage.post"))
    with storage.synced_folder(uri) as folder:
        assert Path(folder, "a.jsonl").read_text() == "one\n"
    assert len(cloud.calls("storage.post")) == before, "what is unchanged is not written"
    with storage.synced_folder(uri) as folder:
        Path(folder, "a.jsonl").write_text("one\ntwo\n")
    assert storage.list_files(f"{uri}/**") == names, "what has changed takes its place"
    assert storage.read_bytes(f"{uri}/a.jsonl") == b"one\ntwo\n"
    with storage.synced_folder(str(tmp_path)) as folder:
        assert folder == str(tmp_path)


def test_a_file_that_grows_is_kept_in_a_bucket_that_changes_no_object(cloud, tmp_path):
    cloud.ask("facts", {"retention_seconds": 60})
    uri = f"gs://{BUCKET}/work/answers"
    text = ""
    for number in range(12):
        with storage.synced_folder(uri) as folder:
            file = Path(folder, "a.jsonl")
            assert (file.read_text() if number else "") == text
            text += f"answer {number}\n"
            file.write_text(text)
    assert len(storage.list_files(f"{uri}/*")) == 12


def test_old_checkpoints_go_as_newer_come_and_the_last_one_at_the_end_alone(cloud):
    """A machine that is lost while it writes the model continues from the last checkpoint."""
    uri, seconds = f"gs://{BUCKET}/work/checkpoints", 0.05

    def names():
        return {one.rpartition("/")[2] for one in storage.matching_files(f"{uri}/*")}

    with storage.synced_folder(uri, seconds, once=True) as folder:
        Path(folder, "checkpoint-1").write_text("one")
        until(lambda: names() == {"checkpoint-1"})
        Path(folder, "checkpoint-2").write_text("two")
        Path(folder, "checkpoint-1").unlink()
        until(lambda: names() == {"checkpoint-2"})
        Path(folder, "checkpoint-2").unlink()
        time.sleep(10 * seconds)
        assert names() == {"checkpoint-2"}
    assert names() == set()


def test_a_file_that_is_still_written_is_kept_at_the_end_alone(cloud):
    uri, hour = f"gs://{BUCKET}/work/checkpoints", 3600

    def names():
        return {one.rpartition("/")[2] for one in storage.matching_files(f"{uri}/*")}

    with storage.synced_folder(uri, 0.05, once=True) as folder:
        for number, at in enumerate((time.time() + hour, time.time() - hour)):
            Path(folder, f"file-{number}").write_text("half")
            os.utime(Path(folder, f"file-{number}"), (at, at))
        until(lambda: "file-1" in names())
        Path(folder, "file-2").write_text("whole")
        os.utime(Path(folder, "file-2"), (time.time() - hour,) * 2)
        until(lambda: "file-2" in names())  # so that a look has ended that began after the first
        assert names() == {"file-1", "file-2"}
    assert names() == {"file-0", "file-1", "file-2"}


def test_a_bucket_keeps_each_files_work_apart(cloud, tmp_path):
    rows = tmp_path / "rows.jsonl"
    for text in ("one", "two"):
        rows.write_text(text)
        with storage.work_folder(f"gs://{BUCKET}/work", "answers", str(rows)) as folder:
            assert not list(Path(folder).iterdir())
            Path(folder, "a.jsonl").write_text(text)
    assert len(storage.list_files(f"gs://{BUCKET}/work/answers/*/a.jsonl")) == 2
    with storage.work_folder(str(tmp_path), "answers", str(rows)) as folder:
        assert folder == str(tmp_path)

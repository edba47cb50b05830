"""Files by path and by gs:// URI, the latter through the real client."""

import os
from pathlib import Path

import pytest

from tests.standin.process import StandIn
from tests.standin.session import BUCKET
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp import storage


@pytest.fixture(params=["path", "gs"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "path":
        return str(tmp_path)
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
    assert storage.read_bytes(uri, 250, 260) == data[250:260]
    assert storage.read_bytes(uri, 1270) == data[1270:]
    assert storage.read_bytes(uri, 7, 7) == b""
    with storage.open_reader(uri) as file:
        file.seek(1000)
        assert file.read(10) == data[1000:1010]
    copy = tmp_path / "copy.bin"
    copy.write_bytes(b"other")
    storage.write_file(str(copy), uri)
    assert storage.read_bytes(uri) == b"other"


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


def test_what_is_not_there_is_told_by_name(root: str) -> None:
    uri = f"{root}/none.jsonl"
    for ask in (storage.stat, storage.read_bytes):
        with pytest.raises(UsageError) as caught:
            ask(uri)
        assert caught.value.where == uri


@pytest.mark.parametrize("uri", ["gs://", "gs:///x", "s3://b/x"])
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


def test_of_two_writers_the_later_learns_of_the_first(cloud: StandIn) -> None:
    uri = f"gs://{BUCKET}/champion.json"
    made = storage.write_bytes(b"one", uri, if_generation=0)
    with pytest.raises(UsageError, match="meanwhile"):
        storage.write_bytes(b"two", uri, if_generation=0)
    storage.write_bytes(b"two", uri, if_generation=int(made.generation))
    assert storage.read_bytes(uri) == b"two"


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
            storage.write_bytes(b"first", place, if_generation=0)
    assert list((tmp_path / "moves").iterdir()) == []
    storage.write_bytes(b"first", place, if_generation=0)
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
    storage.write_bytes(b"first", place, if_generation=0)
    with pytest.raises(UsageError, match="there already"):
        storage.write_bytes(b"second", place, if_generation=0)
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"first"]


def test_a_file_that_is_replaced_while_it_is_read_is_not_read_half_and_half(
    cloud: StandIn,
) -> None:
    uri = f"gs://{BUCKET}/moving"
    storage.write_bytes(b"old " * 10, uri)

    def read_while_it_is_replaced() -> None:
        with storage.open_reader(uri) as file:
            storage.write_bytes(b"new " * 10, uri)
            file.read()

    with pytest.raises(UsageError, match="generation"):
        read_while_it_is_replaced()


@pytest.mark.parametrize(
    ("code", "kind"), [(403, CloudError), (401, CloudError), (412, UsageError), (400, CloudError)]
)
def test_refusals_are_told_in_our_words(cloud: StandIn, code: int, kind: type[Exception]) -> None:
    cloud.fault("storage.get", code=code, message="no", times=9)
    with pytest.raises(kind):
        storage.stat(f"gs://{BUCKET}/x")


def test_a_storage_hiccup_is_waited_out_by_the_client(cloud: StandIn) -> None:
    storage.write_bytes(b"x", f"gs://{BUCKET}/hiccup")
    cloud.fault("storage.get", code=503, message="try again")
    assert storage.read_bytes(f"gs://{BUCKET}/hiccup") == b"x"
    assert 503 in [call["code"] for call in cloud.calls("storage.get")]

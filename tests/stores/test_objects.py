"""What every store has in common, over a store in memory."""

import base64
import io
import json
import os
from contextlib import nullcontext

import google_crc32c
import pytest

from tunepipe.errors import CloudError, UsageError
from tunepipe.stores.objects import (
    ConflictError,
    ObjectStore,
    ObjectUri,
    Stat,
    fixed_prefix,
    has_wildcard,
    is_gcs,
    is_object,
    match_glob,
    parse,
)

PLACE = ObjectUri("gs", "bucket", "rows.jsonl")


def crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


class Memory(ObjectStore):
    """Objects in a dictionary; `broken` ranges and writes lose their connection, once each."""

    def __init__(self, *data: bytes, crc: str = "") -> None:
        self.objects = dict(zip([PLACE.name, "folder/", "a"], data, strict=False))
        self.crc, self.ranges, self.cut, self.lost = crc, [], 0, 0

    def look_up(self, place):
        data = self.objects.get(place.name)
        return None if data is None else Stat(str(PLACE), "", len(data), self.crc)

    def read_range(self, place, start, end):
        self.ranges.append((start, end))
        self.cut -= 1
        return self.objects[place.name][start : end - (self.cut >= 0)]

    def put(self, place, content, *, must_be_new):
        data = content if isinstance(content, bytes) else content.read_bytes()
        if must_be_new and place.name in self.objects:
            raise ConflictError("there")
        self.objects[place.name] = data
        self.lost -= 1
        if self.lost >= 0:
            raise ConnectionError("the answer is lost")
        return self.look_up(place)

    def remove(self, place):
        del self.objects[place.name]

    def names(self, place):
        return match_glob(iter(self.objects), place.name)

    def is_conflict(self, error):
        return isinstance(error, ConflictError)

    def explained(self, uri):
        return nullcontext()


DATA = bytes(range(256)) * 40


def test_only_what_is_read_is_fetched_and_a_broken_range_is_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEPIPE_PROGRESS", str(tmp_path / "progress"))
    store = Memory(DATA)
    store.cut = 1
    reader = store.open(PLACE).raw
    assert (reader.seek(100), reader.read(50), reader.tell()) == (100, DATA[100:150], 150)
    assert store.ranges == [(100, 150)] * 2
    waited = {"stage": "storage", "waiting": "ConnectionError; trying again"}
    assert json.loads((tmp_path / "progress").read_text()) == waited
    assert (reader.seek(-5, os.SEEK_CUR), reader.read(3)) == (145, DATA[145:148])
    assert (reader.seek(-7, os.SEEK_END), reader.read(99)) == (len(DATA) - 7, DATA[-7:])
    assert store.ranges[-1] == (len(DATA) - 7, len(DATA))
    assert reader.read(1) == b""
    reader.seek(9)
    assert reader.readall() == DATA[9:]
    assert (reader.readable(), reader.seekable()) == (True, True)
    assert store.open(PLACE).read() == DATA
    assert io.TextIOWrapper(Memory(b"a\nb\n").open(PLACE)).readlines() == ["a\n", "b\n"]


def test_the_checksum_is_compared_where_all_was_read_in_order():
    assert Memory(DATA, crc=crc32c(DATA)).open(PLACE).read() == DATA
    wrong = Memory(DATA, crc=crc32c(b"other"))
    part = wrong.open(PLACE)
    part.seek(10)
    assert part.read() == DATA[10:]  # not from the start
    pieces = wrong.open(PLACE).raw
    for _ in range(4):
        pieces.read(len(DATA) // 4 - 1)
    with pytest.raises(CloudError, match="CRC32C") as caught:
        pieces.read(4)
    assert caught.value.where == str(PLACE)


def test_a_write_whose_answer_was_lost_is_recognised_as_ones_own(tmp_path):
    store = Memory()
    store.lost = 1
    (tmp_path / "x").write_bytes(b"one")
    assert store.write(PLACE, tmp_path / "x", must_be_new=True).bytes == 3
    assert store.write(PLACE, b"two", must_be_new=False).bytes == 3
    with pytest.raises(ConflictError):  # the first attempt of another writer
        store.write(PLACE, b"two", must_be_new=True)


def test_what_is_not_there():
    store = Memory()
    assert not store.exists(PLACE)
    with pytest.raises(UsageError, match="object not found") as caught:
        store.stat(PLACE)
    assert caught.value.where == "gs://bucket/rows.jsonl"
    for ask in (store.exists, store.stat):
        with pytest.raises(UsageError, match="names a bucket"):
            ask(ObjectUri("gs", "bucket", ""))


def test_folders_are_no_objects_and_what_matches_is_sorted():
    store = Memory(b"1", b"", b"2")
    assert store.matching(ObjectUri("gs", "bucket", "**")) == [
        "gs://bucket/a", "gs://bucket/rows.jsonl",
    ]  # fmt: skip
    store.delete(PLACE)
    assert store.matching(ObjectUri("gs", "bucket", "*")) == ["gs://bucket/a"]


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("gs://b/a/c.jsonl", ("gs", "b", "a/c.jsonl", "")),
        ("gs://b/a#12", ("gs", "b", "a", "12")),
        ("gs://b/a#x", ("gs", "b", "a#x", "")),
        ("gs://b", ("gs", "b", "", "")),
        ("s3://b/a#version=v.1", ("s3", "b", "a", "version=v.1")),
        ("s3://b/a#12", ("s3", "b", "a#12", "")),
        ("minio://b/a#etag=e", ("minio", "b", "a", "etag=e")),
    ],
)
def test_a_uri_has_parts(uri, parts):
    assert parse(uri) == ObjectUri(*parts)
    assert str(parse(uri)).rstrip("/") == uri
    assert (is_object(uri), is_gcs(uri)) == (True, uri.startswith("gs"))


def test_a_path_is_no_object():
    assert not is_object("/tmp/x")
    assert not is_gcs("s3://b/x")


@pytest.mark.parametrize(
    ("pattern", "prefix", "matches"),
    [
        ("a/*.x", "a/", ["a/1.x", "a/2.x"]),
        ("a/**.x", "a/", ["a/1.x", "a/2.x", "a/b/1.x"]),
        ("**/1.x", "", ["a/1.x", "a/b/1.x", "1.x"]),
        ("a/?.x", "a/", ["a/1.x", "a/2.x"]),
        ("a/[!1].x", "a/", ["a/2.x"]),
        ("a/[1].x", "a/", ["a/1.x"]),
        ("a/1.x", "a/1.x", ["a/1.x"]),
    ],
)
def test_globs(pattern, prefix, matches):
    names = ["a/1.x", "a/2.x", "a/1yx", "a/b/1.x", "1.x"]
    assert match_glob(iter(names), pattern) == matches
    assert fixed_prefix(pattern) == prefix
    assert has_wildcard(pattern) == (pattern != prefix)

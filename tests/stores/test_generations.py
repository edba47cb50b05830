"""What a dataset's address means."""

import hashlib

import pytest

from tunepipe.data.fingerprint import combined
from tunepipe.errors import UsageError
from tunepipe.stores.generations import Identity, guarded, identity


def test_the_fingerprint_is_the_sha256_of_the_bytes(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"x" * 3_000_000)
    found = identity(str(file))
    sha256 = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    assert found == Identity(sha256, str(file.stat().st_mtime_ns), files=1)
    assert guarded({"guard_uri": str(file), "other": 1}) == {"guard_uri": sha256}
    assert guarded({"guard_uri": ""}) == guarded({}) == {}


def test_the_same_bytes_under_another_name_are_the_same_data(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("{}")
    assert identity(str(tmp_path / "a")).fingerprint == identity(str(tmp_path / "b")).fingerprint


def test_changed_data_under_the_same_name_are_seen(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("1")
    before = identity(str(file)).fingerprint
    file.write_text("2")
    assert identity(str(file)).fingerprint != before


def test_shards_are_one_dataset_whatever_they_are_called(tmp_path):
    (tmp_path / "1.jsonl").write_text("a")
    (tmp_path / "2.jsonl").write_text("b")
    found = identity(str(tmp_path / "*.jsonl"))
    times = [(tmp_path / name).stat().st_mtime_ns for name in ("1.jsonl", "2.jsonl")]
    assert (found.files, found.generation) == (2, f"{times[0]},{times[1]}")
    (tmp_path / "2.jsonl").rename(tmp_path / "0.jsonl")
    assert identity(str(tmp_path / "*.jsonl")).fingerprint == found.fingerprint


def test_a_set_is_not_its_only_member():
    one, other = "a" * 64, "b" * 64
    assert combined([one]) == one
    assert combined([one, other]) == combined([other, one]) != combined([one, one])


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(UsageError):
        identity(str(tmp_path / "none.jsonl"))

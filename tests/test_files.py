"""What is written comes whole or not at all, and never over what is read."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from tunepipe.errors import UsageError
from tunepipe.files import read_json, refuse_same, replacing, unreadable, write_json


@pytest.mark.parametrize(
    ("paths", "others"),
    [
        (["a"], ["a"]),
        (["a", "./a"], []),
        (["folder/../a"], ["b", "a"]),
        (["link"], ["a"]),
        (["gs://b/a"], ["gs://b/a#17"]),
    ],
)
def test_two_names_of_one_file_are_refused(tmp_path, monkeypatch, paths, others):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").touch()
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(UsageError, match="named twice") as caught:
        refuse_same(paths, others)
    assert caught.value.where == paths[-1]


@pytest.mark.parametrize(
    ("paths", "others"),
    [
        (["a", "b"], ["c", "c"]),
        (["gs://b/a"], ["gs://b/A", "b/a"]),
        (["a"], ["-", "-"]),
        ([], []),
    ],
)
def test_different_files_pass(paths, others):
    refuse_same(paths, others)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("folder", "Is a directory"),
        ("file/x.jsonl", "File exists|Not a directory"),
        ("/proc/x.jsonl", "No such file"),
        ("pipe", "it is a device or a pipe"),
    ],
)
def test_what_cannot_be_written_is_called_by_its_own_name(tmp_path, monkeypatch, target, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match=f"cannot be written: ({reason})") as caught:  # noqa: SIM117
        with replacing(target) as file:
            file.write("x")
    assert caught.value.where == target
    assert caught.value.fix
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_goes_on_naming_the_file_that_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "rows.jsonl"
    link.symlink_to("far/rows.jsonl")
    with replacing(link) as file:
        file.write("x")
    assert link.is_symlink()
    assert (tmp_path / "far" / "rows.jsonl").read_text() == "x"


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UsageError),
        (FileNotFoundError(errno.ENOENT, "No such file", "what is read"), FileNotFoundError),
        (ConnectionResetError(errno.ECONNRESET, "reset"), ConnectionResetError),
    ],
)
def test_only_what_keeps_the_file_from_being_written_is_said_of_it(tmp_path, raised, kind):
    with pytest.raises(kind), replacing(tmp_path / "x"):
        raise raised
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        *((code, "make room") for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)),
        (errno.EACCES, "name a file, in a folder that you may write to"),
    ],
)
def test_a_full_disk_and_a_refused_file_have_their_own_remedies(tmp_path, code, fix):
    with pytest.raises(UsageError) as caught, replacing(tmp_path / "x") as file:
        raise OSError(code, "no", file.name)
    assert (caught.value.found, caught.value.fix) == ("cannot be written: no", fix)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_a_file_has_the_rights_that_the_umask_leaves(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        with replacing(tmp_path / "folder" / "x", "wb") as file:
            file.write(b"\r\n")
        left = os.umask(mask)
    finally:
        os.umask(before)
    written = tmp_path / "folder" / "x"
    assert (left, stat.S_IMODE(written.stat().st_mode)) == (mask, mode)
    assert written.read_bytes() == b"\r\n"


@pytest.mark.parametrize(
    ("error", "found", "fix"),
    [
        (ValueError("odd"), "cannot be read: odd", "check the file"),
        (OSError("odd"), "cannot be read: odd", "check the file"),
        (PermissionError(errno.EACCES, "no"), "cannot be read: no",
         "check the permissions of the file"),
    ],
)  # fmt: skip
def test_why_a_file_cannot_be_read(error, found, fix):
    assert (unreadable("x", error).found, unreadable("x", error).fix) == (found, fix)


@pytest.mark.parametrize(
    ("path", "found", "fix"),
    [
        ("none.jsonl", "cannot be read: No such file or directory", "check the path"),
        (".", "cannot be read: Is a directory", r"FOLDER/*.jsonl"),
    ],
)
def test_what_cannot_be_read_says_what_to_look_at(path, found, fix):
    with pytest.raises(OSError) as caught:
        Path(path).read_bytes()
    said = unreadable(path, caught.value)
    assert (said.found, said.where) == (found, path)
    assert fix in said.fix


def test_a_name_that_is_no_utf8_is_written_as_json_escapes_it(tmp_path):
    write_json({"é": [1]}, tmp_path / "plain.json")
    assert (tmp_path / "plain.json").read_text("utf-8") == '{\n "é": [\n  1\n ]\n}'
    assert read_json(tmp_path / "plain.json") == {"é": [1]}
    write_json({"path": "rows\udcff.jsonl"}, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_bytes()) == {"path": "rows\udcff.jsonl"}

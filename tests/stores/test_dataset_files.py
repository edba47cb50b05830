"""Files of a dataset, brought together."""

import pytest

from tunepipe.errors import UsageError
from tunepipe.stores.storage import load_step, local_files


def test_rows_of_many_files_are_one_file_and_no_row_grows_together(tmp_path):
    (tmp_path / "1.jsonl").write_text('{"a": 1}\n{"a": 2}')
    (tmp_path / "2.jsonl").write_text('{"a": 3}\n')
    (tmp_path / "3.jsonl").write_text("")
    load_step(str(tmp_path / "*.jsonl"), str(tmp_path / "out"))
    assert (tmp_path / "out").read_text() == '{"a": 1}\n{"a": 2}\n{"a": 3}\n'


def test_no_dataset_brings_no_rows(tmp_path):
    load_step("", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b""


def test_a_dataset_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError):
        load_step(str(tmp_path / "none.jsonl"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_local_files_stand_where_they_are(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    with local_files(str(tmp_path / "*.jsonl")) as paths:
        assert paths == [str(tmp_path / "a.jsonl")]

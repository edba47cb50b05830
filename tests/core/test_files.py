"""What is written comes whole or not at all, and never over what is read."""

import pytest

from tunepipe.core.errors import UsageError
from tunepipe.core.files import refuse_same


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

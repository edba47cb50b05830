"""kfp.local's log as events."""

import pytest

from tests.runs.recorder import Recorder
from tunepipe.runs.local import show_log, without_metadata

GREEN, RED, RESET = "\x1b[92m", "\x1b[91m", "\x1b[0m"
TRACEBACK = """\
    Traceback (most recent call last):
      File "/tmp/x/ephemeral_component.py", line 50, in toy
        raise DataError("three rows are wrong", where="orders.jsonl", fix="mend them")
    tunepipe.errors.DataError: orders.jsonl: three rows are wrong
      fix: mend them
"""


def test_the_log_of_a_run_is_shown_step_by_step():
    log = f"""\
10:11:07 - INFO - Executing task \x1b[96m'validate-jsonl'\x1b[0m
    {{"stage": "validate", "done": 1, "total": 2}}
10:11:09 - INFO - Task \x1b[96m'validate-jsonl'\x1b[0m finished with status {GREEN}SUCCESS{RESET}
10:11:09 - INFO - Executing task \x1b[96m'split-dataset'\x1b[0m
{TRACEBACK}
10:11:13 - ERROR - Task \x1b[96m'split-dataset'\x1b[0m finished with status {RED}FAILURE{RESET}
"""
    shown = Recorder()
    assert show_log(log.splitlines(keepends=True), shown) == "split-dataset"
    assert shown.events == [
        "validate-jsonl",
        {"stage": "validate", "done": 1, "total": 2},
        ("validate-jsonl", True),
        "split-dataset",
        ("split-dataset", False),
    ]


def test_a_row_that_looks_like_progress_is_none():
    shown = Recorder()
    assert show_log(['{"input_text": "x"}', '{"stage": broken'], shown) == ""
    assert shown.events == []


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("    metadata={'confusionMatrix': {'rows': [{'row': [1]}]}} )\n", "    metadata={…} )\n"),
        ("    metadata={} )\n", "    metadata={} )\n"),
        ("validated {1} rows\n", "validated {1} rows\n"),
    ],
)
def test_what_an_artifact_holds_is_not_logged(line, kept):
    assert without_metadata(line) == kept

"""A failed step leaves its own words, and they become the same error again."""

import json

import pytest

from tunepipe.errors import CloudError, DataError, LimitError, UnreachableError, UsageError
from tunepipe.stores.failures import (
    FILE,
    failure_kept,
    failure_of,
    failure_of_run,
    find_failure,
    read_failure,
)

DATA = DataError("3 errors in 40 rows", where="rows.jsonl", fix="see the report")


@pytest.mark.parametrize(
    ("error", "kind", "exit_code", "found"),
    [
        (DATA, "DataError", 1, "3 errors in 40 rows"),
        (UsageError("no column x"), "UsageError", 2, "no column x"),
        (LimitError("too dear"), "LimitError", 3, "too dear"),
        (UnreachableError("no answer"), "UnreachableError", 4, "no answer"),
        (MemoryError("killed"), "", 4, "MemoryError: killed"),
    ],
)
def test_the_words_become_the_error_again(error, kind, exit_code, found, tmp_path):
    log = tmp_path / "termination-log"
    log.write_text("")
    with pytest.raises(type(error)), failure_kept(str(tmp_path / "run/step/out.json"), log):
        raise error
    failure = find_failure(f"{tmp_path}/run/*/{FILE}")
    run = "projects/p/locations/r/pipelineJobs/run"
    again = failure.error(run, fix="see its page")
    assert (failure.kind, failure.found, again.exit_code) == (kind, found, exit_code)
    place, fix = getattr(error, "where", ""), getattr(error, "fix", "") or "see its page"
    assert again.found == (f"{place}: {found}" if place else found)
    assert (again.where, again.fix) == (run, fix)
    assert found in log.read_text()
    seen = failure_of(f"Error (exit code 1): {log.read_text()}", "tune-local")
    assert (seen is None) == (not kind)
    if seen:
        assert (seen.where, seen.fix, seen.error("run").exit_code) == (
            "tune-local", error.fix, exit_code,
        )  # fmt: skip
        assert seen.found == (f"{error.where}: {found}" if error.where else found)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("", None), ("[]", None), ('{"found": 3}', None), ('{"kind": "CloudError"}', None),
        ('{"kind": "", "found": 3}', None), ('{"kind": "", "found": "x", "more": ""}', None),
        ('{"kind": "plural", "found": "x"}', CloudError),
        ('{"kind": "DataError", "found": "x"}', DataError),
    ],
)  # fmt: skip
def test_a_file_of_others_is_no_words_or_an_error_of_the_cloud(content, kind, tmp_path):
    (tmp_path / FILE).write_text(content)
    found = read_failure(str(tmp_path / FILE))
    assert (found and type(found.error("run"))) == kind


def test_a_code_for_the_host_hides_no_cause(tmp_path):
    cause = UnreachableError("Google is out of reach")
    with pytest.raises(SystemExit), failure_kept(str(tmp_path / "step" / "out.json")):
        raise SystemExit(13) from cause
    assert find_failure(f"{tmp_path}/*/{FILE}").found == "Google is out of reach"


@pytest.mark.parametrize("error", [DATA, UsageError("no column x"), LimitError("too dear")])
def test_what_was_refused_is_not_tried_again(error, tmp_path):
    attempts = []

    def attempt():
        with failure_kept(str(tmp_path / "step" / "out.json")):
            attempts.append(1)
            raise error

    for _ in range(3):
        with pytest.raises(type(error)) as refused:
            attempt()
        assert (refused.value.found, refused.value.fix) == (error.found, error.fix)
    assert len(attempts) == 1


def test_a_second_attempt_that_succeeds_leaves_no_words(tmp_path):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / FILE).write_text(json.dumps({"kind": "", "found": "earlier"}))
    with failure_kept(str(tmp_path / "step" / "out.json")):
        pass
    assert find_failure(f"{tmp_path}/*/{FILE}") is None


def test_the_exit_task_reads_why_its_run_failed(tmp_path):
    assert failure_of_run() is None
    with pytest.raises(DataError), failure_kept(str(tmp_path / "validate/out.json")):
        raise DATA
    with failure_kept(str(tmp_path / "notify/out.json")):
        assert failure_of_run().found == DATA.found
    assert failure_of_run() is None

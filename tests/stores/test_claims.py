"""Who may create a paid job: the states of a claim, and for how long each binds."""

import re
import time

import pytest

from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.remote_jobs import WaitingError
from tunepipe.stores.claims import CLAIMED, CREATED, CREATING, ENDED, Claim, claim_uri, run_of_step
from tunepipe.stores.ledger import Ledger

LONG = StepOptions(lease_seconds=1000.0, settle_seconds=2000.0)
SHORT = StepOptions(lease_seconds=0.05, settle_seconds=0.15)


def claim(folder, times=LONG) -> Claim:
    return Claim(str(folder), times)


def looked(folder, times=LONG) -> Claim:
    another = claim(folder, times)
    another.look()
    return another


def test_a_claim_goes_from_state_to_state_and_each_is_a_record(tmp_path):
    ours = claim(tmp_path)
    assert ours.look() == ("", "")
    for step, state, job in (
        (ours.take, CLAIMED, ""),
        (ours.begin, CREATING, ""),
        (lambda: ours.created("job-1"), CREATED, "job-1"),
    ):
        step()
        assert claim(tmp_path).look() == ours.look() == (state, job)
    records = Ledger(str(tmp_path)).records()
    assert [each.number for each in records] == [1, 2, 3]
    assert len({each.fields["owner"] for each in records}) == 1


def reach(folder, *steps: str) -> None:
    """Leave a claim in a state, as a run does that is killed."""
    dead = looked(folder)
    for step in steps:
        getattr(dead, step)(*(("job-1",) if step == "created" else ()))


# What a run did before it was killed, whether its claim binds others, and what they are told.
LEFT = [
    ((), ""),
    (("take",), "another run is about to create this job"),
    (("take", "begin"), "it is not known yet whether the job was created"),
    (("take", "begin", "created"), ""),
    (("take", "begin", "end"), ""),
]


@pytest.mark.parametrize(("steps", "told"), LEFT)
def test_what_a_killed_run_leaves_binds_the_next_for_a_while(tmp_path, steps, told):
    reach(tmp_path, *steps)
    ours = looked(tmp_path)
    if not told:
        ours.take()
        assert ours.look() == (CLAIMED, "")
        return
    for _ in range(2):
        with pytest.raises(WaitingError, match=told) as caught:
            ours.take()
        assert caught.value.where == str(tmp_path)
    if "known" in told:
        assert re.search(r"for (1,9\d\d|2,000) seconds more", caught.value.found)


@pytest.mark.parametrize(("steps", "seconds"), [(("take",), 0.05), (("take", "begin"), 0.15)])
def test_a_claim_that_does_not_change_for_its_time_is_taken_over(tmp_path, steps, seconds):
    reach(tmp_path, *steps)
    start = time.monotonic()
    ours = looked(tmp_path, SHORT)
    while True:
        try:
            ours.take()
            break
        except WaitingError:
            ours.look()  # the same record again gives it no more time
            time.sleep(0.01)
    assert time.monotonic() - start >= seconds
    assert ours.look() == (CLAIMED, "")


def test_a_record_that_changes_begins_its_time_again(tmp_path):
    dead = looked(tmp_path)
    dead.take()
    ours = looked(tmp_path, StepOptions(lease_seconds=0.05, settle_seconds=1000.0))
    time.sleep(0.06)
    dead.begin()
    ours.look()
    with pytest.raises(WaitingError, match="not known yet"):
        ours.take()


def test_a_run_takes_its_own_claim_again_and_no_request_of_unknown_outcome(tmp_path):
    ours = looked(tmp_path)
    ours.take()
    ours.take()
    ours.begin()
    with pytest.raises(WaitingError, match="not known yet"):
        ours.take()


def test_of_two_runs_one_goes_on(tmp_path):
    first, second = looked(tmp_path), looked(tmp_path)
    first.take()
    with pytest.raises(WaitingError, match="another run"):
        second.take()
    reach(tmp_path / "late", "take")
    slow, quick = looked(tmp_path / "late", SHORT), looked(tmp_path / "late", SHORT)
    time.sleep(0.06)
    quick.take()
    with pytest.raises(WaitingError, match="another run"):
        slow.begin()


def test_only_a_creation_is_noted_as_created(tmp_path):
    ours = looked(tmp_path)
    ours.created("job-1")
    ours.take()
    ours.created("job-1")
    assert ours.look() == (CLAIMED, "")
    ours.end()
    assert claim(tmp_path).look() == (ENDED, "")


def test_where_the_records_of_a_key_are(monkeypatch):
    assert claim_uri("gs://bucket/folder", "k") == "gs://bucket/tunepipe/claims/k"
    monkeypatch.delenv("VERTEX_AI_PIPELINES_RUN_LABELS", raising=False)
    assert run_of_step("projects/p/locations/r", "/tmp/x") == ""
    resources = "/gcs/bucket/runs/123/run-1/tune_1/gcp_resources"
    expected = "projects/p/locations/r/pipelineJobs/run-1"
    assert run_of_step("projects/p/locations/r", resources) == expected

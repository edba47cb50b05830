"""Who may create a paid job: the states of a claim, and for how long each binds."""

import re
import time
from contextlib import suppress

import pytest
from google.api_core import exceptions as api

from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.gcp import clients
from tunepipe.gcp.labels import KEY_LABEL
from tunepipe.gcp.launcher import StepOptions
from tunepipe.gcp.remote_jobs import WaitingError
from tunepipe.stores import storage
from tunepipe.stores.claims import (
    CLAIMED,
    CREATED,
    CREATING,
    ENDED,
    Claim,
    ClaimedJobs,
    Requests,
    Waiters,
    claim_uri,
    keys_of,
    run_of_step,
)
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


class Jobs(ClaimedJobs):
    """Jobs of a list, as (name, key, whether it counts); a creation answers so."""

    listed: tuple[tuple[str, str, bool], ...] = ()
    answer: object = "job-new"
    requests = 0
    place = "projects/p/locations/r"

    def jobs(self):
        return ((name, {KEY_LABEL: key}, counts) for name, key, counts in self.listed)

    def get(self, name):
        for listed, _, counts in (*self.listed, ("job-1", "k", True)):
            if listed == name:
                return counts
        raise api.NotFound(name)

    def counts(self, job):
        return job

    def request(self):
        self.requests += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("steps", "listed", "found", "state"),
    [
        ((), [], "", ("", "")),
        ((), [("job-1", "other", True)], "", ("", "")),
        ((), [("job-1", "k", False), ("job-2", "other", True)], "", ("", "")),
        ((), [("job-1", "k", False), ("job-2", "k", True)], "job-2", ("", "")),
        (("take", "begin"), [("job-2", "k", True)], "job-2", (CREATED, "job-2")),
        (("take", "begin"), [], "", (CREATING, "")),
        # The claim knows of it before the list does.
        (("take", "begin", "created"), [], "job-1", (CREATED, "job-1")),
        (("take", "begin", "created"), [("job-1", "k", False), ("job-2", "k", True)], "job-2",
         (CREATED, "job-1")),
    ],
)  # fmt: skip
def test_the_job_of_a_request_is_found_by_its_claim_or_in_the_list(
    tmp_path, steps, listed, found, state
):
    reach(tmp_path, *steps)
    jobs = Jobs(claim(tmp_path), "k")
    jobs.listed = listed
    assert jobs.find() == found
    assert claim(tmp_path).look() == state


def test_a_job_that_was_deleted_since_is_none(tmp_path):
    gone = looked(tmp_path)
    gone.take()
    gone.begin()
    gone.created("job-9")
    assert Jobs(claim(tmp_path), "k").find() == ""


@pytest.mark.parametrize(
    ("answer", "state", "in_doubt"),
    [
        ("job-new", (CREATED, "job-new"), False),
        (api.Forbidden("no"), (ENDED, ""), False),
        (api.TooManyRequests("later"), (ENDED, ""), False),
        (api.GatewayTimeout("slow"), (CREATING, ""), True),
        (ConnectionError("reset"), (CREATING, ""), True),
    ],
)
def test_what_became_of_a_creation_is_noted(tmp_path, answer, state, in_doubt):
    jobs = Jobs(claim(tmp_path), "k")
    jobs.answer = answer
    assert jobs.find() == ""
    if isinstance(answer, str):
        assert jobs.create() == answer
    else:
        with pytest.raises(type(answer)):
            jobs.create()
    assert (claim(tmp_path).look(), jobs.in_doubt, jobs.requests) == (state, in_doubt, 1)


@pytest.mark.parametrize(
    ("answers", "sent", "jobs"),
    [
        ([], 0, set()),
        (["job-1"], 1, {"job-1"}),
        ([api.Forbidden("no")], 0, set()),
        (["job-1", api.Forbidden("no"), ConnectionError("reset")], 2, {"job-1"}),
    ],
)
def test_a_claim_knows_what_was_asked_for_and_where(tmp_path, answers, sent, jobs):
    for answer in answers:
        asked = Jobs(claim(tmp_path), "k")
        asked.answer, asked.listed = answer, (("job-1", "k", False),)
        assert asked.find() == ""
        with suppress(api.Forbidden, ConnectionError):
            asked.create()
    found = claim(tmp_path).requests()
    assert found == Requests(sent, jobs, {Jobs.place} if answers else set())


@pytest.mark.parametrize("steps", [("take",), ("take", "begin")])
def test_nothing_is_sent_while_another_run_holds_the_claim(tmp_path, steps):
    reach(tmp_path, *steps)
    jobs = Jobs(claim(tmp_path), "k")
    assert jobs.find() == ""
    with pytest.raises(WaitingError):
        jobs.create()
    assert jobs.requests == 0


def test_who_else_waits_for_a_job(cloud):
    cloud.ask("hold", {"on": True})
    place, bucket = f"projects/{PROJECT}/locations/{REGION}", f"gs://{BUCKET}/any/folder"
    spec = {
        "pipelineInfo": {"name": "p"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": {}}},
        "deploymentSpec": {"executors": {}},
    }
    client = clients.pipelines(REGION)
    for name in "abc":
        job = {"pipeline_spec": spec, "runtime_config": {"gcs_output_directory": bucket}}
        client.create_pipeline_job(parent=place, pipeline_job=job, pipeline_job_id=f"run-{name}")
    a, b, c, gone = runs = [f"{place}/pipelineJobs/run-{name}" for name in "abcd"]
    for run in runs:
        Waiters(bucket, run, "k").add()
    client.cancel_pipeline_job(name=c)
    Waiters(bucket, b, "other").add()
    Waiters(bucket, "", "none").add()
    Waiters("", a, "none").add()
    waiting = f"gs://{BUCKET}/tunepipe/waiting"
    files = [f"{waiting}/k/run-{name}.run" for name in "abcd"] + [f"{waiting}/other/run-b.run"]
    assert storage.matching_files(f"gs://{BUCKET}/**") == files
    assert (keys_of(bucket, a), keys_of(bucket, b)) == (["k"], ["k", "other"])
    assert keys_of(bucket, "") == []
    assert Waiters(bucket, a, "k").others() == Waiters(bucket, a).others() == [b]
    assert Waiters(bucket, b, "other").others() == Waiters("", a, "k").others() == []
    assert Waiters(bucket, gone, "k").others() == [a, b]

"""Names of places and runs, words of errors, and what is read of a job: tables of cases."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import requests
from google.api_core import exceptions as api

from tunepipe.errors import UsageError
from tunepipe.gcp import clients, labels
from tunepipe.gcp.explanations import words_of
from tunepipe.gcp.remote_jobs import JobState, RemoteJobs, Status, WaitingError, has_ended

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_the_host_of_a_location(region, host):
    assert clients.host(region) == host


def test_the_place_of_a_resource():
    assert clients.place_of("projects/p/locations/eu/endpoints/7") == ("p", "eu")
    for name in ("projects/p/locations/eu", "gs://b/x", "/projects/p/locations/eu/x/1", ""):
        with pytest.raises(UsageError, match="not a resource name"):
            clients.region_of(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("projects/p/locations/eu/models/7@2", "models"),
        ("projects/p/locations/eu/endpoints/7", "endpoints"),
        ("projects/p/locations/eu/models/7/evaluations/1", ""),
        ("gs://b/models/7", ""),
    ],
)
def test_the_kind_of_a_resource(name, kind):
    assert clients.kind_of(name) == kind


def test_a_state_that_was_not_sent_is_no_end():
    job = SimpleNamespace(state=None, end_time=None)
    assert (clients.state_of(job), has_ended(job)) == ("UNSPECIFIED", False)


@pytest.mark.parametrize(
    ("resources", "found"),
    [
        ("/gcs/bucket/tunepipe/runs/123456/tune-run-1/tune_7/gcp_resources", "tune-run-1"),
        ("/gcs/bucket/123/run/task/file/gcp_resources", ""),
        ("/gcs/bucket/project/run/task/gcp_resources", ""),
        ("/gcs/bucket/123/1run/task/gcp_resources", ""),
        ("/tmp/123/run/task/gcp_resources", ""),
    ],
)
def test_the_run_of_a_step(monkeypatch, resources, found):
    monkeypatch.delenv("VERTEX_AI_PIPELINES_RUN_LABELS", raising=False)
    assert (labels.run_id(resources), labels.run_labels()) == (found, {})
    own = {labels.RUN_ID_LABEL: "run-9", "team": "desk", "vertex-ai-pipelines-run": "x"}
    monkeypatch.setenv("VERTEX_AI_PIPELINES_RUN_LABELS", json.dumps(own))
    assert (labels.run_id(resources), labels.run_labels()) == ("run-9", {"team": "desk"})
    assert (labels.run_label("team"), labels.run_label("none")) == ("desk", "")


def answered(content: bytes) -> api.GoogleAPICallError:
    response = requests.Response()
    response._content = content
    return api.Forbidden(
        "GET https://storage: ('Request failed with status 403')", response=response
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (api.Forbidden("Permission denied."), "Permission denied."),
        (ValueError("plain"), "plain"),
        (answered(b'{"error": {"message": "No access."}}'), "No access."),
        (answered(b" No such bucket. \n"), "No such bucket."),
        (answered(b"<html>"), "GET https://storage: ('Request failed with status 403')"),
        (answered(b""), "GET https://storage: ('Request failed with status 403')"),
        (answered(b"x" * 2001), "x" * 2000),
    ],
)
def test_googles_own_words(error, words):
    assert words_of(error) == words


class Jobs(RemoteJobs):
    """One job, whose result may be gone."""

    kind = "CustomJob"

    def __init__(self, state: str, exists: bool = True, **fields: object) -> None:
        defaults = {"name": "job", "end_time": NOON, "create_time": NOON, "error": None}
        named = SimpleNamespace(name=f"JOB_STATE_{state}")
        self.job = SimpleNamespace(**{**defaults, **fields}, state=named)
        self.exists, self.asked = exists, 0

    def get(self, name):
        return self.job

    def result_exists(self, job):
        return self.exists

    def detail(self, job):
        return "pulling"

    def request_cancel(self, name):
        self.asked += 1
        raise api.FailedPrecondition("it is not running")


def error(code: int, message: str = "no quota") -> SimpleNamespace:
    return SimpleNamespace(code=code, message=message)


@pytest.mark.parametrize(
    ("jobs", "status", "counts"),
    [
        (Jobs("SUCCEEDED"), Status(JobState.SUCCEEDED), True),
        (Jobs("SUCCEEDED", exists=False), Status(JobState.SUCCEEDED), False),
        (Jobs("RUNNING", end_time=None),
         Status(JobState.RUNNING, detail="pulling", created=NOON), True),
        (Jobs("CANCELLED"), Status(JobState.CANCELLED), False),
        (Jobs("FAILED", error=error(8)), Status(JobState.FAILED, "no quota"), False),
        (Jobs("FAILED", error=error(13)), Status(JobState.FAILED, "no quota", True), False),
        (Jobs("FAILED", error=error(14)), Status(JobState.FAILED, "no quota", True), False),
        (Jobs("FAILED", error=error(15)), Status(JobState.FAILED, "no quota"), False),
        (Jobs("EXPIRED"), Status(JobState.FAILED, "the job ended as JOB_STATE_EXPIRED"), False),
        (Jobs("PARTIALLY_SUCCEEDED", exists=False, error=error(3, "half")),
         Status(JobState.FAILED, "the job succeeded in part: half"), True),
    ],
)  # fmt: skip
def test_the_status_of_a_job_and_whether_it_stands_in_for_another(jobs, status, counts):
    assert jobs.status("job") == status
    assert jobs.counts(jobs.job) is counts


def test_a_job_that_is_being_cancelled_is_waited_for():
    jobs = Jobs("CANCELLING", end_time=None)
    with pytest.raises(WaitingError, match="being cancelled") as caught:
        jobs.counts(jobs.job)
    assert caught.value.where == "job"


def test_only_a_job_that_has_ended_may_refuse_to_be_cancelled():
    ended, running = Jobs("SUCCEEDED"), Jobs("RUNNING", end_time=None)
    ended.cancel("job")
    with pytest.raises(api.FailedPrecondition):
        running.cancel("job")
    assert (ended.asked, running.asked) == (1, 1)


def test_a_kind_of_job_without_results_of_its_own_has_them_and_no_detail():
    jobs = RemoteJobs()
    assert (jobs.result_exists(None), jobs.detail(None), jobs.in_doubt) == (True, "", False)

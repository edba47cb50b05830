"""Telling people: where the webhook's address is kept, who takes the message, and who does not."""

import json
from types import SimpleNamespace

import pytest

from tests.receiver import receiver
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.errors import CloudError, UsageError
from tunepipe.notifications import webhook
from tunepipe.registry import champions, records
from tunepipe.registry.records import RunOutcome
from tunepipe.steps.notification import notice_step
from tunepipe.steps.reporting import record_step

SECRET = f"projects/{PROJECT}/secrets/webhook"
IN_REGION = f"projects/{PROJECT}/locations/{REGION}/secrets/webhook"
BETTER = {"verdict": "better", "reason": "It is so."}


def ended(state="SUCCEEDED", error=None):
    run = f"projects/1/locations/{REGION}/pipelineJobs/r1"
    return SimpleNamespace(state=state, pipeline_job_resource_name=run, error_message=error)


@pytest.fixture
def hook():
    with receiver() as made:
        yield made


@pytest.fixture
def kept(tmp_path, hook):
    """A file that holds the webhook's address."""
    file = tmp_path / "webhook"
    file.write_text(hook.url + "\n")
    return str(file)


@pytest.fixture
def compared(tmp_path):
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps(BETTER))
    return str(file)


def test_a_run_that_promoted_says_so_and_where_to_look(kept, hook, compared, tmp_path):
    place = str(tmp_path / "registry")
    comparison, report = SimpleNamespace(path=compared), SimpleNamespace(uri="gs://b/report")
    names = {"registry": place, "run_id": "r1", "job": ""}
    record_step({"comparison": comparison, "report": report, **names})
    champions.promote(
        place, "m", run="r1", verdict="better", reason="", moved_at="now", moved_by="me"
    )
    assert notice_step(ended(), kept, place, "r1") == "sent"
    (message,) = hook.messages
    assert (message["verdict"], message["run"]) == ("better", "r1")
    assert message["champion"] == "It is the champion now, version 1."
    assert f"/locations/{REGION}/pipelines/runs/r1" in message["text"]
    assert "https://storage.cloud.google.com/b/report" in message["text"]


@pytest.mark.parametrize(
    ("status", "recorded", "state", "verdict", "reason", "champion"),
    [
        (
            ended("FAILED", "Task x failed."),
            RunOutcome("better", "y"),
            "failed",
            "",
            "Task x failed.",
            "",
        ),
        (ended("CANCELLED"), None, "cancelled", "", "", ""),
        (ended(), None, "succeeded", "", "", ""),
        (
            ended(),
            RunOutcome("", "unchanged since run q"),
            "succeeded",
            "",
            "unchanged since run q",
            "",
        ),
        (
            ended(),
            RunOutcome("worse", "It lost."),
            "succeeded",
            "worse",
            "It lost.",
            "There is no champion.",
        ),
        (
            ended(),
            RunOutcome("worse", "It lost to q."),
            "succeeded",
            "worse",
            "It lost to q.",
            "Champion 1 stays.",
        ),
    ],
)
def test_success_failure_and_nothing_new(
    kept, hook, tmp_path, status, recorded, state, verdict, reason, champion
):
    place = str(tmp_path / "registry")
    if champion.startswith("Champion"):
        how = {"verdict": "better", "reason": "", "moved_at": "", "moved_by": ""}
        champions.promote(place, "m", run="q", **how)
    if recorded:
        records.record_outcome(place, "r1", recorded)
    assert notice_step(status, kept, place, "r1") == "sent"
    (message,) = hook.messages
    assert (message["state"], message["verdict"], message["reason"]) == (state, verdict, reason)
    assert message.get("champion", "") == champion


def test_nobody_is_told_where_nobody_is_named(hook):
    assert notice_step(ended(), "", "", "r1") == "not sent"
    assert hook.posts == 0


@pytest.mark.parametrize("name", [SECRET, f"{SECRET}/versions/3", IN_REGION])
def test_the_address_is_kept_in_secret_manager(cloud, hook, name):
    cloud.ask("facts", {"secrets": {name.partition("/versions")[0]: hook.url}})
    assert notice_step(ended(), name, "", "r1") == "sent"
    host = "secretmanager.googleapis.com"
    asked = {call["host"] for call in cloud.calls("governance.secret")}
    assert asked == {f"secretmanager.{REGION}.rep.googleapis.com" if "locations" in name else host}
    assert len(hook.messages) == 1


def test_or_in_a_bucket(cloud, hook):
    (cloud.buckets / BUCKET / "webhook").write_text(hook.url)
    assert notice_step(ended(), f"gs://{BUCKET}/webhook", "", "r1") == "sent"


def test_a_secret_that_we_may_not_read_fails_no_run(cloud, capsys):
    assert "not found" in notice_step(ended(), SECRET, "", "r1")
    assert "roles/secretmanager.secretAccessor" in capsys.readouterr().out


def test_a_record_that_is_broken_fails_no_run(kept, hook, tmp_path):
    (tmp_path / "outcomes").mkdir()
    (tmp_path / "outcomes" / "r1.json").write_text("half of it")
    assert notice_step(ended(), kept, str(tmp_path), "r1") == "JSONDecodeError"
    assert hook.posts == 0


@pytest.mark.parametrize(
    ("answers", "result", "posts"),
    [
        ([503, 429], "sent", 3),
        ([404], "the webhook did not take the message: HTTP 404", 1),
        ([302], "the webhook did not take the message: HTTP 302", 1),
        ([500] * 9, "the webhook did not take the message: HTTP 500", 4),
    ],
)
def test_a_webhook_that_is_away_is_tried_again_and_fails_no_run(
    kept, hook, capsys, monkeypatch, answers, result, posts
):
    monkeypatch.setattr(webhook, "_PAUSE_SECONDS", 0.001)
    hook.answers = answers
    assert notice_step(ended(), kept, "", "r1") == result
    assert hook.posts == posts
    assert "T0P-S3CR3T" not in capsys.readouterr().out


@pytest.mark.parametrize("text", ["http://example.org/hook", "", "ftp://x", "projects/p"])
def test_what_is_no_https_address_is_not_posted_to(tmp_path, text):
    file = tmp_path / "webhook"
    file.write_text(text)
    with pytest.raises(UsageError, match="https") as caught:
        webhook.read_address(str(file))
    assert text == "" or text not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "in_cloud", "fits"),
    [
        ("", True, True),
        (SECRET, True, True),
        (IN_REGION + "/versions/2", True, True),
        ("gs://b/webhook", True, True),
        ("webhook.txt", False, True),
        ("webhook.txt", True, False),
        ("https://hooks.slack.com/services/T/B/x", True, False),
        ("https://hooks.slack.com/services/T/B/x", False, False),
    ],
)
def test_places_are_checked_before_anything_is_sent(place, in_cloud, fits):
    if fits:
        webhook.check_place(place, in_cloud=in_cloud)
        return
    with pytest.raises(UsageError, match=r"secret|cannot read") as caught:
        webhook.check_place(place, in_cloud=in_cloud)
    assert "T/B/x" not in str(caught.value)


def test_a_webhook_that_nobody_listens_at(monkeypatch):
    monkeypatch.setenv("TUNEPIPE_ALLOW_PRIVATE_ADDRESSES", "1")
    monkeypatch.setattr(webhook, "_PAUSE_SECONDS", 0.001)
    with pytest.raises(CloudError, match="ConnectionError"):
        webhook.post("http://127.0.0.1:9/T0P-S3CR3T", {"text": "x"})

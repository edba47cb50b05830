"""Where a webhook's address may be kept, and which answers have taken the message."""

import pytest

from tests.receiver import receiver
from tunepipe.errors import CloudError, UsageError
from tunepipe.gcp import outbound
from tunepipe.notifications import webhook

SECRET = "projects/p/secrets/webhook"


@pytest.mark.parametrize(
    ("place", "here", "in_cloud"),
    [
        ("", True, True),
        (SECRET, True, True),
        (f"{SECRET}/versions/2", True, True),
        ("gs://b/webhook", True, True),
        ("s3://b/webhook", True, True),
        ("webhook.txt", True, False),
        ("projects/p", True, False),
        ("https://example.com/T0P-S3CR3T", False, False),
        ("ftp://example.com", False, False),
    ],
)
def test_which_places_can_hold_an_address(place, here, in_cloud):
    for is_remote, fits in ((False, here), (True, in_cloud)):
        if fits:
            webhook.check_place(place, in_cloud=is_remote)
            continue
        with pytest.raises(UsageError) as caught:
            webhook.check_place(place, in_cloud=is_remote)
        is_address = "://" in place
        assert caught.value.where == ("--notify" if is_address else f"--notify {place}")
        assert "T0P-S3CR3T" not in str(caught.value)


def test_an_address_is_read_without_its_white_space(tmp_path):
    (tmp_path / "webhook").write_text(" https://example.com/T0P-S3CR3T\n")
    assert webhook.read_address(str(tmp_path / "webhook")) == "https://example.com/T0P-S3CR3T"
    (tmp_path / "webhook").write_text("http://example.com/T0P-S3CR3T")
    with pytest.raises(UsageError, match="https") as caught:
        webhook.read_address(str(tmp_path / "webhook"))
    assert caught.value.where == str(tmp_path / "webhook")


@pytest.mark.parametrize(
    ("answers", "problem", "posts"),
    [
        ([200], "", 1),
        ([299], "", 1),
        ([503, 200], "", 2),
        ([300], "HTTP 300", 1),
        ([404], "HTTP 404", 1),
        ([503, 502, 500, 504], "HTTP 503", 4),
    ],
)
def test_which_answers_have_taken_the_message(monkeypatch, answers, problem, posts):
    monkeypatch.setattr(webhook, "_PAUSE_SECONDS", 0.001)
    with receiver() as hook:
        hook.answers = list(answers)
        if problem:
            with pytest.raises(CloudError) as caught:
                webhook.post(hook.url, {"text": "x"})
            assert caught.value.found == f"the webhook did not take the message: {problem}"
            assert "T0P-S3CR3T" not in str(caught.value)
        else:
            webhook.post(hook.url, {"text": "x"})
        assert hook.posts == posts


def test_a_webhook_that_does_not_answer_is_named_by_the_error(monkeypatch):
    monkeypatch.setenv(outbound.ALLOW_PRIVATE, "1")
    monkeypatch.setattr(webhook, "_ATTEMPTS", 1)
    with pytest.raises(CloudError) as caught:
        webhook.post("http://127.0.0.1:9/T0P-S3CR3T", {"text": "x"})
    assert caught.value.found == "the webhook did not take the message: ConnectionError"
    assert "T0P-S3CR3T" not in str(caught.value)

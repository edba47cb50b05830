"""What people read of a run's end, and what each kind of webhook is sent."""

import pytest

from tunepipe.notifications.message import Notice, browsable, run_page

RUN = "projects/123/locations/europe-west4/pipelineJobs/weekly-20261125"
DONE = Notice(
    "weekly-20261125",
    "succeeded",
    verdict="better",
    reason="The tuned model is better than the base model.",
    champion="It is the champion now, version 3.",
    page=run_page(RUN),
    report="gs://b/runs/1/write-report/report",
)


def test_the_verdict_comes_first_then_why_then_where_to_look():
    assert DONE.text.splitlines() == [
        "tunepipe run weekly-20261125: better",
        "The tuned model is better than the base model. It is the champion now, version 3.",
        "run: https://console.cloud.google.com/vertex-ai/locations/europe-west4/pipelines/runs/"
        "weekly-20261125?project=123",
        "report: https://storage.cloud.google.com/b/runs/1/write-report/report",
    ]


@pytest.mark.parametrize(
    ("notice", "lines"),
    [
        (Notice("r", "succeeded", reason="unchanged since run q"),
         ["tunepipe run r: succeeded", "unchanged since run q"]),
        (Notice("r", "failed", reason="The DAG failed: [validate-jsonl]."),
         ["tunepipe run r: failed", "The DAG failed: [validate-jsonl]."]),
        (Notice("r", "cancelled"), ["tunepipe run r: cancelled"]),
        (Notice("r", "succeeded", report="/runs/r/report.html"),
         ["tunepipe run r: succeeded", "report: /runs/r/report.html"]),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_out(notice, lines):
    assert notice.text.splitlines() == lines


def test_a_failure_that_tells_a_novel_is_cut():
    assert len(Notice("r", "failed", reason="x" * 10_000).text) < 1000


@pytest.mark.parametrize(
    ("address", "only_text"),
    [
        ("https://hooks.slack.com/services/T/B/x", True),
        ("https://chat.googleapis.com/v1/spaces/S/messages?key=k", True),
        ("https://hooks.slack.com.example.org/x", False),
        ("https://example.org/hook", False),
    ],
)
def test_a_chat_is_sent_text_alone_since_it_refuses_fields_that_it_does_not_know(
    address, only_text
):
    message = DONE.message(address)
    assert message["text"] == DONE.text
    assert set(message) == {"text"} if only_text else message["verdict"] == "better"


def test_addresses_that_a_browser_opens():
    assert (
        browsable("gs://b/a folder/ü#1")
        == "https://storage.cloud.google.com/b/a%20folder/%C3%BC%231"
    )
    assert browsable("/here") == "/here"
    assert run_page("local-pipeline-exit-handler-1") == ""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://hooks.slack.com/x", "&lt;!channel&gt; a &amp; b &lt;https://x|y&gt;"),
        ("https://chat.googleapis.com/x", "‹!channel› a & b ‹https://x|y›"),
        ("https://example.com/x", "<!channel> a & b <https://x|y>"),
    ],
)
def test_a_chat_shows_markup_and_does_not_obey_it(address, shown):
    notice = Notice("r", "failed", reason="<!channel> a & b <https://x|y>")
    assert notice.message(address)["text"].splitlines()[1] == shown

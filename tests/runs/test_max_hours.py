"""`run --max-hours`: what never ends is ended, for every backend that pays."""

import json

import pytest

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.cli import main

PAYERS = "rows-of-others"  # a bucket whose requesters pay


@pytest.fixture
def held(cloud: StandIn) -> StandIn:
    """A project whose tuning jobs never start, and rows in a bucket whose requesters pay."""
    (cloud.buckets / PAYERS).mkdir()
    rows = [{"input_text": f"order {n}", "output_text": f"{n % 7}"} for n in range(130)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (cloud.buckets / PAYERS / "rows.jsonl").write_text(text)
    quota = {"Custom model training Nvidia L4 GPUs per region": {"us-central1": 1}}
    cloud.ask("facts", {"requester_pays": [PAYERS], "quota": quota})
    cloud.ask("hold", {"on": True, "paid": True})
    return cloud


BACKENDS = {
    "gemini": ("gemini-3.5-flash", REGION, []),
    "open-model": ("qwen/qwen3@qwen3-4b", REGION, []),
    "large-model": ("text-bison@001", REGION, []),
    "custom": (f"gs://{BUCKET}/base", "us-central1", ["parameters_billion=0.001"]),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_job_that_never_ends_is_cancelled_when_its_hours_are_over(
    held: StandIn, capfd: pytest.CaptureFixture[str], backend: str
) -> None:
    model, region, more = BACKENDS[backend]
    if region != REGION:
        held.ask("facts", {"location": region.upper()})
    options = ["poll_seconds=0.3", *more]
    arguments = [
        *("run", "--backend", backend, "--base-model", model, "--bucket", f"gs://{BUCKET}"),
        *("--dataset", f"gs://{PAYERS}/rows.jsonl", "--user-project", PROJECT),
        *("--project", PROJECT, "--region", region, "--train-steps", "40", "--yes", "--wait"),
        *("--max-hours", "0.0005", *(part for each in options for part in ("--option", each))),
    ]
    assert main.run(arguments) == 4
    ended = "the job has not ended within 0.0005 hours; it was cancelled"
    assert ended in capfd.readouterr().err
    assert ended in held.log()
    pipelines = [state for name, state in held.ask("states").items()]
    jobs = [job["state"] for kind in ("tunings", "custom_jobs") for job in held.ask(kind).values()]
    ends = sorted(state.rpartition("_")[2] for state in (*pipelines, *jobs))
    assert ends == ["CANCELLED", "FAILED"]  # the job, and the run around it

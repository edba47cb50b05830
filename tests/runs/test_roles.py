"""docs/vertex.md's role has the rights that runs use, each of them, and no others."""

import re
from pathlib import Path

import pytest

from tests.standin.permissions import PERMISSIONS
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "vertex.md").read_text(encoding="utf-8")
ROLE = re.search(r"--permissions \\\n((?:.*,\\\n)*.*)", PAGE)[1].replace("\\\n", "").split(",")
PLACE = ["--region", REGION, "--project", PROJECT, "--bucket", f"gs://{BUCKET}"]


@pytest.fixture
def run(cloud):
    """Make a run in the cloud with the rights that are given."""
    cloud.ask("instant", {"on": True})
    rows = (ROOT / "examples" / "orders.jsonl").read_text(encoding="utf-8").splitlines(True)[:120]
    (cloud.buckets / BUCKET / "orders.jsonl").write_text("".join(rows), encoding="utf-8")

    def start(backend, granted):
        cloud.ask("facts", {"granted": granted})
        arguments = ["run", "--backend", backend, "--dataset", f"gs://{BUCKET}/orders.jsonl"]
        pace = ["--option", "poll_seconds=1", "--param", 'asking={"requests_per_minute":60000}']
        return main.run([*arguments, *PLACE, "--epochs", "1", *pace, "--wait", "--yes"])

    return start


def test_the_role_names_rights_that_a_call_takes_each_once():
    assert sorted(ROLE) == sorted(set(PERMISSIONS.values()))


@pytest.mark.parametrize("backend", ["gemini", "large-model"])
def test_a_run_needs_no_right_that_the_role_lacks(run, cloud, backend):
    assert run(backend, ROLE) == 0, cloud.log()[-3000:]
    assert [call for call in cloud.calls() if call["code"] == 403] == []


@pytest.mark.parametrize(
    "right", ["aiplatform.tuningJobs.create", "aiplatform.pipelineJobs.create"]
)
def test_without_a_right_the_run_is_refused_and_names_it(run, cloud, capfd, right):
    assert run("gemini", [one for one in ROLE if one != right]) == 4
    assert right in capfd.readouterr().err + cloud.log()
    assert cloud.ask("tunings") == {}

"""docs/retraining.md: its shell blocks as written, against the stand-in."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.standin.session import BUCKET

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def shell(cloud, tmp_path):
    """A folder with the page's settings, and a shell that stops at the first failure."""
    cloud.ask("instant", {"on": True})
    rows = (ROOT / "examples" / "orders.jsonl").read_text(encoding="utf-8").splitlines(True)
    (cloud.buckets / BUCKET / "orders.jsonl").write_text("".join(rows[:120]), encoding="utf-8")
    (settings,) = blocks("toml")
    (tmp_path / "tunepipe.toml").write_text(settings, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if "TUNEPIPE_" not in name}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
        # The default is Google's quota of 60 a minute; the stand-in has none.
        "TUNEPIPE_PARAM": 'asking={"requests_per_minute":60000}',
        "TUNEPIPE_OPTION": "poll_seconds=1",
    }

    def run(text):
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def test_every_command_of_the_page_works_as_written(shell, cloud):
    said = {}
    for block in blocks("sh"):
        done = shell(block)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}\n{cloud.log()[-3000:]}"
        said[block.split("\n")[0]] = done.stdout + done.stderr
    doctor, first, applied, by_hand, left, ended = said.values()
    assert "gemini-3.5-flash" in doctor
    assert "verdict: better" in first
    assert "next: tunepipe predict --model projects/" in first
    assert "The tuned model is better" in first
    assert "https://storage.cloud.google.com/demo-bucket/" in first
    assert "would create: nothing was sent" in applied
    assert "created: projects/123456789012/locations/europe-west4/schedules/" in applied
    assert "03:00+09:00" in applied
    assert "pipelineJobs/weekly-" in by_hand
    assert "2 runs: about" in left
    assert "deleted" in ended
    jobs = cloud.ask("tunings")
    assert len(jobs) == 1, "the run by hand takes up what the first run paid for"
    # The model answers from the multi-region alone; nothing else is asked outside the region.
    assert {call["host"] for call in cloud.calls() if "aiplatform" in call["host"]} <= {
        "europe-west4-aiplatform.googleapis.com",
        "aiplatform.eu.rep.googleapis.com",
    }


@pytest.mark.parametrize("line", "".join(blocks("console")).splitlines())
def test_the_other_commands_have_these_options(shell, line):
    verb = line.split()[1]
    told = shell(f"tunepipe {verb} --help").stdout
    assert all(option in told for option in re.findall(r"--[a-z-]+", line))

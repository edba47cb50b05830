"""What an image is asked before a run is started on it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.linked import environment
from tunepipe.packaging.requirements import KFP, PINS

ROOT = Path(__file__).parents[2]


def asked(python):
    return subprocess.run(
        [python, "-P", "-m", "tunepipe.packaging.installed", "steps"], capture_output=True,
        text=True, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, cwd="/",
    )  # fmt: skip


def test_this_environment_could_be_an_image():
    done = asked(sys.executable)
    assert done.returncode == 0, done.stderr
    assert f"{len(PINS) + 1} pinned packages are installed" in done.stdout


def test_an_image_without_what_the_steps_need_says_what_is_missing(tmp_path):
    done = asked(environment(tmp_path / "venv", [KFP, PINS["numpy"]]))
    assert done.returncode
    assert "the steps need " in done.stderr
    assert PINS["msgspec"] in done.stderr
    assert PINS["numpy"] not in done.stderr
    assert PINS["torch"] in done.stdout, "the other steps go without"
    assert PINS["torch"] not in done.stderr

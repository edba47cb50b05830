"""Every compiled component runs in a pipeline that knows nothing of tunepipe but its YAML file."""

import os
import subprocess
from inspect import getsource
from pathlib import Path

import pytest

from tests.linked import environment
from tests.receiver import receiver
from tunepipe import components
from tunepipe.packaging.imports import modules_of, third_party_of
from tunepipe.packaging.requirements import PINS, requirements

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("foreign_pipeline.py")


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Python with kfp and with what the steps declare, and with nothing else."""
    sources = {
        verb: getsource(getattr(components, verb).python_func) for verb in components.__all__
    }
    declared = {
        requirement
        for verb, source in sources.items()
        for requirement in requirements(third_party_of(modules_of(source, verb)))
    }
    assert declared <= set(PINS.values())
    return environment(tmp_path_factory.mktemp("foreign") / "venv", ["kfp==2.17.0", *declared])


def test_tunepipe_is_not_there(python, tmp_path):
    found = subprocess.run(
        [python, "-c", "import tunepipe.data"], cwd=tmp_path, capture_output=True
    )
    assert b"No module named 'tunepipe'" in found.stderr


def test_all_components_run_from_their_yaml_files(python, tmp_path):
    rows = (ROOT / "examples" / "orders.jsonl").read_text(encoding="utf-8").splitlines()[:120]
    dataset = tmp_path / "orders.jsonl"
    dataset.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with receiver() as hook:
        (tmp_path / "webhook").write_text(hook.url)
        found = subprocess.run(
            [python, SCRIPT, ROOT / "compiled" / "components", dataset, tmp_path],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "TUNEPIPE_ALLOW_PRIVATE_ADDRESSES": "1",  # the receiver is on this machine
            },
        )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-1000:]
    assert found.stdout.splitlines()[-1].split()[1:] == sorted(components.__all__)
    (report,) = (tmp_path / "steps").glob("*/write-report/report")
    (message,) = hook.messages
    assert (message["run"], message["report"]) == ("theirs", str(report))

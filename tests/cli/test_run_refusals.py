"""What `run` refuses in its first second, before a step, a request or a folder is made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.local.models import write_base

# Takes packages away from this environment, as if their extra had not been installed.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from tunepipe.cli import main

code = main.run(sys.argv[2:])
assert "torch" not in sys.modules, "nothing heavy is imported for a refusal"
sys.exit(code)
"""
CLOUD = ["--project", "p", "--region", "us-central1", "--bucket", "gs://b"]


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"input_text": f"q {n}", "output_text": f"a {n}"} for n in range(300)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "rows.jsonl"


@pytest.mark.parametrize("missing", ["torch", "trl", "peft,accelerate"])
@pytest.mark.parametrize("base", [[], ["--base-model", "acme/model"]], ids=["tiny", "a base model"])
def test_a_missing_extra_is_named_before_a_step_runs(dataset, missing, base):
    command = ["run", "--backend", "local", "--dataset", dataset, *base]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, *command],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "is not installed" in done.stderr
    assert "[local]" in done.stderr
    assert not Path("runs").exists()


def test_a_custom_job_needs_no_trainer_on_the_machine_that_submits_it(dataset):
    command = ["run", "--backend", "custom", "--base-model", "acme/model-4b", "--dataset", dataset]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "torch,trl,peft", *command, *CLOUD, "--dry-run"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--option", "lora_rnak=8"], "did you mean lora_rank"),
        (["--option", "lora_rank=0"], "lora_rank"),
        (["--option", "packing=true"], "the option is for a base model"),
        (["--pipeline", "none.yaml"], "--pipeline"),
        (["--accelerator", "L4:1"], "takes the GPUs that there are"),
    ],
)
def test_wrong_options_of_a_run_here(said, dataset, arguments, words):
    code, _, err = said("run", "--backend", "local", "--dataset", dataset, *arguments)
    assert code == 2
    assert words in err
    assert not Path("runs").exists()


def test_a_base_model_that_is_broken(said, dataset, tmp_path):
    folder = Path(write_base(tmp_path / "base"))
    (folder / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    code, _, err = said(
        "run", "--backend", "local", "--dataset", dataset, "--base-model", str(folder)
    )
    assert (code, "Git LFS pointer" in err) == (2, True)
    assert not Path("runs").exists()


@pytest.mark.parametrize("backend", ["gemini", "custom"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pipeline", "none.yaml"], "none.yaml"),
        (["--option", "no_such_option=8"], "no_such_option"),
    ],
)
def test_wrong_options_of_a_run_in_the_cloud(said, dataset, backend, arguments, words):
    base = ["--base-model", "acme/model-4b"] if backend == "custom" else []
    code, _, err = said(
        "run", "--backend", backend, "--dataset", dataset, *base, *CLOUD, *arguments
    )
    assert code == 2
    assert words in err

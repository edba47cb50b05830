"""What other tools read: the GitHub Action, the pre-commit hook, and the skill for agents."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tunepipe import __version__

ROOT = Path(__file__).parents[1]
ROWS = "".join(f'{{"input_text": "q {n}", "output_text": "a"}}\n' for n in range(120))
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(ROOT),
}


def step(name):
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    return action, next(one for one in action["runs"]["steps"] if one.get("name") == name)


@pytest.mark.parametrize(
    ("dataset", "arguments", "code"),
    [
        ("good.jsonl", "", 0),
        ("good.jsonl bad.jsonl", "--max-problems 5", 1),
        ("*.jsonl", "", 1),
        ("good.jsonl;touch${IFS}pwned $(touch pwned)", "", 2),
        ("good.jsonl", "`touch pwned`", 2),
    ],
)
def test_the_action_writes_sarif_and_runs_nothing_of_its_inputs(tmp_path, dataset, arguments, code):
    action, validate = step("tunepipe validate")
    (tmp_path / "good.jsonl").write_text(ROWS)
    (tmp_path / "bad.jsonl").write_text('{"input_text": "q"}\n')
    inputs = {"dataset": dataset, "model": "", "arguments": arguments, "sarif": "found.sarif"}
    assert set(inputs) < set(action["inputs"])
    variables = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda match: inputs[match[1]], value)
        for name, value in validate["env"].items()
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", validate["run"]],
        cwd=tmp_path, env={**ENVIRONMENT, **variables}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert not (tmp_path / "pwned").exists()
    if code < 2:
        assert json.loads((tmp_path / "found.sarif").read_text())["version"] == "2.1.0"


def test_no_step_of_the_action_pastes_an_input_into_a_command():
    action, _ = step("tunepipe validate")
    assert not [one for one in action["runs"]["steps"] if "${{" in one.get("run", "")]


def test_the_hook_is_one_and_its_example_names_this_release(tmp_path):
    path = ROOT / ".pre-commit-hooks.yaml"
    check = [sys.executable, "-m", "pre_commit", "validate-manifest", path]
    subprocess.run(check, check=True, capture_output=True, env=ENVIRONMENT)
    assert f"rev: v{__version__}" in path.read_text(encoding="utf-8")
    (hook,) = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert re.search(hook["files"], "data/rows.jsonl")
    (tmp_path / "rows.jsonl").write_text('{"input_text": "q"}\n')
    program = [sys.executable, "-m", *shlex.split(hook["entry"]), "rows.jsonl"]
    done = subprocess.run(program, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "missing-field" in done.stderr


def test_the_skill_has_a_name_and_a_description():
    text = (ROOT / "SKILL.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert set(head) == {"name", "description"}
    assert len(head["description"]) < 1024
    assert text.count("--json") > 8


def test_what_the_skill_reads_is_in_the_answers(tmp_path):
    """Each row of its table with a command that needs no cloud and no model."""
    text = (ROOT / "SKILL.md").read_text(encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(ROWS)
    (tmp_path / "orders.csv").write_text(
        "input,output\n" + "".join(f"q {n},a\n" for n in range(120))
    )
    for name in ("tuned", "base"):
        answers = ({"id": str(n), "input": f"q {n}", "reference": "a", "prediction": name}
                   for n in range(30))  # fmt: skip
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in answers))
    checked = 0
    for command, fields in re.findall(r"\| `(tunepipe [^`]*)` \| ([^|]*) \|", text):
        if shlex.split(command)[1] not in ("validate", "convert", "split", "plan", "score"):
            continue
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        names = re.findall(r"`(\w+)", fields)
        assert names
        assert not set(names) - set(json.loads(done.stdout)), command
        checked += 1
    assert checked == 6

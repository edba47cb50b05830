"""A dataset of many shards, checked shard by shard by kfp's own engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import defects
from tunepipe.runs.compile import render
from tunepipe.validation.validate import validate

SHARDS = 8


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "validate_shards.yaml"
    path.write_text(render()["pipelines/validate_shards.yaml"], encoding="utf-8")
    return path


def checked(pipeline: Path, folder: Path, dataset: str):
    parameters = folder / "parameters.json"
    parameters.write_text(json.dumps({"dataset_uri": dataset, "format": "palm"}))
    command = ["-m", "tunepipe.runs.kfp_process", pipeline, parameters, folder / "steps"]
    found = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=folder)
    (report,) = (folder / "steps").glob("*/merge-validations/problems")
    return found, json.loads(report.read_text(encoding="utf-8"))


def test_eight_shards_on_many_machines_are_one_dataset_in_one_process(pipeline, tmp_path):
    for number in range(SHARDS):
        rows = defects.sound_lines("palm", 30, number)
        (tmp_path / f"{number}.jsonl").write_bytes(b"\n".join(rows) + b"\n")
    # A row of the first shard stands again in the last, and one line of the third is broken.
    first = (tmp_path / "0.jsonl").read_bytes().splitlines()[4]
    with (tmp_path / "7.jsonl").open("ab") as last, (tmp_path / "2.jsonl").open("ab") as third:
        last.write(first + b"\n")
        third.write(b'{"input_text": "cut short\n')
    dataset = str(tmp_path / "*.jsonl")
    found, report = checked(pipeline, tmp_path, dataset)
    whole = validate(sorted(map(str, tmp_path.glob("*.jsonl"))), format="palm")
    assert report == json.loads(json.dumps(whole.as_json()))
    assert report["counts"]["duplicate-row"] == 1
    assert report["counts"]["not-json"] == 1
    assert found.returncode == 1, "an error in any shard stops the run"
    assert os.fspath(tmp_path / "2.jsonl") in found.stdout

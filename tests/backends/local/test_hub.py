"""A base model from the hub: by revision, with a token, and without running its code."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.backends.local.models import rows, write_base, write_rows
from tests.standin.hub import COMMIT, serve

MODEL, TOKEN = "acme/small-model", "hf_of_a_team"
TUNE = """
import json, sys
from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.local import backend
from tunepipe.errors import TunepipeError

base, train, out = sys.argv[1:]
try:
    backend.check(base, {})
    request = TuningRequest(base, train, train, 3, 8, options={"learning_rate": 1e-2})
    result = backend.tune(request, out, lambda event: None)
    asked = [Prompt("a", [{"role": "user", "content": "?"}])]
    for model in (result.model, result.base):
        assert [one.text for one in backend.predict(model, asked, max_output_tokens=2)] != [None]
    print(json.dumps(result.statistics))
except TunepipeError as error:
    print(json.dumps({"found": error.found, "where": error.where, "fix": error.fix}))
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_base(folder)
    return folder


def tune(address, name, folder, token=""):
    """Tune in a process of its own: the hub's client reads its settings once."""
    train = write_rows(folder / "train.jsonl", rows(16))
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "cache"), "HF_TOKEN": token}
    settings |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TUNE, name, train, str(folder / "out")],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout, done.stderr[-3000:]
    assert TOKEN not in done.stdout
    return json.loads(done.stdout)


def test_the_commit_that_was_loaded_is_recorded_and_asked_afterwards(base, tmp_path):
    with serve(base, MODEL, "v1", TOKEN) as (address, requests):
        found = tune(address, f"{MODEL}@v1", tmp_path, TOKEN)
    assert found["base_revision"] == COMMIT
    assert found["base_model"] == f"{MODEL}@{COMMIT}"
    assert f"{MODEL}@{COMMIT}" in found["note"]
    adapter = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert (adapter["base_model_name_or_path"], adapter["revision"]) == (MODEL, COMMIT)
    assert {bearer for path, bearer in requests if "acme" in path} == {TOKEN}


@pytest.mark.parametrize(
    ("name", "token"), [(f"{MODEL}@v2", TOKEN), (MODEL, ""), ("acme/other", TOKEN)],
    ids=["another revision", "a gated model without its token", "another model"],
)  # fmt: skip
def test_what_the_hub_does_not_give_is_refused_in_words(base, tmp_path, name, token):
    with serve(base, MODEL, "main", TOKEN) as (address, _):
        found = tune(address, name, tmp_path, token)
    assert "neither from a folder nor from the hub" in found["found"]
    assert found["where"] == f"base_model {name}"
    assert "hf auth login" in found["fix"]


def test_a_model_of_the_hub_with_code_of_its_own_is_refused_and_the_code_not_run(base, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with serve(folder, MODEL) as (address, requests):
        found = tune(address, MODEL, tmp_path)
    assert "code of its own, which is never run" in found["found"]
    assert not (tmp_path / "ran").exists()
    assert not [path for path, _ in requests if path.endswith("code.py")]

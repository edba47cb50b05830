"""The pipeline on this machine: what it leaves, how it fails, how it goes on."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.receiver import receiver
from tests.waiting import until
from tunepipe.errors import DataError, TunepipeError, UsageError
from tunepipe.runs import local

ROOT = Path(__file__).parents[2]
QUICK = {"base_model": "tiny", "train_steps": 30, "max_output_tokens": 8}


@pytest.fixture(scope="module")
def rows():
    return (ROOT / "examples" / "orders.jsonl").read_text(encoding="utf-8").splitlines()[:120]


@pytest.fixture
def dataset(tmp_path, rows):
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("done")
    (folder / "orders.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    parameters = {"dataset_uri": str(folder / "orders.jsonl"), **QUICK}
    with receiver() as hook:
        (folder / "webhook").write_text(hook.url)
        told = {**parameters, "notify": str(folder / "webhook")}
        run = local.run_local(told, runs_folder=folder / "runs")
    (Path(run.folder) / "messages.json").write_text(json.dumps(hook.messages))
    return parameters, run


def test_a_run_leaves_what_people_open(done):
    _, run = done
    assert run.state == "succeeded"
    assert run.verdict in ("better", "worse", "not-enough-evidence")
    assert {
        "report.html",
        "summary.md",
        "model_card.md",
        "model",
        "predictions/tuned.jsonl",
    } <= set(run.results)
    report = Path(run.results["report.html"]).read_text(encoding="utf-8")
    assert report.startswith("<!doctype html>")
    assert run.id in report


def test_a_webhook_is_told_the_verdict_and_its_address_is_nowhere(done):
    _, run = done
    (message,) = json.loads((Path(run.folder) / "messages.json").read_text())
    assert (message["run"], message["verdict"]) == (run.id, run.verdict)
    assert Path(message["report"]).read_text(encoding="utf-8").startswith("<!doctype html>")
    for name in ("log.txt", "parameters.json", "pipeline.yaml"):
        assert "T0P-S3CR3T" not in (Path(run.folder) / name).read_text(encoding="utf-8")


def test_the_model_opens_as_any_other(done):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, run = done
    assert AutoTokenizer.from_pretrained(run.results["model"])("order")["input_ids"]
    assert AutoModelForCausalLM.from_pretrained(run.results["model"]).num_parameters() > 1000


def test_it_ran_what_is_committed(done):
    _, run = done
    committed = ROOT / "compiled" / "pipelines" / "tune_local.yaml"
    assert (Path(run.folder) / "pipeline.yaml").read_bytes() == committed.read_bytes()


def test_the_same_work_is_not_done_twice(done):
    parameters, run = done
    runs = Path(run.folder).parent
    before = set(runs.iterdir())
    assert local.run_local(parameters, runs_folder=runs) == run
    assert set(runs.iterdir()) == before


def test_a_run_is_found_again_by_its_key(done):
    _, run = done
    runs = Path(run.folder).parent
    assert local.succeeded(runs, run.key) == run
    assert local.succeeded(runs, "0" * 16) is None


def test_what_changes_under_an_old_name_is_other_work(tmp_path, dataset):
    guard, base = tmp_path / "guard.jsonl", tmp_path / "base"
    base.mkdir()
    told = {"dataset_uri": str(dataset), "guard_uri": str(guard), "base_model": str(base)}
    contents = [("one", "one"), ("two", "one"), ("two", "two"), ("two", "two")]
    keys = []
    for guarded, weights in contents:
        replace_text(guard, guarded)
        replace_text(base / "model.safetensors", weights)
        keys.append(local.key_of(told))
    assert len(set(keys)) == 3
    assert keys[2] == keys[3]


def replace_text(path, text):
    """Write a file where it says something else; its time of change stays where it does not."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def test_no_row_is_in_the_log(done, rows):
    _, run = done
    log = (Path(run.folder) / "log.txt").read_text(encoding="utf-8")
    assert log
    for row in rows:
        assert json.loads(row)["input_text"] not in log


def test_bad_rows_stop_the_run_with_their_codes(tmp_path, rows, monkeypatch):
    """In an environment whose path has a space, over a file whose name has `python3` in it."""
    venv.create(tmp_path / "My Project", symlinks=True)
    (packages,) = (tmp_path / "My Project").glob("lib/*/site-packages")
    (packages / "here.pth").write_text("\n".join(map(os.path.abspath, sys.path)))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "My Project" / "bin" / "python"))
    bad = tmp_path / "python3-bad.jsonl"
    bad.write_text("\n".join([*rows, "not json", '{"input_text": "x"}']), encoding="utf-8")
    with receiver() as hook:
        (tmp_path / "webhook").write_text(hook.url)
        told = {"dataset_uri": str(bad), "notify": str(tmp_path / "webhook"), **QUICK}
        with pytest.raises(DataError) as refused:
            local.run_local(told, runs_folder=tmp_path / "runs")
    assert [message["state"] for message in hook.messages] == ["failed"]
    assert "step validate-jsonl" in str(refused.value)
    assert "2 errors in 122 rows" in str(refused.value)
    assert "missing-field 1" in str(refused.value)
    assert "not-json 1" in str(refused.value)
    assert "tunepipe validate" in refused.value.fix
    (record,) = (tmp_path / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["state"] == "failed"
    assert list((tmp_path / "runs").glob("*/steps/*/validate-jsonl/page"))


def test_what_the_plan_refuses_stops_the_run_before_it_tunes(tmp_path, dataset):
    parameters = {"dataset_uri": str(dataset), **QUICK, "epochs": 1}
    with pytest.raises(UsageError) as refused:
        local.run_local(parameters, runs_folder=tmp_path / "runs")
    assert "step compute-train-steps" in str(refused.value)
    assert not list((tmp_path / "runs").glob("*/steps/*/tune-local"))


def test_a_dataset_that_is_not_there_is_said_before_anything_starts(tmp_path):
    with pytest.raises(UsageError):
        local.run_local({"dataset_uri": str(tmp_path / "no.jsonl")}, runs_folder=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_run_whose_progress_cannot_be_shown_leaves_no_pipeline(tmp_path, dataset, monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with pytest.raises(ValueError, match="closed file"):
        local.run_local({"dataset_uri": str(dataset), **QUICK}, runs_folder=tmp_path / "runs")
    with next(tmp_path.glob("runs/work/*/lock")).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a pipeline would have it


HELD = """
import signal, sys

written = 0

def hold(event, arguments):
    global written
    if event == "os.rename" and "/checkpoints-" in str(arguments[1]):
        written += 1
        if written == 2:
            signal.pause()

sys.addaudithook(hold)
"""


@pytest.fixture
def held_training(tmp_path, monkeypatch):
    """Every Python that is started stops where it would put a second checkpoint in its place.

    Returns the parameters of a training that gets there.
    """
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HELD)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return {**QUICK, "options": {"checkpoint_every": 10}}


def test_a_killed_run_goes_on_and_two_at_once_are_one(
    tmp_path, dataset, held_training, monkeypatch
):
    """SIGKILL to the command and its steps while it trains; the next run ends what it began."""
    parameters = {**held_training, "dataset_uri": str(dataset)}
    runs = tmp_path / "runs"
    code = (
        "import json, sys; from pathlib import Path; from tunepipe.runs.local import run_local;"
        "run_local(json.loads(sys.argv[1]), runs_folder=Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, json.dumps(parameters), str(runs)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: list(runs.glob("work/*/checkpoints-*")))
            with pytest.raises(UsageError, match="under way"):
                local.run_local(parameters, runs_folder=runs)
        finally:
            process.kill()
    kill_steps(runs)
    monkeypatch.delenv("PYTHONPATH")
    run = local.run_local(parameters, runs_folder=runs)
    tuning = json.loads(next((Path(run.folder) / "steps").glob("*/tune-local/tuning")).read_text())
    assert tuning["statistics"]["resumed_from_step"] == 10
    assert tuning["statistics"]["train_steps"] == parameters["train_steps"]


def test_a_pipeline_that_was_killed_is_a_failed_run(tmp_path, dataset, held_training):
    runs = tmp_path / "runs"

    def kill_the_pipeline():
        until(lambda: list(runs.glob("*/steps/*/prepare-run")))
        (host,) = (pid for pid in left_over(runs) if "kfp_process" in command_of(pid))
        os.kill(host, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_the_pipeline)
        with pytest.raises(TunepipeError, match="broke off, with exit code -9"):
            local.run_local({"dataset_uri": str(dataset), **held_training}, runs_folder=runs)
        killed.result()
    (record,) = runs.glob("*/run.json")
    assert json.loads(record.read_text())["state"] == "failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_ends_its_steps_and_says_so(
    tmp_path, dataset, held_training, number
):
    runs = tmp_path / "runs"
    command = [Path(sys.executable).with_name("tunepipe"), "run", "--backend", "local"]
    command += ["--dataset", dataset, "--runs", runs, "--train-steps", "30"]
    command += ["--option", "checkpoint_every=10"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until(lambda: list(runs.glob("*/steps/*/tune-local")))
        process.send_signal(number)
        assert process.wait(240) == 130
    assert left_over(runs) == []
    (record,) = runs.glob("*/run.json")
    assert json.loads(record.read_text())["state"] == "failed"


def test_a_run_that_was_killed_is_not_said_to_go_on(tmp_path):
    run = {"id": "one", "key": "k", "folder": str(tmp_path / "one"), "state": "running"}
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text(json.dumps(run))
    (tmp_path / "work" / "k").mkdir(parents=True)
    with (tmp_path / "work" / "k" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert local.read(tmp_path / "one").state == "running"
    found = local.read(tmp_path / "one")
    assert (found.state, found.reason.partition(";")[0]) == ("failed", "it was killed")


def kill_steps(runs: Path):
    """Kill what the killed command left, and wait until it is gone."""
    for pid in left_over(runs):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not left_over(runs))
    # A process that ends loses its name before it lets the lock go.
    with next(runs.glob("work/*/lock")).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


def command_of(pid) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def left_over(runs: Path) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = str(runs) in command_of(folder.name)
        except OSError:
            continue
        if named and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found

"""All models are asked side by side, each row of each model once, within one limit."""

import json
import threading
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.asked import ask
from tests.standin.session import PROJECT, REGION
from tunepipe.catalog.backends import BACKENDS, RequestPacing
from tunepipe.data.predictions import read
from tunepipe.errors import CloudError, DataError, UsageError
from tunepipe.evaluation.ask import RequestLimit
from tunepipe.steps.evaluation import _guard_file, evaluate_step
from tunepipe.stores.generations import identity

BASE = f"projects/{PROJECT}/locations/{REGION}/publishers/google/models/gemini-2.5-flash"
OTHER = f"projects/{PROJECT}/locations/{REGION}/publishers/google/models/gemini-2.5-pro"


def write(path, count, start=0):
    rows = [
        {"input_text": f"question {n}", "output_text": f"answer {n}"}
        for n in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_model_is_asked_its_rows_and_the_guarded_ones(cloud, tmp_path):
    rows, guard = write(tmp_path / "rows.jsonl", 6), write(tmp_path / "guard.jsonl", 3, 50)
    models = {"tuned": BASE, "base": OTHER}
    found, files = ask("gemini", tmp_path, rows, models, str(guard))
    assert {name: len(read(path)) for name, path in files.items() if path.stat().st_size} == {
        "tuned": 6, "base": 6, "guard_tuned": 3, "guard_base": 3,
    }  # fmt: skip
    assert (found["rows"], found["base_rows"], found["guard_base_rows"]) == (6, 6, 3)
    assert "champion_rows" not in found
    assert len(cloud.calls("GenerateContent")) == 18
    ask("gemini", tmp_path, rows, models, str(guard))
    assert len(cloud.calls("GenerateContent")) == 18, "answers that were paid are kept"


def test_a_champion_that_is_also_the_base_is_asked_once(cloud, tmp_path):
    rows = write(tmp_path / "rows.jsonl", 5)
    models = {"tuned": OTHER, "base": BASE, "champion": BASE}
    _, files = ask("gemini", tmp_path, rows, models)
    assert len(cloud.calls("GenerateContent")) == 10
    assert files["base"].read_bytes() == files["champion"].read_bytes() != b""


def test_one_model_that_cannot_be_asked_loses_no_answer_of_the_others(cloud, tmp_path):
    rows = write(tmp_path / "rows.jsonl", 5)
    gone = f"projects/{PROJECT}/locations/{REGION}/endpoints/404"
    with pytest.raises(CloudError):
        ask("gemini", tmp_path, rows, {"tuned": BASE, "champion": gone})
    before = len([call for call in cloud.calls("GenerateContent") if call["code"] == 200])
    ask("gemini", tmp_path, rows, {"tuned": BASE})
    after = len([call for call in cloud.calls("GenerateContent") if call["code"] == 200])
    assert before == after == 5


def test_models_share_the_limit_of_the_service():
    limit, at_a_time, most = RequestLimit(RequestPacing(workers=3)), [], []

    def request():
        with limit:
            at_a_time.append(1)
            most.append(len(at_a_time))
            time.sleep(0.01)
            at_a_time.pop()

    threads = [threading.Thread(target=request) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 3
    spaced = RequestLimit(RequestPacing(workers=3, requests_per_minute=6000))
    began = time.monotonic()
    for _ in range(11):
        with spaced:
            pass
    assert time.monotonic() - began >= 0.1


def test_guarded_rows_that_changed_during_the_run_are_refused(tmp_path):
    guard = write(tmp_path / "guard.jsonl", 3)
    known = identity(str(guard)).fingerprint
    with _guard_file(str(guard), known) as path:
        assert Path(path).read_text() == guard.read_text()
    write(guard, 4)
    with pytest.raises(DataError, match="changed during the run"), _guard_file(str(guard), known):
        pass


def test_guarded_rows_come_by_address_or_from_an_earlier_step(cloud, tmp_path):
    rows, guard = write(tmp_path / "rows.jsonl", 4), write(tmp_path / "guard.jsonl", 3, 50)

    def evaluate(**guarded):
        files = ("", "base_", "champion_", "first_", "guard_", "guard_base_")
        names = [f"{name}predictions" for name in files]
        ports = {name: SimpleNamespace(path=str(tmp_path / name)) for name in names}
        counts = {}
        ports |= {"model": artifact(BASE), "base": None, "champion": "", "first": "", **guarded}
        ports |= {"eval": artifact(path=rows), "guard_fingerprint": "", "max_output_tokens": 256}
        ports |= {"metrics": SimpleNamespace(log_metric=counts.__setitem__)}
        predictor = import_module("tunepipe.backends.managed.gemini_prediction")
        done = evaluate_step(predictor, "gemini", {**ports, "settings": {}, "work_dir": ""})
        return done, counts, read(ports["guard_predictions"].path)

    by_uri = evaluate(guard=None, guard_uri=str(guard))
    assert by_uri == evaluate(guard=artifact(path=guard), guard_uri="")
    assert (by_uri[0], by_uri[1]["guard_tuned_rows"], len(by_uri[2])) == ((4, 0), 3, 3)
    with pytest.raises(UsageError, match="one dataset"):
        evaluate(guard=artifact(path=guard), guard_uri=str(guard))


def artifact(model: str = "", path: object = ""):
    return SimpleNamespace(path=str(path), metadata={"resourceName": model} if model else {})


def test_each_backend_names_modules_that_are_there():
    for backend in BACKENDS.values():
        assert callable(import_module(backend.tuner).tune)
        assert callable(import_module(backend.predictor).predict)

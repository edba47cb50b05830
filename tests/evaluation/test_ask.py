"""Every row is asked, none is paid for twice, and a failure is told from a wrong answer."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import requests
from google.api_core import exceptions as google_errors

from tunepipe.backends.base import Answer
from tunepipe.catalog.backends import RequestPacing
from tunepipe.data import predictions
from tunepipe.errors import CloudError, DataError
from tunepipe.evaluation.ask import AnswerCounts, predict_rows

QUICK = {"workers": 4, "first_pause_seconds": 0.001}


class Service:
    """A backend that answers in capitals, and keeps the bill.

    `fail` maps a question to the errors that it meets before it is answered.
    """

    def __init__(self, fail=None):
        self.fail = {question: list(errors) for question, errors in (fail or {}).items()}
        self.billed, self.times = [], []
        self._lock = threading.Lock()

    def tune(self, request, output_dir, progress):
        raise AssertionError("nobody tunes here")

    def cancel(self, job):
        raise AssertionError("nobody cancels here")

    def predict(self, model, prompts, **settings):
        for prompt in reversed(prompts):
            question = prompt.messages[-1]["content"]
            with self._lock:
                self.times.append(time.monotonic())
                if self.fail.get(question):
                    raise self.fail[question].pop(0)
                self.billed.append(question)
            yield Answer(prompt.id, question.upper())


class Refused(Exception):
    """As google.api_core and google.genai raise: the HTTP status is in `code`."""

    def __init__(self, code, retry_after=None):
        super().__init__("a text of the service that may quote the row")
        self.code = code
        if retry_after is not None:
            self.response = SimpleNamespace(headers={"retry-after": str(retry_after)})


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [{"input_text": f"question {n}", "output_text": f"QUESTION {n}"} for n in range(12)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def texts(path):
    return [row.prediction for row in predictions.read(path)]


@pytest.mark.parametrize("pace", [None, RequestPacing(workers=1), RequestPacing(workers=5)])
def test_predictions_stand_in_the_order_of_the_rows(rows, tmp_path, pace):
    events = []
    out = tmp_path / "out" / "predictions.jsonl"
    found = predict_rows(
        Service(), "m", str(rows), str(out), pace=pace, progress=lambda e: events.append(dict(e))
    )
    assert found == AnswerCounts(12, 0)
    read = predictions.read(out)
    assert [row.input for row in read] == [f"question {n}" for n in range(12)]
    assert all(row.prediction == row.reference and not row.error for row in read)
    assert [event["done"] for event in events] == list(range(1, 13))
    assert events[-1] == {"done": 12, "total": 12, "unanswered": 0, "seconds_left": 0}


def test_a_second_call_pays_nothing(rows, tmp_path):
    first, second = Service(), Service()
    for service, name in ((first, "a"), (second, "b")):
        predict_rows(service, "m", str(rows), str(tmp_path / name), pace=RequestPacing(**QUICK))
    assert len(first.billed) == 12
    assert second.billed == []
    assert texts(tmp_path / "a") == texts(tmp_path / "b")


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"settings": {"max_output_tokens": 5}}], ids=["model", "settings"]
)
def test_another_model_or_setting_is_asked_anew(rows, tmp_path, change):
    service, out = Service(), str(tmp_path / "out")
    predict_rows(service, "m", str(rows), out)
    predict_rows(service, **{"model": "m", **change}, rows_path=str(rows), out_path=out)
    assert len(service.billed) == 24


def test_a_model_folder_that_was_written_anew_is_asked_anew(rows, tmp_path):
    service, out, model = Service(), str(tmp_path / "out"), tmp_path / "model"
    model.mkdir()
    for weights in ("one", "other"):
        (model / "model.safetensors").write_text(weights)
        predict_rows(service, str(model), str(rows), out)
    assert len(service.billed) == 24


def test_an_error_midway_keeps_what_was_paid_for(rows, tmp_path):
    out = str(tmp_path / "out")
    broken = Service({"question 4": [RuntimeError("a bug")]})
    with pytest.raises(RuntimeError, match="a bug"):
        predict_rows(broken, "m", str(rows), out)
    assert not Path(out).exists()
    second = Service()
    predict_rows(second, "m", str(rows), out)
    assert sorted(broken.billed + second.billed) == sorted(f"question {n}" for n in range(12))


KILLED = """
import signal, sys
from tunepipe.backends.base import Answer
from tunepipe.evaluation.ask import predict_rows

class Slow:
    def predict(self, model, prompts, **settings):
        for number, prompt in enumerate(prompts):
            if number == 5:
                print("paid for 5", flush=True)
                signal.pause()
            yield Answer(prompt.id, prompt.messages[-1]["content"].upper())

predict_rows(Slow(), "m", sys.argv[1], sys.argv[2])
"""


def test_a_killed_step_goes_on_and_pays_for_no_row_twice(rows, tmp_path):
    out = tmp_path / "out" / "predictions.jsonl"
    step = subprocess.Popen(
        [sys.executable, "-c", KILLED, rows, out], stdout=subprocess.PIPE, text=True
    )
    assert step.stdout.readline() == "paid for 5\n"
    step.kill()
    step.communicate()
    (work,) = out.parent.glob("answers-*.jsonl")
    with work.open("ab") as file:
        file.write(b'{"id": "half a li')
    # The file is named after the backend too; here another process stood for the same service.
    service = type("Slow", (Service,), {})()
    assert predict_rows(service, "m", str(rows), str(out)) == AnswerCounts(12, 0)
    assert len(service.billed) == 12 - 5
    assert texts(out) == [f"QUESTION {n}" for n in range(12)]


@pytest.mark.parametrize(
    "error",
    [
        Refused(429),
        Refused(503),
        ConnectionResetError(),
        TimeoutError(),
        google_errors.ResourceExhausted("quota"),
        google_errors.DeadlineExceeded("late"),
        httpx.ConnectError("no route"),
        httpx.ReadTimeout("late"),
        requests.ConnectionError("no route"),
        requests.Timeout("late"),
    ],
    ids=repr,
)
def test_a_failure_that_passes_is_tried_again(rows, tmp_path, error):
    service = Service({"question 3": [error] * 4})
    out = str(tmp_path / "out")
    assert predict_rows(service, "m", str(rows), out, pace=RequestPacing(**QUICK)).unanswered == 0
    assert sorted(service.billed) == sorted(f"question {n}" for n in range(12))


def test_a_cloud_error_is_judged_by_its_cause(rows, tmp_path):
    error = CloudError("the service is busy")
    error.__cause__ = Refused(429)
    service = Service({"question 3": [error]})
    out = str(tmp_path / "out")
    assert predict_rows(service, "m", str(rows), out, pace=RequestPacing(**QUICK)).unanswered == 0


@pytest.mark.parametrize(
    ("error", "tries", "told"),
    [(Refused(503), 3, "Refused 503"), (Refused(400), 1, "Refused 400")],
    ids=["did not pass", "this row alone"],
)
def test_an_unanswered_row_is_null_with_its_reason_and_is_asked_again(
    rows, tmp_path, error, tries, told
):
    out = str(tmp_path / "out")
    service = Service({"question 3": [error] * tries})
    pace = RequestPacing(**QUICK, attempts=3)
    assert predict_rows(service, "m", str(rows), out, pace=pace) == AnswerCounts(12, 1)
    row = predictions.read(out)[3]
    assert (row.prediction, row.error) == (None, told)
    assert predict_rows(service, "m", str(rows), out, pace=pace) == AnswerCounts(12, 0)
    assert len(service.billed) == 12


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_of_every_row_stops_the_step(rows, tmp_path, status):
    service = Service({f"question {n}": [Refused(status)] for n in range(3, 12)})
    with pytest.raises(CloudError, match=f"Refused {status}"):
        predict_rows(service, "m", str(rows), str(tmp_path / "out"), pace=RequestPacing(workers=1))
    assert len(service.times) == 4
    (work,) = tmp_path.glob("answers-*.jsonl")
    assert len(work.read_text().splitlines()) == len(service.billed) == 3


def test_no_answer_at_all_is_an_error_and_not_a_score(rows, tmp_path):
    service = Service({f"question {n}": [Refused(400)] for n in range(12)})
    with pytest.raises(CloudError, match="none of 12 rows was answered: Refused 400"):
        predict_rows(service, "m", str(rows), str(tmp_path / "out"), pace=RequestPacing(**QUICK))


def test_requests_keep_to_the_rate(rows, tmp_path):
    service = Service()
    pace = RequestPacing(workers=4, requests_per_minute=60 / 0.02)
    started = time.monotonic()
    predict_rows(service, "m", str(rows), str(tmp_path / "out"), pace=pace)
    assert service.times[-1] - started >= 11 * 0.02


def test_the_pause_the_service_asks_for_is_kept(rows, tmp_path):
    service = Service({"question 0": [Refused(429, retry_after=1)]})
    predict_rows(
        service,
        "m",
        str(rows),
        str(tmp_path / "out"),
        pace=RequestPacing(workers=1, first_pause_seconds=0),
    )
    assert service.times[1] - service.times[0] >= 1


def test_a_prompt_that_the_model_blocks_is_unanswered(rows, tmp_path):
    class Careful(Service):
        def predict(self, model, prompts, **settings):
            for answer in super().predict(model, prompts, **settings):
                blocked = answer.text.endswith("7")
                yield Answer(answer.id, None, "blocked: SAFETY") if blocked else answer

    out = str(tmp_path / "out")
    assert predict_rows(Careful(), "m", str(rows), out) == AnswerCounts(12, 1)
    assert predictions.read(out)[7].error == "blocked: SAFETY"


def test_a_row_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"input_text": "a", "output_text": "b"}\n{"input_text": "a"}\n')
    with pytest.raises(DataError) as caught:
        predict_rows(Service(), "m", str(path), str(tmp_path / "out"))
    assert "2" in str(caught.value)


def test_predictions_have_their_rows_content_group_and_short_fields(tmp_path):
    path = tmp_path / "rows.jsonl"
    row = {"input_text": "question", "output_text": "answer", "customer": 7, "language": "ja"}
    rows = [row, row, row | {"input_text": "another question", "notes": "x" * 200}]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    predict_rows(Service(), "m", str(path), str(tmp_path / "out"), group_by="customer")
    first, repeat, other = predictions.read(tmp_path / "out")
    assert first.id != repeat.id
    assert first.hash == repeat.hash != other.hash
    assert [each.group for each in (first, repeat, other)] == ["7"] * 3
    assert first.fields == other.fields == {"customer": 7, "language": "ja"}


def test_a_row_is_asked_as_often_as_wanted_and_each_answer_is_timed(rows, tmp_path):
    service, out = Service(), str(tmp_path / "out")
    pace = RequestPacing(workers=2)
    for _ in "12":
        predict_rows(service, "m", str(rows), out, pace=pace, answers=3)
    found = predictions.read(out)
    assert len(found) == len(service.billed) == 36
    assert [row.answer for row in found[:4]] == [0, 1, 2, 0]
    assert len({row.id for row in found}) == 12
    assert all(row.seconds is not None and row.seconds >= 0 for row in found)

"""Asking a model every held-out row, so that a killed step goes on and pays for no row twice.

Each answer is written to a work file, and onto the disk, as soon as it is there. The work file is
named after the model and the settings, and its lines after the rows' contents: what stands there is
never asked again, whichever run asked it. A row that got no answer is asked again the next time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tunepipe.backends.base import Answer, Predictor, Prompt
from tunepipe.catalog.backends import RequestPacing
from tunepipe.data.formats import Example, input_text
from tunepipe.data.parts import media_of, readable_prompt
from tunepipe.data.predictions import Prediction, write
from tunepipe.data.rows import read_examples
from tunepipe.errors import CloudError, TunepipeError
from tunepipe.gcp import retries
from tunepipe.gcp.retries import root_of, status_of
from tunepipe.progress import Progress


@dataclass
class AnswerFile:
    """A file of answers, open for more of them, and what it holds.

    Each answer is on the disk when `add` returns. A question without an answer is not held, and so
    is asked again by whoever opens the file next.

    Args:
        file: The open file.
        answered: The text of each answer, by the question's id.
        errors: Why a question of this time has no answer, by its id.
    """

    file: IO[bytes]
    answered: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path) -> AnswerFile:
        """Open a file of answers; it and its folder are made where they are not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        file.seek(0)
        held = file.read()
        # A step that was killed may have left half a line.
        file.truncate(held.rfind(b"\n") + 1)
        lines = [json.loads(line) for line in held.split(b"\n")[:-1]]
        return cls(file, {line["id"]: line["text"] for line in lines if line["text"] is not None})

    def add(self, answer: Answer) -> None:
        """Keep one answer; several threads may do so at a time."""
        line = json.dumps({"id": answer.id, "text": answer.text}).encode() + b"\n"
        with self._lock:
            if answer.text is None:
                self.errors[answer.id] = answer.error or "no answer"
            else:
                self.answered[answer.id] = answer.text
            self.file.write(line)
            self.file.flush()
            os.fsync(self.file.fileno())

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()


# No row passes these.
_HOPELESS = frozenset({401, 403, 404})


@dataclass(frozen=True)
class Outcome:
    """How many rows were asked, and how many of them have no answer."""

    rows: int
    unanswered: int


def predict_rows(
    backend: Predictor,
    model: str,
    rows_path: str,
    out_path: str,
    *,
    work_dir: str = "",
    settings: Mapping[str, Any] | None = None,
    pace: RequestPacing | None = None,
    limit: RequestLimit | None = None,
    progress: Progress = lambda event: None,
) -> Outcome:
    """Predict every row of a dataset and write the predictions in the rows' order.

    Args:
        backend: Its `predict` is asked.
        model: A folder, a hub id or a resource name.
        rows_path: The held-out rows, in any of the formats.
        out_path: The predictions file to write (`core.predictions`).
        work_dir: The folder of the work file; "" takes that of `out_path`.
        settings: Passed to `predict`.
        pace: How fast; None hands all rows over at once.
        limit: Shared with other models that are asked at the same time; None makes one of `pace`.
        progress: Told of `done`, `total`, `unanswered` and `seconds_left`.

    Raises:
        DataError: A row cannot be read.
        CloudError: The service refused in a way that no row will pass, or answered no row at all.
    """
    examples = list(read_examples(rows_path))
    settings, pace = dict(settings or {}), pace or RequestPacing()
    path = _work_file(work_dir or str(Path(out_path).parent), backend, model, settings)
    with AnswerFile.open(path) as work:
        pending = [
            Prompt(one.id, one.messages, one.fields, one.format)
            for one in examples
            if one.id not in work.answered
        ]
        told = _Told(progress, len(examples), len(examples) - len(pending))
        for answer in ask_all(backend, model, pending, settings, pace, limit):
            work.add(answer)
            told.of(answer)
    rows = [_prediction(one, work.answered, work.errors) for one in examples]
    unanswered = sum(row.prediction is None for row in rows)
    if rows and unanswered == len(rows):
        raise CloudError(
            f"none of {len(rows)} rows was answered: {rows[0].error}",
            where=model,
            fix="check quota and endpoint, then start the step again",
        )
    write(rows, out_path)
    return Outcome(len(rows), unanswered)


def ask_all(
    backend: Predictor,
    model: str,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
    pace: RequestPacing,
    limit: RequestLimit | None = None,
) -> Iterator[Answer]:
    """Answer every prompt; failures that pass are waited out.

    Args:
        backend: Its `predict` is asked.
        model: A folder, a hub id or a resource name.
        prompts: The questions.
        settings: Passed to `predict`.
        pace: How fast.
        limit: Shared with other models; None makes one of `pace`.

    Yields:
        The answers, as they come.

    Raises:
        CloudError: The service refused in a way that no prompt will pass.
    """
    if not prompts:
        return
    if not pace.workers:
        yield from backend.predict(model, prompts, **settings)
        return
    shared, stopped = limit or RequestLimit(pace), threading.Event()

    def ask(prompt: Prompt) -> Answer:
        with shared:
            return next(backend.predict(model, [prompt], **settings))

    def one(prompt: Prompt) -> Answer | Exception | None:
        if stopped.is_set():
            return None
        try:
            return _persistent(ask, prompt, pace)
        except Exception as error:
            stopped.set()
            return error

    yield from _together(one, prompts, pace.workers, stopped)


def _together(
    one: Callable[[Prompt], Answer | Exception | None],
    prompts: Sequence[Prompt],
    workers: int,
    stopped: threading.Event,
) -> Iterator[Answer]:
    """Yield what the threads answer; after an error first what is already paid for, then raise."""
    failure: Exception | None = None
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done in as_completed([pool.submit(one, prompt) for prompt in prompts]):
                answer = done.result()
                if isinstance(answer, Exception):
                    failure = answer
                elif answer:
                    yield answer
        finally:
            stopped.set()
    if failure:
        raise failure


def _persistent(ask: Callable[[Prompt], Answer], prompt: Prompt, pace: RequestPacing) -> Answer:
    """Ask one row again after failures that pass; return why it has no answer after the others."""
    try:
        return retries.retry(
            lambda: ask(prompt),
            attempts=pace.attempts,
            first_pause_seconds=pace.first_pause_seconds,
        )
    except Exception as error:
        status = status_of(error)
        if status in _HOPELESS and not isinstance(error, TunepipeError):
            raise CloudError(
                f"the service refused every row: {_named(error)}",
                where="predict",
                fix="check the model's name, its region and your permissions",
            ) from error
        if retries.is_transient(error) or (status is not None and status not in _HOPELESS):
            return Answer(prompt.id, None, _named(error))
        raise


def _named(error: BaseException) -> str:
    status = status_of(error)
    return type(root_of(error)).__name__ + (f" {status}" if status else "")


class RequestLimit:
    """Bounds the requests of all threads: how many at a time, and evenly spaced over a minute."""

    def __init__(self, pace: RequestPacing) -> None:
        per_minute = pace.requests_per_minute
        self._gap_seconds = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(max(1, pace.workers))

    def __enter__(self) -> None:
        self._slots.acquire()
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._gap_seconds
        time.sleep(start - now)

    def __exit__(self, *exception: object) -> None:
        self._slots.release()


class _Told:
    """Counts the answers and tells of them."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self._progress, self._total, self._done = progress, total, done
        self._asked = self._unanswered = 0
        self._started = time.monotonic()

    def of(self, answer: Answer) -> None:
        self._done += 1
        self._asked += 1
        self._unanswered += answer.text is None
        each = (time.monotonic() - self._started) / self._asked
        self._progress(
            {
                "done": self._done,
                "total": self._total,
                "unanswered": self._unanswered,
                "seconds_left": round(each * (self._total - self._done)),
            }
        )


def _prediction(
    example: Example, answered: Mapping[str, str], errors: Mapping[str, str]
) -> Prediction:
    text = answered.get(example.id)
    error = "" if text is not None else errors.get(example.id, "no answer")
    # The input is for people: files are named in it, and listed for the report.
    media = media_of(example.fields)
    question = readable_prompt(input_text(example)) if media else input_text(example)
    fields = {"media": media} if media else {}
    return Prediction(example.id, question, example.reference, text, error, fields=fields)


def _work_file(folder: str, backend: Predictor, model: str, settings: Mapping[str, Any]) -> Path:
    name = getattr(backend, "__name__", type(backend).__name__)
    asked = [name, model, _version(model), dict(settings)]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
    return Path(folder) / f"answers-{digest[:16]}.jsonl"


def _version(model: str) -> list[tuple[str, int, int]]:
    """Return what changes when a model's folder is written anew; nothing for a remote model."""
    folder = Path(model)
    files = sorted(folder.glob("*")) if model and folder.is_dir() else []
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]

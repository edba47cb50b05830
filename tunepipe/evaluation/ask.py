"""Asks a model every held-out row. A killed step continues and pays for no row twice.

Each answer is written to a work file, and onto the disk, as soon as it is there. The work file is
named after the model and the settings, and its lines after the rows' contents: what it holds is
never asked again, whichever run asked it. A row that got no answer is asked again the next time.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunepipe.backends.answer_file import MEASURED, AnswerFile
from tunepipe.backends.base import Answer, Predictor, Prompt
from tunepipe.catalog.backends import RequestPacing
from tunepipe.data.conversations import Example
from tunepipe.data.parts import media_of, readable_prompt
from tunepipe.data.predictions import Prediction, short_fields, write
from tunepipe.data.rows import read_examples
from tunepipe.errors import CloudError, TunepipeError, plural
from tunepipe.gcp import retries
from tunepipe.gcp.retries import root_of, status_of
from tunepipe.progress import Progress
from tunepipe.splitting.row_keys import Key, key

# No row passes these.
_HOPELESS = frozenset({401, 403, 404})


@dataclass(frozen=True)
class AnswerCounts:
    """Counts of the rows that were asked, and of those without an answer."""

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
    group_by: str = "",
    answers: int = 1,
    progress: Progress = lambda event: None,
) -> AnswerCounts:
    """Predict every row of a dataset and write the predictions in the rows' order.

    Each prediction has the hash of its row's content, its group, and the short fields of the row,
    by which the rows can be sliced.

    The model is a folder, a hub id or a resource name; `settings` go to the backend's `predict`.
    Without a pace all rows are handed over at once. The `limit` is shared with other models that
    are asked at the same time. The work file lies in `work_dir`, or next to the predictions. A
    refusal that no row will pass is a CloudError, and so is no answer at all.
    """
    examples = list(read_examples(rows_path))
    group = key(group_by, "group_by") if group_by else None
    settings, pace = dict(settings or {}), pace or RequestPacing()
    path = _work_file(work_dir or str(Path(out_path).parent), backend, model, settings)
    draws = [
        (row, number, f"{row.id}/{number}" if number else row.id)
        for row in examples
        for number in range(answers)
    ]
    with AnswerFile.open(path) as work:
        pending = [
            Prompt(name, row.messages, row.fields, row.format)
            for row, _, name in draws
            if name not in work.answered
        ]
        unanswered, started = 0, time.monotonic()
        new = ask_all(backend, model, pending, settings, pace, limit)
        for number, answer in enumerate(new, start=1):
            work.add(answer)
            unanswered += answer.text is None
            left, each = len(pending) - number, (time.monotonic() - started) / number
            counts = {"done": len(draws) - left, "total": len(draws), "unanswered": unanswered}
            progress(counts | {"seconds_left": round(each * left)})
    rows = [_prediction(*draw, work, group) for draw in draws]
    unanswered = sum(row.prediction is None for row in rows)
    if rows and unanswered == len(rows):
        raise CloudError(
            f"none of {plural(len(rows), 'row')} was answered: {rows[0].error}",
            where=model,
            fix="check quota and endpoint, then start the step again",
        )
    write(rows, out_path)
    return AnswerCounts(len(rows), unanswered)


def ask_all(
    backend: Predictor,
    model: str,
    prompts: Sequence[Prompt],
    settings: Mapping[str, Any],
    pace: RequestPacing,
    limit: RequestLimit | None = None,
) -> Iterator[Answer]:
    """Yield the answer to every prompt as it comes; see `predict_rows`."""
    if not prompts:
        return
    if not pace.workers:
        yield from backend.predict(model, prompts, **settings)
        return
    shared, stopped = limit or RequestLimit(pace), threading.Event()

    def ask(prompt: Prompt) -> Answer:
        with shared:
            start = time.monotonic()
            answer = next(backend.predict(model, [prompt], **settings))
            return replace(answer, seconds=round(time.monotonic() - start, 4))

    def ask_unless_stopped(prompt: Prompt) -> Answer | None:
        if stopped.is_set():
            return None
        try:
            return _persistent(ask, prompt, pace)
        except BaseException:
            stopped.set()
            raise

    # After an error, first yield what is already paid for, then raise.
    failure: BaseException | None = None
    with ThreadPoolExecutor(pace.workers) as pool:
        try:
            for done in as_completed([pool.submit(ask_unless_stopped, each) for each in prompts]):
                failure = done.exception() or failure
                if not done.exception() and (answer := done.result()):
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


def _prediction(
    example: Example, number: int, name: str, work: AnswerFile, group: Key[str] | None
) -> Prediction:
    answer = work.answered.get(name) or Answer(name, None, work.errors.get(name, "no answer"))
    # The input is human-readable: it names the files, which are listed for the report.
    media = media_of(example.fields)
    question = readable_prompt(example.input) if media else example.input
    return Prediction(
        example.id,
        question,
        example.reference,
        answer.text,
        answer.error,
        group=group(example.fields, question, example.reference) if group else "",
        # Without the number that tells a row from its repeats.
        hash=example.hash,
        answer=number,
        **{measure: getattr(answer, measure) for measure in MEASURED},
        fields={**short_fields(example), **({"media": media} if media else {})},
    )


def _work_file(folder: str, backend: Predictor, model: str, settings: Mapping[str, Any]) -> Path:
    name = getattr(backend, "__name__", type(backend).__name__)
    # What changes when a model's folder is written again; nothing for a remote model.
    files = sorted(Path(model).glob("*")) if model and Path(model).is_dir() else []
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    version = [(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    contents = json.dumps([name, model, version, dict(settings)], sort_keys=True, default=str)
    digest = hashlib.sha256(contents.encode()).hexdigest()
    return Path(folder) / f"answers-{digest[:16]}.jsonl"

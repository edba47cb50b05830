"""What goes through a folder of a store between a step and the machines that work for it.

Each object is written once: a bucket with a retention policy takes new objects and no changes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import Any

from tunepipe.backends.base import TuningRequest
from tunepipe.errors import TunepipeError
from tunepipe.stores import storage
from tunepipe.stores.failures import Failure, read_failure

RESULT, ANSWERS, PROGRESS, MODEL = "result.json", "answers.jsonl", "progress", "model"
_ATTEMPTS, _FAILURES = "attempts", "failures"


def write_task(task: Mapping[str, Any], folder: str) -> str:
    """Write a task into its folder, and return its URI, which follows from its content."""
    data = json.dumps(task, indent=1, sort_keys=True).encode()
    uri = f"{folder}/task-{hashlib.sha256(data).hexdigest()[:16]}.json"
    with suppress(storage.ConflictError):  # another run has written the same
        storage.write_bytes(data, uri, must_be_new=True)
    return uri


def request_fields(request: TuningRequest) -> dict[str, Any]:
    """Return what goes to the other machine of a request, but for its options."""
    names = (
        *("base_model", "train_uri", "eval_uri"),
        *("train_steps", "batch_size", "learning_rate_multiplier", "seed"),
    )
    return {name: getattr(request, name) for name in names}


def read_progress(folder: str) -> str:
    """Return the step and the losses that the program has reported last; "" for none."""
    try:
        reports = storage.matching_files(f"{folder}/{PROGRESS}/*.json")
        event = json.loads(storage.read_bytes(reports[-1])) if reports else {}
    except TunepipeError:  # a look at the job tells the user what is wrong
        event = {}
    if not event:
        return ""
    losses = [f"{name} {event[name]:.4g}" for name in ("loss", "eval_loss") if name in event]
    return ", ".join([f"step {event['done']:,} of {event['total']:,}", *losses])


def write_attempt(folder: str) -> None:
    """Write that a job begins, or begins again on other machines."""
    with suppress(TunepipeError):
        storage.write_bytes(b"{}", f"{folder}/{_ATTEMPTS}/{time.time_ns()}.json")


def write_failure(error: Exception, folder: str, mount: str = "") -> None:
    """Write why a machine gives up; without a store that takes it, the log alone says so.

    Args:
        mount: Where gs:// is mounted: what the error says of it is said of the buckets.
    """
    text = json.dumps(asdict(Failure.of(error)))
    text = text.replace(f"{mount}/", "gs://") if mount else text
    with suppress(TunepipeError):
        storage.write_bytes(text.encode(), f"{folder}/{_FAILURES}/{time.time_ns()}.json")


def read_error(job: str, created: datetime, folder: str) -> TunepipeError | None:
    """Read why the first machine of a job's last attempt gave up; None if it left no words.

    Args:
        created: When the job was: one of the same task may have failed before it.
    """
    with suppress(TunepipeError, ValueError):  # a name that is no time is not ours
        since = max([created.timestamp() * 1e9, *_times(folder, _ATTEMPTS)])
        for time_ns in _times(folder, _FAILURES):
            if time_ns >= since:
                failure = read_failure(f"{folder}/{_FAILURES}/{time_ns}.json")
                return failure.error(job, "read the job's log") if failure else None
    return None


def _times(folder: str, name: str) -> list[int]:
    files = storage.matching_files(f"{folder}/{name}/*.json")
    return sorted(int(file.rpartition("/")[2].removesuffix(".json")) for file in files)

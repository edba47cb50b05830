"""The program on a machine of a TrainJob or a custom job: one task, read from a store.

    python3 -m tunepipe.backends.remote.worker URI

Each machine runs the same training; accelerate joins them by what Kubeflow Trainer or Vertex AI
sets. Checkpoints are copied next to the task as they are written, so that a machine that takes over
continues from the last whole one. The first machine writes the model, into a folder that no attempt
before it has begun to write, and last the result, which names that folder.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.local import backend, vllm
from tunepipe.backends.local.launching import machines
from tunepipe.backends.local.options import PredictionOptions
from tunepipe.backends.remote.exchange import (
    ANSWERS,
    MODEL,
    PROGRESS,
    RESULT,
    write_attempt,
    write_failure,
)
from tunepipe.decoding import decode
from tunepipe.errors import TunepipeError
from tunepipe.gcp.secrets import read_secret
from tunepipe.stores import storage

_REPORT_SECONDS = 5.0
# Where Vertex AI mounts gs://; a model's weights are read there, and nothing is written.
_MOUNT = os.environ.get("TUNEPIPE_GCS_MOUNT", "/gcs")


def main(uri: str) -> None:
    """Do this machine's part of a task; what it makes goes into the task's folder.

    So does why it gave up, for the step that waits.
    """
    folder = uri.rpartition("/")[0]
    if machines().rank == 0:
        write_attempt(folder)
    try:
        _work(uri, folder)
    except Exception as error:
        write_failure(error, folder, _MOUNT)
        raise


def _work(uri: str, folder: str) -> None:
    if any(storage.exists(f"{folder}/{name}") for name in (RESULT, ANSWERS)):
        return  # the machine was replaced when all was done
    task = json.loads(storage.read_bytes(uri))
    read_hub_token()
    if task["kind"] == "tune":
        _tune(task, folder)
    else:
        _predict(task, folder)


def read_hub_token() -> None:
    """Give the hub's client the token that a secret holds; it is in no spec and no log."""
    if name := os.environ.pop("TUNEPIPE_HUB_TOKEN", ""):
        os.environ["HF_TOKEN"] = read_secret(name).decode().strip()


def _tune(task: Mapping[str, Any], folder: str) -> None:
    is_first, reported = machines().rank == 0, 0.0

    def report(event: Mapping[str, Any]) -> None:
        nonlocal reported
        print(json.dumps(dict(event)), flush=True)  # the machine's log
        is_due = time.monotonic() - reported > _REPORT_SECONDS or event["done"] == event["total"]
        if is_first and is_due:
            reported = time.monotonic()
            try:
                data = json.dumps(dict(event)).encode()
                storage.write_bytes(data, f"{folder}/{PROGRESS}/{time.time_ns()}.json")
            except TunepipeError as error:  # a store that fails for a while ends no training
                print(f"not written: {error}", file=sys.stderr, flush=True)

    with (
        tempfile.TemporaryDirectory() as scratch,
        storage.synced_folder(
            f"{folder}/checkpoints", task["copy_seconds"], once=True
        ) as checkpoints,
    ):
        fields = {**task["request"], "base_model": _path(task["request"]["base_model"])}
        for name in ("train_uri", "eval_uri"):
            if rows := fields[name]:
                fields[name] = os.path.join(scratch, f"{name}-{os.path.basename(rows)}")
                Path(fields[name]).write_bytes(storage.read_bytes(rows))
        options = {**task["options"], "checkpoint_dir": checkpoints}
        request = TuningRequest(**fields, options=options)
        result = backend.tune(request, os.path.join(scratch, MODEL), report)
        if is_first:
            model = f"{MODEL}-{uuid4().hex[:8]}"
            storage.copy_folder(result.model, f"{folder}/{model}")
            # Paths of the mount are places in buckets.
            statistics = json.dumps(dict(result.statistics)).replace(f"{_MOUNT}/", "gs://")
            content = {"model": model, "statistics": json.loads(statistics), "task": task}
            storage.write_bytes(json.dumps(content, indent=1).encode(), f"{folder}/{RESULT}")


def _predict(task: Mapping[str, Any], folder: str) -> None:
    prompts = [Prompt(prompt["id"], prompt["messages"]) for prompt in task["prompts"]]
    model, settings = _path(task["model"]), dict(task["settings"])
    if not decode(settings, PredictionOptions).four_bit and vllm.can_answer(model):
        settings.setdefault("engine", "vllm")
    answers = backend.predict(model, prompts, **settings)
    lines = [json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers]
    storage.write_bytes("".join(lines).encode(), f"{folder}/{ANSWERS}")


def _path(uri: str) -> str:
    """Return the mounted path of a gs:// URI; a hub id or a path is left as it is."""
    return f"{_MOUNT}/{uri.removeprefix('gs://')}" if storage.is_gcs(uri) else uri


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except TunepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

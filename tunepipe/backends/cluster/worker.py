"""The program on each node of a TrainJob: one task, read from its folder in an object store.

    python3 -m tunepipe.backends.cluster.worker URI

Each node runs the same training; accelerate joins them by what the torch runtime of Kubeflow
Trainer sets. Checkpoints are copied into the folder as they are written, as objects of their own,
so that a bucket with a retention policy takes them. The first node writes the model, into a folder
that no attempt before it has begun to write, and last the result, which names that folder.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.local import backend
from tunepipe.backends.local.launching import machines
from tunepipe.backends.local.remote import MODEL, PROGRESS, RESULT, TASK, run_program
from tunepipe.errors import TunepipeError
from tunepipe.stores import storage

_REPORT_SECONDS = 5.0  # an object may be written about once a second


def main(folder: str) -> None:
    """Do this node's part of a task.

    Args:
        folder: The URI of the task's folder.
    """
    if storage.exists(f"{folder}/{RESULT}"):
        return  # the node was replaced when all was done
    task = json.loads(storage.read_bytes(f"{folder}/{TASK}"))
    is_first, reported = machines().rank == 0, 0.0

    def report(event: Mapping[str, Any]) -> None:
        nonlocal reported
        print(json.dumps(dict(event)), flush=True)  # the pod's log
        is_due = time.monotonic() - reported > _REPORT_SECONDS or event["done"] == event["total"]
        if is_first and is_due:
            reported = time.monotonic()
            try:
                storage.write_bytes(json.dumps(dict(event)).encode(), f"{folder}/{PROGRESS}")
            except TunepipeError as error:  # a store that fails for a while ends no training
                print(f"not written: {error}", file=sys.stderr, flush=True)

    with (
        tempfile.TemporaryDirectory() as name,
        storage.synced_folder(
            f"{folder}/checkpoints", task["copy_seconds"], once=True
        ) as checkpoints,
    ):
        scratch, fields = Path(name), task["request"]
        for name in ("train_uri", "eval_uri"):
            if uri := fields[name]:
                fields[name] = str(scratch / f"{name}.jsonl")
                Path(fields[name]).write_bytes(storage.read_bytes(uri))
        options = {**task["options"], "checkpoint_dir": checkpoints}
        request = TuningRequest(**fields, options=options)
        result = backend.tune(request, str(scratch / MODEL), report)
        if is_first:
            model = f"{MODEL}-{uuid4().hex[:8]}"
            storage.copy_folder(str(scratch / MODEL), f"{folder}/{model}")
            data = json.dumps({**result.statistics, "model": model}, indent=1).encode()
            storage.write_bytes(data, f"{folder}/{RESULT}")


if __name__ == "__main__":
    run_program(main)

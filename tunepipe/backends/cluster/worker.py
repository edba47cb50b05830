"""The program on each node of a TrainJob: one task, read from its folder in an object store.

    python3 -m tunepipe.backends.cluster.worker URI

Each node runs the same training; accelerate joins them by what the torch runtime of Kubeflow
Trainer sets. The first node writes: the last checkpoint as it trains, model and result at the end.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunepipe.backends.base import TuningRequest
from tunepipe.backends.cluster.train_job import MODEL, PROGRESS, RESULT, TASK
from tunepipe.backends.local import backend
from tunepipe.backends.local.launching import machines
from tunepipe.errors import TunepipeError
from tunepipe.stores import storage

_CHECKPOINT = "checkpoint.tar"
_REPORT_SECONDS = 5.0  # an object may be written about once a second


def main(folder: str) -> None:
    """Do this node's part of a task.

    Args:
        folder: The URI of the task's folder.
    """
    task = json.loads(storage.read_bytes(f"{folder}/{TASK}"))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        rows = {}
        for name in ("train", "eval") if task.pop("has_eval") else ("train",):
            rows[name] = str(scratch / f"{name}.jsonl")
            Path(rows[name]).write_bytes(storage.read_bytes(f"{folder}/{name}.jsonl"))
        checkpoints = scratch / "checkpoints"
        _restore(folder, checkpoints)
        request = TuningRequest(
            task.pop("base_model"),
            rows["train"],
            rows.get("eval", ""),
            **{**task, "options": {**task["options"], "checkpoint_dir": str(checkpoints)}},
        )
        writes = machines().rank == 0
        reports = _Reports(folder, checkpoints)
        result = backend.tune(
            request, str(scratch / MODEL), reports.receive if writes else lambda event: None
        )
        if writes:
            storage.copy_folder(str(scratch / MODEL), f"{folder}/{MODEL}")
            data = json.dumps(asdict(result)["statistics"], indent=1).encode()
            storage.write_bytes(data, f"{folder}/{RESULT}")


class _Reports:
    """Writes progress, and each whole checkpoint, into the task's folder."""

    def __init__(self, folder: str, checkpoints: Path) -> None:
        self.folder, self.checkpoints = folder, checkpoints
        self.step, self.moment = -1, 0.0

    def receive(self, event: Mapping[str, Any]) -> None:
        """Write what is new; a store that fails for a while does not end the training."""
        print(json.dumps(dict(event)), flush=True)  # the pod's log
        try:
            self._write(event)
        except (TunepipeError, FileNotFoundError) as error:  # or the trainer replaced a checkpoint
            print(f"not written: {error}", file=sys.stderr, flush=True)

    def _write(self, event: Mapping[str, Any]) -> None:
        if time.monotonic() - self.moment > _REPORT_SECONDS or event["done"] == event["total"]:
            self.moment = time.monotonic()
            storage.write_bytes(json.dumps(dict(event)).encode(), f"{self.folder}/{PROGRESS}")
        states = self.checkpoints.glob("checkpoints-*/checkpoint-*/trainer_state.json")
        whole = {int(file.parent.name.rpartition("-")[2]): file.parent for file in states}
        step = max(whole, default=-1)
        if step > self.step:
            self._upload(whole[step])
            self.step = step

    def _upload(self, checkpoint: Path) -> None:
        """Write a checkpoint as one object, which is there whole or not at all."""
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(file.name, "w") as archive:
                archive.add(checkpoint, checkpoint.relative_to(self.checkpoints))
            storage.write_file(file.name, f"{self.folder}/{_CHECKPOINT}")


def _restore(folder: str, checkpoints: Path) -> None:
    """Get the checkpoint that an earlier attempt has left."""
    if not storage.exists(f"{folder}/{_CHECKPOINT}"):
        return
    with (
        storage.open_file(f"{folder}/{_CHECKPOINT}") as source,
        tarfile.open(fileobj=source, mode="r|") as archive,
    ):
        archive.extractall(checkpoints, filter="data")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except TunepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

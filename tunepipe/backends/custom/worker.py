"""The program in a custom job's container: one task, read from its folder in Cloud Storage.

    python3 -m tunepipe.backends.custom.worker gs://BUCKET/FOLDER

The folder holds task.json. Vertex AI mounts Cloud Storage at /gcs, so that checkpoints are in the
bucket as they are written, and a machine that takes over goes on from the last whole one.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunepipe.backends.base import Prompt, TuningRequest
from tunepipe.backends.local import backend
from tunepipe.backends.local.launching import machines
from tunepipe.backends.local.remote import MODEL, PROGRESS, RESULT, TASK, run_program
from tunepipe.files import write_json
from tunepipe.gcp.secrets import read_secret

ANSWERS = "answers.jsonl"
# Where gs:// is mounted; outside Vertex AI a volume may be at another place.
_MOUNT = os.environ.get("TUNEPIPE_GCS_MOUNT", "/gcs")


def main(folder: str) -> None:
    """Do the task of a folder, and write its result there.

    Args:
        folder: gs://BUCKET/FOLDER.
    """
    place = Path(_path(folder))
    task = json.loads((place / TASK).read_text(encoding="utf-8"))
    read_hub_token()
    if task["kind"] == "tune":
        _tune(task, place)
    else:
        _predict(task, place)


def _tune(task: Mapping[str, Any], place: Path) -> None:
    fields = task["request"]
    paths = {name: _path(fields[name]) for name in ("base_model", "train_uri", "eval_uri")}
    options = {**task["options"], "checkpoint_dir": str(place)}
    request = TuningRequest(**{**fields, **paths, "options": options})

    def report(event: Mapping[str, Any]) -> None:
        print(json.dumps(dict(event)), flush=True)  # the job's log
        write_json(dict(event), place / PROGRESS)

    result = backend.tune(request, str(place / MODEL), report)
    if machines().rank == 0:
        # Paths of the mount are places in buckets.
        text = json.dumps(asdict(result)).replace(f"{_MOUNT}/", "gs://")
        write_json(json.loads(text), place / RESULT)


def _predict(task: Mapping[str, Any], place: Path) -> None:
    prompts = [Prompt(one["id"], one["messages"]) for one in task["prompts"]]
    settings = dict(task["settings"])
    if importlib.util.find_spec("vllm"):
        settings.setdefault("engine", "vllm")
    answers = backend.predict(_path(task["model"]), prompts, **settings)
    lines = [json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers]
    (place / ANSWERS).write_text("".join(lines), encoding="utf-8")


def read_hub_token() -> None:
    """Give the hub's client the token that a secret holds; it is in no spec and no log."""
    if name := os.environ.pop("TUNEPIPE_HUB_TOKEN", ""):
        os.environ["HF_TOKEN"] = read_secret(name).decode().strip()


def _path(uri: str) -> str:
    """Return the mounted path of a gs:// URI; a hub id is left as it is."""
    return f"{_MOUNT}/{uri.removeprefix('gs://')}" if uri.startswith("gs://") else uri


if __name__ == "__main__":
    run_program(main)

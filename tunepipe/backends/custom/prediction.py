"""Asking a model that a custom job tuned: all prompts in one job, through vLLM where it can."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tunepipe.backends.base import Answer, Prompt
from tunepipe.backends.custom.jobs import custom_jobs
from tunepipe.backends.local.options import PredictionOptions
from tunepipe.backends.remote.exchange import ANSWERS, RESULT, write_task
from tunepipe.decoding import decode
from tunepipe.errors import UsageError
from tunepipe.gcp import launcher
from tunepipe.gcp.labels import KEY_CHARACTERS, KEY_LABEL, run_labels
from tunepipe.stores import storage
from tunepipe.stores.claims import Waiters, run_of_step


def predict(model: str, prompts: Sequence[Prompt], **settings: Any) -> Iterator[Answer]:
    """Answer prompts by a custom job on the machine that the model was tuned on.

    The answers are kept in the bucket: the same model is never asked the same twice.

    Args:
        model: gs://BUCKET/tunepipe/custom/KEY/model-1a2b3c4d, or …/base: before tuning.
        settings: Those of the local backend's `PredictionOptions`.
    """
    four_bit = decode(settings, PredictionOptions).four_bit
    folder = model.rpartition("/")[0]
    if not storage.is_gcs(model) or not storage.exists(f"{folder}/{RESULT}"):
        raise UsageError(
            "not a model that a custom job tuned",
            where=model,
            fix="gs://BUCKET/tunepipe/custom/KEY/model-1a2b3c4d",
        )
    result = json.loads(storage.read_bytes(f"{folder}/{RESULT}"))
    # The base in the revision that was tuned.
    asked = result["statistics"]["base_model"] if model == f"{folder}/base" else model
    task = {
        "kind": "predict",
        "model": asked,
        "prompts": [{"id": row.id, "messages": list(map(dict, row.messages))} for row in prompts],
        "settings": settings,
    }
    data = json.dumps(task, sort_keys=True, ensure_ascii=False).encode()
    key = hashlib.sha256(data).hexdigest()[:KEY_CHARACTERS]
    place = f"{folder}/answers/{key}"
    if not storage.exists(f"{place}/{ANSWERS}"):
        _launch(result["task"]["job"], write_task(task, place), key, four_bit)
    for line in storage.read_bytes(f"{place}/{ANSWERS}").decode("utf-8").splitlines():
        yield Answer(**json.loads(line))


def _launch(job: Any, task: str, key: str, four_bit: bool) -> None:
    named = {"labels": {**run_labels(), KEY_LABEL: key}, "display_name": "tunepipe answers"}
    service = custom_jobs(job, task, key, predicts=True, four_bit=four_bit, **named)
    waiters = Waiters(task, run_of_step(service.parent, ""), key)  # so that `cancel` finds the job
    with tempfile.TemporaryDirectory() as scratch:
        resources = str(Path(scratch) / "gcp_resources")
        launcher.launch(service, resources, service.claim.times, lambda event: None, waiters)

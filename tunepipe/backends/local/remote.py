"""A training that another machine does: the files of its folder, and what goes through them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from tunepipe.backends.base import TuningRequest
from tunepipe.errors import TunepipeError
from tunepipe.stores import storage

TASK, RESULT, PROGRESS, MODEL = "task.json", "result.json", "progress.json", "model"


def request_fields(request: TuningRequest) -> dict[str, Any]:
    """Return what goes to the other machine of a request, but for its options."""
    names = ("base_model", "train_uri", "eval_uri", "train_steps", "batch_size", "seed")
    fields = {name: getattr(request, name) for name in names}
    return {**fields, "learning_rate_multiplier": request.learning_rate_multiplier}


def read_progress(folder: str) -> str:
    """Return the step and the losses that the program has reported last; "" for none."""
    try:
        event = json.loads(storage.read_bytes(f"{folder}/{PROGRESS}"))
    except TunepipeError:  # not there yet, or replaced while it was read
        return ""
    losses = [f"{name} {event[name]:.4g}" for name in ("loss", "eval_loss") if name in event]
    return ", ".join([f"step {event['done']:,} of {event['total']:,}", *losses])


def run_program(main: Callable[[str], None]) -> None:
    """Run the program of a container, which is given its folder; an error ends it with its code."""
    try:
        main(sys.argv[1])
    except TunepipeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)

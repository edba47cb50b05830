"""What the tests of Gemini and of open models share: rows in a bucket, and a request for them."""

import json
from collections.abc import Iterable, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.backends.base import TuningRequest

QUICK = {
    "poll_seconds": 0.1,
    "pause_seconds": 0.05,
    "first_job_seconds": 0.1,
    # A run that is slow, and not killed, loses no claim to another.
    "settle_seconds": 120.0,
    "lease_seconds": 120.0,
}
# For a run that is alone: what an attempt that was killed has claimed is soon believed given up.
ALONE = {"settle_seconds": 0.3, "lease_seconds": 4.0}


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"input_text": f"question {n}", "output_text": f"answer {n}"} for n in range(count)]


def put(cloud: StandIn, name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows into the bucket, under a name without an ending, as a KFP artifact has."""
    folder = cloud.buckets / BUCKET / "data"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"gs://{BUCKET}/data/{name}"


def request(cloud: StandIn, model: str, rows: Any = None, **options: Any) -> TuningRequest:
    rows = rows or pairs(100)
    return TuningRequest(
        base_model=model,
        train_uri=put(cloud, "train", rows),
        eval_uri=put(cloud, "eval", rows[:12]),
        train_steps=39,
        batch_size=8,
        project=PROJECT,
        region=REGION,
        display_name="desk",
        options={**QUICK, **options},
    )


def ports_of(asked: TuningRequest, folder: Path) -> dict[str, Any]:
    """The ports of a component that tunes, as kfp gives them to its body."""
    names = ("train_steps", "learning_rate_multiplier", "project", "region", "display_name")
    ports = {name: getattr(asked, name) for name in (*names, "options")}
    for name in ("model", "base", "tuning"):
        ports[name] = SimpleNamespace(metadata={}, path=str(folder / name))
    rows = {name: SimpleNamespace(uri=getattr(asked, f"{name}_uri")) for name in ("train", "eval")}
    return {**ports, **rows, "tables": {}, "gcp_resources": ""}


def jobs(cloud: StandIn) -> list[dict[str, Any]]:
    """Every tuning job there is: creations that took effect, whatever the client was told."""
    return list(cloud.ask("tunings").values())


def states(cloud: StandIn) -> list[str]:
    return [job["state"].removeprefix("JOB_STATE_") for job in jobs(cloud)]


def ended(process: BaseProcess) -> int | None:
    process.join(240)
    return process.exitcode


def begun(cloud: StandIn, method: str) -> int:
    """How many calls have begun; `calls` has those alone that have ended."""
    return cloud.ask("begun").count(method)


def result(folder: Path) -> Any:
    return json.loads((folder / "result.json").read_text())

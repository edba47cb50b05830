"""Random kills, faults, lag and company for steps that pay: how many jobs does each run cost?

A logical run is one request; one to three equal steps make it at the same time, as two schedules
or an impatient person do. Each step is killed up to three times and started again, with or without
the notes of its last attempt. Several logical runs share the stand-in and its faults.

Times are scaled: what takes Google 30 seconds takes the stand-in `scale` times that, and so do the
launcher's own waits. The machine's speed is not scaled: where it is busy, take a larger scale.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.backends.managed.jobs import pairs, put
from tests.gcp import launch_driver
from tests.standin.process import StandIn
from tests.standin.session import BUCKET, PROJECT, REGION
from tunepipe.backends.base import TuningRequest

QUICK_SCALE, FULL_SCALE = 1 / 50, 1 / 20
LAG_SECONDS = 30.0  # the latest that a list shows a new job
LATE_SECONDS = 80.0  # the latest that a creation takes effect
_SETTLE_SECONDS, _LEASE_SECONDS = 600.0, 200.0
_GIVEN_UP_SECONDS = 400.0
_UNREACHABLE = 13

# Backend -> the tuner's module, its model, and how a job is created and listed.
BACKENDS = {
    "gemini": ("managed.gemini", "gemini-3.5-flash", "TuningJob"),
    "open-model": ("managed.open_model", "qwen/qwen3@qwen3-4b", "TuningJob"),
    "large-model": ("palm.tuning", "text-bison@001", "PipelineJob"),
    "custom": ("custom.tuning", "Qwen/Qwen3-0.6B", "CustomJob"),
}
_OPTIONS = {
    "poll_seconds": 0.2,
    "pause_seconds": 0.05,
    "first_job_seconds": 0.1,
    "patience_seconds": _GIVEN_UP_SECONDS,
}


@dataclass
class Result:
    """What a round of logical runs has come to."""

    runs: Counter[str] = field(default_factory=Counter)
    paid: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    faults: int = 0
    steps: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        """Count another round in."""
        self.runs += other.runs
        self.paid += other.paid
        self.kills += other.kills
        self.faults += other.faults
        self.steps += other.steps
        self.problems += other.problems


@dataclass
class _Step:
    """One step of a logical run: its attempts share a folder of notes, unless those are lost."""

    request: TuningRequest
    tuner: str
    folder: Path
    kills_at: list[float]
    process: BaseProcess | None = None
    started: float = 0.0
    attempts: int = 0

    def start(self, notes_are_lost: bool) -> None:
        if notes_are_lost:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.attempts += 1
        self.started = time.monotonic()
        self.process = launch_driver.start(self.request, self.folder, self.tuner)


def play(
    cloud: StandIn,
    folder: Path,
    backends: Sequence[str],
    runs: int,
    random_: random.Random,
    scale: float,
) -> Result:
    """Play one round: `runs` logical runs at once, to their end.

    Args:
        cloud: The stand-in, empty but for its bucket.
        folder: Where the steps keep their notes.
        backends: Those to choose from.
        runs: How many logical runs.
        random_: Decides everything.
        scale: Seconds here for one of Google's.
    """
    result = Result()
    cloud.ask("instant", {"on": True})
    cloud.ask("facts", {"lag_seconds": random_.uniform(0, LAG_SECONDS) * scale})
    chosen = [random_.choice(backends) for _ in range(runs)]
    steps = []
    for number, backend in enumerate(chosen):
        result.runs[backend] += 1
        steps += _steps(cloud, folder / str(number), backend, number, random_, scale)
    for kind in sorted({BACKENDS[backend][2] for backend in chosen}):
        _make_trouble(cloud, kind, random_, scale)
    result.steps = len(steps)
    _run(steps, result, random_)
    _count(cloud, steps, chosen, result)
    return result


def _steps(
    cloud: StandIn,
    folder: Path,
    backend: str,
    number: int,
    random_: random.Random,
    scale: float,
) -> list[_Step]:
    tuner, model, kind = BACKENDS[backend]
    options: dict[str, Any] = dict(_OPTIONS)
    if kind != "PipelineJob":  # Google numbers the job, so a claim says who creates it
        options["settle_seconds"] = _SETTLE_SECONDS * scale
        options["lease_seconds"] = _LEASE_SECONDS * scale
    else:
        options |= {"pipeline_root": f"gs://{BUCKET}/root"}
    rows = pairs(60 + number)
    if backend == "open-model":
        rows = [{"prompt": row["input_text"], "completion": row["output_text"]} for row in rows]
        options |= {"output_uri": f"gs://{BUCKET}/tuned-{number}"}
    if backend == "custom":
        options |= {"code": random_.choice((f"gs://{BUCKET}/tunepipe.whl", "image"))}
    request = TuningRequest(
        base_model=model,
        train_uri=put(cloud, f"train-{number}.jsonl", rows),
        eval_uri=put(cloud, f"eval-{number}.jsonl", rows[:12]),
        train_steps=12,
        batch_size=8,
        project=PROJECT,
        region=REGION,
        display_name="chaos",
        options=options,
    )
    return [
        _Step(
            request,
            tuner,
            folder / f"{one}",
            [random_.uniform(0.0, 2.5) for _ in range(random_.choice((0, 1, 1, 2, 3)))],
        )
        for one in range(random_.choice((1, 1, 2, 3)))
    ]


def _make_trouble(cloud: StandIn, kind: str, random_: random.Random, scale: float) -> None:
    create, get = f"Create{kind}", f"Get{kind}"
    late = lambda: {"late_seconds": random_.uniform(1, LATE_SECONDS) * scale}  # noqa: E731
    creations: list[dict[str, Any]] = [
        {"drop": "before"},
        {"drop": "after"},
        {"drop": "before", **late()},
        {"code": 503, **late()},
        {"code": 504, "after": True},
        {"seconds": random_.uniform(1, 60) * scale},
        {"seconds": random_.uniform(1, 60) * scale, "after": True},
        {"seconds": random_.uniform(1, 60) * scale, "drop": "after"},
        {"code": 429},
        *({"code": code} for code in (408, 409, 499, 503, 504)),
        *({"code": code, "after": True} for code in (408, 409, 499, 503)),
    ]
    for fault in random_.sample(creations, random_.choice((0, 1, 1, 2, 3))):
        cloud.fault(create, **fault)
    looks = [(get, 503), (get, 429), (get, 499), (f"List{kind}s", 503), ("token", 503)]
    looks += [("storage.get", 503), ("storage.post", 503), ("storage.get", 408)]
    for method, code in random_.sample(looks, random_.choice((0, 1, 2))):
        cloud.fault(method, code=code, times=random_.choice((1, 2)))
    if random_.random() < 0.3:
        cloud.fault("storage.post", code=503, after=True)
    if random_.random() < 0.3:
        cloud.fault(random_.choice((get, f"List{kind}s", "storage.get")), drop="before")


def _run(steps: list[_Step], result: Result, random_: random.Random) -> None:
    """Start, kill and start again, until each step has come to its end by itself."""
    for step in steps:
        step.start(notes_are_lost=False)
    going, end = list(steps), time.monotonic() + _GIVEN_UP_SECONDS
    while going:
        time.sleep(0.02)
        for step in list(going):
            assert step.process
            if step.process.is_alive():
                if step.kills_at and time.monotonic() - step.started > step.kills_at[0]:
                    step.kills_at.pop(0)
                    step.process.kill()
                    step.process.join()
                    result.kills += 1
                    step.start(random_.random() < 0.3)
                elif time.monotonic() > end:
                    step.process.kill()
                    going.remove(step)
                    result.problems.append(f"{step.tuner} {step.folder} did not end")
            elif step.process.exitcode == _UNREACHABLE and step.attempts < 12:
                step.start(notes_are_lost=False)  # as a pipeline does with a fault of Google's
            else:
                going.remove(step)


def _count(cloud: StandIn, steps: list[_Step], chosen: Sequence[str], result: Result) -> None:
    for step in steps:
        if not (step.folder / "result.json").exists():
            error = step.folder / "error.json"
            words = error.read_text() if error.exists() else "no result"
            result.problems.append(f"{step.tuner} {step.folder.name}: {words}")
    keys: Counter[str] = Counter()
    for job in cloud.ask("tunings").values():
        keys[job["labels"]["tunepipe_key"]] += 1
        result.paid["open-model" if "outputUri" in job else "gemini"] += 1
    for name in cloud.ask("states"):
        keys[re.sub(r".*/tune-|-\d+\Z", "", name)] += 1
        result.paid["large-model"] += 1
    for job in cloud.ask("custom_jobs").values():
        keys[job["labels"]["tunepipe_key"]] += 1
        result.paid["custom"] += 1
    if len(keys) != len(chosen):
        result.problems.append(f"{len(chosen)} logical runs have {len(keys)} jobs' keys")
    result.problems += [f"key {key}: {count} jobs" for key, count in keys.items() if count != 1]
    result.faults = sum(call["code"] not in (200, 404, 412) for call in cloud.calls())

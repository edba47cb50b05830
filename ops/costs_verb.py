"""The verb costs: what the runs of a project, or of a folder, are estimated to have cost."""

from __future__ import annotations

import json as text_json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunepipe.core.errors import UsageError

from . import options
from .output import Output


@dataclass(frozen=True)
class RunCost:
    """What one run cost.

    Args:
        run: Its id or resource name.
        created: When it began, ISO 8601.
        state: How it ended.
        tuning_job: The job that was paid; "" where none was made.
        estimated_cost_usd: The plan's estimate; None where the plan knew no price. A job that an
            earlier run has paid costs nothing again.
    """

    run: str
    created: str
    state: str
    tuning_job: str
    estimated_cost_usd: float | None


def costs(
    project: options.Project = "",
    region: options.Region = "",
    runs: options.Runs = Path("runs"),
    json: options.Json = False,
) -> int:
    """Sum what tuning is estimated to have cost: a project's runs in a region, or a folder's.

    A tuning job that several runs share is counted once; endpoints and questions are not in it.
    What Google bills is in the project's billing report alone.
    """
    if bool(project) != bool(region):
        raise UsageError("go together", where="--project and --region", fix="give both or neither")
    found = sorted(_there(project, region) if project else _here(runs), key=lambda one: one.created)
    total = sum(one.estimated_cost_usd or 0.0 for one in found)
    unknown = sum(one.estimated_cost_usd is None for one in found)
    out = Output(json)
    out.result(
        {
            "runs": [asdict(one) for one in found],
            "total_usd": round(total, 2),
            "unknown": unknown,
        }
    )
    if found:
        out.table([("began", "state", "USD", "run"), *map(_row, found)], styles=("bold",))
    aside = f", and {unknown} whose price is not known" if unknown else ""
    out.line(f"{len(found)} runs: about {total:.2f} USD{aside}", "bold")
    return 0


def _here(runs: Path) -> Iterator[RunCost]:
    from .local_run import read

    for file in runs.glob("*/run.json"):
        done = read(file.parent)
        plans = list(file.parent.glob("steps/*/compute-train-steps/plan"))
        plan = text_json.loads(plans[0].read_text(encoding="utf-8")) if plans else {}
        cost = plan.get("estimated_cost_usd", 0.0)
        yield RunCost(done.id, done.id[:15], done.state, "", cost)


def _there(project: str, region: str) -> Iterator[RunCost]:
    from tunepipe.backends import google_clients, pipeline_jobs
    from tunepipe.backends.google_clients import CALL_SECONDS, explained

    place = google_clients.parent(project, region)
    request = {
        "parent": place,
        "filter": "labels.tunepipe_backend:*",
        "order_by": "create_time asc",
    }
    paid: set[str] = set()
    with explained(place):
        client = google_clients.pipelines(region)
        for job in list(client.list_pipeline_jobs(request=request, timeout=CALL_SECONDS)):
            yield _cost(pipeline_jobs.get(job.name), paid)


def _cost(job: Any, paid: set[str]) -> RunCost:
    from tunepipe.backends.pipeline_jobs import task_outputs

    tasks = list(job.job_detail.task_details)
    plan = next((task_outputs(t) for t in tasks if t.task_name == "compute-train-steps"), {})
    tuning = _tuning_job(tasks)
    again = not tuning or tuning in paid
    paid.add(tuning)
    cost = 0.0 if again else float(plan.get("cost_usd", 0.0)) or None
    created = job.create_time.isoformat(timespec="seconds")
    state = job.state.name.removeprefix("PIPELINE_STATE_").lower()
    return RunCost(job.name, created, state, tuning, cost)


def _tuning_job(tasks: Sequence[Any]) -> str:
    """Read which remote job a run's tuning step has made or found."""
    from tunepipe.backends.pipeline_jobs import task_outputs

    for task in tasks:
        if task.task_name.startswith("tune-"):
            told = str(task_outputs(task).get("gcp_resources", ""))
            if told:
                uri = text_json.loads(told)["resources"][0]["resourceUri"]
                return str(uri).partition("/v1/")[2] or str(uri)
    return ""


def _row(one: RunCost) -> tuple[str, ...]:
    cost = one.estimated_cost_usd
    return (one.created, one.state, "not known" if cost is None else f"{cost:.2f}", one.run)

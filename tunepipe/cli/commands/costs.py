"""`tunepipe costs`: what runs have cost, and what they were estimated to cost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from json import loads
from pathlib import Path
from typing import Any

from tunepipe.cli import options
from tunepipe.cli.output import Output
from tunepipe.errors import TunepipeError, dollars, plural
from tunepipe.gcp import pipeline_jobs
from tunepipe.gcp.clients import state_of
from tunepipe.gcp.pipeline_jobs import task_outputs
from tunepipe.stores import storage


@dataclass(frozen=True)
class RunCost:
    """What one run cost.

    Args:
        run: Its id or resource name.
        created: When it began, ISO 8601 in UTC.
        tuning_job: The job that was paid, the run itself where Google's template is a part of it;
            "" where none was made, or the tuning step failed.
        estimated_cost_usd: The plan's estimate, also where the tuning step failed; None where the
            plan knew no price. A job that an earlier run has paid costs nothing again.
        actual_cost_usd: By what the job has used, at the price of the table; None if not known.
        problem: Which file of the run cannot be read, and why; "" if all can.
    """

    run: str
    created: str
    state: str
    tuning_job: str
    estimated_cost_usd: float | None
    actual_cost_usd: float | None = None
    problem: str = ""

    @property
    def known_cost_usd(self) -> float | None:
        """The actual cost, or else the estimate."""
        return self.estimated_cost_usd if self.actual_cost_usd is None else self.actual_cost_usd


def costs(
    *,
    project: str = "",
    region: str = "",
    runs: Path = Path("runs"),
    out: Output,
) -> None:
    """Sum what tuning has cost, next to the estimates.

    Covers a project's runs in a region, or a folder's.

    Actual is what a job has used at the table's price; where that is not known, the estimate
    counts. A job that several runs share is counted once; endpoints and questions are not in it.
    What Google bills is in the project's billing report alone.
    """
    if project or region:
        options.require_values(project=project, region=region)
    run_costs = sorted(
        _there(project, region) if project else _here(runs), key=lambda run: run.created
    )
    total = sum(run.known_cost_usd or 0.0 for run in run_costs)
    unknown = sum(run.known_cost_usd is None for run in run_costs)
    runs_json = [asdict(run) for run in run_costs]
    out.result({"runs": runs_json, "total_usd": round(total, 4), "unknown": unknown})
    rows = []
    for run in run_costs:
        amounts = map(_usd, (run.estimated_cost_usd, run.actual_cost_usd))
        rows.append((run.created, run.state, *amounts, run.run))
    if rows:
        out.table(rows, ("began", "state", "estimated", "actual USD", "run"))
    aside = f", and {unknown} whose price is not known" if unknown else ""
    out.warnings([run.problem for run in run_costs if run.problem])
    out.line(f"{plural(len(run_costs), 'run')}: about {dollars(total)}{aside}", "bold")


def _here(runs: Path) -> Iterator[RunCost]:
    from tunepipe.runs.listing import Places

    for run in Places(runs).runs(sys.maxsize):
        plan = next(Path(run.name).glob("steps/*/compute-train-steps/plan"), None)
        tuning = next(Path(run.name).glob("steps/*/tune-local/tuning"), None)
        # Without a plan nothing was estimated, and nothing paid.
        estimated, problem = _noted(str(plan), "estimated_cost_usd") if plan else (0.0, "")
        actual, other = _noted(str(tuning), "cost_usd") if tuning else (None, "")
        yield RunCost(run.id, run.created, run.state, "", estimated, actual, problem or other)


def _noted(uri: str, name: str) -> tuple[float | None, str]:
    """Read a cost that a step has noted, None where it does not say; and why it cannot be read."""
    try:
        cost = dict(loads(storage.read_bytes(uri)) if storage.exists(uri) else {}).get(name)
        return None if cost is None else float(cost), ""
    except (OSError, TypeError, ValueError) as error:
        why = error.found if isinstance(error, TunepipeError) else type(error).__name__
        return None, f"{uri} cannot be read ({why}); what it says counts as not known"


def _there(project: str, region: str) -> Iterator[RunCost]:
    from tunepipe.runs import vertex

    paid: set[str] = set()
    for job in reversed(vertex.list_runs(project, region)):
        yield _cost(pipeline_jobs.get(job.name), paid)


def _cost(job: Any, paid: set[str]) -> RunCost:
    """Read what one run has cost; `paid` are the jobs of earlier runs, and gets this run's."""
    from tunepipe.backends.palm.tuning import TUNER

    plan: dict[str, Any] = {}
    tuning, has_failed, actual, problem = "", False, None, ""
    for task in job.job_detail.task_details:
        outputs = task_outputs(task)
        if task.task_name == "compute-train-steps":
            plan = outputs
        elif task.task_name == TUNER and state_of(task) != "SKIPPED":
            tuning = str(job.name)  # the run itself, with Google's template in it
        elif task.task_name.startswith("tune-"):
            has_failed = has_failed or state_of(task) == "FAILED"
            if resources := str(outputs.get("gcp_resources", "")):
                uri = str(loads(resources)["resources"][0]["resourceUri"])
                tuning = uri.partition("/v1/")[2] or uri
            if "tuning" in task.outputs and task.outputs["tuning"].artifacts:
                uri = task.outputs["tuning"].artifacts[0].uri
                actual, problem = _noted(uri, "cost_usd")
    # A step that failed has no outputs: its job may have been paid, or never made.
    again = tuning in paid if tuning else not has_failed
    paid.add(tuning)
    estimated = 0.0 if again else float(plan.get("cost_usd", 0.0)) or None
    created, state = job.create_time.isoformat(timespec="seconds"), state_of(job).lower()
    return RunCost(job.name, created, state, tuning, estimated, 0.0 if again else actual, problem)


def _usd(cost: float | None) -> str:
    return "not known" if cost is None else f"{cost:.2f}"

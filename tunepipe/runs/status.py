"""Reads the status of a run, local or remote, and follows it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tunepipe.errors import CloudError
from tunepipe.gcp.explanations import advice
from tunepipe.runs.progress_display import View
from tunepipe.stores.failures import Failure


@dataclass(frozen=True)
class StepStatus:
    """A step of a run: its name, its state in small letters, and its message if it failed."""

    name: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class RunStatus:
    """The status of a run in the cloud.

    Args:
        name: The run's resource name, which ends in the run id; on a KFP host the run id.
        state: pending, running, succeeded, failed, cancelling, cancelled or paused.
        page: Its page in the console, or on the KFP host.
        tasks: The steps, in the order in which they began.
        verdict: better, worse or not-enough-evidence; "" before there is one.
        model: The tuned model's endpoint or folder, "" before there is one.
        error: Why it failed, in the words of the step that failed.
        failure: The same as the step itself wrote it down; None if it could not.
        unchanged: Since which run the data are unchanged, if the run ended for that.
        results: What a person opens, by name: report, summary, model_card, comparison, problems.
    """

    name: str
    state: str
    page: str
    tasks: tuple[StepStatus, ...]
    verdict: str = ""
    model: str = ""
    error: str = ""
    failure: Failure | None = None
    unchanged: str = ""
    results: Mapping[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in ("succeeded", "failed", "cancelled")

    @property
    def tuned_by(self) -> str:
        """The backend whose step tuned; "" if that does not show."""
        tuned = next((task.name for task in self.tasks if task.name.startswith("tune-")), "")
        return tuned.removeprefix("tune-")


def follow(look: Callable[[], RunStatus], shown: View, *, poll_seconds: float = 10.0) -> RunStatus:
    """Stay with a run to its end, showing each step as it begins and ends.

    Raises:
        TunepipeError: The run failed: the error of the step.
        CloudError: It failed without words of its own, or was cancelled.
    """
    seen: dict[str, str] = {}
    try:
        while not (status := look()).over:
            _show(status.tasks, seen, shown)
            time.sleep(poll_seconds)
        _show(status.tasks, seen, shown)
    finally:
        shown.close()
    if status.failure:
        raise status.failure.error(status.name)
    if status.state != "succeeded":
        message = status.error or f"the run was {status.state}"
        raise CloudError(message, where=status.name, fix=advice(message) or f"see {status.page}")
    return status


def _show(tasks: Sequence[StepStatus], seen: dict[str, str], shown: View) -> None:
    for task in tasks:
        before, seen[task.name] = seen.get(task.name), task.state
        if task.state == before or task.state in ("pending", "not wanted"):
            continue
        if before in (None, "pending"):
            shown.began(task.name)
        if task.state != "running":
            shown.ended(task.name, task.state in ("succeeded", "cached"))

"""The status of a run, and how it is shown to its end: a live table, or plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunepipe.errors import CloudError
from tunepipe.gcp.explanations import advice
from tunepipe.progress import is_terminal, line, printable
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


def follow(look: Callable[[], RunStatus], shown: View) -> RunStatus:
    """Stay with a run to its end, showing each step as it begins and ends.

    The pause between two looks is a tenth of the time so far, from half a second to ten.

    Raises:
        TunepipeError: The run failed: the error of the step.
        CloudError: It failed without words of its own, or was cancelled.
    """
    seen: dict[str, str] = {}
    start = time.monotonic()
    try:
        while not (status := look()).over:
            _show(status.tasks, seen, shown)
            time.sleep(min(max((time.monotonic() - start) / 10, 0.5), 10.0))
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


def view() -> View:
    """Choose by where standard error goes; a dumb terminal cannot redraw a line."""
    return Terminal() if is_terminal(sys.stderr) else View()


class View:
    """One line an event on standard error, progress at most every five seconds."""

    _EVERY_SECONDS = 5.0

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._started: dict[str, float] = {}

    def began(self, step: str) -> None:
        """A step began; in the cloud others may be running."""
        self._started[step] = time.monotonic()
        _say(f"{step} ...")

    def ended(self, step: str, succeeded: bool) -> None:
        """A step ended."""
        seconds = time.monotonic() - self._started[step]
        _say(f"{step} {'done' if succeeded else 'FAILED'} ({seconds:.1f} s)")

    def progress(self, event: Mapping[str, Any]) -> None:
        """A step says how far it is."""
        now = time.monotonic()
        if now - self._shown >= self._EVERY_SECONDS:
            self._shown = now
            _say(f"  {line(dict(event))}")

    def close(self) -> None:
        """Nothing is left to undo."""


class Terminal(View):
    """A line a step with its time, and a bar with the time left for the step that is running."""

    def __init__(self) -> None:
        from rich import console, progress

        self._bars = progress.Progress(
            progress.SpinnerColumn(finished_text="[green]✓"),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=console.Console(stderr=True),
        )
        self._bars.start()
        self._tasks: dict[str, Any] = {}

    def began(self, step: str) -> None:
        """A step began; in the cloud others may be running."""
        self._tasks[step] = self._bars.add_task(step, total=None, note="")

    def ended(self, step: str, succeeded: bool) -> None:
        """A step ended."""
        description = step if succeeded else f"[red]{step} failed"
        task = self._tasks.pop(step)
        self._bars.update(task, description=description, total=1, completed=1, note="")
        self._bars.stop_task(task)

    def progress(self, event: Mapping[str, Any]) -> None:
        """A step says how far it is: here one runs at a time."""
        note = line({name: value for name, value in event.items() if name != "stage"})
        for task in self._tasks.values():
            self._bars.update(
                task, total=event.get("total"), completed=event.get("done", 0), note=note
            )

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr, flush=True)

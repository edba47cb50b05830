"""Displays a local run: a live table and a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from tunepipe.progress import is_terminal, line, printable


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

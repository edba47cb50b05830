"""What the schedules of all hosts have in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from tunepipe.errors import LimitError
from tunepipe.runs.cron import next_runs, parse


@dataclass(frozen=True)
class ListedSchedule:
    """A schedule as it is.

    Args:
        name: Its display name; one in a project and region, or on a KFP host.
        resource: Its resource name, or its id on a KFP host.
        state: active, paused or completed.
        cron: Its times, with their zone; on a KFP host in UTC, and "" for one that runs at even
            distances.
        next_run: The next time in its zone, "" if it is not active or has no times.
        dataset: What it reads.
        backend: What tunes; "" if that does not show.
        runs: How many runs it has started; None if that does not show.
    """

    name: str
    resource: str
    state: str
    cron: str
    next_run: str
    dataset: str
    backend: str = ""
    runs: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def next_run(cron: str, now: datetime) -> str:
    """Return the next time of a schedule that is active; "" if it has no more."""
    times = next_runs(parse(cron), now, 1) if cron else []
    return times[0].isoformat(timespec="minutes") if times else ""


def still_running(run: str, fix: str) -> LimitError:
    """Return the refusal to start a run of a schedule next to another."""
    return LimitError(
        "a run of this schedule has not ended, and one runs at a time", where=run, fix=fix
    )

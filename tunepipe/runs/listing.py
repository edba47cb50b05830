"""The places that runs are in: this machine, Vertex AI and KFP hosts; and a run by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunepipe.errors import UsageError
from tunepipe.extras import require
from tunepipe.gcp.clients import state_of
from tunepipe.runs.kfp.host import KfpHost
from tunepipe.runs.status import RunStatus, follow, view

if TYPE_CHECKING:
    from tunepipe.runs.cancellation import Cancellation

LATEST = "latest"
HERE, VERTEX, KFP = "here", "Vertex AI", "KFP"
_NEWEST = 100  # how far back a prefix is looked for


@dataclass(frozen=True)
class ListedRun:
    """A run in a list.

    Args:
        id: Its id; any prefix that no other run has means it.
        name: What names it without more: its folder, resource name, or id on the KFP host.
        place: here, Vertex AI or KFP.
        created: When it was started, ISO 8601 in UTC; "" if that is not known, as the others.
        verdict: Of a run on this machine; "" elsewhere, where `tunepipe status` reads it.
        problem: Why its record on this machine cannot be read, and what to do; "" if it can.
    """

    id: str
    name: str
    place: str
    state: str = ""
    created: str = ""
    backend: str = ""
    verdict: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Places:
    """The places to look for runs: this machine, and a region and a KFP host if they are named."""

    folder: Path
    project: str = ""
    region: str = ""
    host: KfpHost | None = None

    def runs(self, limit: int = _NEWEST) -> list[ListedRun]:
        """List the newest runs of all places, the newest first."""
        runs = [_listed(file.parent) for file in self.folder.glob("*/run.json")]
        if self.project and self.region:
            runs += _on_vertex(self.project, self.region, limit)
        if self.host:
            runs += _on_host(self.host, limit)
        return sorted(runs, key=lambda run: (run.created, run.id), reverse=True)[:limit]

    def find(self, reference: str) -> ListedRun:
        """Find the run that a name means.

        A name is a folder, a resource name, an id, a prefix that no other id has, or "latest".

        Raises:
            UsageError: No run, or more than one, has it.
        """
        if reference.startswith("projects/"):
            return ListedRun(reference.rpartition("/")[2], reference, VERTEX)
        if folder := exact_folder(reference, self.folder):
            return _listed(folder)
        runs = self.runs()
        if reference == LATEST and runs:
            return runs[0]
        beginnings = (reference, f"tune-{reference}")
        matches = [run for run in runs if run.id == reference] or [
            run for run in runs if run.id.startswith(beginnings)
        ]
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(run.id for run in matches[:5])
            raise UsageError(
                f"{len(matches)} runs begin with this: {ids}{', …' * (len(matches) > 5)}",
                where=reference,
                fix="give more of the id",
            )
        # An id that no list shows is one of a run that is older than the list.
        if self.host and reference != LATEST:
            return ListedRun(reference, reference, KFP)
        if self.project and self.region and reference != LATEST:
            name = f"projects/{self.project}/locations/{self.region}/pipelineJobs/{reference}"
            return ListedRun(reference, name, VERTEX)
        elsewhere = f", nor on {self.host.url}" if self.host else ""
        raise UsageError(
            f"no run of this name is in the folder of --runs{elsewhere}",
            where=reference,
            fix="see tunepipe runs; a run on Vertex AI needs --project and --region or its whole "
            "name projects/P/locations/R/pipelineJobs/ID, one on a KFP host --kfp-host",
        )

    def status(self, run: ListedRun) -> RunStatus:
        """Look at a run that is not on this machine."""
        return self._look(run)()

    def options_for(self, run: ListedRun) -> str:
        """Return the options of a command that reach a run's KFP host; "" elsewhere."""
        return self.host.options if run.place == KFP and self.host else ""

    def follow(self, run: ListedRun) -> RunStatus:
        """Stay with a run that is not on this machine to its end; see `runs.status.follow`."""
        return follow(self._look(run, patience_seconds=600.0), view())

    def cancel(self, run: ListedRun, **settings: Any) -> Cancellation:
        """Cancel a run that is not on this machine; `settings` are of `cancellation.cancel`."""
        from tunepipe.runs import cancellation

        if run.place == KFP and self.host:
            from tunepipe.runs.kfp import host_runs

            return cancellation.Cancellation(host_runs.cancel(self.host, run.name))
        require("vertex")
        return cancellation.cancel(run.name, **settings)

    def logs(self, run: ListedRun, step: str = "") -> dict[str, str]:
        """Read what the steps whose names contain `step` printed, here or on a KFP host."""
        if run.place == KFP and self.host:
            from tunepipe.runs.kfp import host_runs

            return dict(host_runs.logs(self.host, run.name, step))
        from tunepipe.runs.local import by_step

        text = (Path(run.name) / "log.txt").read_text(encoding="utf-8", errors="replace")
        if not step:
            return {"log.txt": text}
        logs = by_step(text)
        if found := {name: log for name, log in logs.items() if step in name}:
            return found
        names = ", ".join(logs) or "no step yet"
        raise UsageError("the run has no log of this step", where=step, fix=names)

    def _look(self, run: ListedRun, **patience: Any) -> Callable[[], RunStatus]:
        if run.place == KFP and self.host:
            from tunepipe.runs.kfp import host_runs

            return partial(host_runs.status, self.host, run.name)
        require("vertex")
        from tunepipe.runs import vertex

        return partial(vertex.status, run.name, **patience)


def _on_vertex(project: str, region: str, limit: int) -> Iterator[ListedRun]:
    from tunepipe.runs import vertex

    for job in vertex.list_runs(project, region, limit):
        state, backend = state_of(job).lower(), job.labels.get("tunepipe_backend", "")
        run_id = job.name.rpartition("/")[2]
        yield ListedRun(run_id, job.name, VERTEX, state, _second(job.create_time), backend)


def _on_host(host: KfpHost, limit: int) -> Iterator[ListedRun]:
    from tunepipe.runs.kfp import host_runs

    for run in host_runs.list_runs(host, limit):
        state, created = str(run.state or "PENDING").lower(), _second(run.created_at)
        yield ListedRun(run.run_id, run.run_id, KFP, state, created, host_runs.backend_of(run))


def exact_folder(run: str, runs: Path) -> Path | None:
    """Find the folder of a run on this machine by its whole id or its own path."""
    folders = (runs / run, Path(run))
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def _listed(folder: Path) -> ListedRun:
    from tunepipe.runs.local import LocalRun, read

    problem = ""
    try:
        run = read(folder)
    except UsageError as error:
        run = LocalRun(folder.name, "", str(folder), state="unreadable")
        problem = f"{error.where}: {error.found}; {error.fix}"
    try:
        began = datetime.strptime(run.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        began = None
    shown = (run.state, _second(began), "local", run.verdict, problem)
    return ListedRun(run.id, str(folder), HERE, *shown)


def _second(when: datetime | None) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else ""

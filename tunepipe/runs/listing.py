"""Lists local and remote runs, and finds a run by its name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tunepipe.errors import UsageError

if TYPE_CHECKING:
    from tunepipe.runs.kfp.host import KfpHost

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
        state: As `RunStatus` has it.
        created: When it was started, ISO 8601 in UTC; "" if that is not known.
        backend: What tunes; "" if that is not known.
        verdict: Of a run on this machine; "" elsewhere, where `tunepipe status` reads it.
    """

    id: str
    name: str
    place: str
    state: str
    created: str
    backend: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Places:
    """The places to look for runs.

    Args:
        folder: The folder of the runs on this machine.
        project: With `region`, the runs on Vertex AI; "" leaves them out.
        region: With `project`.
        host: The KFP host; None leaves it out.
    """

    folder: Path
    project: str = ""
    region: str = ""
    host: KfpHost | None = None

    def runs(self, limit: int = _NEWEST) -> list[ListedRun]:
        """List the newest runs of all places, the newest first.

        Raises:
            CloudError: Google or the KFP host refused the question.
        """
        runs = [_listed(file.parent) for file in self.folder.glob("*/run.json")]
        if self.project and self.region:
            runs += _on_vertex(self.project, self.region, limit)
        if self.host:
            runs += _on_host(self.host, limit)
        return sorted(runs, key=lambda run: (run.created, run.id), reverse=True)[:limit]

    def find(self, reference: str) -> ListedRun:
        """Find the run that a name means.

        Args:
            reference: A folder, a resource name, an id, a prefix of one that no other run has, or
                "latest".

        Raises:
            UsageError: No run, or more than one, has it.
            CloudError: Google or the KFP host refused the question.
        """
        if reference.startswith("projects/"):
            return ListedRun(reference.rpartition("/")[2], reference, VERTEX, "", "")
        if folder := exact_folder(reference, self.folder):
            return _listed(folder)
        runs = self.runs()
        if reference == LATEST and runs:
            return runs[0]
        matches = [run for run in runs if run.id == reference] or [
            run for run in runs if run.id.removeprefix("tune-").startswith(reference)
            or run.id.startswith(reference)
        ]  # fmt: skip
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
            return ListedRun(reference, reference, KFP, "", "")
        if self.project and self.region and reference != LATEST:
            name = f"projects/{self.project}/locations/{self.region}/pipelineJobs/{reference}"
            return ListedRun(reference, name, VERTEX, "", "")
        places = "the folder of --runs" + (f", nor on {self.host.url}" if self.host else "")
        raise UsageError(
            f"no run of this name is in {places}",
            where=reference,
            fix="see tunepipe runs; a run on Vertex AI needs --project and --region or its whole "
            "name projects/P/locations/R/pipelineJobs/ID, one on a KFP host --kfp-host",
        )


def _on_vertex(project: str, region: str, limit: int) -> list[ListedRun]:
    from tunepipe.gcp.clients import state_of
    from tunepipe.runs import vertex

    return [
        ListedRun(
            id=job.name.rpartition("/")[2],
            name=job.name,
            place=VERTEX,
            state=state_of(job).lower(),
            created=_minute(job.create_time),
            backend=job.labels.get("tunepipe_backend", ""),
        )
        for job in vertex.list_runs(project, region, limit)
    ]


def _on_host(host: KfpHost, limit: int) -> list[ListedRun]:
    from tunepipe.runs.kfp import host_runs

    return [
        ListedRun(
            id=run.run_id,
            name=run.run_id,
            place=KFP,
            state=str(run.state or "PENDING").lower(),
            created=_minute(run.created_at),
            backend=host_runs.backend_of(run),
        )
        for run in host_runs.list_runs(host, limit)
    ]


def exact_folder(run: str, runs: Path) -> Path | None:
    """Find the folder of a run on this machine by its whole id or its own path."""
    folders = (runs / run, Path(run))
    return next((folder for folder in folders if (folder / "run.json").is_file()), None)


def _listed(folder: Path) -> ListedRun:
    from tunepipe.runs.local import read

    run = read(folder)
    try:
        began = datetime.strptime(run.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        began = None
    return ListedRun(run.id, str(folder), HERE, run.state, _minute(began), "local", run.verdict)


def _minute(when: datetime | None) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else ""

"""`tunepipe promote`, `rollback` and `champions`: which model is in service, by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tunepipe.cli import options
from tunepipe.cli.output import Output, agree
from tunepipe.errors import UsageError
from tunepipe.registry.champions import Move, champion, history
from tunepipe.registry.champions import promote as record_promotion
from tunepipe.registry.vertex_alias import move_alias
from tunepipe.runs.listing import HERE, Places


def promote(
    run: str,
    *,
    reason: str,
    registry: str = "",
    project: str = "",
    region: str = "",
    runs: Path = Path("runs"),
    user_project: options.UserProject = "",
    yes: options.Yes = False,
    out: Output,
) -> None:
    """Make a run's model the champion by hand.

    The verdict does not count; the move is recorded.

    In the cloud the model also gets the alias `champion` in the model registry.
    """
    places = Places(runs, project, region)
    chosen = places.find(run)
    if chosen.place == HERE:
        folder = Path(chosen.name)
        model, verdict, name = str(folder / "model"), chosen.verdict, chosen.id
        place = registry or str(folder.parent / "registry")
    else:
        from tunepipe.gcp import pipeline_jobs

        status = places.status(chosen)
        if not status.model:
            raise UsageError(
                "the run has made no model", where=status.name, fix="name a run that has succeeded"
            )
        model, verdict, name = status.model, status.verdict, chosen.id
        parameters = dict(pipeline_jobs.get(status.name).runtime_config.parameter_values)
        place = registry or str(parameters.get("registry", ""))
    if not verdict:
        raise UsageError("the run has no verdict yet", where=run, fix=f"tunepipe status {run}")
    agree(f"Make the model of {name} ({verdict}) the champion?", yes, out)
    _move(place, model, name, verdict, reason, out)


def rollback(
    *,
    reason: str,
    to: options.Whole = 0,
    registry: str = "",
    runs: Path = Path("runs"),
    user_project: options.UserProject = "",
    yes: options.Yes = False,
    out: Output,
) -> None:
    """Return to an earlier champion.

    The move is recorded.

    Options:
        to (VERSION): Which champion; 0: the one before.
    """
    place = registry or str(runs / "registry")
    former = _former(history(place), to, place)
    agree(f"Make champion {former.version}, of {former.run}, the champion again?", yes, out)
    note = f"back to {former.version}: {reason}"
    _move(place, former.model, former.run, former.verdict, note, out)


def champions(
    *,
    registry: str = "",
    runs: Path = Path("runs"),
    user_project: options.UserProject = "",
    out: Output,
) -> None:
    """List who became champion, when and why."""
    place = registry or str(runs / "registry")
    moves = history(place)
    out.result({"registry": place, "moves": [asdict(move) for move in moves]})
    rows = [
        (str(move.version), move.moved_at, move.moved_by, move.run, move.verdict, move.reason)
        for move in moves
    ]
    head = ("version", "when", "who", "run", "verdict", "reason")
    out.table(rows, head, empty=f"no champion in {place}")


def _former(history: list[Move], version: int, place: str) -> Move:
    """Find the move to go back to: the last one whose model was another than today's.

    A model may have been promoted twice, by its run and by hand; a folder is copied each time.
    """
    if not history:
        raise UsageError("there is no champion", where=place, fix="name --registry or --runs")
    present = history[-1]
    others = [move for move in history if move.run != present.run and move.model != present.model]
    matching = [move for move in history if move.version == version] if version else others
    if not matching:
        raise UsageError(
            f"there is no champion {version}" if version else "there was no champion before",
            where=place,
            fix="tunepipe champions lists them",
        )
    return matching[-1]


def _move(place: str, model: str, run: str, verdict: str, reason: str, out: Output) -> None:
    from tunepipe.steps.promotion import require_serving, user

    require_serving(model)
    before = champion(place)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    move = record_promotion(
        place, model, run=run, verdict=verdict, reason=reason, moved_at=now, moved_by=user()
    )
    alias = move_alias(move.model, before.model if before else "")
    out.result({"registry": place, **asdict(move), "alias": alias})
    out.line(f"champion {move.version}: {move.model}", "bold green")
    if alias:
        out.line(f"alias champion: {alias}")

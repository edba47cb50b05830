"""The champion: which tuned model is in service, and every move that made it so.

A registry is a folder, or a gs:// prefix. `champion.json` names the model in service and is
replaced in one piece; `moves/` keeps one file a move, so that no record is ever rewritten.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from tunepipe.errors import UsageError
from tunepipe.gcp import storage


@dataclass(frozen=True)
class Move:
    """One change of champion.

    Args:
        version: Counts from 1; a later move has a higher one.
        model: The model's folder, or its resource name.
        run: The run that made it.
        verdict: The verdict that allowed the move.
        reason: The verdict's reason, one sentence.
        moved_at: UTC, ISO 8601.
        moved_by: Who ran it.
    """

    version: int
    model: str
    run: str
    verdict: str
    reason: str
    moved_at: str
    moved_by: str


def champion(registry: str) -> Move | None:
    """Return the move that made the present champion; None where there is none yet."""
    file = address(registry, "champion.json")
    if not registry or not storage.exists(file):
        return None
    return Move(**json.loads(storage.read_bytes(file)))


def history(registry: str) -> list[Move]:
    """Return every move, the first one first.

    Raises:
        CloudError: Cloud Storage refused.
    """
    present = champion(registry)
    if present is None:
        return []
    files = storage.list_files(address(registry, "moves/*.json"))
    return [Move(**json.loads(storage.read_bytes(file))) for file in sorted(files)]


def promote(
    registry: str, model: str, *, run: str, verdict: str, reason: str, moved_at: str, moved_by: str
) -> Move:
    """Make a model the champion; a promotion that was broken off is brought to its end.

    Args:
        registry: A folder or a gs:// prefix.
        model: A folder, which is kept in the registry as a copy, or a resource name.
        run: The run that made it.
        verdict: What the comparison said.
        reason: Why, in one sentence.
        moved_at: UTC, ISO 8601.
        moved_by: Who ran it.

    Returns:
        The move, as it was recorded.

    Raises:
        UsageError: No registry is named, or another promotion is under way.
    """
    if not registry:
        raise UsageError("no registry is named", where="registry", fix="give a folder or gs:// URI")
    before = champion(registry)
    version = before.version + 1 if before else 1
    file = address(registry, f"moves/{version:06d}.json")
    move = _begun(file, model, run)
    if move is None:
        kept = _kept(registry, model, version)
        move = Move(version, kept, run, verdict, reason, moved_at, moved_by)
        # The record is written only where none is: of two promotions at once, one wins.
        storage.write_bytes(_record(move), file, if_generation=0)
    storage.write_bytes(_record(move), address(registry, "champion.json"))
    return move


def _begun(file: str, model: str, run: str) -> Move | None:
    """Return the move that is recorded already and not yet in service; None where there is none."""
    if not storage.exists(file):
        return None
    move = Move(**json.loads(storage.read_bytes(file)))
    if move.run == run and (move.model == model or Path(model).is_dir()):
        return move
    raise UsageError(
        "another promotion is under way, or was broken off",
        where=file,
        fix=f"if nobody else promotes now, bring it to its end first: tunepipe promote "
        f"{move.run} --reason TEXT",
    )


def _record(move: Move) -> bytes:
    return json.dumps(asdict(move), ensure_ascii=False, indent=1).encode()


def _kept(registry: str, model: str, version: int) -> str:
    if storage.is_gcs(registry) or not Path(model).is_dir():
        return model
    # Absolute: the next run may be started from another folder.
    folder = Path(registry).resolve() / "models" / f"{version:06d}"
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(model, partial, copy_function=_link_or_copy)
    if folder.exists():  # of a promotion that was broken off before it was recorded
        folder = folder.with_name(f"{folder.name}-{uuid4().hex[:8]}")
    os.replace(partial, folder)
    return str(folder)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


def address(registry: str, name: str) -> str:
    """Name a file of a registry, such as champion.json."""
    return f"{registry.rstrip('/')}/{name}"

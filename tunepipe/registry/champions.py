"""The champion: which tuned model is in service, and every move that made it so.

A registry is a folder, or a gs:// prefix. Each move is a record of its own below `moves/`, written
once; the last one names the champion. So a promotion is one new object: it is recorded or it is
not, and a bucket with a retention policy takes it as any other.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from tunepipe.errors import UsageError
from tunepipe.registry.records import address
from tunepipe.stores import storage
from tunepipe.stores.ledger import Ledger


@dataclass(frozen=True)
class Move:
    """One change of champion.

    Args:
        version: Counts from 1; a later move has a higher one.
        model: The model's folder, or its resource name.
        moved_at: UTC, ISO 8601.
    """

    version: int
    model: str
    run: str
    verdict: str
    reason: str
    moved_at: str
    moved_by: str


def champion(registry: str) -> Move | None:
    """Return the move that made the present champion; None if there is none yet."""
    fields = _moves(registry).last().fields if registry else {}
    return Move(**fields) if fields else None


def history(registry: str) -> list[Move]:
    """Return every move, the first one first."""
    return [Move(**record.fields) for record in _moves(registry).records()] if registry else []


class PromotedMeanwhileError(UsageError):
    """Another promotion was recorded since the champion was looked at."""


def promote(
    registry: str,
    model: str,
    *,
    run: str,
    verdict: str,
    reason: str,
    moved_at: str,
    moved_by: str,
    after: int | None = None,
) -> Move:
    """Make a model, whose folder is copied into the registry, the champion.

    Args:
        moved_at: In UTC, ISO 8601.
        after: The version of the champion that was decided against, 0 where there was none; None
            takes that in service.

    Raises:
        PromotedMeanwhileError: That champion is not the last one any more.
        UsageError: No registry is named.
    """
    if not registry:
        raise UsageError("no registry is named", where="registry", fix="give a folder or gs:// URI")
    moves = _moves(registry)
    version = (moves.last().number if after is None else after) + 1
    copy = _copy(registry, model, version)
    move = Move(version, copy, run, verdict, reason, moved_at, moved_by)
    # The record is written only if none is: of two promotions at once, one wins.
    if not moves.append(version - 1, asdict(move)):
        raise PromotedMeanwhileError(
            "another promotion was recorded meanwhile",
            where=moves.address(version),
            fix="look at it with tunepipe champions; then promote again, if that is still wanted",
        )
    return move


def _moves(registry: str) -> Ledger:
    return Ledger(address(registry, "moves"))


def _copy(registry: str, model: str, version: int) -> str:
    """Copy a model's folder into the registry and return its place there."""
    if not Path(model).is_dir():
        return model
    # A name of its own: of two promotions at once neither writes into the other's copy, and a copy
    # that was broken off is in no record.
    name = f"models/{version:06d}-{uuid4().hex[:8]}"
    if storage.is_object(registry):  # a step's folder is gone when its pod is
        uri = address(registry, name)
        storage.copy_folder(model, uri)
        return uri
    # Absolute: the next run may be started from another folder.
    folder = Path(registry).resolve() / name
    shutil.copytree(model, folder, copy_function=storage.link_or_copy)
    return str(folder)

"""What promote_model and keep_champion do with a verdict."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tunepipe.core.errors import DataError

from . import champion_alias, deployments
from . import registry as moves


def promote_step(model: str, comparison_path: str, registry: str, run_id: str) -> str:
    """Make the tuned model the champion, here and in the model registry; twice does no more.

    Args:
        model: The tuned model's folder or resource name.
        comparison_path: What compare_models wrote.
        registry: The folder or gs:// prefix; "" keeps no champion, and nothing is recorded.
        run_id: The run that made the model.

    Returns:
        The new champion's version; "" without a registry.

    Raises:
        DataError: The verdict is not `better`.
    """
    said = _read(comparison_path)
    if said["verdict"] != "better":
        raise DataError(
            f"the verdict is {said['verdict']}, and only `better` promotes",
            where="promote_model",
            fix="look at the report; to promote all the same, use `tunepipe promote`",
        )
    if not registry:
        return ""
    before = moves.champion(registry)
    if before and run_id and before.run == run_id:
        champion_alias.move_alias(before.model)
        return str(before.version)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    move = moves.promote(
        registry,
        model,
        run=run_id,
        verdict=said["verdict"],
        reason=said["reason"],
        moved_at=now,
        moved_by=user(),
    )
    champion_alias.move_alias(move.model, before.model if before else "")
    return str(move.version)


def keep_step(comparison_path: str, registry: str, model: str = "") -> str:
    """Say, in a sentence, why the champion stays; take a worse model's endpoint away.

    Args:
        comparison_path: What compare_models wrote.
        registry: The folder or gs:// prefix.
        model: The tuned model's folder or resource name; "" leaves every endpoint as it is.

    Raises:
        CloudError: Google refused to take the endpoint away.
    """
    said = _read(comparison_path)
    present = moves.champion(registry)
    kept = f"champion {present.version} stays" if present else "there is still no champion"
    in_service = [move.model for move in moves.history(registry)]
    if said["verdict"] == "worse" and model not in in_service and deployments.discard(model):
        return f"{kept}: {said['reason']} The endpoint of the worse model was deleted."
    return f"{kept}: {said['reason']}"


def _read(path: str) -> Mapping[str, Any]:
    said: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return said


def user() -> str:
    """Name who runs this; "" where the system does not say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return ""

"""The registry's side of a run: look the champion up, promote, or keep it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path

from tunepipe.errors import CloudError, DataError, UsageError
from tunepipe.files import read_json
from tunepipe.gcp import clients
from tunepipe.gcp.explanations import explained
from tunepipe.registry import champions, endpoints, looks, vertex_alias
from tunepipe.stores import storage

_MEANWHILE = "it came into service meanwhile and was not compared; run again"


def lookup_step(registry: str) -> champions.Move | None:
    """Find the model in service, if it still serves; see `still_serving`."""
    return still_serving(champions.champion(registry))


def still_serving(champion: champions.Move | None) -> champions.Move | None:
    """Return the champion if its model is there: its endpoint may have been deleted by hand.

    A run that met that only when it asks the champion would have paid for its tuning by then.
    """
    if champion is None or serves(champion.model):
        return champion
    print(f"champion {champion.version} is left out of the comparison: {champion.model} is gone")
    return None


def first_step(registry: str, champion: str) -> str:
    """Find the first champion; "" if it is the one in service, or its model is gone."""
    first = champions.history(registry)[0].model
    return first if first != champion and serves(first) else ""


def require_serving(model: str) -> None:
    """Refuse to promote a model that no longer answers."""
    if serves(model):
        return
    if "/endpoints/" in model:
        raise CloudError(
            "the model's endpoint was deleted, so the model no longer answers",
            where=model,
            fix="deploy its model again, or run again: the model is then tuned again",
        )
    raise UsageError("the model's folder is gone", where=model, fix="name another run")


def decide_step(model: str, comparison_path: str, registry: str, run_id: str) -> str:
    """Promote a model that is better, or keep the champion; record and return what was decided.

    Two runs at once over the same rows could each take theirs for the first decision. So a run
    records its own before it looks for others once more: at least one of the two sees the other.
    Over other rows, what came into service since the run began was not compared with its model.
    """
    compared = read_json(comparison_path)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    decisions = looks.record(registry, run_id, compared.get("look", {}), compared["verdict"], now)
    if compared["verdict"] != "better":
        return keep_step(comparison_path, registry, model)
    present = champions.champion(registry)
    is_repeated = present is not None and present.run == run_id
    reason = ""
    if present and present.version != compared.get("champion_version", present.version):
        reason = _MEANWHILE
    if decisions > compared["scores"]["tuned"]["look"]:
        reason = "another run decided on the same held-out rows meanwhile; run again"
    if reason and not is_repeated:
        return keep_step(comparison_path, registry, reason=reason)
    try:
        after = present.version if present else 0
        version = promote_step(model, comparison_path, registry, run_id, after=after)
    except champions.PromotedMeanwhileError:
        return keep_step(comparison_path, registry, reason=_MEANWHILE)
    return f"champion {version}: {compared['reason']}" if version else str(compared["reason"])


def promote_step(
    model: str, comparison_path: str, registry: str, run_id: str, after: int | None = None
) -> str:
    """Make the tuned model the champion, here and in the model registry; return its version.

    Twice does no more. Without a registry nothing is recorded, and the version is "".

    Args:
        after: The version of the champion that was decided against; None takes that in service.
    """
    compared = read_json(comparison_path)
    if compared["verdict"] != "better":
        raise DataError(
            f"the verdict is {compared['verdict']}, and only `better` promotes",
            where="promote_model",
            fix="look at the report; to promote all the same, use `tunepipe promote`",
        )
    if not registry:
        return ""
    before = champions.champion(registry)
    if before and run_id and before.run == run_id:
        # An earlier attempt of this step recorded the move and may not have reached the alias.
        former = champions.history(registry)[-2:-1]
        _move_alias(before.model, former[0].model if former else "")
        return str(before.version)
    require_serving(model)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    move = champions.promote(
        registry,
        model,
        after=(before.version if before else 0) if after is None else after,
        run=run_id,
        verdict=compared["verdict"],
        reason=compared["reason"],
        moved_at=now,
        moved_by=user(),
    )
    _move_alias(move.model, before.model if before else "")
    return str(move.version)


def keep_step(comparison_path: str, registry: str, model: str = "", reason: str = "") -> str:
    """Say, in a sentence, why the champion stays; take a worse model's endpoint away.

    Without the tuned `model` every endpoint stays as it is.
    """
    compared = read_json(comparison_path)
    present = champions.champion(registry)
    service = f"champion {present.version} stays" if present else "there is still no champion"
    in_service = [move.model for move in champions.history(registry)]
    discarded = ""
    if compared["verdict"] == "worse" and model not in in_service:
        try:
            discarded = " Its endpoint was deleted." if endpoints.discard(model) else ""
        except CloudError as error:
            discarded = f" Its endpoint was not deleted: {error.found}; see tunepipe endpoints."
    return f"{service}: {reason or compared['reason']}{discarded}"


def serves(model: str) -> bool:
    """Return True if a model still exists: its endpoint, or its local folder."""
    if "/endpoints/" in model:
        with explained(model):
            return clients.find_endpoint(model) is not None
    elsewhere = model.startswith("projects/") or storage.is_object(model)
    return elsewhere or Path(model).is_dir()


def _move_alias(model: str, former: str) -> None:
    """Move the alias to the registry's champion; a refusal does not undo a recorded promotion."""
    try:
        vertex_alias.move_alias(model, former)
    except CloudError as error:
        print(f"the alias was not moved: {error}")


def user() -> str:
    """Name who runs this; "" if the system does not say."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return ""

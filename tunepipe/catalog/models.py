"""What is known of each model that can be tuned: one dated table, and questions to it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from fnmatch import fnmatchcase
from typing import Any

from tunepipe.catalog.table_schema import BACKENDS as BACKENDS
from tunepipe.catalog.table_schema import check
from tunepipe.catalog.tables import Table, load, merged
from tunepipe.errors import LimitError, UsageError

# How the names of the services' models look; no hub id has an @.
_FAMILIES = ("gemini-*", "*-bison*", "*-unicorn*", "*@*")


@dataclass(frozen=True)
class Model:
    """One model's row of models.toml, its family's values included.

    Args:
        name: The model's exact name; for the local backend also a folder or a hub id.
        backend: The backend that tunes it.
        formats: Dataset formats that it is tuned on.
        regions: Where it can be tuned; ("local",) locally.
        batch_size: Examples a step, one number or one for each region.
        batch_size_assumed: Whether the service hides its batch size and ours is a guess.
        default_steps: Training steps where nobody names any, or 0.
        default_epochs: Epochs where nobody names any, or 0.
        recommended_steps_max: More steps than this are advised against; 0 is no advice.
        whole_epochs: Whether the service takes whole epochs only.
        served_in: The multi-region that serves the tuned model, for each tuning region.
        tunable: Whether it could ever be tuned.
        tunable_since: First day, ISO; "" where not known.
        tunable_until: First day on which new tuning jobs are refused, ISO; "" where none is set.
        served_until: First day on which it no longer answers, ISO; "" where none is set.
        retires_not_before: Earliest day of its end that Google names, ISO, or "".
        successor: The model to use in its place, or "".
        note: What else a user should know.
        tokens_per_ascii_character: Measured for this model's tuning; 0 takes the general ratio.
        tuning_modes: "full" and "peft", where the service offers a choice.
        learning_rate: The recommended rate of each tuning mode, where the service wants one.
        adapter_sizes: The adapter ranks that the service takes.
        cmek: Whether customer-managed encryption keys are supported; None is not known.
        concurrent_jobs: Tuning jobs at a time that a project may run by default; 0 is not known.
        read: The day the row was read, ISO.
        source: Where it was read.
    """

    name: str
    backend: str
    formats: tuple[str, ...]
    regions: tuple[str, ...]
    batch_size: int | Mapping[str, int]
    batch_size_assumed: bool = False
    default_steps: int = 0
    default_epochs: int = 0
    recommended_steps_max: int = 0
    whole_epochs: bool = False
    served_in: Mapping[str, str] | None = None
    tunable: bool = True
    tunable_since: str = ""
    tunable_until: str = ""
    served_until: str = ""
    retires_not_before: str = ""
    successor: str = ""
    note: str = ""
    tokens_per_ascii_character: float = 0.0
    tuning_modes: tuple[str, ...] = ()
    learning_rate: Mapping[str, float] | None = None
    adapter_sizes: tuple[int, ...] = ()
    cmek: bool | None = None
    concurrent_jobs: int = 0
    read: str = ""
    source: str = ""


def find(name: str = "", backend: str = "", overrides: Mapping[str, Any] | None = None) -> Model:
    """Look a model up.

    Args:
        name: The model's name; "" takes the backend's default, or text-bison@001 where no backend
            is named either. The local backend takes any folder or hub id.
        backend: One of BACKENDS; "" follows from the model.
        overrides: The user's values for the tables: {"models": {"models": {NAME: {…}}}}.

    Returns:
        The model.

    Raises:
        UsageError: An unknown backend or model, a model of another backend, or overrides that are
            not shaped as our tables are.
    """
    check(overrides)
    table = load("catalog/models.toml", (overrides or {}).get("models"))
    if backend and backend not in BACKENDS:
        raise UsageError(
            "there is no such backend", where="backend", fix=f"one of {', '.join(BACKENDS)}"
        )
    name = name or table["defaults"][backend or "large-model"]
    row = table["models"].get(name)
    if row is None:
        row = _row_outside_the_table(name, backend, table)
    model = _model(name, row, table)
    if backend and model.backend != backend:
        raise UsageError(
            f"{name} is tuned by the backend {model.backend}, not by {backend}",
            where="model",
            fix=f"--backend {model.backend}, or another model",
        )
    return model


def check_name(name: str, overrides: Mapping[str, Any] | None = None) -> None:
    """Refuse a name that is meant for one of the table's models and is none.

    Where only limits are looked up, any other name is the local backend's, which sets none: a typo
    would switch all limits off.

    Args:
        name: A model's name; "" names none. A folder that is there, and a hub id, are free.
        overrides: The user's values for the tables.

    Raises:
        UsageError: It looks like one of the table's: names those that are close.
    """
    table = load("catalog/models.toml", (overrides or {}).get("models"))
    if name in ("", *table["models"]) or name.startswith("projects/") or os.path.isdir(name):
        return
    small = name.lower()
    ours = any(fnmatchcase(small, pattern) for pattern in _FAMILIES)
    typo = "/" not in name and difflib.get_close_matches(small, table["models"], cutoff=0.7)
    if ours or typo:
        raise _unknown(name, table)


def names(overrides: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Name every model of the table, in the table's order."""
    return tuple(load("catalog/models.toml", (overrides or {}).get("models"))["models"])


def _row_outside_the_table(name: str, backend: str, table: Table) -> Table:
    if backend == "local":
        return {"family": "local"}
    if name.startswith("projects/"):
        # A tuned model that is to be tuned further: only Gemini's service does that.
        return {"family": "gemini3", "note": "a tuned model: price and limits are its base's"}
    raise _unknown(name, table)


def _unknown(name: str, table: Table) -> UsageError:
    near = difflib.get_close_matches(name.lower(), list(table["models"]), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return UsageError(
        f"{name} is not in the table of models as of {table['read']}",
        where="model",
        fix=f"{hint}A folder or a hub id needs --backend local; a new model, a row in --tables",
    )


def _model(name: str, row: Mapping[str, Any], table: Table) -> Model:
    try:
        family = table["families"][row["family"]]
    except KeyError:
        known = ", ".join(table["families"])
        raise UsageError(
            "a model's row needs a family", where=f"models.{name}", fix=f"one of {known}"
        ) from None
    row = {key: value for key, value in merged(family, row).items() if key != "family"}
    unknown = sorted(set(row) - {field.name for field in fields(Model)})
    if unknown:
        raise UsageError(f"unknown values: {', '.join(unknown)}", where=f"models.{name}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
    }
    return Model(name=name, **values)


def batch_size(model: Model, region: str) -> int:
    """Say how many examples a step takes in a region.

    Raises:
        LimitError: The model is not tuned in that region.
    """
    check_region(model, region)
    if isinstance(model.batch_size, int):
        return model.batch_size
    return model.batch_size[region]


def check_region(model: Model, region: str) -> None:
    """Refuse a region that the model is not tuned in.

    Raises:
        LimitError: Names the regions that are allowed.
    """
    if region in model.regions:
        return
    where = f"region {region}" if region else "region"
    raise LimitError(
        f"{model.name} is not tuned there" if region else f"{model.name} needs a region",
        where=where,
        fix=f"one of {', '.join(model.regions)}",
    )


def tuned_in(model: Model, region: str, options: Mapping[str, Any]) -> str:
    """Name the place where a model is tuned.

    Args:
        model: The model.
        region: Where the run is.
        options: The backend's; a managed job's `location` wins. PaLM's template calls the place so
            where the model answers.
    """
    managed = model.backend in ("gemini", "open-model")
    return str((managed and options.get("location")) or region)


def as_of(overrides: Mapping[str, Any] | None = None) -> date:
    """Return the day on which the table of models was read."""
    return date.fromisoformat(
        str(load("catalog/models.toml", (overrides or {}).get("models"))["read"])
    )


def is_retired(model: Model, today: date) -> bool:
    """Say whether new tuning jobs on the model are refused on that day."""
    return not model.tunable or _reached(model.tunable_until, today)


def lifecycle_warnings(model: Model, today: date) -> list[str]:
    """Say what the calendar means for tuning this model.

    Args:
        model: The model.
        today: The day to compare with; the caller's clock, not ours.

    Returns:
        Sentences for people; empty where there is nothing to say.
    """
    found = []
    if not model.tunable:
        found.append(f"{model.name} cannot be tuned")
    if model.tunable_since and not _reached(model.tunable_since, today):
        found.append(f"{model.name} can be tuned from {model.tunable_since} on")
    if _reached(model.served_until, today):
        found.append(_ended(model))
    elif _reached(model.tunable_until, today):
        found.append(f"new tuning jobs on {model.name} are refused since {model.tunable_until}")
    elif model.served_until:
        found.append(f"{model.name} ends on {model.served_until}, and what is tuned from it too")
    elif _reached(model.retires_not_before, today):
        found.append(f"{model.name} may end any day: {model.retires_not_before} was the earliest")
    if found and model.successor:
        found[-1] += f"; its successor is {model.successor}"
    return found + ([f"{model.name}: {model.note}"] if model.note else [])


def _ended(model: Model) -> str:
    if model.tunable_until == model.served_until:
        return f"{model.name} was discontinued on {model.served_until}"
    return (
        f"{model.name} was shut down on {model.served_until}; "
        f"new tuning jobs were refused from {model.tunable_until}"
    )


def _reached(day: str, today: date) -> bool:
    return bool(day) and today >= date.fromisoformat(str(day))


def hardware_of(
    model: Model, region: str, overrides: Mapping[str, Any] | None = None
) -> Mapping[str, Any]:
    """Return the region's row of regions.toml; {} for a model whose hardware no user sees.

    Args:
        model: The model to tune.
        region: Where; see models.check_region.
        overrides: The user's values for the tables: {"regions": {…}}.

    Raises:
        UsageError: A region that the user gave to a model, but not to the table of regions.
    """
    if model.backend != "large-model":
        return {}
    regions = load("catalog/regions.toml", (overrides or {}).get("regions"))
    if region not in regions:
        raise UsageError(
            f"nothing is known of the hardware in {region}",
            where="region",
            fix=f"a row tables.regions.{region}, as for a region of ours",
        )
    row: Mapping[str, Any] = regions[region]
    return row

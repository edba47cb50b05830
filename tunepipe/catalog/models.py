"""Questions to a model's row: where it is tuned, with which batch, and until when."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from tunepipe.catalog.backends import BACKENDS
from tunepipe.catalog.schema import Model
from tunepipe.errors import LimitError


def batch_size(model: Model, region: str) -> int:
    """Return how many examples a step takes in a region; refuse one that does not tune it."""
    check_region(model, region)
    size = model.batch_size
    return size if isinstance(size, int) else size[region]


def check_region(model: Model, region: str) -> None:
    """Refuse a region that the model is not tuned in."""
    if region not in model.regions:
        raise LimitError(
            f"{model.name} is not tuned there" if region else f"{model.name} needs a region",
            where=f"region {region}" if region else "region",
            fix=f"one of {', '.join(model.regions)}",
        )


def tuned_in(model: Model, region: str, options: Mapping[str, Any]) -> str:
    """Return where a model is tuned: in the run's region, unless a managed job has a location.

    PaLM's template has an option of that name too: where the model answers.
    """
    elsewhere = BACKENDS[model.backend].has_location and options.get("location")
    return str(elsewhere or region)


def tokens_per_character(model: Model, tuning_mode: str = "") -> float:
    """Return the tokens of an ASCII character as measured for a tuning mode; 0 is not known."""
    ratio = model.tokens_per_ascii_character
    if isinstance(ratio, dict):
        return ratio.get(tuning_mode or next(iter(model.tuning_modes), ""), 0.0)
    return ratio


def is_retired(model: Model, today: date) -> bool:
    """Return True if new tuning jobs on the model are refused on that day."""
    return not model.tunable or _reached(model.tunable_until, today)


def lifecycle_warnings(model: Model, today: date) -> list[str]:
    """Return sentences about dates that affect a tuning of this model that begins today."""
    warnings = []
    if not model.tunable:
        warnings.append(f"{model.name} cannot be tuned")
    if model.tunable_since and not _reached(model.tunable_since, today):
        warnings.append(f"{model.name} can be tuned from {model.tunable_since} on")
    if _reached(model.served_until, today):
        if model.tunable_until == model.served_until:
            warnings.append(f"{model.name} was discontinued on {model.served_until}")
        else:
            warnings.append(
                f"{model.name} was shut down on {model.served_until}; new tuning jobs were refused"
                f" from {model.tunable_until}"
            )
    elif _reached(model.tunable_until, today):
        answers = f"; it answers until {model.served_until}" if model.served_until else ""
        warnings.append(
            f"new tuning jobs on {model.name} are refused since {model.tunable_until}{answers}"
        )
    elif model.served_until:
        warnings.append(f"{model.name} ends on {model.served_until}, and what is tuned from it too")
    elif _reached(model.retires_not_before, today):
        warnings.append(
            f"{model.name} may end any day: {model.retires_not_before} was the earliest"
        )
    if warnings and model.successor:
        warnings[-1] += f"; its successor is {model.successor}"
    return warnings + ([f"{model.name}: {model.note}"] if model.note else [])


def _reached(day: str, today: date) -> bool:
    return bool(day) and today.isoformat() >= day

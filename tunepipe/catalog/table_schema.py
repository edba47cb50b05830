"""The shape of the dated tables, against which a user's own values are checked.

A misspelt name in an override would leave our price standing, and a wrong figure would defeat the
ceiling of the cost; neither would be seen before the bill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from tunepipe.arguments import hint, nearest
from tunepipe.catalog.tables import load
from tunepipe.errors import UsageError

# A mapping holds the names that a table may have: `*` stands for any, as where a user may add
# rows, and a row that is not one of ours must have what is marked with `!`. A pair is one value
# or a table of them. Any other shape is one of _KINDS.
Shape = str | Mapping[str, Any] | tuple[str, Mapping[str, Any]]

BACKENDS = ("large-model", "gemini", "open-model", "local")

_SOURCE = {"read": "date", "source": "text"}
_DATED = {"!read": "date", "source": "text"}
MODEL: Mapping[str, Shape] = {
    **_SOURCE,
    **dict.fromkeys(("family", "successor", "note"), "text"),
    **dict.fromkeys(
        ("tunable_since", "tunable_until", "served_until", "retires_not_before"), "day"
    ),
    **dict.fromkeys(("batch_size_assumed", "whole_epochs", "tunable", "cmek"), "flag"),
    **dict.fromkeys(("default_steps", "default_epochs", "recommended_steps_max"), "whole"),
    **dict.fromkeys(("formats", "regions", "tuning_modes"), "texts"),
    "backend": "backend",
    "batch_size": ("count", {"*": "count"}),
    "served_in": {"*": "text"},
    "tokens_per_ascii_character": "number",
    "learning_rate": {"*": "number"},
    "adapter_sizes": "counts",
    "concurrent_jobs": "whole",
}
_FAMILY = {
    f"!{name}" if name in ("backend", "formats", "regions", "batch_size") else name: shape
    for name, shape in MODEL.items()
    if name != "family"
}
_ROWS = ("input_tokens", "output_tokens", "example_tokens", "rows_min", "rows_advised", "rows_max")
SHAPES: Mapping[str, Shape] = {
    "regions": {
        **_SOURCE,
        "*": {
            **dict.fromkeys(("!accelerator_type", "machine_type", "!quota"), "text"),
            "template_accelerator_type": "text",
            **dict.fromkeys(("!accelerators", "!quota_multiple"), "count"),
        },
    },
    "prices": {
        "accelerators": {"*": {**_DATED, "!usd_per_hour": {"*": "number"}}},
        "hours": {
            "*": {
                **dict.fromkeys(("!seconds_per_step", "!minimum_hours"), "number"),
                "!source": "text",
                "read": "date",
            }
        },
        "training_tokens": {"*": {**_DATED, "!usd_per_million": "number"}},
        "answers": {
            "*": {
                **_SOURCE,
                **dict.fromkeys(("!usd_per_million_read", "!usd_per_million_written"), "number"),
            }
        },
        "tokens": {
            **_SOURCE,
            **dict.fromkeys(("per_ascii_character", "per_other_character"), "number"),
            "calibration": {
                **dict.fromkeys(("!rows", "!estimated", "!counted"), "count"),
                "!counter": "text",
            },
        },
        "judge": {**_SOURCE, "tokens_a_reply": "whole"},
        "endpoints": {**_SOURCE, "usd_per_hour": "number"},
    },
    "models": {
        "read": "day",
        "defaults": dict.fromkeys(BACKENDS, "text"),
        "families": {"*": _FAMILY},
        "models": {"*": {"!family" if name == "family" else name: MODEL[name] for name in MODEL}},
    },
    "services": {
        "read_on": "day",
        "first_model": {"*": "text"},
        "formats": {
            "*": {
                **dict.fromkeys(("!required", "!optional"), "texts"),
                **dict.fromkeys(("roles", "message_fields", "part_fields"), "texts"),
            }
        },
        "services": {
            "*": {
                **dict.fromkeys(("!models", "!formats"), "texts"),
                **dict.fromkeys(("extra_roles", "sources"), "texts"),
                **{f"!{name}": "whole" for name in (*_ROWS, "file_bytes")},
                "!evaluation": {
                    **dict.fromkeys(("!rows_min", "!rows_max"), "whole"),
                    "!fraction_max": "share",
                    "fraction_from_rows": "whole",
                },
            }
        },
    },
}
_FILES = {
    "regions": "catalog/regions.toml",
    "prices": "catalog/prices.toml",
    "models": "catalog/models.toml",
    "services": "catalog/services.toml",
}


def check(overrides: Mapping[str, Any] | None) -> None:
    """Refuse values that do not fit the tables over which they are to be laid.

    Args:
        overrides: The user's values, {"regions": …, "prices": …, "models": …, "services": …}; a
            row that none of our tables has is a new one, and must be whole.

    Raises:
        UsageError: A name that is not known, or a value that does not fit; the place is named.
    """
    if overrides:
        ours = {name: load(file) for name, file in _FILES.items() if name in overrides}
        _check(overrides, SHAPES, "tables", ours)
        _check_priced_regions(overrides)


def _check_priced_regions(overrides: Mapping[str, Any]) -> None:
    """Refuse an hour's price in a region without hardware: nothing would ever be priced by it."""
    known = load("catalog/regions.toml", overrides.get("regions")).keys() - _SOURCE
    for kind, row in overrides.get("prices", {}).get("accelerators", {}).items():
        for region in row.get("usd_per_hour", {}).keys() - known:
            raise UsageError(
                f"nothing is tuned by the hour in {region}",
                where=f"tables.prices.accelerators.{kind}.usd_per_hour",
                fix=f"{hint(region, known)}; a new one needs a row tables.regions.{region}",
            )


def _check(value: Any, shape: Shape, where: str, ours: Any, near: str = "") -> None:
    if isinstance(shape, tuple):
        shape = shape[isinstance(value, Mapping)]
    if isinstance(shape, str):
        wanted, fits = _KINDS[shape]
        if not fits(value):
            raise UsageError(f"{_shown(value)} does not fit", where=where, fix=wanted)
    elif isinstance(value, Mapping):
        _check_names(value, shape, where, ours, near)
    else:
        raise UsageError(f"{_shown(value)} is no table", where=where, fix="a table of values")


def _check_names(
    row: Mapping[str, Any], shape: Mapping[str, Any], where: str, ours: Any, near: str
) -> None:
    lacks = [name[1:] for name in shape if name[0] == "!" and name[1:] not in row]
    if lacks and ours is None:
        raise UsageError(
            "the row is none of ours, and is not whole",
            where=where,
            fix=f"add {', '.join(lacks)}" + (f", or did you mean {near}?" if near else ""),
        )
    known = {name.lstrip("!"): below for name, below in shape.items()}
    mine = ours if isinstance(ours, Mapping) else {}
    for name, value in row.items():
        below = known.get(name, known.get("*"))
        if below is None:
            raise UsageError(f"{name} is not known", where=where, fix=hint(name, known))
        _check(value, below, f"{where}.{name}", mine.get(name), nearest(name, mine))


def _is_number(value: Any) -> bool:
    is_figure = isinstance(value, int | float) and not isinstance(value, bool)
    return is_figure and 0 <= value < math.inf


def _is_whole(value: Any) -> bool:
    # A pipeline's parameter brings every number as a float.
    return _is_number(value) and value == int(value)


def _is_day(value: Any) -> bool:
    # TOML has days of its own; a pipeline's parameter has them as texts.
    try:
        return isinstance(value, str | date) and bool(date.fromisoformat(str(value)))
    except ValueError:
        return False


def _is_month(value: Any) -> bool:
    return isinstance(value, str) and _is_day(f"{value}-01")


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(map(fits, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


# What is wanted, and whether a value is that.
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "number": ("a number, 0 or more", _is_number),
    "share": ("a number from 0 to 1", lambda value: _is_number(value) and value <= 1),
    "whole": ("a whole number, 0 or more", _is_whole),
    "count": ("a whole number, 1 or more", lambda value: _is_whole(value) and value >= 1),
    "counts": (
        "a list of whole numbers, 1 or more",
        lambda value: _is_list(value, lambda one: _is_whole(one) and one >= 1),
    ),
    "text": ("a text in quotes", _is_text),
    "texts": ("a list of texts in quotes", lambda value: _is_list(value, _is_text)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "date": (
        'a day or a month, such as 2026-11-22 or "2026-11"',
        lambda x: _is_day(x) or _is_month(x),
    ),
    "day": (
        'a day, such as 2026-11-22, or "" for none',
        lambda value: value == "" or _is_day(value),
    ),
    "backend": (f"one of {', '.join(BACKENDS)}", lambda value: value in BACKENDS),
}


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

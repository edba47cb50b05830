"""Where an option's value comes from: the flag, then TUNEPIPE_NAME, then tunepipe.toml.

    region = "europe-west4"          # for every verb that takes a region
    [run]
    bucket = "gs://my-bucket"        # for one verb
    [schedule.apply]
    cron = "TZ=Asia/Tokyo 0 3 * * 1"
    [tables.prices.accelerators.TPU_V3]
    usd_per_hour = { europe-west4 = 0.5 }

The file lies in the working directory, or where TUNEPIPE_CONFIG says. Nothing is read at import.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tunepipe.core.errors import UsageError
from tunepipe.core.tables import Table, merged

FILE = "tunepipe.toml"
PREFIX = "TUNEPIPE_"
TABLES = ("regions", "prices", "models", "services")

Verbs = Mapping[str, "Collection[str] | Verbs"]


def read() -> Table:
    """Read tunepipe.toml; empty where there is none.

    Raises:
        UsageError: It cannot be read, or TUNEPIPE_CONFIG names no file.
    """
    named = os.environ.get(f"{PREFIX}CONFIG")
    path = Path(named or FILE)
    return _toml(path) if named or path.is_file() else {}


def variable(option: str) -> str:
    """Name the environment variable of an option, such as TUNEPIPE_MAX_COST_USD."""
    return PREFIX + option.replace("-", "_").upper()


def defaults(settings: Mapping[str, Any], verbs: Verbs) -> Table:
    """Sort the settings by verb.

    Args:
        settings: What tunepipe.toml says.
        verbs: The options that each verb takes; a verb of verbs holds theirs.

    Returns:
        {verb: {option: value}}, a verb of verbs one level deeper.

    Raises:
        UsageError: A name that no verb knows.
    """
    values = {_option(key): value for key, value in settings.items() if key != "tables"}
    shared = {key: value for key, value in values.items() if not isinstance(value, dict)}
    known = {name for options in verbs.values() for name in _all_options(options)}
    _check(shared, known, "")
    _check({key for key in values if key not in shared}, verbs, "")
    return {
        verb: _of_verb(verb, options, shared, values.get(verb, {}))
        for verb, options in verbs.items()
    }


def overrides(settings: Mapping[str, Any], file: str) -> Table:
    """Lay the user's tables together: [tables] of tunepipe.toml, then --tables FILE.

    Args:
        settings: What tunepipe.toml says.
        file: A TOML file with the tables regions, prices, models and services, or "".

    Returns:
        {"prices": …, "models": …}, as tunepipe.core takes it.

    Raises:
        UsageError: The file cannot be read, or a table that we do not have.
    """
    found = merged(settings.get("tables", {}), _toml(Path(file)) if file else {})
    _check(found, TABLES, "tables")
    return found


def _of_verb(
    verb: str,
    options: Collection[str] | Verbs,
    shared: Mapping[str, Any],
    own: Mapping[str, Any],
) -> Table:
    own = {_option(key): value for key, value in own.items()}
    if isinstance(options, Mapping):
        _check(own, options, verb)
        return {
            name: _of_verb(f"{verb}.{name}", below, shared, own.get(name, {}))
            for name, below in options.items()
        }
    _check(own, options, verb)
    return {key: value for key, value in {**shared, **own}.items() if key in options}


def _all_options(options: Collection[str] | Verbs) -> set[str]:
    if isinstance(options, Mapping):
        return {name for below in options.values() for name in _all_options(below)}
    return set(options)


def _check(given: Collection[str], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            import difflib

            near = difflib.get_close_matches(key, list(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(sorted(known))}"
            raise UsageError(
                f"{key} is no setting", where=f"{FILE} [{where}]" if where else FILE, fix=hint
            )


def _option(key: str) -> str:
    return key.replace("-", "_")


def _toml(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except ValueError as error:
        raise UsageError(
            f"is not TOML: {error}", where=str(path), fix="see https://toml.io"
        ) from None

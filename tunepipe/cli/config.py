"""Where an option's value comes from: the flag, then TUNEPIPE_NAME, then tunepipe.toml.

    region = "europe-west4"          # for every command that takes a region
    [run]
    bucket = "gs://my-bucket"        # for one command
    [schedule.apply]
    cron = "TZ=Asia/Tokyo 0 3 * * 1"
    [tables.prices.accelerators.TPU_V3]
    usd_per_hour = { europe-west4 = 0.5 }

The file is in the working directory, or where TUNEPIPE_CONFIG says. Nothing is read at import.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunepipe.arguments import hint, nearest
from tunepipe.catalog.catalog import load_catalog
from tunepipe.catalog.tables import Table, merged
from tunepipe.errors import UsageError
from tunepipe.files import unreadable
from tunepipe.gcp.outbound import ALLOW_PRIVATE
from tunepipe.progress import VARIABLE as PROGRESS_VARIABLE
from tunepipe.stores.cloud_storage import USER_PROJECT

FILE = "tunepipe.toml"
UPDATES = "tunepipe-tables.toml"
PREFIX = "TUNEPIPE_"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"
# The permissions that the command's files lack, in octal.
UMASK_VARIABLE = f"{PREFIX}UMASK"
_OWN_VARIABLES = frozenset(
    {CONFIG_VARIABLE, PROGRESS_VARIABLE, UMASK_VARIABLE, ALLOW_PRIVATE, USER_PROJECT}
)
_TRUE = ("1", "true", "t", "yes", "y", "on")  # as the parser of the command line reads a flag

Commands = Mapping[str, "Collection[str] | Commands"]


def read() -> Table:
    """Read tunepipe.toml; empty if there is none.

    Raises:
        UsageError: It cannot be read, or TUNEPIPE_CONFIG names no file.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return _toml(Path(named), place=f"{CONFIG_VARIABLE} {named}")
    return _toml(Path(FILE)) if Path(FILE).is_file() else {}


def variable(option: str) -> str:
    """Return the environment variable of an option, such as TUNEPIPE_MAX_COST_USD."""
    return PREFIX + option.replace("-", "_").upper()


def asks_json(settings: Mapping[str, Any], arguments: Sequence[str]) -> bool:
    """Return True if a call prints its result, and so its errors, as JSON.

    Args:
        settings: The content of tunepipe.toml, as far as it can be read.
        arguments: The command line, which may be invalid.
    """
    if "--json" in arguments:
        return True
    value: Any = os.environ.get(variable("json")) or settings.get("json", False)
    below: Any = {} if os.environ.get(variable("json")) else settings
    for command in arguments[:2]:
        below = below.get(command)
        if not isinstance(below, Mapping):
            break
        value = below.get("json", value)
    return str(value).lower() in _TRUE


def defaults(settings: Mapping[str, Any], commands: Commands) -> Table:
    """Sort the settings by command.

    Args:
        settings: The content of tunepipe.toml.
        commands: The options that each command takes; a group of commands holds theirs.

    Returns:
        {command: {option: value}}, a group of commands one level deeper.

    Raises:
        UsageError: A name that no command knows.
    """
    values = {_option(key): value for key, value in settings.items() if key != "tables"}
    shared = {key: value for key, value in values.items() if not isinstance(value, dict)}
    known = {name for options in commands.values() for name in _all_options(options)}
    _check(shared, known, "")
    _check({key for key in values if key not in shared}, commands, "")
    return {
        command: _of_command(command, options, shared, values.get(command, {}))
        for command, options in commands.items()
    }


def as_text(name: str, value: Any, *, several: bool) -> str | list[str]:
    """Return a setting's value as the command line would give it.

    Args:
        name: The setting.
        value: What TOML holds.
        several: Whether its option may be given several times.

    Returns:
        A text, or for such an option a list of them.

    Raises:
        UsageError: Several values for an option that takes one, or a table.
    """
    values = value if isinstance(value, list) else [value]
    if isinstance(value, Mapping) or (isinstance(value, list) and not several):
        raise UsageError(f"{name} takes one value", where=FILE, fix=f"{name} = …")
    texts = [str(one).lower() if isinstance(one, bool) else str(one) for one in values]
    return texts if several else texts[0]


def overrides(settings: Mapping[str, Any], file: str) -> Table:
    """Lay the user's tables together: newer tables, [tables] of tunepipe.toml, --tables FILE.

    Newer tables are those that `tunepipe tables --update` has left in the working directory.

    Args:
        settings: The content of tunepipe.toml.
        file: A TOML file with the tables regions, prices, models and services, or "".

    Returns:
        {"prices": …, "models": …}, as the catalog takes it.

    Raises:
        UsageError: The file cannot be read, or it does not fit our tables.
    """
    own = settings.get("tables", {})
    if not isinstance(own, Mapping):
        raise UsageError("'tables' must be a TOML table", where=FILE, fix=f"--tables {own}")
    newer = _toml(Path(UPDATES)) if Path(UPDATES).is_file() else {}
    tables = merged(merged(newer, own), _toml(Path(file)) if file else {})
    load_catalog(tables)
    # A pipeline's parameter is JSON, which has no days.
    fitting: Table = json.loads(json.dumps(tables, default=str))
    return fitting


def has_variables() -> bool:
    """Return True if the environment sets an option."""
    return any(name.startswith(PREFIX) and name not in _OWN_VARIABLES for name in os.environ)


def check_variables(commands: Commands) -> None:
    """Refuse a TUNEPIPE_ variable that no option has.

    Args:
        commands: The options that each command takes.

    Raises:
        UsageError: A name TUNEPIPE_… that no option has.
    """
    known = {variable(name) for options in commands.values() for name in _all_options(options)}
    known |= _OWN_VARIABLES
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            # The beginning that all share would make all of them look near.
            near = nearest(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known])
            fix = f"did you mean {PREFIX}{near}?" if near else "see: tunepipe COMMAND --help"
            raise UsageError("no option has this variable", where=name, fix=fix)


def _of_command(
    command: str,
    options: Collection[str] | Commands,
    shared: Mapping[str, Any],
    own: Any,
) -> Table:
    if not isinstance(own, Mapping):
        raise UsageError(f"{command!r} is a command, not a setting", where=FILE, fix=f"[{command}]")
    own = {_option(key): value for key, value in own.items()}
    if isinstance(options, Mapping):
        _check(own, options, command)
        return {
            name: _of_command(f"{command}.{name}", below, shared, own.get(name, {}))
            for name, below in options.items()
        }
    _check(own, options, command)
    return {key: value for key, value in {**shared, **own}.items() if key in options}


def _all_options(options: Collection[str] | Commands) -> set[str]:
    if isinstance(options, Mapping):
        return {name for below in options.values() for name in _all_options(below)}
    return set(options)


def _check(given: Collection[str], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            raise UsageError(
                f"{key} is no setting",
                where=f"{FILE} [{where}]" if where else FILE,
                fix=hint(key, known),
            )


def _option(key: str) -> str:
    return key.replace("-", "_")


def _toml(path: Path, place: str = "") -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(place or path, error) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"is not TOML: {error}", where=place or str(path), fix="see https://toml.io"
        ) from None

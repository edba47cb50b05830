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
from collections.abc import Collection, Iterator, Mapping, Sequence
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


def read() -> Table:
    """Read tunepipe.toml, or the file that TUNEPIPE_CONFIG names; empty if there is none."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        return _toml(Path(named), place=f"{CONFIG_VARIABLE} {named}")
    return _toml(Path(FILE)) if Path(FILE).is_file() else {}


def variable(option: str) -> str:
    """Return the environment variable of an option, such as TUNEPIPE_MAX_COST_USD."""
    return PREFIX + option.replace("-", "_").upper()


def asks_json(settings: Mapping[str, Any], arguments: Sequence[str]) -> bool:
    """Return True if a call prints its result, and so its errors, as JSON.

    The settings are those that could be read; the arguments may be invalid.
    """
    if "--json" in arguments:
        return True
    value: Any = os.environ.get(variable("json"))
    if not value:
        below: Any = settings
        for command in ("", *arguments[:2]):
            below = below.get(command) if command else below
            if not isinstance(below, Mapping):
                break
            value = below.get("json", value)
    return str(value).lower() in _TRUE


def all_params(command: Any) -> Iterator[Any]:
    """Yield the parameters of a command of click, and of those below it."""
    yield from command.params
    for below in getattr(command, "commands", {}).values():
        yield from all_params(below)


def flag_names(command: Any) -> set[str]:
    """Return the flags of a command's options as names: without those that an argument has."""
    params = list(all_params(command))
    arguments = {param.name for param in params if param.param_type_name == "argument"}
    flags = (flag for param in params for flag in param.opts if flag.startswith("--"))
    return {flag[2:].replace("-", "_") for flag in flags} - arguments


def option_names(command: Any) -> set[str]:
    """Return the names that a setting may have: those of all commands below a group."""
    return {param.name for below in command.commands.values() for param in all_params(below)}


def defaults(settings: Mapping[str, Any], command: Any) -> Table:
    """Sort the content of tunepipe.toml by command, as click takes it (`default_map`).

    Returns:
        {command: {option: value}}, a group of commands one level deeper; each value as the command
        line would give it.

    Raises:
        UsageError: A name that no command knows, or a value that its option does not take.
    """
    values = {_option(key): value for key, value in settings.items() if key != "tables"}
    shared = {key: value for key, value in values.items() if not isinstance(value, dict)}
    _check(shared, option_names(command), "")
    own = {key: value for key, value in values.items() if key not in shared}
    return _of_command(command, own, shared, "")


def _of_command(command: Any, own: Any, shared: Mapping[str, Any], place: str) -> Table:
    """Return the settings of one command: its own, over those that all commands share."""
    if not isinstance(own, Mapping):
        raise UsageError(f"{place!r} is a command, not a setting", where=FILE, fix=f"[{place}]")
    own = {_option(key): value for key, value in own.items()}
    if below := getattr(command, "commands", {}):
        _check(own, below, place)
        return {
            name: _of_command(each, own.get(name, {}), shared, f"{place}.{name}".lstrip("."))
            for name, each in below.items()
        }
    params = {param.name: param for param in command.params}
    _check(own, params, place)
    return {
        name: _as_text(name, value, several=params[name].multiple or params[name].nargs == -1)
        for name, value in {**shared, **own}.items()
        if name in params
    }


def _as_text(name: str, value: Any, *, several: bool) -> str | list[str]:
    values = value if isinstance(value, list) else [value]
    if isinstance(value, Mapping) or (isinstance(value, list) and not several):
        raise UsageError(f"{name} takes one value", where=FILE, fix=f"{name} = …")
    texts = [str(each).lower() if isinstance(each, bool) else str(each) for each in values]
    return texts if several else texts[0]


def overrides(settings: Mapping[str, Any], file: str) -> Table:
    """Lay the user's tables together: newer tables, [tables] of tunepipe.toml, --tables FILE.

    Newer tables are those that `tunepipe tables --update` has left in the working directory.

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


def variables() -> set[str]:
    """Return the variables of the environment that set options."""
    return {name for name in os.environ if name.startswith(PREFIX)} - _OWN_VARIABLES


def check_variables(names: Collection[str]) -> None:
    """Refuse a TUNEPIPE_ variable that sets no option."""
    known = {*map(variable, names), *_OWN_VARIABLES}
    for name in sorted(variables() - known):
        # The beginning that all share would make all of them look near.
        near = nearest(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known])
        fix = f"did you mean {PREFIX}{near}?" if near else "see: tunepipe COMMAND --help"
        raise UsageError("no option has this variable", where=name, fix=fix)


def _check(names: Collection[str], known: Collection[str], where: str) -> None:
    for key in names:
        if key not in known:
            raise UsageError(
                f"{key} is not a setting",
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

"""The command `tunepipe`: its verbs, and what their endings mean to a shell.

Exit codes: 0 done, 1 the data or the model did not pass, 2 wrong usage or unreadable input, 3
refused by a limit, 4 the cloud said no; 70 a defect of tunepipe itself, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from copy import copy
from typing import Any

import typer

from tunepipe.cli import config as settings
from tunepipe.cli.commands import (
    champions,
    compile,
    convert,
    costs,
    doctor,
    endpoints,
    plan,
    predict,
    schedule,
    score,
    split,
    status,
    validate,
)
from tunepipe.cli.commands import (
    run as run_command,
)
from tunepipe.cli.output import (
    Output,
    ReaderLeft,
    fill_closed_streams,
    flush,
    not_written,
    print_error,
)
from tunepipe.errors import TunepipeError, UsageError

DEFECT = 70
INTERRUPTED = 130
READER_LEFT = 141

app = typer.Typer(
    name="tunepipe",
    epilog="An option's value comes from its flag, else from the environment "
    "(--max-cost-usd: TUNEPIPE_MAX_COST_USD), else from tunepipe.toml. Exit codes: 0 done, "
    "1 the data or the model did not pass, 2 wrong usage or unreadable input, 3 refused by a "
    "limit, 4 the cloud said no.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _verb in (
    validate.validate,
    split.split,
    plan.plan,
    score.score,
    convert.convert,
    run_command.run,
    status.status,
    status.cancel,
    predict.predict,
    champions.promote,
    champions.rollback,
    champions.champions,
    endpoints.endpoints,
    costs.costs,
    doctor.doctor,
):
    app.command()(_verb)
app.command("compile")(compile.compile_pipelines)
app.add_typer(schedule.app, name="schedule")


@app.callback()
def _command() -> None:
    """Validated, costed, gated tuning of language models."""


def main() -> None:
    """Run the command on the process's own arguments and end the process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: What follows `tunepipe`.

    Returns:
        The exit code.
    """
    fill_closed_streams()
    try:
        code = _answered(list(arguments))
    except ReaderLeft:
        code = READER_LEFT
    unwritten = flush()
    if isinstance(unwritten, BrokenPipeError):
        return READER_LEFT
    return _told(not_written(unwritten), False) if unwritten and not code else code


def _answered(arguments: list[str]) -> int:
    """Run a verb and say how it ended; every error, a defect too, is said in one shape."""
    as_json = settings.asks_json({}, arguments)
    try:
        configured = _configured(arguments)
        as_json = settings.asks_json(configured, arguments)
        return _invoke(arguments, configured)
    except ReaderLeft:
        raise
    except TunepipeError as error:
        return _told(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        Output().line("interrupted")
        return INTERRUPTED
    except Exception as error:
        # An uncaught exception would end with 1, which says that the data did not pass.
        Output().line(traceback.format_exc().rstrip())
        return _told(_defect(error), as_json)


def _defect(error: Exception) -> TunepipeError:
    # The error's own words may quote a row.
    said = TunepipeError(
        f"a defect of tunepipe ({type(error).__name__})",
        fix="please report the lines above, on standard error",
    )
    said.exit_code = DEFECT
    return said


def _told(error: TunepipeError, as_json: bool) -> int:
    try:
        print_error(error, as_json=as_json)
    except UsageError as unwritable:
        print_error(unwritable, as_json=False)
    return error.exit_code


def _configured(arguments: Sequence[str]) -> dict[str, Any]:
    try:
        return settings.read()
    except UsageError:
        if _asks_help(arguments):
            return {}
        raise


def _asks_help(arguments: Sequence[str]) -> bool:
    return not arguments or "--help" in arguments


def _invoke(arguments: list[str], configured: dict[str, Any]) -> int:
    # The settings are checked against the options of every verb.
    whole = bool(configured) or settings.has_variables()
    command: Any = typer.main.get_command(app if whole else _with_one_verb(arguments))
    _name_variables(command)
    given = {}
    if whole and not _asks_help(arguments):
        given = _fitted(command, settings.defaults(configured, _verbs(command)))
        settings.check_variables(_verbs(command))
    try:
        code = command.main(
            arguments or ["--help"],
            prog_name="tunepipe",
            standalone_mode=False,
            default_map=given,
            obj=configured,
        )
    except typer.TyperException as error:
        raise _usage(error) from None
    except SystemExit:
        # So the parser ends where standard output's reader left.
        raise ReaderLeft from None
    except OSError as error:
        fix = "check the path and its permissions" if error.filename else ""
        place = str(error.filename or "")
        raise UsageError(error.strerror or str(error), where=place, fix=fix) from error
    return code if isinstance(code, int) else 0


def _with_one_verb(arguments: Sequence[str]) -> typer.Typer:
    """Return the command with the verb asked for alone: to build all takes longer than most do."""
    verb = arguments[0] if arguments else ""
    found = [one for one in app.registered_commands if verb == (one.name or _name(one.callback))]
    groups = [one for one in app.registered_groups if verb == one.name]
    if not (found or groups):
        return app
    small = copy(app)
    small.registered_commands, small.registered_groups = found, groups
    return small


def _name(callback: Any) -> str:
    return str(callback.__name__)


def _usage(error: Any) -> UsageError:
    """Say a parser's complaint in our own shape."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "tunepipe"
    return UsageError(error.format_message().rstrip("."), where=path, fix=f"{path} --help")


def _name_variables(command: Any) -> None:
    for below in getattr(command, "commands", {}).values():
        _name_variables(below)
    for option in command.params:
        if option.param_type_name == "option" and option.name != "help":
            option.envvar = settings.variable(option.name)
            option.show_envvar = False


def _fitted(command: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Give the parser each setting as the command line would, which is all that it can read."""
    below = getattr(command, "commands", {})
    takes_several = {one.name: one.nargs == -1 or one.multiple for one in command.params}
    return {
        name: _fitted(below[name], value)
        if name in below
        else settings.as_text(name, value, several=takes_several[name])
        for name, value in given.items()
    }


def _verbs(command: Any) -> dict[str, Any]:
    return {
        name: _verbs(below) if hasattr(below, "commands") else {one.name for one in below.params}
        for name, below in command.commands.items()
    }

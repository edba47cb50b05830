"""The command `tunepipe`: its commands, settings, errors and exit codes.

Exit codes: 0 done, 1 the data or the model did not pass, 2 wrong usage or unreadable input, 3
refused by a limit, 4 the cloud refused or failed; 70 a defect of tunepipe, 130 interrupted, 141
the reader of standard output left.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from tunepipe import __version__, extras
from tunepipe.cli import config, output
from tunepipe.cli.help import CommandGroup
from tunepipe.cli.options import add_command
from tunepipe.errors import TunepipeError, UsageError

# Options that no variable of the environment sets.
_NO_SETTINGS = ("help", "version", "install_completion", "show_completion")
DEFECT = 70
INTERRUPTED = 130
READER_LEFT = 141

# The commands in the groups and the order of the help, and the modules of those that are not in a
# module of their own name. A module is imported when its command is asked for.
_COMMANDS = {
    "Data": ("validate", "split", "convert"),
    "Runs": (
        *("plan", "run", "runs", "logs", "status", "cancel"),
        *("doctor", "tables", "compile"),
    ),
    "Models": (
        *("score", "predict", "champions", "promote", "rollback"),
        *("deploy", "undeploy", "endpoints", "costs"),
    ),
}
_MODULES = {
    "logs": "runs",
    "status": "runs",
    "cancel": "runs",
    "promote": "champions",
    "rollback": "champions",
    "deploy": "endpoints",
    "undeploy": "endpoints",
}
_SUBCOMMANDS = ("schedule",)


def _print_version(is_requested: bool) -> None:
    if is_requested:
        print(f"tunepipe {__version__}")
        raise typer.Exit


def _command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Validated, costed, gated tuning of language models."""


def command_app(only: str = "") -> typer.Typer:
    """Return the command, with only one command or group of it, or for "" and an unknown name all.

    To import all takes longer than most run.
    """
    app = typer.Typer(
        name="tunepipe",
        cls=CommandGroup,
        epilog="An option's value comes from its flag, else from the environment "
        "(--max-cost-usd: TUNEPIPE_MAX_COST_USD), else from tunepipe.toml. Exit codes: 0 done, "
        "1 the data or the model did not pass, 2 wrong usage or unreadable input, 3 refused by a "
        "limit, 4 the cloud refused or failed.",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_command)
    names = {name for commands in _COMMANDS.values() for name in commands}
    is_single = only in {"--version", *_SUBCOMMANDS, *names}
    for group, commands in _COMMANDS.items():
        for name in commands:
            if not is_single or name == only:
                add_command(app, name, getattr(_module(name), name), group)
    for name in _SUBCOMMANDS:
        if not is_single or name == only:
            app.add_typer(_module(name).app, name=name, cls=CommandGroup, rich_help_panel="Runs")
    app._add_completion = not is_single
    return app


def _module(command: str) -> Any:
    return import_module(f"tunepipe.cli.commands.{_MODULES.get(command, command)}")


def main() -> None:
    """Run the command on the process's own arguments and end the process.

    What it writes holds rows and answers, so only the user may read it, unless TUNEPIPE_UMASK
    says otherwise.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what libraries warn of is for their developers
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    umask = os.environ.get(config.UMASK_VARIABLE, "077")
    try:
        os.umask(int(umask, 8) & 0o777)
    except ValueError:
        error = UsageError(
            f"{umask!r} is not an octal number", where=config.UMASK_VARIABLE, fix="such as 022"
        )
        sys.exit(_report_error(error, False))
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command with what follows `tunepipe`, and return the exit code."""
    output.fill_closed_streams()
    try:
        code = _run_command(list(arguments))
    except output.ReaderLeft:
        code = READER_LEFT
    unwritten = output.flush()
    if isinstance(unwritten, BrokenPipeError):
        return READER_LEFT
    return _report_error(output.not_written(unwritten), False) if unwritten and not code else code


def _run_command(arguments: list[str]) -> int:
    """Run a command and return its exit code; every error, a defect too, is printed in one form."""
    as_json = config.asks_json({}, arguments)
    try:
        configured = _read_settings(arguments)
        as_json = config.asks_json(configured, arguments)
        return _invoke(arguments, configured)
    except TunepipeError as error:
        return _report_error(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        output.Output().line("interrupted")
        return INTERRUPTED
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("tunepipe"):
            return _report_error(extras.missing(str(error.name)), as_json)
        # An uncaught exception would end with 1, which means that the data did not pass.
        for line in traceback.format_exc().splitlines():
            output.Output().line(line)
        # The exception's text may quote a row.
        defect = TunepipeError(
            f"a defect of tunepipe ({type(error).__name__})",
            fix="please report the lines above, on standard error",
        )
        defect.exit_code = DEFECT
        return _report_error(defect, as_json)


def _report_error(error: TunepipeError, as_json: bool) -> int:
    try:
        output.print_error(error, as_json=as_json)
    except UsageError as unwritable:
        output.print_error(unwritable, as_json=False)
    return error.exit_code


def _read_settings(arguments: Sequence[str]) -> dict[str, Any]:
    try:
        return config.read()
    except UsageError:
        if not _asks_for_help(arguments):
            raise
        return {}


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return not arguments or bool({"--help", "-h", "--version"} & set(arguments))


def _invoke(arguments: list[str], configured: dict[str, Any]) -> int:
    # Settings are checked against the options of every command.
    whole = bool(configured or config.variables())
    command: Any = typer.main.get_command(
        command_app() if whole or not arguments else command_app(arguments[0])
    )
    for option in config.all_params(command):
        if option.param_type_name == "option" and option.name not in _NO_SETTINGS:
            option.envvar = config.variable(option.name)
            option.show_envvar = False
    defaults = {}
    if whole and not _asks_for_help(arguments):
        defaults = config.defaults(configured, command)
        config.check_variables(config.option_names(command))
    names_a_group = not arguments or (len(arguments) == 1 and arguments[0] in _SUBCOMMANDS)
    try:
        code = command.main(
            [*arguments, "--help"] if names_a_group else arguments,
            prog_name="tunepipe",
            standalone_mode=False,
            default_map=defaults,
            obj=configured,
        )
    except TunepipeError as error:
        names = config.flag_names(command)
        for part in ("found", "where", "fix"):
            setattr(error, part, output.name_options(getattr(error, part), names, part == "where"))
        raise
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        # The parser's own errors, such as an option without its value, have no context.
        begun = [name for name in arguments[:1] if name in command.commands]
        path = context.command_path if context else " ".join(["tunepipe", *begun])
        found = error.format_message().rstrip(".")
        raise UsageError(found, where=path, fix=f"{path} --help") from None
    except SystemExit as ended:
        # So the parser ends where it completed a command line, and where standard output closed.
        if ended.code == 0:
            return 0
        raise output.ReaderLeft from None
    except OSError as error:
        fix = "check the path and its permissions" if error.filename else ""
        place = str(error.filename or "")
        raise UsageError(error.strerror or str(error), where=place, fix=fix) from error
    return code if isinstance(code, int) else 0

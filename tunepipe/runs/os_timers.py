"""A schedule for this machine, as text to paste: a line for cron, two units for systemd."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunepipe.errors import UsageError
from tunepipe.runs.cron import Cron, on_calendar


def run_command(options: Mapping[str, Any]) -> list[str]:
    """Write the command that a schedule runs, with the options of `run` that were set."""
    neighbour = Path(sys.executable).with_name("tunepipe")
    program = str(neighbour) if neighbour.exists() else shutil.which("tunepipe") or "tunepipe"
    words = [program, "run"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] * value
            continue
        for each in value if isinstance(value, (list, tuple)) else [value]:
            words += [option, str(each)]
    return words


def lines(name: str, when: Cron, command: Sequence[str]) -> dict[str, str]:
    """Write a schedule for cron and for systemd; the command is from `run_command`.

    Returns:
        `cron`, `service` and `timer`: each with a comment that says where it goes.
    """
    folder = str(Path.cwd())
    for text in (name, folder, *command):
        if not text.isprintable():
            # A line break would add an entry to the crontab, or a directive to the unit.
            raise UsageError(
                f"{text!r} has a line break or another control character",
                where="schedule apply",
                fix="use names of printable characters",
            )
    words, unit = shlex.join(command), f"tunepipe-{name}"
    line = f"cd {shlex.quote(folder)} && {words} >>{shlex.quote(f'{name}.log')} 2>&1"
    escaped = line.replace("%", "\\%")  # cron takes a bare % for the end of the line
    times = "".join(f"OnCalendar={line}\n" for line in on_calendar(when))
    return {
        "cron": "# crontab -e; the cron of Debian and Ubuntu knows no CRON_TZ and takes its own "
        f"zone\nCRON_TZ={when.zone}\n{when.fields} {escaped}\n",
        "service": f"# ~/.config/systemd/user/{unit}.service\n"
        f"[Unit]\nDescription=tunepipe {name}\n\n"
        f"[Service]\nType=oneshot\nWorkingDirectory={folder.replace('%', '%%')}\n"
        f"ExecStart={' '.join(map(_systemd_word, command))}\n",
        "timer": f"# ~/.config/systemd/user/{unit}.timer; then:\n"
        f"# systemctl --user daemon-reload && systemctl --user enable --now {unit}.timer\n"
        f"[Unit]\nDescription=tunepipe {name}\n\n[Timer]\n{times}Persistent=false\n\n"
        "[Install]\nWantedBy=timers.target\n",
    }


def _systemd_word(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'

"""When a schedule runs, a schedule as any host lists it, and the lines of one for this machine.

A zone is written as Vertex AI takes it, before the fields: `TZ=Asia/Tokyo 0 3 * * 1`. Without one
the times are UTC. systemd has a calendar language of its own, into which the fields translate.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tunepipe.errors import LimitError, UsageError

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.*)\Z", re.DOTALL)
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


@dataclass(frozen=True)
class Cron:
    """A schedule's times: five fields with one space between, and a zone of the IANA time zones."""

    fields: str
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"TZ={self.zone} {self.fields}"


@dataclass(frozen=True)
class ListedSchedule:
    """A schedule as it is.

    Args:
        name: Its display name; one in a project and region, or on a KFP host.
        resource: Its resource name, or its id on a KFP host.
        state: active, paused or completed.
        cron: Its times, with their zone; on a KFP host in UTC, and "" for one that runs at even
            distances.
        next_run: The next time in its zone, "" if it is not active or has no times.
        backend: What tunes; "" if that does not show.
        runs: How many runs it has started; None if that does not show.
    """

    name: str
    resource: str
    state: str
    cron: str
    next_run: str
    dataset: str
    backend: str = ""
    runs: int | None = None


def parse(text: str, zone: str = "") -> Cron:
    """Read five fields of cron, after `TZ=ZONE ` if one is wanted; else `zone` counts, or UTC."""
    from croniter import CroniterError, croniter

    match = _ZONE.match(text.strip())
    named, fields = (match[1], match[2]) if match else ("", text)
    if named and zone and named != zone:
        raise UsageError(f"two zones: {named} and {zone}", where="--cron", fix="name one")
    fields = " ".join(fields.split())
    refusal = ""
    if fields.count(" ") != 4:
        refusal = "no cron expression of five fields"
    else:
        try:
            croniter(fields)
        except CroniterError as error:
            refusal = f"no cron expression: {error}"
    if refusal:
        raise UsageError(
            refusal,
            where=f"--cron {text!r}",
            fix='minute hour day month weekday, such as "TZ=Asia/Tokyo 0 3 * * 1"',
        )
    cron = Cron(fields, named or zone or "UTC")
    _zone(cron.zone)
    return cron


def next_runs(cron: Cron, after: datetime, count: int) -> list[datetime]:
    """Return the next times after an aware one, in the schedule's own zone.

    Fewer than `count` come back if the expression has no more (February 30).
    """
    from croniter import CroniterBadDateError, croniter

    times = croniter(cron.fields, after.astimezone(_zone(cron.zone)), ret_type=datetime)
    upcoming: list[datetime] = []
    with suppress(CroniterBadDateError):
        upcoming.extend(islice(times, count))
    return upcoming


def next_run(cron: str, now: datetime) -> str:
    """Return the next time of a schedule that is active; "" if it has no more."""
    times = next_runs(parse(cron), now, 1) if cron else []
    return times[0].isoformat(timespec="minutes") if times else ""


def still_running(run: str, fix: str) -> LimitError:
    """Return the refusal to start a run of a schedule next to another."""
    return LimitError(
        "a run of this schedule has not ended, and one runs at a time", where=run, fix=fix
    )


def on_calendar(cron: Cron) -> list[str]:
    """Translate into systemd's OnCalendar lines.

    Where both days are given, cron runs on either, and systemd on both: hence two lines.

    Raises:
        UsageError: The last day of a month, or the nth weekday, which systemd does not know.
    """
    minute, hour, day, month, weekday = _expand(cron)
    times = f"{_join(hour)}:{_join(minute)}:00 {cron.zone}"
    dates = f"*-{_join(month)}-"
    lines = []
    if weekday == ["*"] or day != ["*"]:
        lines.append(f"{dates}{_join(day)} {times}")
    if weekday != ["*"]:
        lines.append(f"{','.join(_DAYS[int(number)] for number in weekday)} {dates}* {times}")
    return lines


def with_sunday_as_zero(cron: Cron) -> str:
    """Return the fields with Sunday as 0: Kubeflow's cron takes 0 to 6, and no 7."""
    *others, weekday = cron.fields.split()
    if "7" not in weekday:
        return cron.fields
    return " ".join([*others, ",".join(map(str, _expand(cron)[4]))])


def _expand(cron: Cron) -> list[list[int | str]]:
    """Return the values of each field, ["*"] for all of them."""
    from croniter import croniter

    fields, nth_weekdays = croniter.expand(cron.fields)
    if nth_weekdays or "l" in fields[2]:
        raise UsageError(
            f"{cron.fields} has no meaning in systemd's calendar",
            where="--cron",
            fix="write numbers, lists, ranges and steps",
        )
    return list(fields)


def _join(values: list[int | str]) -> str:
    return ",".join(value if isinstance(value, str) else f"{value:02d}" for value in values)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"no time zone {name}", where="--cron", fix="a name such as Asia/Tokyo or UTC"
        ) from None


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


def os_timers(name: str, when: Cron, command: Sequence[str]) -> dict[str, str]:
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

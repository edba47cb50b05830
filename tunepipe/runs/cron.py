"""When a schedule runs: five fields of cron and a time zone.

A zone is written as Vertex AI takes it, before the fields: `TZ=Asia/Tokyo 0 3 * * 1`. Without one
the times are UTC. systemd has a calendar language of its own, into which the fields translate.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tunepipe.errors import UsageError

_ZONE = re.compile(r"(?:CRON_)?TZ=(\S*)\s+(.*)\Z", re.DOTALL)
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


@dataclass(frozen=True)
class Cron:
    """A schedule's times.

    Args:
        fields: Minute, hour, day of the month, month, day of the week, one space between.
        zone: A name of the IANA time zones.
    """

    fields: str
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"TZ={self.zone} {self.fields}"


def parse(text: str, zone: str = "") -> Cron:
    """Read a cron expression.

    Args:
        text: Five fields, after `TZ=ZONE ` if a zone is wanted.
        zone: The zone if the text names none; "" is UTC.

    Raises:
        UsageError: It is not a cron expression, or the time zone is unknown.
    """
    from croniter import croniter

    match = _ZONE.match(text.strip())
    named, fields = (match[1], match[2]) if match else ("", text)
    if named and zone and named != zone:
        raise UsageError(f"two zones: {named} and {zone}", where="--cron", fix="name one")
    fields = " ".join(fields.split())
    if fields.count(" ") != 4 or not croniter.is_valid(fields):
        raise UsageError(
            "no cron expression of five fields",
            where=f"--cron {text!r}",
            fix='minute hour day month weekday, such as "TZ=Asia/Tokyo 0 3 * * 1"',
        )
    cron = Cron(fields, named or zone or "UTC")
    _zone(cron.zone)
    return cron


def next_runs(cron: Cron, after: datetime, count: int) -> list[datetime]:
    """Return the next times, in the schedule's own zone.

    Args:
        cron: The schedule's times.
        after: An aware time; a run at this very moment is not next.
        count: How many, >= 0. Fewer come back if the expression has no more (February 30).
    """
    from croniter import CroniterBadDateError, croniter

    times = croniter(cron.fields, after.astimezone(_zone(cron.zone)), ret_type=datetime)
    upcoming: list[datetime] = []
    with suppress(CroniterBadDateError):
        upcoming.extend(islice(times, count))
    return upcoming


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
    expanded: list[list[int | str]] = fields
    return expanded


def _join(values: list[int | str]) -> str:
    return ",".join(value if isinstance(value, str) else f"{value:02d}" for value in values)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"no time zone {name}", where="--cron", fix="a name such as Asia/Tokyo or UTC"
        ) from None

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
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LIMITS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


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
    found = Cron(fields, named or zone or "UTC")
    _zone(found.zone)
    return found


def next_runs(cron: Cron, after: datetime, count: int) -> list[datetime]:
    """Return the next times, in the schedule's own zone.

    Args:
        cron: The schedule's times.
        after: An aware time; a run at this very moment is not next.
        count: How many, >= 0. Fewer come back if the expression has no more (February 30).
    """
    from croniter import CroniterBadDateError, croniter

    times = croniter(cron.fields, after.astimezone(_zone(cron.zone)), ret_type=datetime)
    found: list[datetime] = []
    with suppress(CroniterBadDateError):
        found.extend(islice(times, count))
    return found


def on_calendar(cron: Cron) -> list[str]:
    """Translate into systemd's OnCalendar lines.

    Where both days are given, cron runs on either, and systemd on both: hence two lines.
    """
    minute, hour, day, month, weekday = cron.fields.split()
    times = f"{_set(hour, 1, ())}:{_set(minute, 0, ())}:00 {cron.zone}"
    dates = f"*-{_set(month, 3, _MONTHS)}-"
    days = _set(weekday, 4, _DAYS)
    lines = []
    if _any(weekday) or not _any(day):
        lines.append(f"{dates}{_set(day, 2, ())} {times}")
    if not _any(weekday):
        lines.append(f"{days} {dates}* {times}")
    return lines


def with_sunday_as_zero(cron: Cron) -> str:
    """Return the fields with Sunday as 0: Kubeflow's cron takes 0 to 6, and no 7."""
    *others, weekday = cron.fields.split()
    if "7" not in weekday:
        return cron.fields
    low, high = _LIMITS[4]
    days = {day % 7 for part in weekday.split(",") for day in _values(part, low, high)}
    return " ".join([*others, ",".join(map(str, sorted(days)))])


def _any(field: str) -> bool:
    return field in ("*", "?")


def _set(field: str, position: int, names: tuple[str, ...]) -> str:
    """Write one field as systemd does: a star, or its values with commas between."""
    if _any(field):
        return "*"
    low, high = _LIMITS[position]
    values = sorted({value for part in field.split(",") for value in _values(part, low, high)})
    if position == 4:
        return ",".join(_DAYS[value] for value in sorted({value % 7 for value in values}))
    return ",".join(f"{value:02d}" for value in values)


def _values(part: str, low: int, high: int) -> range:
    span, _, step = part.partition("/")
    first, dash, last = span.partition("-")
    if _any(span):
        return range(low, high + 1, int(step or 1))
    begin = _number(first)
    end = _number(last) if dash else high if step else begin
    if begin > end:
        raise UsageError("an empty range", where=f"--cron {part}", fix="write it from low to high")
    return range(begin, end + 1, int(step or 1))


def _number(text: str) -> int:
    for offset, names in ((0, _DAYS), (1, _MONTHS)):
        for index, name in enumerate(names):
            if name.lower() == text.lower():
                return index + offset
    try:
        return int(text)
    except ValueError:
        raise UsageError(
            f"{text} has no meaning in systemd's calendar", where="--cron", fix="write numbers"
        ) from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"no time zone {name}", where="--cron", fix="a name such as Asia/Tokyo or UTC"
        ) from None

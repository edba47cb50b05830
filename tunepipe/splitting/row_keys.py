r"""What a row is grouped, labelled or dated by.

Three ways to say it: `customer` or `field:customer` is a field of the row, `/order (\d+)/` a
pattern with one group that is searched in the row's input, and `output` (for labels alone) the
row's output; a field of that name is `field:output`.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from tunepipe.data.formats import canonical
from tunepipe.errors import DataError, UsageError

_SEARCH_SECONDS = 1

Value = TypeVar("Value")
# Reads a value from a row, its input and its output.
Key = Callable[[Mapping[str, Any], str, str], Value]


def key(spec: str, option: str) -> Key[str]:
    """Return what reads a row's key as text.

    It raises DataError where the row has none; messages name the `option`.

    Raises:
        UsageError: The pattern is not one, or has not exactly one group.
    """
    if len(spec) > 1 and spec[0] == spec[-1] == "/":
        return _pattern(spec[1:-1], option)
    if spec == "output":
        return lambda row, input, output: output
    name = spec.removeprefix("field:")
    return lambda row, input, output: as_text(_field(row, name, option))


def time_key(name: str) -> Key[float]:
    """Return what reads the time of a row from a field, as `moment` does."""
    return lambda row, input, output: moment(_field(row, name, "by_time"))


def _field(row: Mapping[str, Any], name: str, option: str) -> Any:
    value = row.get(name)
    if value is None:
        raise DataError(
            f"{option}: the row has no field {name!r}",
            fix=f"give every row the field, or name another one with {option}",
        )
    return value


def as_text(value: Any) -> str:
    """Write a JSON value as text, so that equal values have equal texts; a string is itself."""
    if isinstance(value, str):
        return value
    # 12.0 is 12: a column with a gap comes out of many a table in floats.
    is_whole = isinstance(value, float) and value.is_integer()
    return canonical(int(value) if is_whole else value)


def moment(value: Any) -> float:
    """Return seconds since 1970 of such, or of ISO 8601 text; without a zone it is UTC."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC).timestamp()
        when = datetime.fromisoformat(value)
    except (OSError, OverflowError, TypeError, ValueError):
        raise DataError(
            "by_time: the field holds no time",
            fix='write it as ISO 8601 ("2026-11-22" or "2026-11-22T10:00:00+09:00") or in seconds',
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _search(pattern: re.Pattern[str], text: str, option: str) -> re.Match[str] | None:
    """Search a text, for a second at most: some patterns take longer than anyone can wait.

    Python's re module looks for signals while it searches, and only the main thread gets them; in
    another thread the search takes the time that it takes.
    """
    if threading.current_thread() is not threading.main_thread():
        return pattern.search(text)

    def stop(*_: object) -> None:
        raise DataError(
            f"{option}: the pattern takes more than {_SEARCH_SECONDS} s to search one row",
            fix="write it without a repeat inside a repeat, such as (a+)+",
        )

    before = signal.signal(signal.SIGALRM, stop)
    callers_alarm = signal.setitimer(signal.ITIMER_REAL, _SEARCH_SECONDS)
    try:
        return pattern.search(text)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *callers_alarm)


def _pattern(text: str, option: str) -> Key[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(
            f"not a pattern: {error}", where=option, fix="see the syntax of Python's re module"
        ) from None
    if pattern.groups != 1:
        raise UsageError(
            f"the pattern has {pattern.groups} groups, not one",
            where=option,
            fix="put the part that names the group in ( ), and all others in (?: )",
        )

    def read(row: Mapping[str, Any], input: str, output: str) -> str:
        match = _search(pattern, input, option)
        if match is None:
            raise DataError(
                f"{option}: the pattern is not found in the row's input",
                fix="let it match every input; end it with `|$` to make a group of each other row",
            )
        # The empty group: such a row is its own group, distinct from every named one.
        return f"={match[1]}" if match[1] else f"~{input}"

    return read

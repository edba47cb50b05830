"""Parses kfp.local's log: which step began, its progress, which ended, why one failed."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BEGAN = re.compile(r"Executing task '(.+)'$")
_ENDED = re.compile(r"Task '(.+)' finished with status (\w+)$")
_RAISED = re.compile(r"^ *((?:[A-Za-z_]\w*\.)*[A-Z]\w*)(?:: (.*))?$")
_METADATA = re.compile(r"(metadata=)\{.+\}(?= \)$)")
_LINES_KEPT = 60


@dataclass(frozen=True)
class StepBegan:
    """A step began."""

    step: str


@dataclass(frozen=True)
class StepEnded:
    """A step ended.

    Args:
        step: The task's name.
        succeeded: Whether it ended well.
        error: The exception's dotted name; "" if none was seen.
        message: What it said.
    """

    step: str
    succeeded: bool
    error: str = ""
    message: str = ""


@dataclass(frozen=True)
class StepProgress:
    """A step says how far it is; see tunepipe.progress."""

    told: dict[str, Any]


Event = StepBegan | StepProgress | StepEnded


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Turn the lines of the log into events, as they come."""
    recent: deque[str] = deque(maxlen=_LINES_KEPT)
    for raw in lines:
        line = _ANSI.sub("", raw.rstrip("\n"))
        if told := progress_of(line):
            yield StepProgress(told)
        elif began := _BEGAN.search(line):
            recent.clear()
            yield StepBegan(began[1])
        elif ended := _ENDED.search(line):
            yield _ended(ended[1], ended[2] == "SUCCESS", list(recent))
        else:
            recent.append(line)


def without_metadata(line: str) -> str:
    """Leave out what an artifact holds: the labels of a confusion matrix are rows' texts."""
    return _METADATA.sub(r"\1{…}", line)


def progress_of(line: str) -> dict[str, Any]:
    """Read a line that core.progress wrote; empty for any other line."""
    text = line.strip()
    if not text.startswith('{"stage":'):
        return {}
    try:
        event: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return event


def _ended(step: str, succeeded: bool, lines: list[str]) -> StepEnded:
    if succeeded:
        return StepEnded(step, succeeded=True)
    return StepEnded(step, False, *raised(lines))


def raised(lines: list[str]) -> tuple[str, str]:
    """Find the last exception of a traceback: its dotted name, and its message of some lines."""
    for index in range(len(lines) - 1, -1, -1):
        match = _RAISED.match(lines[index])
        if match and any(line.lstrip().startswith("File ") for line in lines[:index]):
            rest = [line.strip() for line in lines[index + 1 :] if line.strip()]
            return match[1], "\n".join(filter(None, [match[2], *rest]))
    return "", "\n".join(line.strip() for line in lines[-5:] if line.strip())

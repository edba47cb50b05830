"""Parses kfp.local's log: which step began, its progress, which ended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BEGAN = re.compile(r"Executing task '(.+)'$")
_ENDED = re.compile(r"Task '(.+)' finished with status (\w+)$")
_METADATA = re.compile(r"(metadata=)\{.+\}(?= \)$)")


@dataclass(frozen=True)
class StepBegan:
    """A step began."""

    step: str


@dataclass(frozen=True)
class StepEnded:
    """A step ended, well or not."""

    step: str
    succeeded: bool


@dataclass(frozen=True)
class StepProgress:
    """A step says how far it is; see tunepipe.progress."""

    fields: dict[str, Any]


Event = StepBegan | StepProgress | StepEnded


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Turn the lines of the log into events, as they come."""
    for raw in lines:
        line = _ANSI.sub("", raw.rstrip("\n"))
        if fields := progress_of(line):
            yield StepProgress(fields)
        elif began := _BEGAN.search(line):
            yield StepBegan(began[1])
        elif ended := _ENDED.search(line):
            yield StepEnded(ended[1], ended[2] == "SUCCESS")


def by_step(text: str) -> dict[str, str]:
    """Return what each step that began has logged, by its name, without colours."""
    logs: dict[str, str] = {}
    step = ""
    for line in _ANSI.sub("", text).splitlines(keepends=True):
        began, ended = _BEGAN.search(line), _ENDED.search(line)
        step = began[1] if began else step
        if step:
            logs[step] = logs.get(step, "") + line
        step = "" if ended else step
    return logs


def without_metadata(line: str) -> str:
    """Leave out what an artifact holds: the labels of a confusion matrix are rows' texts."""
    return _METADATA.sub(r"\1{…}", line)


def progress_of(line: str) -> dict[str, Any]:
    """Read a line that tunepipe.progress wrote; empty for any other line."""
    text = line.strip()
    if not text.startswith('{"stage":'):
        return {}
    try:
        event: dict[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return event

"""Parses kfp.local's log: which step began, its progress, which ended."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tunepipe.runs.progress_display import View

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_BEGAN = re.compile(r"Executing task '(.+)'$")
_ENDED = re.compile(r"Task '(.+)' finished with status (\w+)$")
_METADATA = re.compile(r"(metadata=)\{.+\}(?= \)$)")


def show(lines: Iterable[str], view: View) -> str:
    """Show the steps of a log as it comes, and return the first that failed; "" if none has."""
    failed = ""
    for raw in lines:
        line = _ANSI.sub("", raw.rstrip("\n"))
        if event := progress_of(line):
            view.progress(event)
        elif began := _BEGAN.search(line):
            view.began(began[1])
        elif ended := _ENDED.search(line):
            succeeded = ended[2] == "SUCCESS"
            view.ended(ended[1], succeeded)
            failed = failed or ("" if succeeded else ended[1])
    return failed


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
    event: dict[str, Any] = {}
    if line.lstrip().startswith('{"stage":'):
        with suppress(ValueError):
            event = json.loads(line)
    return event

"""Progress reporting for pipeline steps.

A step runs in a process of its own, so it reports by lines in a file: `TUNEPIPE_PROGRESS` names it,
and each line is one JSON object. Without that file a plain line goes to standard error now and
then, which is what a log of a remote step can show.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

VARIABLE = "TUNEPIPE_PROGRESS"
# Receives an event of a step: plain values by name.
Progress = Callable[[Mapping[str, Any]], None]
_PAUSE_SECONDS = 5.0
# Control characters, and those that turn the direction of a line: a terminal would obey them.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_last_line = -_PAUSE_SECONDS


def report(**event: Any) -> None:
    """Report one event of plain values.

    Steps that count give `stage`, `done` and `total`; the rest, such as `loss`, is theirs.
    """
    if path := os.environ.get(VARIABLE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
    elif _is_due(event):
        print(line(event), file=sys.stderr, flush=True)


def line(event: dict[str, Any]) -> str:
    """Return an event as one human-readable line: `tune 40/466 loss=1.234`."""
    counted = f"{event['done']}/{event['total']}" if "total" in event else ""
    rest = (f"{k}={_short(v)}" for k, v in event.items() if k not in ("stage", "done", "total"))
    return printable(" ".join(filter(None, (str(event.get("stage", "")), counted, *rest))))


def printable(text: str) -> str:
    """Return a text that a terminal shows and does not obey.

    Control characters are shown by their codes. What follows a line break is indented, so that no
    part of a name or of a service's message looks like a line of tunepipe's.
    """
    lines = _OBEYED.sub(_escaped, text).splitlines()
    return "\n    ".join(lines)


def is_terminal(stream: TextIO) -> bool:
    """Return True for a terminal that can move its cursor and show colours."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _is_due(event: dict[str, Any]) -> bool:
    global _last_line
    now = time.monotonic()
    ended = "total" in event and event.get("done") == event["total"]
    if not ended and now - _last_line < _PAUSE_SECONDS:
        return False
    _last_line = now
    return True


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

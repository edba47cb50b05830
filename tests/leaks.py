"""What a test may not leave behind: the tests after it would depend on it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

_STARTS = {"subprocess.Popen", "os.fork", "os.posix_spawn"}
# What serves all tests of a session goes on until its end.
_SERVERS = ("tests.standin", "multiprocessing.", "playwright", "chrom")
# pytest sets the one for each test, torch the other at its first use.
_OF_OTHERS = ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR")
_OWN_PATH = "setuptools/_vendor"  # which it adds as it is imported
# Of a pool that a library gave up: they wait for its collection, and end with the process.
_POOL = "ThreadPoolExecutor"
_ENDING_SECONDS = 20.0  # what a test ended may take that long to end
_children: dict[int, str] = {}  # as of the last look
_is_due = True  # for another look: a process was started since


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    global _is_due
    _is_due = _is_due or event in _STARTS


sys.addaudithook(_notice)


def state() -> dict[str, Any]:
    """Return what a test has to leave as it was, by name."""
    global _children, _is_due
    if _is_due:
        _children, _is_due = _processes(), False
    found: dict[str, Any] = {
        name: value for name, value in os.environ.items() if name not in _OF_OTHERS
    }
    found |= {
        "the working directory": os.getcwd(),
        "sys.path": [path for path in sys.path if not path.endswith(_OWN_PATH)],
        "the handler of SIGTERM": signal.getsignal(signal.SIGTERM),
        "the level of logging": logging.root.level,
        "threads": {
            each
            for each in threading.enumerate()
            if not each.daemon and not each.name.startswith(_POOL)
        },
        "processes": _children,
    }
    return found


def left_since(before: dict[str, Any]) -> dict[str, Any]:
    """Return what is not as it was, once the threads and processes that are ending have ended."""
    global _is_due
    end = time.monotonic() + _ENDING_SECONDS
    while left := changes(before, state()):
        if not left.keys() & {"threads", "processes"} or time.monotonic() > end:
            break
        gc.collect()
        time.sleep(0.05)
        _is_due = True
    return left


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return what is not as it was, before and after; what has ended meanwhile is none of it."""
    left = {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if name not in ("threads", "processes") and before.get(name) != after.get(name)
    }
    if threads := after["threads"] - before["threads"]:
        left["threads"] = threads
    if numbers := after["processes"].keys() - before["processes"].keys():
        left["processes"] = [after["processes"][number] for number in numbers]
    return left


def _processes() -> dict[int, str]:
    """The command of each child that runs, by its number."""
    found = {}
    for file in Path("/proc/self/task").glob("*/children"):
        for child in file.read_text().split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if command and not any(server in command for server in _SERVERS):
                found[int(child)] = command  # one that has ended has no command
    return found

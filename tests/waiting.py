"""Waiting for what another process does, as long as it takes on the slowest machine."""

import time
from collections.abc import Callable
from typing import TypeVar

_Seen = TypeVar("_Seen")
_SECONDS_MAX = 240  # the test would never end; below the time limit of pytest


def until(condition: Callable[[], _Seen]) -> _Seen:
    """Return what the condition gives as soon as it is true.

    What is waited for has to stay true, however late this process looks: where it would pass, the
    other process is held there.
    """
    end = time.monotonic() + _SECONDS_MAX
    while not (seen := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
    return seen
